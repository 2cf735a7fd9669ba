//! The settings that decide which credentials a session gets, as bytes for fingerprints. By a fingerprint a daemon
//! decides whether it may use the credentials that its predecessor left, and processes without a daemon find cached
//! credentials.
//!
//! Guessing can undo a digest of a short text, so no secret is part of it.

use std::time::Duration;

use super::AccessKeySource;
use super::CertificateSource;
use super::CredentialSource;
use super::SessionSettings;
use super::Upstream;
use anchord_aws::upstream::AssumeRole;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::Sts;
use anchord_core::endpoint::Variant;
use anchord_identity as identity;
use anchord_identity::Passphrase;

type Bytes = Vec<u8>;

/// The settings that decide which credentials a session gets. The order of each list never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The session's settings that decide which credentials it gets. These bytes must be the same in every version of
    /// anchord, or an upgrade would lose the credentials that a daemon left.
    pub session: Vec<Bytes>,
    /// The connection settings that decide which server may answer as AWS. These bytes must never change either. Empty
    /// if none of these settings is given.
    pub connection: Vec<Bytes>,
    /// Settings that only decide whether a request succeeds. They matter to a cache of failures.
    pub conditions: Vec<Bytes>,
}

impl Provenance {
    /// The provenance of `session`, with the connection settings `upstream`.
    pub fn of(session: &SessionSettings, upstream: &Upstream) -> Self {
        let mut provenance = Self { session: Vec::new(), connection: Vec::new(), conditions: Vec::new() };
        provenance.add_session(session);
        provenance.add_upstream(upstream);
        provenance
    }

    // All fields are listed, so that a new setting cannot be forgotten.

    fn add_session(&mut self, session: &SessionSettings) {
        let SessionSettings { name, source, chain, region, sts, variant } = session;
        self.session.push(text(name));
        match source {
            CredentialSource::RolesAnywhere(source) => self.add_certificate_source(source),
            CredentialSource::AccessKeys(AccessKeySource { keys, get_session_token, duration }) => {
                self.session.extend([
                    text("access_keys"),
                    keys.fact(),
                    text(&get_session_token.to_string()),
                    seconds(*duration),
                    text(region.partition().as_str()),
                    maybe(&sts.endpoint),
                ]);
            }
        }
        for step in chain {
            self.add_step(step);
        }
        // Another `endpoint` may be another AWS. Another variant of AWS's own endpoints is the same AWS.
        let Variant { fips, dual_stack } = variant;
        self.conditions.extend([
            text(region.as_str()),
            text(&fips.to_string()),
            text(&dual_stack.to_string()),
        ]);
        self.add_sts(sts);
    }

    fn add_certificate_source(&mut self, source: &CertificateSource) {
        let CertificateSource { identity, first, fallback } = source;
        let CreateSession {
            trust_anchor,
            profile,
            role,
            duration,
            role_session_name,
            region,
            endpoint,
            // The session has it.
            variant: _,
        } = first;
        // The three facts of files keep their place in the list. Facts of other places come last.
        let mut of_identity = identity.facts();
        let more = of_identity.split_off(3);
        self.session.extend(of_identity);
        self.session.extend([
            text(trust_anchor.as_str()),
            text(profile.as_str()),
            text(role.as_str()),
            seconds(*duration),
            maybe(role_session_name),
            text(region.as_str()),
            maybe(endpoint),
        ]);
        self.session.extend(more);
        // The other fields are equal to those of the first endpoint.
        if let Some(CreateSession { trust_anchor, profile, endpoint, .. }) = fallback {
            self.session.extend([text(trust_anchor.as_str()), text(profile.as_str()), maybe(endpoint)]);
        }
        self.add_conditions_of(identity);
    }

    fn add_conditions_of(&mut self, identity: &identity::Source) {
        let passphrase = match &identity.passphrase {
            None => Bytes::new(),
            Some(Passphrase::File(path)) => path.as_os_str().as_encoded_bytes().to_vec(),
            Some(Passphrase::Given(_)) => text("given"),
            Some(Passphrase::Absent { why, .. }) => text(why),
            Some(Passphrase::Prompted(_)) => text("prompt"),
        };
        self.conditions.extend([passphrase, text(&identity.input_contents())]);
    }

    fn add_step(&mut self, step: &AssumeRole) {
        let AssumeRole {
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
        self.session.extend([
            text("assume_role"),
            text(role.as_str()),
            text(session_name),
            maybe(external_id),
            seconds(*duration),
            maybe(policy),
            maybe(source_identity),
            maybe(&sts.endpoint),
            text(&policy_arns.len().to_string()),
            text(&tags.len().to_string()),
        ]);
        self.session.extend(policy_arns.iter().chain(transitive_tags).map(|item| text(item)));
        self.session.extend(tags.iter().flat_map(|(name, value)| [text(name), text(value)]));
        self.add_sts(sts);
    }

    fn add_sts(&mut self, sts: &Sts) {
        let Sts { region, endpoint, variant: _ } = sts;
        self.conditions.extend([text(region.as_str()), maybe(endpoint)]);
    }

    fn add_upstream(&mut self, upstream: &Upstream) {
        let Upstream {
            connect_timeout: _,
            read_timeout: _,
            ca_file,
            // The session has it.
            variant: _,
            proxy: _,
            no_proxy,
            verifies_servers,
        } = upstream;
        if let Some(path) = ca_file {
            self.connection.extend([text("ca_file"), path.as_os_str().as_encoded_bytes().to_vec()]);
        }
        if let Some(proxy) = upstream.proxy_without_login() {
            self.connection.extend([text("proxy"), text(proxy), maybe(no_proxy)]);
        }
        // Without a proxy, NO_PROXY has no effect.
        self.conditions.push(maybe(no_proxy));
        if !verifies_servers {
            self.connection.push(text("anybody may answer"));
        }
    }
}

fn text(text: &str) -> Bytes {
    text.as_bytes().to_vec()
}

fn maybe(value: &Option<String>) -> Bytes {
    text(value.as_deref().unwrap_or_default())
}

fn seconds(duration: Duration) -> Bytes {
    text(&duration.as_secs().to_string())
}
