//! A reply of AWS with the time when it was read, and what all calls do with it.

use std::time::Duration;

use http::HeaderMap;
use http::StatusCode;
use time::OffsetDateTime;

use super::Error;
use super::Foreign;
use super::HttpReply;
use super::Operation;
use anchord_core::arn::RoleArn;
use anchord_core::clock;
use anchord_core::clock::ClockOffset;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::credentials::end_by_wall;

/// AWS never grants a longer life than requested. This tolerance is for clocks that differ.
const MAX_EXTRA_LIFE: Duration = Duration::from_secs(300);

/// A complete reply.
pub(super) struct AwsAnswer {
    reply: HttpReply,
    read: Moment,
    /// AWS's clock, as known after this reply.
    clock_offset: Option<ClockOffset>,
    clock_corrected: bool,
}

/// The credentials in AWS's answer.
pub(super) struct Granted<'a> {
    pub(super) keys: Keys,
    pub(super) expiration: &'a str,
    /// The requested life.
    pub(super) asked: Duration,
    pub(super) account_id: Option<String>,
}

impl AwsAnswer {
    /// `reply`, read at `read`.
    pub(super) fn new(
        reply: HttpReply,
        read: Moment,
        clock_offset: Option<ClockOffset>,
        clock_corrected: bool,
    ) -> Self {
        Self { reply, read, clock_offset, clock_corrected }
    }

    /// AWS's time minus local time.
    fn ahead(&self) -> time::Duration {
        self.clock_offset.map(|offset| offset.ahead(self.read)).unwrap_or_default()
    }

    /// Whether this reply changed what is known of AWS's clock, so that another signature may be accepted.
    pub(super) fn clock_corrected(&self) -> bool {
        self.clock_corrected
    }

    pub(super) fn is_success(&self) -> bool {
        self.reply.status().is_success()
    }

    /// The body, which may contain secrets.
    pub(super) fn body(&self) -> &[u8] {
        self.reply.body().expose()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.reply.headers().get(name)?.to_str().ok()
    }

    /// The error for a refusal of type `kind`.
    pub(super) fn refused(&self, operation: Operation, kind: &str, message: Option<&str>) -> Error {
        let status = self.reply.status();
        if let Some(foreign) = Foreign::of(status, self.reply.headers(), self.body(), kind) {
            return Error::Foreign { operation, foreign, retry_after: self.retry_after() };
        }
        Error::Refused {
            operation,
            status,
            kind: printable(kind),
            message: printable(message.unwrap_or_else(|| status_text(status))),
            request_id: self.request_id(),
            retry_after: self.retry_after(),
            clock_off_by: self.ahead().whole_seconds(),
        }
    }

    /// The error for a success that cannot be used.
    pub(super) fn not_understood(&self, operation: Operation, why: impl Into<String>) -> Error {
        let (status, headers) = (self.reply.status(), self.reply.headers());
        let page =
            Foreign::of(status, headers, self.body(), "").filter(|_| Foreign::is_page(headers, self.body()));
        if let Some(foreign) = page {
            return Error::Foreign { operation, foreign, retry_after: self.retry_after() };
        }
        Error::NotUnderstood { operation, why: why.into(), status, request_id: self.request_id() }
    }

    /// The credentials. They expire when AWS says, or earlier if the local clock is behind.
    pub(super) fn credentials(
        &self,
        operation: Operation,
        granted: Granted<'_>,
    ) -> Result<Credentials, Error> {
        let Granted { keys, expiration: stated, asked, account_id } = granted;
        let expiration = clock::parse_rfc3339(stated)
            .ok_or_else(|| self.not_understood(operation, "the expiration is not a date"))?;
        let ahead = self.clock_offset.map(|offset| offset.ahead_at_most(self.read)).unwrap_or_default();
        let expires_at = end_by_wall(expiration, ahead);
        if expires_at > self.read.wall + asked + MAX_EXTRA_LIFE {
            let why = format!("the credentials expire at {stated}, later than requested");
            return Err(self.not_understood(operation, why));
        }
        // If the local clock is ahead, they expire early by it, but only until it is set right: this life is what remains
        // then. AWS's `Date` has whole seconds, rounded down, and a wrong one must not make the life longer than
        // allowed.
        let rounding = if ahead.is_zero() { time::Duration::ZERO } else { time::Duration::SECOND };
        let most = time::Duration::try_from(asked + MAX_EXTRA_LIFE).unwrap_or(time::Duration::MAX);
        let life = (expiration - (self.read.wall + ahead) - rounding).min(most);
        Credentials::new(keys, self.read, expires_at, account_id)
            .map(|made| made.ending_at_aws(expiration).living_for(life))
            .map_err(|incomplete| self.not_understood(operation, incomplete.to_string()))
    }

    /// Checks that an answer is for `role`: it may name the role, and a session of the role. AWS's API model makes both
    /// optional.
    ///
    /// # Errors
    /// If one of them names another role.
    pub(super) fn check_role(
        &self,
        operation: Operation,
        role: &RoleArn,
        (named, assumed): (Option<&str>, Option<&str>),
    ) -> Result<(), Error> {
        let other_role = named.filter(|arn| !role.is_named(arn));
        let other_session = assumed.filter(|arn| !role.is_assumed_in(arn));
        let Some(answered) = other_role.or(other_session) else { return Ok(()) };
        let (asked, answered, request_id) = (role.clone(), printable(answered), self.request_id());
        Err(Error::AnotherRole { operation, asked, answered, request_id })
    }

    fn retry_after(&self) -> Option<Duration> {
        retry_after(self.reply.headers(), self.read.wall + self.ahead())
    }

    fn request_id(&self) -> String {
        printable(self.header("x-amzn-requestid").unwrap_or_default())
    }
}

/// The `Retry-After` header: seconds, or an HTTP date (RFC 9110, 10.2.3). `now` is the time by AWS's clock.
pub fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| clock::parse_http_date(text).map(|at| clock::until(now, at)))
}

fn status_text(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

/// Text from outside, shortened and without control characters, for one line of a log.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text: String = text.chars().map(plain).take(MAX_CHARS).collect();
    if text.is_empty() { "-".into() } else { text }
}
