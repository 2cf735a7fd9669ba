//! What `GET /v1/status` shows: public parts only, with causes and hints.

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
    pub certificate: Option<Certificate>,
    /// What ails the certificate or its key, while the credentials may be good.
    pub fault: Option<Failure>,
}

/// A leaf as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Decimal, as AWS shows it.
    pub serial: String,
    /// Its last instant.
    pub not_after: String,
    /// Whole days until then, negative after it.
    pub days_left: i64,
    /// What should be known of its end and of its intermediates' ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The program.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    pub(super) version: &'static str,
    pub(super) sessions: Vec<Line>,
    pub(super) listeners: &'a serde_json::Value,
}

/// A session.
#[derive(Serialize)]
pub(super) struct Line {
    name: String,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    of_earlier_settings: bool,
    fetching: bool,
    next_attempt_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<String>,
    consecutive_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_trouble: Option<Trouble>,
}

/// A failure.
#[derive(Serialize)]
struct Trouble {
    class: &'static str,
    reason_code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Line {
    pub(super) fn of(session: &Handle, background: Background) -> Self {
        let Background { role_arn, region, certificate, fault } = background;
        let Snapshot { phase, credentials, inherited, trouble, fetching, next_attempt_at, history, .. } =
            session.shown();
        // Where there is no other certificate to go on with, the last attempt failed for the same reason.
        let is_known =
            |fault: &Failure| trouble.as_ref().is_some_and(|trouble| trouble.message() == fault.message());
        let certificate_trouble = fault.as_ref().filter(|fault| !is_known(fault)).map(Trouble::of);
        Self {
            name: session.name().into(),
            phase: match phase {
                Phase::Pending => "pending",
                Phase::Live => "live",
                Phase::Lapsed => "lapsed",
            },
            role_arn,
            region,
            access_key_id: credentials.as_ref().map(|held| held.access_key_id().into()),
            expires_at: credentials.as_ref().map(|held| clock::rfc3339(held.expires_at())),
            of_earlier_settings: inherited,
            fetching,
            next_attempt_at: clock::rfc3339(next_attempt_at.wall),
            last_success_at: history.last_success_at.map(|at| clock::rfc3339(at.wall)),
            consecutive_failures: history.failures,
            failing_since: history.failing_since.map(|at| clock::rfc3339(at.wall)),
            certificate,
            trouble: trouble.as_ref().map(Trouble::of),
            certificate_trouble,
        }
    }
}

impl Trouble {
    fn of(failure: &Failure) -> Self {
        Self {
            class: failure.class().as_str(),
            reason_code: failure.reason().as_str(),
            message: failure.message().into(),
            hint: failure.hint().map(Into::into),
        }
    }
}
