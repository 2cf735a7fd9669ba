//! A second endpoint, asked when the first one fails persistently.
//!
//! Each attempt asks the first endpoint, so that it is used again as soon as it works. A refusal does not pass by
//! itself, so it is persistent. A time-out often passes; it counts as persistent only when it repeats, or when clients
//! have no credentials to use meanwhile. This module knows of the session's credentials only those of a predecessor and
//! those that it made itself.
//!
//! The pause until the next attempt is the shorter one of the two failures. An endpoint that refused is not asked in
//! each attempt while the other one is merely down: its refusal counts for minutes, unless there is another
//! certificate.

use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::Either;
use futures_util::future::select;
use tokio::time::Instant;
use tracing::info;
use tracing::warn;

use anchord_core::arn::Region;
use anchord_core::clock::Clock;
use anchord_core::clock::ClockOffset;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::End;
use anchord_core::credentials::SignerId;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_core::failure::Classify;
use anchord_core::failure::Detail;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::reported::Reported;
use anchord_core::text::Text;

/// Two issuers of credentials for the same role. The second is used while the first fails.
pub struct Failover {
    session: String,
    first: TrackedIssuer,
    second: TrackedIssuer,
    /// The Region of the second.
    region: Region,
    clock: Clock,
    state: Mutex<FailoverState>,
}

#[derive(Default)]
struct FailoverState {
    /// Failures of the first in a row.
    failures: u32,
    /// Whether the second has been asked since the first last worked.
    detour: Reported<()>,
    /// When the last credentials expire.
    lasts_until: Option<End>,
}

/// From this many in a row, temporary failures count as persistent. The pauses before are seconds, in which the current
/// credentials stay valid, and a Region with a short problem does not send all its hosts to another one.
const PASSING_FAILURES: u32 = 3;

/// With less life left than this, an attempt is urgent: most SDKs fetch again in the last five minutes, and not all of
/// them keep their credentials when that fails.
const LITTLE: Duration = Duration::from_secs(5 * 60);

/// After a longer `Retry-After` than this, credentials could expire before there have been three failures.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// In an urgent attempt, the second is asked too after the first has been silent for this long. CreateSession takes far
/// less, and `credential-process` may take three times as long as a whole.
const HEAD_START: Duration = Duration::from_secs(3);

/// How long a refusal counts: a little less than the pause of a session after a refusal.
const REFUSED_FOR: Duration = Duration::from_secs(4 * 60);

/// A longer `Retry-After` is taken for a mistake, as in a session's plan.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

impl Failover {
    /// Asks `first`, and `second` in `region` when `first` fails persistently. `session` is for the log.
    pub fn new(
        session: &str,
        first: Arc<dyn Issuer>,
        second: Arc<dyn Issuer>,
        region: Region,
        clock: Clock,
    ) -> Self {
        let (first, second) = (TrackedIssuer::new(first), TrackedIssuer::new(second));
        Self { session: session.into(), first, second, region, clock, state: Mutex::default() }
    }

    /// The same for a session that already has credentials, which expire at `held`.
    #[must_use]
    pub fn holding(self, held: Option<End>) -> Self {
        self.state().lasts_until = held;
        self
    }

    /// One attempt.
    ///
    /// Whether it asks the second endpoint depends on how urgent it is. If clients have valid credentials, the first
    /// may take as long as it wants, and only a persistent failure leads to the second. If they have none, any failure
    /// of the first does, and so does silence: after `HEAD_START` both are asked, and the first set of credentials
    /// wins. Failures on this host are returned in either case, because the second endpoint would fail in the same way.
    async fn attempt(&self) -> Result<Credentials, Failure> {
        let is_urgent = self.is_urgent();
        // Counted before the result is known, so that a cancelled attempt counts as a failure too.
        let failures = self.count_failure();
        let mut first = pin!(self.ask_first());
        let answered =
            if is_urgent { self.within_head_start(first.as_mut()).await } else { Some(first.as_mut().await) };
        let made = match answered {
            Some(Err(failure)) if !failure.is_local() && (is_urgent || is_persistent(&failure, failures)) => {
                self.log_fallback(&failure);
                self.ask_second(&failure).await.map_err(|second| self.both_failed(failure, second))
            }
            Some(result) => self.note_first(result),
            None => {
                let silent = format!("no answer for {} s", HEAD_START.as_secs());
                let silent = Failure::of(Reason::NoAnswer, silent, None);
                self.log_fallback(&silent);
                self.race(first, &silent).await
            }
        }?;
        self.state().lasts_until = Some(made.end());
        Ok(made)
    }

    /// The answer of the first within `HEAD_START`. The time begins when its request is sent: before that it may wait
    /// for other sessions' calls.
    async fn within_head_start<T>(&self, mut first: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        loop {
            match tokio::time::timeout(HEAD_START, first.as_mut()).await {
                Ok(answered) => return Some(answered),
                Err(_) if self.first.issuer.is_waiting() => {}
                Err(_) => return None,
            }
        }
    }

    async fn ask_first(&self) -> Result<Credentials, Failure> {
        match self.first.refusal().filter(|_| self.second.refusal().is_none()) {
            Some(refusal) => Err(refusal),
            None => self.first.ask().await,
        }
    }

    /// Asks the second after `failure` of the first. If the second refused before, its refusal is returned without a
    /// call, unless the first refuses too: then the session pauses for minutes anyway.
    async fn ask_second(&self, failure: &Failure) -> Result<Credentials, Failure> {
        match self.second.refusal().filter(|_| failure.class() != Class::Denied) {
            Some(refusal) => Err(refusal),
            None => self.second.ask().await,
        }
    }

    /// Waits for both endpoints, until one of them gives credentials. The other call is then dropped.
    async fn race(
        &self,
        first: Pin<&mut impl Future<Output = Result<Credentials, Failure>>>,
        silent: &Failure,
    ) -> Result<Credentials, Failure> {
        let (first, second) = match select(first, pin!(self.ask_second(silent))).await {
            Either::Left((Ok(made), _)) => return self.note_first(Ok(made)),
            Either::Right((Ok(made), _)) => return Ok(made),
            Either::Left((Err(failure), second)) => (Err(failure), second.await),
            Either::Right((Err(failure), first)) => (first.await, Err(failure)),
        };
        match (first, second) {
            (Err(first), Err(second)) => Err(self.both_failed(first, second)),
            (Ok(made), _) => self.note_first(Ok(made)),
            (_, Ok(made)) => Ok(made),
        }
    }

    /// Notes a result of the first endpoint, and returns it.
    fn note_first(&self, result: Result<Credentials, Failure>) -> Result<Credentials, Failure> {
        let mut state = self.state();
        match &result {
            Ok(_) => {
                state.failures = 0;
                if state.detour.clear() {
                    info!(
                        event = event::UPSTREAM_FIRST_AGAIN,
                        session = self.session,
                        "The first endpoint works again"
                    );
                }
            }
            // A file that cannot be read says nothing about the endpoint.
            Err(failure) if failure.is_local() => state.failures = state.failures.saturating_sub(1),
            Err(_) => {}
        }
        result
    }

    /// Whether clients have no credentials, or will soon have none, as far as this module knows.
    fn is_urgent(&self) -> bool {
        let lasts_until = self.state().lasts_until;
        lasts_until.is_none_or(|lasts_until| lasts_until.remaining(self.clock.moment()) < LITTLE)
    }

    fn count_failure(&self) -> u32 {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    /// Logs that the second endpoint is asked, once until the first works again. The session logs how attempts end.
    fn log_fallback(&self, failure: &Failure) {
        if !self.state().detour.is_new(()) {
            return;
        }
        warn!(
            event = event::UPSTREAM_FALLBACK,
            session = self.session,
            region = self.region.as_str(),
            class = %failure.class(),
            reason = %failure.reason(),
            error = failure.message(),
            hint = failure.hint(),
            "The first endpoint fails; asking the second endpoint"
        );
    }

    fn both_failed(&self, first: Failure, second: Failure) -> Failure {
        // The first failed on this host, only later than `HEAD_START`.
        if first.is_local() { first } else { BothFailed { first, second, region: &self.region }.into() }
    }

    fn state(&self) -> MutexGuard<'_, FailoverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuer for Failover {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(self.attempt())
    }

    fn clock_offset(&self) -> Option<ClockOffset> {
        // Both endpoints of a session share what is known of AWS's clock.
        self.first.issuer.clock_offset()
    }

    fn signer(&self) -> Option<SignerId> {
        self.first.issuer.signer()
    }
}

/// Whether the failure will not pass by itself, or not soon enough.
fn is_persistent(failure: &Failure, in_a_row: u32) -> bool {
    match failure.class() {
        Class::Denied | Class::Misconfigured | Class::Broken => true,
        Class::Transient | Class::Throttled => {
            in_a_row >= PASSING_FAILURES || failure.retry_after().is_some_and(|told| told > LONG_WAIT)
        }
    }
}

/// One of the two issuers, with the failures that its last call left.
struct TrackedIssuer {
    issuer: Arc<dyn Issuer>,
    last: Mutex<LastFailures>,
}

#[derive(Default)]
struct LastFailures {
    /// A failure with `Retry-After`, and the end of that wait. An attempt may begin earlier because of the other endpoint.
    retry_after: Option<(Failure, Instant)>,
    /// A refusal, until when it counts, and what had signed the refused request.
    refused: Option<(Failure, Instant, Option<SignerId>)>,
}

impl TrackedIssuer {
    fn new(issuer: Arc<dyn Issuer>) -> Self {
        Self { issuer, last: Mutex::default() }
    }

    async fn ask(&self) -> Result<Credentials, Failure> {
        let earlier = self.last().retry_after.clone();
        if let Some((failure, ends_at)) = earlier
            && let Some(failure) = until(failure, ends_at)
        {
            return Err(failure);
        }
        let result = self.issuer.issue().await;
        let now = Instant::now();
        let mut last = LastFailures::default();
        if let Err(failure) = &result {
            if let Some(wait) = failure.retry_after() {
                last.retry_after = Some((failure.clone(), now + wait.min(LONGEST_RETRY_AFTER)));
            }
            if failure.class() == Class::Denied {
                last.refused = Some((failure.clone(), now + REFUSED_FOR, self.issuer.signer()));
            }
        }
        *self.last() = last;
        result
    }

    /// Its last refusal, if that still counts and the certificate is still the same.
    fn refusal(&self) -> Option<Failure> {
        let (failure, ends_at, signer) = self.last().refused.clone()?;
        if signer != self.issuer.signer() {
            return None;
        }
        until(failure, ends_at)
    }

    fn last(&self) -> MutexGuard<'_, LastFailures> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `failure` until `ends_at`, with the time that is left as its `Retry-After`.
fn until(failure: Failure, ends_at: Instant) -> Option<Failure> {
    let left = ends_at.saturating_duration_since(Instant::now());
    if left.is_zero() { None } else { Some(NotAskedAgain { failure, left }.into()) }
}

/// An earlier failure that still counts.
#[derive(Debug, thiserror::Error)]
#[error("{}", failure.message())]
struct NotAskedAgain {
    failure: Failure,
    left: Duration,
}

impl Classify for NotAskedAgain {
    fn reason(&self) -> Reason {
        self.failure.reason()
    }

    fn detail(&self) -> Option<Detail> {
        self.failure.detail().cloned()
    }

    fn hint(&self) -> Option<Text> {
        self.failure.hint_text().cloned()
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.left)
    }
}

/// Neither endpoint gave credentials.
#[derive(Debug, thiserror::Error)]
#[error("{}; the second endpoint ({region}): {}", first.message(), second.message())]
struct BothFailed<'a> {
    first: Failure,
    second: Failure,
    region: &'a Region,
}

impl Classify for BothFailed<'_> {
    /// The reason with the class that is tried again soonest, because either endpoint is enough. But throttling goes
    /// first: each attempt asks both, and waiting clients must not start attempts at an endpoint that throttles.
    fn reason(&self) -> Reason {
        let soonest_first =
            [Class::Throttled, Class::Transient, Class::Broken, Class::Misconfigured, Class::Denied];
        for class in soonest_first {
            for failure in [&self.first, &self.second] {
                if failure.class() == class {
                    return failure.reason();
                }
            }
        }
        self.first.reason()
    }

    fn detail(&self) -> Option<Detail> {
        let of = |failure: &Failure| (failure.reason(), failure.detail().cloned());
        Some(Detail::Both(Box::new([of(&self.first), of(&self.second)])))
    }

    fn hint(&self) -> Option<Text> {
        match (self.first.hint_text(), self.second.hint_text()) {
            (Some(first), Some(second)) if first != second => {
                let between = format!("; the second endpoint ({}): ", self.region);
                Some(first.clone().then(&between.into()).then(second))
            }
            (Some(hint), _) | (None, Some(hint)) => Some(hint.clone()),
            (None, None) => None,
        }
    }

    /// Only if both ask for it. If only one does, attempts continue with the other.
    fn retry_after(&self) -> Option<Duration> {
        self.first.retry_after().zip(self.second.retry_after()).map(|(first, second)| first.min(second))
    }
}

#[cfg(test)]
mod tests;
