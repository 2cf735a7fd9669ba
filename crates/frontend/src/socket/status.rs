//! The document that `GET /v1/status` answers and clients read: public parts only, with causes and hints.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use anchord_core::clock;
use anchord_core::failure::Failure;
use anchord_session::Handle;
use anchord_session::Phase;
use anchord_session::Snapshot;

/// What stands behind a session: the status shows it beside what its keeper knows.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// The role that the credentials are of, where there is one.
    pub role_arn: Option<String>,
    /// The Region of its clients.
    pub region: Option<String>,
    /// The certificate in use, where there is one.
    pub certificate: Option<CertificateStatus>,
    /// What ails the certificate or its key, while the credentials may be good.
    pub fault: Option<Failure>,
}

/// The whole answer. The client may be of another version than the daemon: it ignores fields that it does not know, and
/// fields that earlier versions did not write are optional.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusDocument {
    /// Of the daemon.
    pub version: String,
    /// Every session of its settings.
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
    /// When the credentials end.
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
    /// When the last attempt ended that brought credentials.
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
    /// Its last instant.
    pub not_after: String,
    /// Whole days until then, negative after it.
    pub days_left: i64,
    /// What should be known of its end and of its intermediates' ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A failure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FailureStatus {
    /// Its class, by which programs decide.
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
    /// Why an address of `waiting` is not listened on though the host has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
    /// `http://address:port` of each that is listened on once the host has the address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}

impl SessionStatus {
    pub(super) fn of(session: &Handle, background: Background) -> Self {
        let Background { role_arn, region, certificate, fault } = background;
        let Snapshot { phase, credentials, inherited, trouble, fetching, next_attempt_at, history, .. } =
            session.shown();
        // Where there is no other certificate to go on with, the last attempt failed for the same reason.
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
