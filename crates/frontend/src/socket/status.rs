//! The document that `GET /v1/status` answers and clients read: public parts only, with causes and hints.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use anchord_core::clock;
use anchord_core::failure::Failure;
use anchord_session::Handle;
use anchord_session::Phase;
use anchord_session::Snapshot;

/// The session's role, Region and certificate. The status shows them with what the keeper knows.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// The role that the credentials are of, where there is one.
    pub role_arn: Option<String>,
    /// The Region of its clients.
    pub region: Option<String>,
    /// The certificate in use, where there is one.
    pub certificate: Option<CertificateStatus>,
    /// The failure of the certificate or its key. The credentials may still be valid.
    pub fault: Option<Failure>,
}

/// The whole answer. The client may be of another version than the daemon: it ignores fields that it does not know, and
/// fields that earlier versions did not write are optional.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusDocument {
    /// The daemon's version.
    pub version: String,
    /// All sessions of its settings.
    pub sessions: Vec<SessionStatus>,
    /// Where it can be reached.
    #[serde(default)]
    pub listeners: ListenerStatus,
}

/// A session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SessionStatus {
    /// Its name.
    pub name: String,
    /// `pending`, `live` or `lapsed`.
    pub phase: String,
    /// The role that the credentials are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The Region of its clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The public part of the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// When the credentials expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether the credentials were obtained with earlier settings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_earlier_settings: bool,
    /// Whether an attempt is under way.
    #[serde(default)]
    pub fetching: bool,
    /// When the next attempt begins.
    pub next_attempt_at: Option<String>,
    /// When the last successful attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<String>,
    /// How many attempts have failed since then.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// When the first of them failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    /// The certificate in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<FailureStatus>,
    /// What is wrong with the certificate or its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_trouble: Option<FailureStatus>,
}

/// A leaf.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CertificateStatus {
    /// Its distinguished name.
    pub subject: String,
    /// Decimal, as AWS shows it.
    pub serial: String,
    /// When it expires.
    pub not_after: String,
    /// Whole days until then, negative after it.
    pub days_left: i64,
    /// Warnings about its expiry and that of its intermediates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A failure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FailureStatus {
    /// Its class, for decisions of programs.
    pub class: String,
    /// Its reason, finer than the class.
    #[serde(default)]
    pub reason_code: String,
    /// What failed.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The addresses of a daemon.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ListenerStatus {
    /// `http://address:port` of each.
    #[serde(default)]
    pub http: Vec<String>,
    /// The path of the Unix socket.
    pub socket: Option<String>,
    /// Why the daemon cannot listen on an address of `waiting` that the host has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
    /// `http://address:port` of each address that the host does not have yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}

impl SessionStatus {
    pub(super) fn of(session: &Handle, background: Background) -> Self {
        let Background { role_arn, region, certificate, fault } = background;
        let Snapshot { phase, credentials, inherited, trouble, fetching, next_attempt_at, history, .. } =
            session.shown();
        // If there is no other certificate to continue with, the last attempt failed for the same reason.
        let is_new =
            |fault: &&Failure| !trouble.as_ref().is_some_and(|trouble| trouble.tells_the_same_as(fault));
        let certificate_trouble = fault.as_ref().filter(is_new).map(FailureStatus::of);
        Self {
            name: session.name().into(),
            phase: match phase {
                Phase::Pending => "pending".into(),
                Phase::Live => "live".into(),
                Phase::Lapsed => "lapsed".into(),
            },
            role_arn,
            region,
            access_key_id: credentials.as_ref().map(|held| held.access_key_id().into()),
            expires_at: credentials.as_ref().map(|held| clock::rfc3339(held.expires_at())),
            of_earlier_settings: inherited,
            fetching,
            next_attempt_at: Some(clock::rfc3339(next_attempt_at.wall)),
            last_success_at: history.last_success_at.map(|at| clock::rfc3339(at.wall)),
            consecutive_failures: history.failures,
            failing_since: history.failing_since.map(|at| clock::rfc3339(at.wall)),
            certificate,
            trouble: trouble.as_ref().map(FailureStatus::of),
            certificate_trouble,
        }
    }
}

impl FailureStatus {
    fn of(failure: &Failure) -> Self {
        Self {
            class: failure.class().as_str().into(),
            reason_code: failure.reason().as_str().into(),
            message: failure.message().into(),
            hint: failure.hint().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_of_older_and_of_newer_daemons_are_read() {
        let old =
            json!({ "version": "0.1.0", "sessions": [{ "name": "s", "phase": "live", "fetching": false }] });
        let new = json!({
            "version": "9.0.0", "uptime": 7, "listeners": { "http": [], "socket": null, "vsock": [3] },
            "sessions": [{
                "name": "s", "phase": "resting", "mood": "good",
                "trouble": { "class": "denied", "message": "no", "since": "noon" },
            }],
        });

        let old: StatusDocument = serde_json::from_value(old).unwrap();
        let new: StatusDocument = serde_json::from_value(new).unwrap();

        assert!(old.listeners.http.is_empty() && old.sessions[0].next_attempt_at.is_none());
        assert_eq!(new.sessions[0].phase, "resting");
        assert_eq!(new.sessions[0].trouble.as_ref().map(|failure| failure.class.as_str()), Some("denied"));
    }
}
