//! Decides when to ask for credentials, and does nothing itself.
//!
//! [`Machine::on`] takes what happened and the wall time, and answers whether to start an attempt and when to
//! look again. It reads no clock, draws no number but the one handed in, and does no I/O, so every rule of
//! renewal can be shown with a list of events. Deadlines are wall times: a suspended host finds them passed,
//! and one whose clock was set back finds them pulled in to the pause that was meant.

use std::sync::Arc;
use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;

use super::Freshness;
use super::Phase;
use super::Snapshot;
use crate::clock::rfc3339;
use crate::clock::until;
use crate::credentials::Credentials;
use crate::entropy::Jitter;
use crate::failure::Class;
use crate::failure::Failure;

/// What a session's operator may choose. The defaults suit sessions of 15 minutes and more; tests with
/// sessions of seconds shorten the reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Credentials with this much life or less count as expired; [`Freshness::Full`] by default.
    pub reserve: Duration,
    /// The same for clients that were just told of credentials; [`Freshness::Promised`] by default.
    pub promised_reserve: Duration,
    /// How long one attempt may take: 60 s by default, `None` for no limit.
    pub attempt_limit: Option<Duration>,
    /// The longest the keeper sleeps without looking at the wall clock: 30 s by default.
    pub look_again: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            reserve: Freshness::Full.reserve().unsigned_abs(),
            promised_reserve: Freshness::Promised.reserve().unsigned_abs(),
            attempt_limit: Some(Duration::from_secs(60)),
            look_again: Duration::from_secs(30),
        }
    }
}

/// What can happen to a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed.
    Wake,
    /// A client waits for credentials.
    Wanted,
    /// There is a new certificate, the usual cure for a refusal.
    IdentityChanged,
    /// The attempt under way has ended.
    Fetched(Result<Arc<Credentials>, Failure>),
}

/// What the keeper has to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// Whether to start an attempt now; never while one is under way.
    pub fetch: bool,
    /// When to send [`Event::Wake`] at the latest; always later than the event's time.
    pub wake_at: OffsetDateTime,
}

/// The state of one session: what it holds, whether it fetches, and when it acts next.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    held: Option<Arc<Credentials>>,
    inherited: bool,
    trouble: Option<Failure>,
    flight: Flight,
    attempt: Deadline,
    nudge: Deadline,
    failures: u32,
    seen_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Grounded,
    UnderWay,
    /// Under way with a certificate that has been replaced since: another attempt follows at once.
    Outdated,
}

impl Machine {
    /// A session that has never tried; its first event starts an attempt.
    pub fn new(policy: Policy, now: OffsetDateTime) -> Self {
        Self {
            policy,
            held: None,
            inherited: false,
            trouble: None,
            flight: Flight::Grounded,
            attempt: Deadline::after(Duration::ZERO, now),
            nudge: Deadline::after(Duration::ZERO, now),
            failures: 0,
            seen_at: now,
        }
    }

    /// A session that goes on from what was last published: after its keeper has ended with a panic, in a daemon
    /// that follows another, or with new settings.
    ///
    /// Credentials survive. An attempt that was under way is lost and counts as failed, so that a keeper which
    /// panics each time does not become a storm of calls; only a session that holds nothing of its own tries at once.
    pub fn resume(policy: Policy, last: &Snapshot, now: OffsetDateTime, jitter: &Jitter) -> Self {
        let mut machine = Self::new(policy, now);
        machine.held = last.credentials.clone();
        machine.inherited = last.inherited;
        machine.trouble = last.trouble.clone();
        match (&last.credentials, &last.trouble) {
            (None, None) => {}
            (_, trouble) if last.fetching => {
                let lost =
                    || Failure::of(Class::Broken, "the session's keeper ended during an attempt", None);
                machine.pause_after(trouble.clone().unwrap_or_else(lost), now, jitter);
            }
            (Some(_), None) if last.inherited => {}
            (Some(held), None) => {
                let renew_at = machine.renew_at(held.expires_at(), held.life(), jitter);
                let renew_at = renew_at.min(last.next_attempt_at);
                machine.attempt = Deadline::after(until(now, renew_at), now);
            }
            (_, Some(_)) => {
                machine.attempt =
                    Deadline::after(until(now, last.next_attempt_at).min(LONGEST_TOLD_PAUSE), now);
                machine.nudge = Deadline::after(until(now, last.nudge_from).min(LONGEST_TOLD_PAUSE), now);
            }
        }
        machine
    }

    /// Takes in what happened at `now`. Draws from `jitter` once if that sets a deadline, and else never.
    pub fn on(&mut self, event: Event, now: OffsetDateTime, jitter: &Jitter) -> Step {
        self.seen_at = now;
        self.attempt.pull_in(now);
        self.nudge.pull_in(now);
        let at_once = match event {
            Event::Wake => false,
            Event::Wanted => !self.is_live() && self.nudge.at <= now,
            Event::IdentityChanged => self.outdate(),
            Event::Fetched(result) => self.settle(result, now, jitter),
        };
        let fetch = self.flight == Flight::Grounded && (at_once || self.attempt.at <= now);
        if fetch {
            self.flight = Flight::UnderWay;
        }
        Step { fetch, wake_at: self.wake_at() }
    }

    /// The session as of the last event.
    pub fn snapshot(&self) -> Snapshot {
        let fetching = self.flight != Flight::Grounded;
        let phase = match (self.is_live(), fetching) {
            (true, _) => Phase::Live,
            (false, true) => Phase::Pending,
            (false, false) => Phase::Lapsed,
        };
        Snapshot {
            phase,
            credentials: self.held.clone(),
            inherited: self.inherited,
            trouble: self.trouble.clone(),
            fetching,
            next_attempt_at: self.attempt.at,
            nudge_from: self.nudge.at,
        }
    }

    /// How long until the next attempt, as of the last event; zero while one is under way.
    pub fn next_attempt_in(&self) -> Duration {
        match self.flight {
            Flight::Grounded => until(self.seen_at, self.attempt.at),
            Flight::UnderWay | Flight::Outdated => Duration::ZERO,
        }
    }

    fn is_live(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.remaining(self.seen_at) > self.policy.reserve)
    }

    fn wake_at(&self) -> OffsetDateTime {
        let attempt_at = (self.flight == Flight::Grounded).then_some(self.attempt.at);
        let live = self.held.as_ref().filter(|_| self.is_live());
        let lapses_at = live.map(|held| held.expires_at() - self.policy.reserve);
        let nothing_to_wait_for = self.seen_at + self.policy.look_again;
        attempt_at.into_iter().chain(lapses_at).min().unwrap_or(nothing_to_wait_for)
    }

    /// Whether the next attempt may start now: yes unless one is under way, which must end first.
    fn outdate(&mut self) -> bool {
        self.failures = 0;
        match self.flight {
            Flight::Grounded => true,
            Flight::UnderWay | Flight::Outdated => {
                self.flight = Flight::Outdated;
                false
            }
        }
    }

    /// Takes in the end of an attempt; whether another has to follow at once.
    fn settle(
        &mut self,
        result: Result<Arc<Credentials>, Failure>,
        now: OffsetDateTime,
        jitter: &Jitter,
    ) -> bool {
        let outdated = self.flight == Flight::Outdated;
        self.flight = Flight::Grounded;
        match result.and_then(|fresh| self.accept(fresh, now)) {
            Ok(expires_at) => {
                self.trouble = None;
                self.failures = 0;
                let renew_at = self.renew_at(expires_at, expires_at - now, jitter);
                self.attempt = Deadline::after(until(now, renew_at).max(SHORTEST_RENEWAL), now);
                self.nudge = Deadline::after(SHORTEST_RENEWAL, now);
            }
            Err(failure) => self.pause_after(failure, now, jitter),
        }
        if outdated {
            self.failures = 0;
        }
        outdated
    }

    /// Holds `fresh` if nothing of the session's own lives longer; `Ok` with its end only if clients can use it.
    fn accept(&mut self, fresh: Arc<Credentials>, now: OffsetDateTime) -> Result<OffsetDateTime, Failure> {
        let expires_at = fresh.expires_at();
        let held = self.held.as_ref();
        let is_usable = fresh.remaining(now) > self.policy.reserve;
        // What was inherited is another role's, perhaps: it makes way however long it would live.
        let is_wanted = self.inherited || held.is_none_or(|held| fresh.outlive(held));
        // What AWS takes longer may yet be dead by this host's clock, and must not replace the living then.
        let loses_nothing = held.is_none_or(|held| expires_at > held.expires_at());
        let takes_over = is_wanted && (is_usable || loses_nothing);
        if takes_over {
            self.held = Some(fresh);
            self.inherited = false;
        }
        match (is_usable, takes_over) {
            (true, true) => Ok(expires_at),
            (true, false) => Err(Failure::of(
                Class::Transient,
                format!("the new credentials end no later than the ones held ({})", rfc3339(expires_at)),
                None,
            )),
            (false, _) => Err(Failure::of(
                Class::Misconfigured,
                format!(
                    "the new credentials end at {}, less than {} s from now by this host's clock",
                    rfc3339(expires_at),
                    self.policy.reserve.as_secs()
                ),
                Some("see this host's clock, and how long the profile's sessions may last".into()),
            )),
        }
    }

    /// When credentials that live for `life` until `expires_at` have to be renewed: early by up to a twelfth of
    /// their usable life, so that the sessions of many hosts spread.
    fn renew_at(&self, expires_at: OffsetDateTime, life: Span, jitter: &Jitter) -> OffsetDateTime {
        let reserve = self.policy.reserve.try_into().unwrap_or(Span::ZERO);
        let earlier = (life - reserve).max(Span::ZERO) / 12 * jitter.draw();
        expires_at - left_when_due(life, reserve) - earlier
    }

    fn pause_after(&mut self, failure: Failure, now: OffsetDateTime, jitter: &Jitter) {
        self.failures = self.failures.saturating_add(1);
        let (pause, patience) = self.pauses(&failure, jitter.draw());
        self.attempt = Deadline::after(pause, now);
        self.nudge = Deadline::after(pause.min(patience), now);
        self.trouble = Some(failure);
    }

    /// How long to pause after `failure`, and after how long a waiting client may end the pause.
    fn pauses(&self, failure: &Failure, drawn: f64) -> (Duration, Duration) {
        let growing_from = |first: Duration| {
            let doublings = self.failures.saturating_sub(1).min(16);
            let ceiling = (first * 2_u32.pow(doublings)).min(LONGEST_GROWN_PAUSE);
            ceiling.mul_f64(0.25 + 0.75 * drawn)
        };
        let told = |told: Duration| {
            let bounded = told.clamp(SHORTEST_TOLD_PAUSE, LONGEST_TOLD_PAUSE);
            bounded.mul_f64(1.0 + 0.1 * drawn)
        };
        // Whoever is told to wait waits, and no client hastens it.
        if let Some(pause) = failure.retry_after() {
            return (told(pause), Duration::MAX);
        }
        match failure.class() {
            Class::Transient | Class::Broken => (growing_from(TRANSIENT_PAUSE), CLIENT_PATIENCE),
            Class::Misconfigured => (growing_from(LOCAL_PAUSE), CLIENT_PATIENCE),
            Class::Throttled => (growing_from(THROTTLED_PAUSE), Duration::MAX),
            Class::Denied => (DENIED_PAUSE.mul_f64(0.9 + 0.2 * drawn), DENIED_CLIENT_PATIENCE),
        }
    }
}

/// The first ceiling after a failure that nobody has to act on; it doubles with each further one.
const TRANSIENT_PAUSE: Duration = Duration::from_secs(1);
/// Local files and settings are cheap to read again, but do not change within a second.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
const THROTTLED_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_GROWN_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_TOLD_PAUSE: Duration = Duration::from_secs(1);
/// A `Retry-After` beyond this is taken for a mistake; a session must not end because of one header.
const LONGEST_TOLD_PAUSE: Duration = Duration::from_secs(15 * 60);
/// An administrator needs minutes to mend a policy and expects no restart to be needed afterwards.
const DENIED_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Waiting clients end a pause after this, so that they never wait for the slow end of the back-off.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
const DENIED_CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// Credentials too short-lived for renewal in time lapse between attempts; AWS is not called more often.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);

/// The life that credentials have left when they are due for renewal, if they live for `life` and count as
/// expired with `reserve` left.
///
/// SDKs fetch again within 5, 15 or 60 minutes of the end, by the life they saw; credentials served by us stay
/// 5 minutes clear of that window, so that no client sees a reason to ask on each call. However wide that is, a
/// quarter of the usable life passes first: lives of 20 to 26 minutes would be due as soon as they are there.
pub fn left_when_due(life: Span, reserve: Span) -> Span {
    let window = if life <= Span::minutes(20) {
        Span::minutes(5)
    } else if life < Span::minutes(90) {
        Span::minutes(15)
    } else {
        Span::minutes(60)
    };
    let margin = Span::max(life / 2, window + Span::minutes(5));
    let usable = (life - reserve).max(Span::ZERO);
    Span::min(margin, reserve + usable * 3 / 4).max(reserve)
}

/// A wall time with the pause that was meant when it was set.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: OffsetDateTime,
    pause: Duration,
}

impl Deadline {
    fn after(pause: Duration, now: OffsetDateTime) -> Self {
        Self { at: now + pause, pause }
    }

    /// A clock that was set back must not stretch the pause.
    fn pull_in(&mut self, now: OffsetDateTime) {
        self.at = self.at.min(now + self.pause);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
