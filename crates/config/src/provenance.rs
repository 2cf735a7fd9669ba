//! What a session's credentials come from, in bytes that fingerprints are made of: a daemon tells by them whether it may
//! take over what another left, and processes without a daemon find what others have cached.
//!
//! A digest of a short text can be undone by guessing, so no secret takes part.

use std::time::Duration;

use super::AccessKeySource;
use super::CertificateSource;
use super::Session;
use super::Source;
use super::Upstream;
use anchord_aws::upstream::AssumeRole;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::Sts;
use anchord_core::endpoint::Variant;
use anchord_identity as identity;
use anchord_identity::Passphrase;

type Bytes = Vec<u8>;

/// What a session's credentials come from. Each list is in an order that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The settings of the session that decide whose credentials they are. The same in every version of this program, or
    /// an upgrade would lose the credentials that a daemon left.
    pub session: Vec<Bytes>,
    /// How AWS is reached, where that decides who may answer in its place. As lasting, and empty where nothing is set.
    pub way: Vec<Bytes>,
    /// What decides only whether AWS can be asked and gives any: it matters to those who keep failures.
    pub conditions: Vec<Bytes>,
}

impl Provenance {
    /// That of `session`, whose AWS is reached by `upstream`.
    pub fn of(session: &Session, upstream: &Upstream) -> Self {
        let mut provenance = Self { session: Vec::new(), way: Vec::new(), conditions: Vec::new() };
        provenance.add_session(session);
        provenance.add_upstream(upstream);
        provenance
    }

    // Fields are named one by one, so that a new setting cannot be forgotten.

    fn add_session(&mut self, session: &Session) {
        let Session { name, source, chain, region, sts, variant } = session;
        self.session.push(text(name));
        match source {
            Source::RolesAnywhere(source) => self.add_certificate_source(source),
            Source::AccessKeys(AccessKeySource { keys, get_session_token, duration }) => {
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
        // Another address may be another AWS; another of AWS's own is the same one.
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
        // Files have three facts, which stand where they always stood; what other places add comes last.
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
        // The rest is as at the first.
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
            self.way.extend([text("ca_file"), path.as_os_str().as_encoded_bytes().to_vec()]);
        }
        if let Some(proxy) = upstream.proxy_without_login() {
            self.way.extend([text("proxy"), text(proxy), maybe(no_proxy)]);
        }
        // Where there is no proxy, it decides nothing.
        self.conditions.push(maybe(no_proxy));
        if !verifies_servers {
            self.way.push(text("anybody may answer"));
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
