//! Digests of the options that decide which credentials a session gives, so that a caller and a daemon can compare
//! them.
//!
//! A caller that asks a daemon sends the options that it gives itself: by flags, variables, or its own settings file.
//! The daemon compares each with its own parsed value, so `60m` equals `1h`, and names the options that differ. The
//! caller does not send options that only `/etc/anchord` gives. So an edit there that the daemon has not loaded breaks
//! no client.
//!
//! Guessing can undo a digest of a short text. So no secret is part of a digest: no passphrase, no PIN, no secret key.
//! An external id is not part either: it decides whether AWS gives a role, not which role.

use std::fmt::Display;
use std::path::Path;
use std::path::PathBuf;

use super::AccessKeySource;
use super::CertificateSource;
use super::CredentialSource;
use super::SessionSettings;
use super::Settings;
use super::file::SYSTEM_CONFIGURATION;
use anchord_aws::access_keys::AccessKeys;
use anchord_aws::upstream::AssumeRole;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::Sts;
use anchord_core::digest::sha256;
use anchord_core::notice::Origin;
use anchord_identity as identity;
use anchord_identity::LeafSelection;
use anchord_identity::Locator;
use anchord_identity::spiffe::Choice;

/// An option of a session and the digest of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The option's key in the session's table.
    pub option: &'static str,
    /// The first 64 bits of the value's SHA-256: it finds mistakes, it proves nothing.
    pub digest: u64,
}

/// Options that have a meaning even if the caller's own session leaves them out: without `assume_role` it means the
/// certificate's role and no further role.
const DECIDED_BY_ABSENCE: [&str; 2] = ["assume_role", "get_session_token"];

impl Settings {
    /// Whether the settings file is the host's, and not the caller's own.
    pub fn file_is_the_systems(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.starts_with(SYSTEM_CONFIGURATION))
    }

    /// The options that the caller itself gives for the selected session.
    pub fn stated(&self) -> Vec<Fact> {
        let of_part = || self.partial.as_ref().map(|partial| partial.stated.clone()).unwrap_or_default();
        self.the_session().map_or_else(of_part, |session| self.stated_of(session))
    }

    /// The same, and for each path also the path with the symbolic links of its folder resolved, if it differs. A
    /// daemon then needs to know a file by only one of its paths. Blocks while the folders' file system does not
    /// respond.
    pub fn stated_by_any_path(&self) -> Vec<Fact> {
        let mut stated = self.stated();
        let others = self.the_session().map(|session| self.stated_of(&without_links(session)));
        for fact in others.unwrap_or_default() {
            if !stated.contains(&fact) {
                stated.push(fact);
            }
        }
        stated
    }

    fn stated_of(&self, session: &SessionSettings) -> Vec<Fact> {
        let is_own = !self.file_is_the_systems();
        let is_stated = |fact: &Fact| {
            let key = format!("session.{}.{}", session.name, fact.option);
            match self.origins.of(&key) {
                Some(Origin::Argument(_)) => true,
                // Other variables, such as SPIFFE_ENDPOINT_SOCKET, were not set for anchord.
                Some(Origin::Variable(name)) => name.starts_with("ANCHORD_"),
                Some(Origin::File { .. }) => is_own,
                Some(Origin::Default) | None => is_own && DECIDED_BY_ABSENCE.contains(&fact.option),
            }
        };
        facts_of_caller(session).into_iter().filter(is_stated).collect()
    }
}

/// The options that decide which credentials the session gives, as a daemon compares them. Options without a value are
/// left out.
///
/// A certificate from a variable, a credential or a pipe is listed twice: by its name, such as `env:LEAF`, for clients
/// that do not have it, and by its leaf, for clients that have a certificate of this name themselves.
pub fn facts(session: &SessionSettings) -> Vec<Fact> {
    gathered(session, Facts { facts: Vec::new(), is_callers: false })
}

/// The same as a caller sends it: a certificate from a variable, a credential or a pipe is listed by its leaf only.
pub(super) fn facts_of_caller(session: &SessionSettings) -> Vec<Fact> {
    gathered(session, Facts { facts: Vec::new(), is_callers: true })
}

fn gathered(session: &SessionSettings, mut facts: Facts) -> Vec<Fact> {
    // All fields are listed, so that a new one cannot be forgotten. The Region in which clients use the credentials
    // changes nothing, and neither does the variant of AWS's endpoints.
    let SessionSettings { name: _, source, chain, region: _, sts, variant: _ } = session;
    facts.add("duration", session.duration().as_secs());
    // A session of a certificate calls STS only for its chain.
    if !chain.is_empty() || matches!(source, CredentialSource::AccessKeys(_)) {
        facts.add_sts(sts);
    }
    match source {
        CredentialSource::RolesAnywhere(source) => facts.add_certificate_source(source),
        CredentialSource::AccessKeys(AccessKeySource { keys, get_session_token, duration: _ }) => {
            facts.add("source", "access-keys");
            facts.add("get_session_token", get_session_token);
            let place = keys.path().map(text_of).unwrap_or_else(|| keys.fact());
            if !place.is_empty() {
                facts.add_bytes("access_keys", &place);
            }
        }
    }
    let steps: Vec<u8> = chain.iter().flat_map(text_of_step).collect();
    facts.add_bytes("assume_role", &steps);
    facts.facts
}

struct Facts {
    facts: Vec<Fact>,
    /// Whether a caller sends them.
    is_callers: bool,
}

impl Facts {
    fn add_bytes(&mut self, option: &'static str, value: &[u8]) {
        let mut first = [0; 8];
        first.copy_from_slice(&sha256(value)[..8]);
        self.facts.push(Fact { option, digest: u64::from_be_bytes(first) });
    }

    fn add(&mut self, option: &'static str, value: impl Display) {
        self.add_bytes(option, value.to_string().as_bytes());
    }

    fn add_any(&mut self, option: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(option, value);
        }
    }

    fn add_path(&mut self, option: &'static str, path: Option<&Path>) {
        if let Some(path) = path {
            self.add_bytes(option, &text_of(path));
        }
    }

    fn add_sts(&mut self, sts: &Sts) {
        let Sts { region: _, endpoint, variant: _ } = sts;
        self.add_any("sts_endpoint", endpoint.as_ref());
    }

    fn add_certificate_source(&mut self, source: &CertificateSource) {
        let CertificateSource { identity, first, fallback } = source;
        let CreateSession {
            trust_anchor,
            profile,
            role,
            duration: _,
            role_session_name,
            region,
            endpoint,
            variant: _,
        } = first;
        self.add("source", "roles-anywhere");
        self.add_identity(identity);
        self.add("trust_anchor_arn", trust_anchor.as_str());
        self.add("profile_arn", profile.as_str());
        self.add("role_arn", role.as_str());
        self.add_any("role_session_name", role_session_name.as_ref());
        self.add("roles_anywhere_region", region);
        self.add_any("endpoint", endpoint.as_ref());
        if let Some(CreateSession { trust_anchor, profile, endpoint, .. }) = fallback {
            self.add("fallback_trust_anchor_arn", trust_anchor.as_str());
            self.add("fallback_profile_arn", profile.as_str());
            self.add_any("fallback_endpoint", endpoint.as_ref());
        }
    }

    fn add_identity(&mut self, source: &identity::Source) {
        let identity::Source {
            certificate,
            private_key,
            intermediates,
            passphrase: _,
            selection,
            pkcs11_module,
            tpm,
        } = source;
        let leaf = source.input_leaf();
        if leaf.is_none() || !self.is_callers {
            self.add_place("certificate", certificate);
        }
        // A caller sends a fact even if its certificate is unusable. No daemon has the same fact, so the two differ.
        if let Some(leaf) = leaf.filter(|leaf| self.is_callers || !leaf.is_empty()) {
            self.add("certificate", format!("handed leaf {leaf}"));
        }
        if let Some(place) = private_key {
            self.add_place("private_key", place);
        }
        if let Some(place) = intermediates {
            self.add_place("intermediates", place);
        }
        let LeafSelection { fingerprints, subject, issuer, serial } = selection;
        if !fingerprints.is_empty() {
            let mut pins: Vec<String> = fingerprints.iter().map(ToString::to_string).collect();
            pins.sort_unstable();
            self.add("certificate_fingerprint", pins.join(" "));
        }
        self.add_any("certificate_subject", subject.as_ref());
        self.add_any("certificate_issuer", issuer.as_ref());
        self.add_any("certificate_serial", serial.as_ref());
        self.add_path("pkcs11_module", pkcs11_module.as_deref());
        self.add("tpm", tpm);
    }

    fn add_place(&mut self, option: &'static str, place: &Locator) {
        match place {
            Locator::File(path) => self.add_path(option, Some(path)),
            Locator::Input(handed) => self.add(option, handed.spelled()),
            // Its text has no PIN.
            Locator::Token(uri) => self.add(option, uri),
            Locator::Tpm(handle) => self.add(option, format!("tpm:{handle:#010x}")),
            Locator::Agent(agent) => {
                let Choice { id, hint } = &agent.choice;
                self.add(option, id.as_deref().unwrap_or("spiffe:"));
                if option == "certificate" {
                    self.add("spiffe_socket", &agent.endpoint);
                    self.add_any("spiffe_hint", hint.as_ref());
                }
            }
        }
    }
}

/// The bytes that end values and steps occur in no value, so different steps have different texts.
fn text_of_step(step: &AssumeRole) -> Vec<u8> {
    let AssumeRole {
        role,
        session_name,
        external_id: _,
        duration,
        policy,
        policy_arns,
        tags,
        transitive_tags,
        source_identity,
        sts,
    } = step;
    let seconds = duration.as_secs().to_string();
    let one = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut values = vec![role.as_str().to_owned(), session_name.clone(), seconds, one(policy)];
    values.extend([policy_arns.join("\x01"), transitive_tags.join("\x01")]);
    values.extend(tags.iter().map(|(name, value)| format!("{name}\x01{value}")));
    values.extend([one(source_identity), one(&sts.endpoint)]);
    let mut text = values.join("\0").into_bytes();
    text.push(2);
    text
}

/// A path without `.` components: `a/./b` as `a/b`.
fn text_of(path: &Path) -> Vec<u8> {
    path.components().collect::<PathBuf>().as_os_str().as_encoded_bytes().to_vec()
}

/// The session with the symbolic links of its files' folders resolved. A file itself may stay a link, because tools
/// that renew certificates change its target.
fn without_links(session: &SessionSettings) -> SessionSettings {
    let mut session = session.clone();
    match &mut session.source {
        CredentialSource::RolesAnywhere(source) => {
            let identity = &mut source.identity;
            let places = [
                Some(&mut identity.certificate),
                identity.private_key.as_mut(),
                identity.intermediates.as_mut(),
            ];
            let files = places.into_iter().flatten().filter_map(|place| match place {
                Locator::File(path) => Some(path),
                _ => None,
            });
            for path in files.chain(identity.pkcs11_module.as_mut()) {
                if let Some(other) = in_folder_without_links(path) {
                    *path = other;
                }
            }
        }
        CredentialSource::AccessKeys(source) => {
            if let Some(other) = source.keys.path().and_then(in_folder_without_links) {
                source.keys = AccessKeys::file(other);
            }
        }
    }
    session
}

fn in_folder_without_links(path: &Path) -> Option<PathBuf> {
    let (folder, name) = (path.parent()?, path.file_name()?);
    Some(fs_err::canonicalize(folder).ok()?.join(name))
}
