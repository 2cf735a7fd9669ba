//! The state that a daemon leaves, and its file format.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroize as _;
use zeroize::Zeroizing;

use crate::checksummed::ChecksummedFormat;
use crate::checksummed::Unusable;
use anchord_config as config;
use anchord_config::Provenance;
use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::clock::parse_rfc3339;
use anchord_core::clock::rfc3339;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Stored;
use anchord_core::digest::sha256;
use anchord_core::secret::Secret;

/// The state that a daemon leaves.
#[derive(Debug)]
pub(in crate::daemon) struct SavedState {
    pub(in crate::daemon) saved_at: Moment,
    /// The key of the IMDS tokens that clients have.
    pub(in crate::daemon) token_key: Option<Secret<[u8; 32]>>,
    pub(in crate::daemon) sessions: Vec<SavedSession>,
}

/// A session's credentials, with the settings and the leaf that obtained them.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct SavedSession {
    pub(in crate::daemon) name: String,
    /// The [`fingerprint`] of the settings.
    pub(in crate::daemon) settings: String,
    /// SHA-256 of the leaf, if it is known.
    pub(in crate::daemon) leaf: Option<String>,
    pub(in crate::daemon) credentials: Arc<Credentials>,
}

impl SavedSession {
    /// Identifies one renewal.
    pub(in crate::daemon) fn id(&self) -> RenewalId {
        let end = self.credentials.end();
        let ends = (end.wall.unix_timestamp(), end.up.whole_seconds());
        (self.name.clone(), self.credentials.access_key_id().to_owned(), ends)
    }
}

/// A session's name, its access key id, and the end of the credentials. The end may change while the key id stays, when
/// the daemon learns AWS's clock.
pub(in crate::daemon) type RenewalId = (String, String, (i64, i64));

/// A digest of all settings that decide which credentials a session gets. It must be the same in every version of
/// anchord, or an upgrade would lose the credentials.
pub(in crate::daemon) fn fingerprint(
    session: &config::SessionSettings,
    upstream: &config::Upstream,
) -> String {
    let Provenance { session, connection, conditions: _ } = Provenance::of(session, upstream);
    // No value contains this byte, so different lists have different texts.
    let of_session = hash(&session.join(&0));
    if connection.is_empty() {
        return of_session;
    }
    let mut both = vec![of_session.into_bytes()];
    both.extend(connection);
    hash(&both.join(&0))
}

/// SHA-256, as text.
pub(in crate::daemon) fn hash(bytes: &[u8]) -> String {
    base64(&sha256(bytes))
}

/// A digest as text.
pub(in crate::daemon) fn base64(digest: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest)
}

const FORMAT: ChecksummedFormat = ChecksummedFormat { title: "anchord state 1", checksum: hash };

#[derive(Deserialize, Serialize)]
struct StateDocument {
    saved_at: String,
    /// Seconds since boot. They show which of two states is newer even if the clock was set back in between.
    #[serde(default)]
    saved_up: i64,
    token_key: Option<String>,
    sessions: Vec<SessionDocument>,
}

#[derive(Deserialize, Serialize)]
struct SessionDocument {
    name: String,
    settings: String,
    leaf: Option<String>,
    credentials: Stored,
}

impl Drop for StateDocument {
    fn drop(&mut self) {
        self.token_key.zeroize();
    }
}

impl SavedState {
    /// Encodes the state.
    pub(in crate::daemon) fn encode(&self, clock: &Clock) -> Secret<Vec<u8>> {
        let sessions = self.sessions.iter().map(|saved| SessionDocument {
            name: saved.name.clone(),
            settings: saved.settings.clone(),
            leaf: saved.leaf.clone(),
            credentials: Stored::of(&saved.credentials, clock),
        });
        let content = StateDocument {
            saved_at: rfc3339(self.saved_at.wall),
            saved_up: self.saved_at.up.whole_seconds(),
            token_key: self.token_key.as_ref().map(|key| URL_SAFE_NO_PAD.encode(key.expose())),
            sessions: sessions.collect(),
        };
        FORMAT.encode(&content)
    }

    /// Decodes a state.
    ///
    /// # Errors
    /// If it is damaged or of another version.
    pub(in crate::daemon) fn decode(bytes: &Secret<Vec<u8>>, clock: &Clock) -> Result<Self, Unusable> {
        let content: StateDocument = FORMAT.decode(bytes)?;
        Self::of(&content, clock).ok_or(Unusable::Malformed)
    }

    fn of(content: &StateDocument, clock: &Clock) -> Option<Self> {
        let token_key = match &content.token_key {
            Some(text) => {
                let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
                Some(Secret::new(bytes.as_slice().try_into().ok()?))
            }
            None => None,
        };
        let saved = |entry: &SessionDocument| {
            Some(SavedSession {
                name: entry.name.clone(),
                settings: entry.settings.clone(),
                leaf: entry.leaf.clone(),
                credentials: Arc::new(entry.credentials.credentials(clock)?),
            })
        };
        let sessions: Option<Vec<_>> = content.sessions.iter().map(saved).collect();
        let saved_up = time::Duration::seconds(content.saved_up);
        let saved_at = Moment { wall: parse_rfc3339(&content.saved_at)?, up: saved_up };
        Some(Self { saved_at, token_key, sessions: sessions? })
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use anchord_aws::upstream::AssumeRole;
    use anchord_aws::upstream::CreateSession;
    use anchord_aws::upstream::Sts;
    use anchord_core::arn::ProfileArn;
    use anchord_core::arn::Region;
    use anchord_core::arn::RoleArn;
    use anchord_core::arn::TrustAnchorArn;
    use anchord_core::credentials::Keys;
    use anchord_core::endpoint::Variant;
    use anchord_identity::Locator;
    use anchord_identity::Source;

    const NOON: Moment = Moment { wall: datetime!(2026-03-11 12:00:00 UTC), up: Duration::HOUR };

    fn clock() -> Clock {
        Clock::system()
    }

    fn state() -> SavedState {
        let keys = Keys {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("canary-secret".into()),
            session_token: Some(Secret::new("canary-token".into())),
        };
        let credentials = Credentials::new(keys, NOON, NOON.wall + Duration::HOUR, None).unwrap();
        let saved = SavedSession {
            name: "bedrock".into(),
            settings: hash(b"settings"),
            leaf: Some(hash(b"leaf")),
            credentials: Arc::new(credentials),
        };
        SavedState { saved_at: NOON, token_key: Some(Secret::new([7; 32])), sessions: vec![saved] }
    }

    #[test]
    fn a_successor_reads_what_was_left() {
        let read = SavedState::decode(&state().encode(&clock()), &clock()).unwrap();

        let (saved, left) = (&read.sessions[0], &state().sessions[0]);
        assert_eq!((read.saved_at, &read.token_key), (NOON, &Some(Secret::new([7; 32]))));
        assert_eq!((&saved.name, &saved.settings, &saved.leaf), (&left.name, &left.settings, &left.leaf));
        assert_eq!(saved.credentials.session_token(), left.credentials.session_token());
        assert_eq!(saved.credentials.expires_at(), NOON.wall + Duration::HOUR);
    }

    /// A different encoding of the checksum would lose the state in an upgrade.
    #[test]
    fn a_state_that_an_earlier_version_wrote_is_read() {
        let text = concat!(
            "anchord state 1\nublQ1z1_zCJ0XLG6FuWL7123UCUoLdIYdP7WFquNM7M\n",
            r#"{"saved_at":"2026-03-11T12:00:00Z","saved_up":3600,"token_key":null,"sessions":[]}"#
        );

        let read = SavedState::decode(&Secret::new(text.into()), &clock()).unwrap();

        assert_eq!(read.saved_at, NOON);
    }

    #[test]
    fn content_of_another_shape_is_refused_though_its_digest_is_right() {
        for json in ["{}", "[]", r#"{"saved_at":"noon","token_key":null,"sessions":[]}"#] {
            let text = format!("anchord state 1\n{}\n{json}", hash(json.as_bytes()));
            let refused = SavedState::decode(&Secret::new(text.into_bytes()), &clock()).unwrap_err();
            assert_eq!(refused, Unusable::Malformed, "{json}");
        }
    }

    fn session() -> config::SessionSettings {
        let arn = |rest: &str| format!("arn:aws:rolesanywhere:us-east-1:123456789012:{rest}");
        let region = Region::parse("us-east-1").unwrap();
        let first = CreateSession {
            trust_anchor: TrustAnchorArn::parse(&arn("trust-anchor/a")).unwrap(),
            profile: ProfileArn::parse(&arn("profile/p")).unwrap(),
            role: RoleArn::parse("arn:aws:iam::123456789012:role/bedrock").unwrap(),
            duration: std::time::Duration::from_secs(3600),
            role_session_name: None,
            region: region.clone(),
            endpoint: None,
            variant: Variant::default(),
        };
        let source = config::CertificateSource {
            identity: Source::of_files("/etc/anchord/leaf.pem", "/etc/anchord/key.pem"),
            first,
            fallback: None,
        };
        config::SessionSettings {
            name: "bedrock".into(),
            source: config::CredentialSource::RolesAnywhere(Box::new(source)),
            chain: Vec::new(),
            region: region.clone(),
            sts: Sts { region, endpoint: None, variant: Variant::default() },
            variant: Variant::default(),
        }
    }

    fn of_keys() -> config::SessionSettings {
        let source = config::AccessKeySource {
            keys: anchord_aws::access_keys::AccessKeys::file("/etc/anchord/keys".into()),
            get_session_token: true,
            duration: std::time::Duration::from_secs(3600),
        };
        config::SessionSettings { source: config::CredentialSource::AccessKeys(source), ..session() }
    }

    fn step(sts_endpoint: Option<&str>) -> AssumeRole {
        AssumeRole {
            role: RoleArn::parse("arn:aws:iam::210987654321:role/models").unwrap(),
            session_name: "anchord-bedrock".into(),
            external_id: None,
            duration: std::time::Duration::from_secs(3600),
            policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            source_identity: None,
            sts: Sts { endpoint: sts_endpoint.map(Into::into), ..session().sts },
        }
    }

    fn upstream() -> config::Upstream {
        config::Upstream {
            connect_timeout: None,
            read_timeout: None,
            ca_file: None,
            variant: Variant::default(),
            proxy: None,
            no_proxy: None,
            verifies_servers: true,
        }
    }

    fn fingerprint(session: &config::SessionSettings) -> String {
        super::fingerprint(session, &upstream())
    }

    fn source(session: &mut config::SessionSettings) -> &mut config::CertificateSource {
        match &mut session.source {
            config::CredentialSource::RolesAnywhere(source) => source,
            config::CredentialSource::AccessKeys(_) => unreachable!(),
        }
    }

    /// A version with other fingerprints could use none of the saved credentials after an upgrade.
    #[test]
    fn the_same_settings_have_the_same_fingerprint_in_every_version() {
        assert_eq!(fingerprint(&session()), "wLPtGj-XSG2TI0dzwWRbB5wXZ5VnZrsXOyNewlQRoc8");
        let mut all = session();
        let west = |rest: &str| format!("arn:aws:rolesanywhere:us-west-2:123456789012:{rest}");
        source(&mut all).fallback = Some(CreateSession {
            trust_anchor: TrustAnchorArn::parse(&west("trust-anchor/b")).unwrap(),
            profile: ProfileArn::parse(&west("profile/q")).unwrap(),
            region: Region::parse("us-west-2").unwrap(),
            endpoint: Some("https://127.0.0.1:1".into()),
            ..source(&mut all).first.clone()
        });
        all.chain.push(AssumeRole {
            session_name: "robot-7".into(),
            external_id: Some("7d2f".into()),
            duration: std::time::Duration::from_secs(900),
            policy: Some("{}".into()),
            policy_arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".into()],
            tags: vec![("team".into(), "a".into())],
            transitive_tags: vec!["team".into()],
            source_identity: Some("robot".into()),
            ..step(Some("https://sts.example"))
        });
        assert_eq!(fingerprint(&all), "z6szUtCqlfLH3UBfdv4cNTRG7Syk3ANFDoHA9X17Wqg");
        let way = config::Upstream {
            ca_file: Some("/etc/ca.pem".into()),
            proxy: Some(Secret::new("http://proxy:3128".into())),
            no_proxy: Some("localhost".into()),
            verifies_servers: false,
            ..upstream()
        };
        assert_eq!(super::fingerprint(&all, &way), "YOSMd8fxLrl9UzaZrwgFj5CrPMXQjD6hEdyXB1w3b9E");
        assert_eq!(fingerprint(&of_keys()), "C8WSE7HOc9YGOVNcS8NuGYW__1BucLY5vlLFCjCltbA");
    }

    #[test]
    fn whatever_decides_whose_credentials_they_are_changes_the_fingerprint() {
        let before = fingerprint(&session());
        let changed = |change: fn(&mut config::SessionSettings)| {
            let mut session = session();
            change(&mut session);
            fingerprint(&session) != before
        };

        assert!(changed(
            |session| source(session).identity.certificate = Locator::File("/etc/anchord/other.pem".into())
        ));
        assert!(changed(|session| source(session).first.role_session_name = Some("robot".into())));
        assert!(changed(|session| source(session).first.duration *= 2));
        assert!(changed(|session| source(session).first.endpoint = Some("https://127.0.0.1:1".into())));
        // A session of a certificate calls STS only for its chain.
        assert!(!changed(|session| session.sts.endpoint = Some("https://127.0.0.1:1".into())));
        assert!(!changed(|session| session.region = Region::parse("us-west-2").unwrap()));
    }

    #[test]
    fn another_way_to_aws_may_lead_to_another_aws() {
        let proxy = |url: &str| Some(Secret::new(url.to_owned()));
        let through = |url: &str| config::Upstream { proxy: proxy(url), ..upstream() };
        let ways = [
            upstream(),
            config::Upstream { ca_file: Some("/etc/ca.pem".into()), ..upstream() },
            config::Upstream { ca_file: Some("/etc/other.pem".into()), ..upstream() },
            through("http://proxy:3128"),
            through("http://elsewhere:3128"),
            config::Upstream { no_proxy: Some("amazonaws.com".into()), ..through("http://proxy:3128") },
            config::Upstream { verifies_servers: false, ..upstream() },
        ];
        let of = |way: &config::Upstream| super::fingerprint(&session(), way);

        let different: std::collections::BTreeSet<_> = ways.iter().map(of).collect();

        assert_eq!(different.len(), ways.len());
        assert_eq!(
            of(&through("http://user:old@proxy:3128")),
            of(&through("http://user:new@proxy:3128")),
            "a password says nothing of who answers"
        );
        let patient =
            config::Upstream { read_timeout: Some(std::time::Duration::from_secs(1)), ..upstream() };
        assert_eq!(of(&patient), of(&upstream()));
    }

    #[test]
    fn another_address_of_sts_may_be_another_aws() {
        let through = |step| fingerprint(&config::SessionSettings { chain: vec![step], ..session() });
        let of_keys = |change: fn(&mut config::SessionSettings)| {
            let mut session = of_keys();
            change(&mut session);
            fingerprint(&session)
        };
        let elsewhere = Some("https://sts.example");

        assert_ne!(through(step(None)), fingerprint(&session()));
        assert_ne!(through(step(None)), through(step(elsewhere)));
        assert_ne!(
            of_keys(|_| ()),
            of_keys(|session| session.sts.endpoint = Some("https://sts.example".into()))
        );
        assert_ne!(of_keys(|_| ()), of_keys(|session| session.region = Region::parse("cn-north-1").unwrap()));
        assert_eq!(of_keys(|_| ()), of_keys(|session| session.region = Region::parse("us-west-2").unwrap()));
    }

    #[test]
    fn nothing_here_prints_a_secret() {
        assert!(!format!("{:?}", state()).contains("canary"));
    }
}
