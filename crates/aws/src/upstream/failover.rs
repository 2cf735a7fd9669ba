//! A second endpoint, asked when the first fails for good.
//!
//! The first is asked in each attempt, so that it takes over again as soon as it works. A refusal does not pass by
//! itself, so it is for good; a time-out often does, and is for good only when it repeats itself or when clients have
//! nothing to live on meanwhile. Of what the session holds this module knows what a predecessor left for it and what
//! was made here.
//!
//! Attempts come as often as the failure allows that passes sooner. An endpoint that refused is not asked in each of
//! them while the other one is merely down: a refusal stays for minutes, unless there is another certificate.

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
use anchord_core::clock::Reading;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::End;
use anchord_core::credentials::Origin;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_core::failure::Classify;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::text::Text;

/// Two issuers of the same role's credentials, of which the second stands in for the first.
pub struct Failover {
    session: String,
    first: Endpoint,
    second: Endpoint,
    /// The second's.
    region: Region,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the first, in a row.
    failures: u32,
    /// Whether the second has been asked since the first worked.
    on_detour: bool,
    /// When the credentials end that were made last.
    lasts_until: Option<End>,
}

/// A passing failure is for good from this one in a row on: while the pauses before it pass (seconds), what is held
/// loses nothing, and a Region that stumbles does not send all its hosts to another one.
const PASSING_FAILURES: u32 = 3;

/// With less life left than this clients are about to suffer, or suffer: most SDKs fetch again in their last five
/// minutes, and not all of them keep what they had when that fails.
const LITTLE: Duration = Duration::from_secs(5 * 60);

/// Who is told to wait longer than this could see credentials end before there have been three failures.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// How long the first may be silent while clients have nothing, before the second is asked too: far above what
/// CreateSession takes, and a third of what `credential-process` may take as a whole.
const HEAD_START: Duration = Duration::from_secs(3);

/// How long a refusal holds: a little less than the pause of a session that is refused.
const REFUSED_FOR: Duration = Duration::from_secs(4 * 60);

/// As in a session: a longer `Retry-After` is taken for a mistake.
const LONGEST_TOLD_WAIT: Duration = Duration::from_secs(15 * 60);

impl Failover {
    /// Asks `second`, which is in `region`, where `first` fails for good; `session` is for the log.
    pub fn new(
        session: &str,
        first: Arc<dyn Issuer>,
        second: Arc<dyn Issuer>,
        region: Region,
        clock: Clock,
    ) -> Self {
        let (first, second) = (Endpoint::new(first), Endpoint::new(second));
        Self { session: session.into(), first, second, region, clock, state: Mutex::default() }
    }

    /// The same for a session that holds credentials until `held` already.
    #[must_use]
    pub fn holding(self, held: Option<End>) -> Self {
        self.state().lasts_until = held;
        self
    }

    async fn attempt(&self) -> Result<Credentials, Failure> {
        let is_urgent = self.is_urgent();
        // Counted before it is known, so that an attempt that is cut off counts as well.
        let failures = self.count();
        let mut first = pin!(self.ask_first());
        let early = if is_urgent { self.early(first.as_mut()).await } else { Some(first.as_mut().await) };
        let made = match early {
            Some(Err(failure)) if !failure.is_local() && (is_urgent || is_for_good(&failure, failures)) => {
                self.tell_detour(&failure);
                self.ask_second(&failure).await.map_err(|second| self.neither(failure, second))
            }
            Some(result) => self.of_first(result),
            None => {
                let silent = format!("no answer for {HEAD_START:?}");
                let silent = Failure::of(Reason::NoAnswer, silent, None);
                self.tell_detour(&silent);
                self.race(first, &silent).await
            }
        }?;
        self.state().lasts_until = Some(made.end());
        Ok(made)
    }

    /// What the first answers before it counts as silent. While it waits for the calls of others it is not asked yet.
    async fn early<T>(&self, mut first: Pin<&mut impl Future<Output = T>>) -> Option<T> {
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

    /// Asks the second, for the first fails with `failure`. Where both refuse, the session's pause is that of a refusal.
    async fn ask_second(&self, failure: &Failure) -> Result<Credentials, Failure> {
        match self.second.refusal().filter(|_| failure.class() != Class::Denied) {
            Some(refusal) => Err(refusal),
            None => self.second.ask().await,
        }
    }

    /// The first has not given up yet; whichever brings credentials first ends it.
    async fn race(
        &self,
        first: Pin<&mut impl Future<Output = Result<Credentials, Failure>>>,
        silent: &Failure,
    ) -> Result<Credentials, Failure> {
        let (first, second) = match select(first, pin!(self.ask_second(silent))).await {
            Either::Left((Ok(made), _)) => return self.of_first(Ok(made)),
            Either::Right((Ok(made), _)) => return Ok(made),
            Either::Left((Err(failure), second)) => (Err(failure), second.await),
            Either::Right((Err(failure), first)) => (first.await, Err(failure)),
        };
        match (first, second) {
            (Err(first), Err(second)) => Err(self.neither(first, second)),
            (Ok(made), _) => self.of_first(Ok(made)),
            (_, Ok(made)) => Ok(made),
        }
    }

    /// Takes in what the first alone has decided.
    fn of_first(&self, result: Result<Credentials, Failure>) -> Result<Credentials, Failure> {
        let mut state = self.state();
        match &result {
            Ok(_) => {
                state.failures = 0;
                if std::mem::take(&mut state.on_detour) {
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

    /// Whether clients have nothing to live on, as far as can be known here.
    fn is_urgent(&self) -> bool {
        let lasts_until = self.state().lasts_until;
        lasts_until.is_none_or(|lasts_until| lasts_until.remaining(self.clock.moment()) < LITTLE)
    }

    fn count(&self) -> u32 {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    /// Once for each detour; the session's diary tells how attempts end.
    fn tell_detour(&self, failure: &Failure) {
        if std::mem::replace(&mut self.state().on_detour, true) {
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

    fn neither(&self, first: Failure, second: Failure) -> Failure {
        // The first was slow to find out that it would fail before anything was sent.
        if first.is_local() { first } else { Neither { first, second, region: &self.region }.into() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuer for Failover {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(self.attempt())
    }

    fn last_date(&self) -> Option<Reading> {
        // Both share what is known of the clock, where they are of one session.
        self.first.issuer.last_date()
    }

    fn signs_with(&self) -> Option<Origin> {
        self.first.issuer.signs_with()
    }
}

/// Whether waiting for the first to recover is in vain, or too long.
fn is_for_good(failure: &Failure, in_a_row: u32) -> bool {
    match failure.class() {
        Class::Denied | Class::Misconfigured | Class::Broken => true,
        Class::Transient | Class::Throttled => {
            in_a_row >= PASSING_FAILURES || failure.retry_after().is_some_and(|told| told > LONG_WAIT)
        }
    }
}

/// One of the two, with what is to be known of its last answer.
struct Endpoint {
    issuer: Arc<dyn Issuer>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// It asked to be left alone. The other one's failures may bring the next attempt forward all the same.
    told: Option<(Failure, Instant)>,
    /// It refused what was signed with this.
    refused: Option<(Failure, Instant, Option<Origin>)>,
}

impl Endpoint {
    fn new(issuer: Arc<dyn Issuer>) -> Self {
        Self { issuer, last: Mutex::default() }
    }

    async fn ask(&self) -> Result<Credentials, Failure> {
        let told = self.last().told.clone();
        if let Some(failure) = told.and_then(|(failure, ends_at)| still(failure, ends_at)) {
            return Err(failure);
        }
        let result = self.issuer.issue().await;
        let now = Instant::now();
        let mut last = Last::default();
        if let Err(failure) = &result {
            let told = failure.retry_after().map(|told| told.min(LONGEST_TOLD_WAIT));
            last.told = told.map(|told| (failure.clone(), now + told));
            let is_refused = failure.class() == Class::Denied;
            let refused = || (failure.clone(), now + REFUSED_FOR, self.issuer.signs_with());
            last.refused = is_refused.then(refused);
        }
        *self.last() = last;
        result
    }

    /// Its refusal of some minutes ago, if the certificate is still the same.
    fn refusal(&self) -> Option<Failure> {
        let (failure, ends_at, origin) = self.last().refused.clone()?;
        if origin != self.issuer.signs_with() {
            return None;
        }
        still(failure, ends_at)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `failure`, while it holds.
fn still(failure: Failure, ends_at: Instant) -> Option<Failure> {
    let left = ends_at.saturating_duration_since(Instant::now());
    (!left.is_zero()).then(|| LeftAlone { failure, left }.into())
}

/// A failure of before that still holds.
#[derive(Debug, thiserror::Error)]
#[error("{}", failure.message())]
struct LeftAlone {
    failure: Failure,
    left: Duration,
}

impl Classify for LeftAlone {
    fn reason(&self) -> Reason {
        self.failure.reason()
    }

    fn hint(&self) -> Option<Text> {
        self.failure.hint_text().cloned()
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.left)
    }
}

/// No endpoint gave credentials.
#[derive(Debug, thiserror::Error)]
#[error("{}; the second endpoint ({region}): {}", first.message(), second.message())]
struct Neither<'a> {
    first: Failure,
    second: Failure,
    region: &'a Region,
}

impl Classify for Neither<'_> {
    /// Since either would do, the one whose class is tried again sooner decides. Throttled goes before all the same:
    /// both are asked in each attempt, and one that throttles is not to be asked whenever a client wants it.
    fn reason(&self) -> Reason {
        let soonest_first =
            [Class::Throttled, Class::Transient, Class::Broken, Class::Misconfigured, Class::Denied];
        let rank = |failure: &&Failure| soonest_first.iter().position(|class| *class == failure.class());
        [&self.first, &self.second].into_iter().min_by_key(rank).unwrap_or(&self.first).reason()
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

    /// Only if both ask for it: an endpoint that wants to be left alone is, while the other is asked.
    fn retry_after(&self) -> Option<Duration> {
        self.first.retry_after().zip(self.second.retry_after()).map(|(first, second)| first.min(second))
    }
}

#[cfg(test)]
mod tests;
