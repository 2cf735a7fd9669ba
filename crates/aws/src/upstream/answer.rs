//! A reply of AWS with the time it came at, and what every kind of call makes of it.

use std::time::Duration;

use http::HeaderMap;
use http::StatusCode;
use time::OffsetDateTime;

use super::Error;
use super::Foreign;
use super::Operation;
use super::Reply;
use anchord_core::arn::RoleArn;
use anchord_core::clock;
use anchord_core::clock::ClockOffset;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::credentials::end_by_wall;

/// AWS never grants more than was asked for; this much is the tolerance of clocks.
const MAX_EXTRA_LIFE: Duration = Duration::from_secs(300);

/// A whole reply.
pub(super) struct Answer {
    reply: Reply,
    read: Moment,
    /// What is known of AWS's clock by now.
    date: Option<ClockOffset>,
    clock_corrected: bool,
}

/// What AWS has granted, in its words.
pub(super) struct Granted<'a> {
    pub(super) keys: Keys,
    pub(super) expiration: &'a str,
    /// The life that was asked for.
    pub(super) asked: Duration,
    pub(super) account_id: Option<String>,
}

impl Answer {
    /// `reply` as it was read at `read` by the local clocks, with the last `Date`.
    pub(super) fn new(reply: Reply, read: Moment, date: Option<ClockOffset>, clock_corrected: bool) -> Self {
        Self { reply, read, date, clock_corrected }
    }

    /// AWS's time minus local time.
    fn ahead(&self) -> time::Duration {
        self.date.map(|date| date.ahead(self.read)).unwrap_or_default()
    }

    /// Whether it has shown the local clock to be wrong otherwise than was known when the request was signed.
    pub(super) fn clock_corrected(&self) -> bool {
        self.clock_corrected
    }

    pub(super) fn is_success(&self) -> bool {
        self.reply.status().is_success()
    }

    /// May hold secrets.
    pub(super) fn body(&self) -> &[u8] {
        self.reply.body().expose()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.reply.headers().get(name)?.to_str().ok()
    }

    /// The error for a refusal in AWS's words.
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

    /// The error for a success that is none.
    pub(super) fn not_understood(&self, operation: Operation, why: impl Into<String>) -> Error {
        let (status, headers) = (self.reply.status(), self.reply.headers());
        let page =
            Foreign::of(status, headers, self.body(), "").filter(|_| Foreign::is_page(headers, self.body()));
        if let Some(foreign) = page {
            return Error::Foreign { operation, foreign, retry_after: self.retry_after() };
        }
        Error::NotUnderstood { operation, why: why.into(), status, request_id: self.request_id() }
    }

    /// Credentials that end when AWS says, or earlier where the local clock is behind.
    pub(super) fn credentials(
        &self,
        operation: Operation,
        granted: Granted<'_>,
    ) -> Result<Credentials, Error> {
        let Granted { keys, expiration: stated, asked, account_id } = granted;
        let expiration = clock::parse_rfc3339(stated)
            .ok_or_else(|| self.not_understood(operation, "the expiration is not a date"))?;
        let ahead = self.date.map(|date| date.ahead_at_most(self.read)).unwrap_or_default();
        let expires_at = end_by_wall(expiration, ahead);
        if expires_at > self.read.wall + asked + MAX_EXTRA_LIFE {
            let why = format!("it ends at {stated}, later than was asked for");
            return Err(self.not_understood(operation, why));
        }
        // By a clock that is ahead they end early, but they must not be dead for good once it is set right. AWS's
        // `Date` has whole seconds, cut off; a wrong one must not lengthen a life.
        let cut_off = if ahead.is_zero() { time::Duration::ZERO } else { time::Duration::SECOND };
        let most = time::Duration::try_from(asked + MAX_EXTRA_LIFE).unwrap_or(time::Duration::MAX);
        let life = (expiration - (self.read.wall + ahead) - cut_off).min(most);
        Credentials::new(keys, self.read, expires_at, account_id)
            .map(|made| made.ending_at_aws(expiration).living_for(life))
            .map_err(|incomplete| self.not_understood(operation, incomplete.to_string()))
    }

    /// Checks that an answer is for `role`: neither the role that it names nor the session of it that it names may be
    /// another's. AWS's model lets both be absent.
    pub(super) fn check_role(
        &self,
        operation: Operation,
        role: &RoleArn,
        (named, assumed): (Option<&str>, Option<&str>),
    ) -> Result<(), Error> {
        let others = named.filter(|arn| !role.is_named(arn));
        let others = others.or_else(|| assumed.filter(|arn| !role.is_assumed_in(arn)));
        let Some(answered) = others else { return Ok(()) };
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

/// Seconds or an HTTP date (RFC 9110, 10.2.3); `now` is AWS's.
pub fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| clock::parse_http_date(text).map(|at| clock::until(now, at)))
}

fn status_text(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

/// Words from outside, cut and cleaned for one line of a log.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text: String = text.chars().map(plain).take(MAX_CHARS).collect();
    if text.is_empty() { "-".into() } else { text }
}
