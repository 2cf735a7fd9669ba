//! The form of what is left: a line that says what it is, a digest, JSON.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::SHA256;
use ring::digest::digest;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroize as _;
use zeroize::Zeroizing;

use anchord_config as config;
use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::clock::parse_rfc3339;
use anchord_core::clock::rfc3339;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Stored;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_core::text::Text;

/// What a daemon leaves.
#[derive(Debug)]
pub(in crate::daemon) struct State {
    pub(in crate::daemon) saved: Moment,
    /// What sealed the IMDS tokens that clients hold.
    pub(in crate::daemon) token_key: Option<Secret<[u8; 32]>>,
    pub(in crate::daemon) sessions: Vec<Kept>,
}

/// One session's credentials and what they were obtained with.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Kept {
    pub(in crate::daemon) name: String,
    /// Of the settings, as [`fingerprint`] has it.
    pub(in crate::daemon) settings: String,
    /// SHA-256 of the leaf that was in use, where it was known.
    pub(in crate::daemon) leaf: Option<String>,
    pub(in crate::daemon) credentials: Arc<Credentials>,
}

/// Why a state cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::daemon) enum Unusable {
    #[error("it is not the state of an anchord of this version")]
    Foreign,
    #[error("it is damaged: its digest does not match")]
    Damaged,
    #[error("it is damaged: its content cannot be read")]
    Malformed,
}

impl Classify for Unusable {
    fn reason(&self) -> Reason {
        Reason::FileUnusable
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Foreign => {
                Some("nothing to do after an upgrade; it is replaced with the next renewal".into())
            }
            Self::Damaged | Self::Malformed => Some("it is replaced with the next renewal".into()),
        }
    }
}

impl Kept {
    /// What tells one renewal from another.
    pub(in crate::daemon) fn id(&self) -> Id {
        let end = self.credentials.end();
        let ends = (end.wall.unix_timestamp(), end.up.whole_seconds());
        (self.name.clone(), self.credentials.access_key_id().to_owned(), ends)
    }
}

/// A session's name, its access key id, and when the credentials end: AWS's clock may date them anew.
pub(in crate::daemon) type Id = (String, String, (i64, i64));

/// Stands for everything that decides whose credentials a session has. The same in every version of this program, or
/// an upgrade would lose them.
pub(in crate::daemon) fn fingerprint(session: &config::Session, upstream: &config::Upstream) -> String {
    let of_session = fingerprint_of_session(session);
    let way = facts_of_the_way(upstream);
    // As before there were any, where nothing is set.
    if way.is_empty() { of_session } else { hash(&[vec![of_session.into_bytes()], way].concat().join(&0)) }
}

/// How AWS is reached, where that decides who may answer in its place. Passwords of proxies decide nothing.
fn facts_of_the_way(upstream: &config::Upstream) -> Vec<Vec<u8>> {
    let config::Upstream {
        connect_timeout: _,
        read_timeout: _,
        ca_file,
        variant: _,
        proxy: _,
        no_proxy,
        verifies_servers,
    } = upstream;
    let mut facts = Vec::new();
    if let Some(path) = ca_file {
        facts.extend([text("ca_file"), path.as_os_str().as_encoded_bytes().to_vec()]);
    }
    if let Some(proxy) = upstream.proxy_without_login() {
        facts.extend([text("proxy"), text(proxy), text(no_proxy.as_deref().unwrap_or_default())]);
    }
    if !verifies_servers {
        facts.push(text("anybody may answer"));
    }
    facts
}

fn fingerprint_of_session(session: &config::Session) -> String {
    // Named one by one, so that a new setting cannot be forgotten. Where clients use the credentials changes nothing,
    // and neither does which of AWS's own endpoints is asked; another address may be another AWS.
    let config::Session { name, source, chain, duration, region, sts, variant: _ } = session;
    let mut facts = vec![name.as_bytes().to_vec()];
    let of_source = match source {
        config::Source::RolesAnywhere(source) => facts_of_roles_anywhere(source, *duration),
        config::Source::AccessKeys(config::AccessKeys { keys, get_session_token }) => vec![
            text("access_keys"),
            keys.fact(),
            text(&get_session_token.to_string()),
            text(&duration.as_secs().to_string()),
            text(region.partition().as_str()),
            text(sts.endpoint.as_deref().unwrap_or_default()),
        ],
    };
    facts.extend(of_source);
    facts.extend(chain.iter().flat_map(facts_of_step));
    // No value holds this byte, so that no two lists look alike.
    hash(&facts.join(&0))
}

fn facts_of_roles_anywhere(source: &config::RolesAnywhere, duration: std::time::Duration) -> Vec<Vec<u8>> {
    let config::RolesAnywhere {
        identity,
        trust_anchor,
        profile,
        role,
        role_session_name,
        region,
        endpoint,
        fallback,
    } = source;
    // Files have three facts, which stand where they always stood; what other places add comes last.
    let mut facts = identity.facts();
    let more = facts.split_off(3);
    facts.extend([
        text(trust_anchor.as_str()),
        text(profile.as_str()),
        text(role.as_str()),
        text(&duration.as_secs().to_string()),
        text(role_session_name.as_deref().unwrap_or_default()),
        text(region.as_str()),
        text(endpoint.as_deref().unwrap_or_default()),
    ]);
    facts.extend(more);
    if let Some(config::SecondEndpoint { trust_anchor, profile, endpoint }) = fallback {
        facts.push(text(trust_anchor.as_str()));
        facts.push(text(profile.as_str()));
        facts.push(text(endpoint.as_deref().unwrap_or_default()));
    }
    facts
}

fn facts_of_step(step: &config::Step) -> Vec<Vec<u8>> {
    let config::Step {
        role,
        session_name,
        external_id,
        duration,
        policy,
        policy_arns,
        tags,
        transitive_tags,
        source_identity,
        sts,
    } = step;
    let mut facts = vec![
        text("assume_role"),
        text(role.as_str()),
        text(session_name),
        text(external_id.as_deref().unwrap_or_default()),
        text(&duration.as_secs().to_string()),
        text(policy.as_deref().unwrap_or_default()),
        text(source_identity.as_deref().unwrap_or_default()),
        text(sts.endpoint.as_deref().unwrap_or_default()),
        text(&policy_arns.len().to_string()),
        text(&tags.len().to_string()),
    ];
    facts.extend(policy_arns.iter().chain(transitive_tags).map(|item| text(item)));
    facts.extend(tags.iter().flat_map(|(name, value)| [text(name), text(value)]));
    facts
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// SHA-256, as text.
pub(in crate::daemon) fn hash(bytes: &[u8]) -> String {
    base64(digest(&SHA256, bytes).as_ref())
}

/// A digest as text.
pub(in crate::daemon) fn base64(digest: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest)
}

const TITLE: &str = "anchord state 1";

#[derive(Deserialize, Serialize)]
struct Content {
    saved_at: String,
    /// Seconds since boot, which tell the newer of two states even if the clock was set back between them.
    #[serde(default)]
    saved_up: i64,
    token_key: Option<String>,
    sessions: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    name: String,
    settings: String,
    leaf: Option<String>,
    credentials: Stored,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.token_key.zeroize();
    }
}

impl State {
    /// The written form.
    pub(in crate::daemon) fn encode(&self, clock: &Clock) -> Secret<Vec<u8>> {
        let sessions = self.sessions.iter().map(|kept| Entry {
            name: kept.name.clone(),
            settings: kept.settings.clone(),
            leaf: kept.leaf.clone(),
            credentials: Stored::of(&kept.credentials, clock),
        });
        let content = Content {
            saved_at: rfc3339(self.saved.wall),
            saved_up: self.saved.up.whole_seconds(),
            token_key: self.token_key.as_ref().map(|key| URL_SAFE_NO_PAD.encode(key.expose())),
            sessions: sessions.collect(),
        };
        // Room for all of it at once: a buffer that grows leaves copies behind.
        let mut json = Zeroizing::new(Vec::with_capacity(self.size()));
        serde_json::to_writer(&mut *json, &content)
            .expect("text and lists of text can always be written as JSON");
        let head = format!("{TITLE}\n{}\n", hash(&json));
        Secret::new([head.as_bytes(), &json].concat())
    }

    /// More bytes than the JSON has, were every byte of a secret written as two.
    fn size(&self) -> usize {
        const AROUND: usize = 1024;
        let of = |kept: &Kept| {
            let secrets = [Some(kept.credentials.secret_access_key()), kept.credentials.session_token()];
            let lengths = secrets.into_iter().flatten().map(|secret| secret.expose().len());
            AROUND + kept.name.len() + 2 * lengths.sum::<usize>()
        };
        AROUND + self.sessions.iter().map(of).sum::<usize>()
    }

    /// Reads the written form.
    pub(in crate::daemon) fn decode(bytes: &Secret<Vec<u8>>, clock: &Clock) -> Result<Self, Unusable> {
        let rest = bytes.expose().strip_prefix(TITLE.as_bytes()).ok_or(Unusable::Foreign)?;
        let rest = rest.strip_prefix(b"\n").ok_or(Unusable::Foreign)?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Damaged)?;
        let (stated, json) = (&rest[..end], &rest[end + 1..]);
        if hash(json).as_bytes() != stated {
            return Err(Unusable::Damaged);
        }
        let content: Content = serde_json::from_slice(json).map_err(|_| Unusable::Malformed)?;
        Self::of(&content, clock).ok_or(Unusable::Malformed)
    }

    fn of(content: &Content, clock: &Clock) -> Option<Self> {
        let token_key = match &content.token_key {
            Some(text) => {
                let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
                Some(Secret::new(bytes.as_slice().try_into().ok()?))
            }
            None => None,
        };
        let kept = |entry: &Entry| {
            Some(Kept {
                name: entry.name.clone(),
                settings: entry.settings.clone(),
                leaf: entry.leaf.clone(),
                credentials: Arc::new(entry.credentials.credentials(clock)?),
            })
        };
        let sessions: Option<Vec<_>> = content.sessions.iter().map(kept).collect();
        let saved_up = time::Duration::seconds(content.saved_up);
        let saved = Moment { wall: parse_rfc3339(&content.saved_at)?, up: saved_up };
        Some(Self { saved, token_key, sessions: sessions? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    use super::*;
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

    fn state() -> State {
        let keys = Keys {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("canary-secret".into()),
            session_token: Some(Secret::new("canary-token".into())),
        };
        let credentials = Credentials::new(keys, NOON, NOON.wall + Duration::HOUR, None).unwrap();
        let kept = Kept {
            name: "bedrock".into(),
            settings: hash(b"settings"),
            leaf: Some(hash(b"leaf")),
            credentials: Arc::new(credentials),
        };
        State { saved: NOON, token_key: Some(Secret::new([7; 32])), sessions: vec![kept] }
    }

    #[test]
    fn a_successor_reads_what_was_left() {
        let read = State::decode(&state().encode(&clock()), &clock()).unwrap();

        let (kept, left) = (&read.sessions[0], &state().sessions[0]);
        assert_eq!((read.saved, &read.token_key), (NOON, &Some(Secret::new([7; 32]))));
        assert_eq!((&kept.name, &kept.settings, &kept.leaf), (&left.name, &left.settings, &left.leaf));
        assert_eq!(kept.credentials.session_token(), left.credentials.session_token());
        assert_eq!(kept.credentials.expires_at(), NOON.wall + Duration::HOUR);
    }

    #[test]
    fn content_of_another_shape_is_refused_though_its_digest_is_right() {
        for json in ["{}", "[]", r#"{"saved_at":"noon","token_key":null,"sessions":[]}"#] {
            let text = format!("{TITLE}\n{}\n{json}", hash(json.as_bytes()));
            let refused = State::decode(&Secret::new(text.into_bytes()), &clock()).unwrap_err();
            assert_eq!(refused, Unusable::Malformed, "{json}");
        }
    }

    fn session() -> config::Session {
        let arn = |rest: &str| format!("arn:aws:rolesanywhere:us-east-1:123456789012:{rest}");
        let region = Region::parse("us-east-1").unwrap();
        let source = config::RolesAnywhere {
            identity: Source::of_files("/etc/anchord/leaf.pem", "/etc/anchord/key.pem"),
            trust_anchor: TrustAnchorArn::parse(&arn("trust-anchor/a")).unwrap(),
            profile: ProfileArn::parse(&arn("profile/p")).unwrap(),
            role: RoleArn::parse("arn:aws:iam::123456789012:role/bedrock").unwrap(),
            role_session_name: None,
            region: region.clone(),
            endpoint: None,
            fallback: None,
        };
        config::Session {
            name: "bedrock".into(),
            source: config::Source::RolesAnywhere(Box::new(source)),
            chain: Vec::new(),
            duration: std::time::Duration::from_secs(3600),
            region: region.clone(),
            sts: config::Sts { region, endpoint: None },
            variant: Variant::default(),
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

    fn fingerprint(session: &config::Session) -> String {
        super::fingerprint(session, &upstream())
    }

    fn source(session: &mut config::Session) -> &mut config::RolesAnywhere {
        match &mut session.source {
            config::Source::RolesAnywhere(source) => source,
            config::Source::AccessKeys(_) => unreachable!(),
        }
    }

    /// A version that hashed them otherwise would find nothing that it could use after an upgrade.
    #[test]
    fn the_same_settings_have_the_same_fingerprint_in_every_version() {
        assert_eq!(fingerprint(&session()), "wLPtGj-XSG2TI0dzwWRbB5wXZ5VnZrsXOyNewlQRoc8");
    }

    #[test]
    fn whatever_decides_whose_credentials_they_are_changes_the_fingerprint() {
        let before = fingerprint(&session());
        let changed = |change: fn(&mut config::Session)| {
            let mut session = session();
            change(&mut session);
            fingerprint(&session) != before
        };

        assert!(changed(
            |session| source(session).identity.certificate = Locator::File("/etc/anchord/other.pem".into())
        ));
        assert!(changed(|session| source(session).role_session_name = Some("robot".into())));
        assert!(changed(|session| session.duration *= 2));
        assert!(changed(|session| source(session).endpoint = Some("https://127.0.0.1:1".into())));
        // Of a certificate's session STS is asked for its steps alone.
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
        let step = |endpoint: Option<&str>| config::Step {
            role: RoleArn::parse("arn:aws:iam::210987654321:role/models").unwrap(),
            session_name: "anchord-bedrock".into(),
            external_id: None,
            duration: std::time::Duration::from_secs(3600),
            policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            source_identity: None,
            sts: config::Sts { endpoint: endpoint.map(Into::into), ..session().sts },
        };
        let through = |step| fingerprint(&config::Session { chain: vec![step], ..session() });
        let of_keys = |change: fn(&mut config::Session)| {
            let keys = anchord_aws::access_keys::AccessKeys::file("/etc/anchord/keys".into());
            let source = config::Source::AccessKeys(config::AccessKeys { keys, get_session_token: true });
            let mut session = config::Session { source, ..session() };
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

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in 0_usize..400, by in 1_u8..=255) {
            let mut bytes = state().encode(&clock()).expose().clone();
            let at = at % bytes.len();
            bytes[at] ^= by;

            prop_assert!(State::decode(&Secret::new(bytes), &clock()).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(State::decode(&Secret::new(bytes), &clock()).is_err());
        }
    }
}
