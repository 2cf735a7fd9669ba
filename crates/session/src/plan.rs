//! Decides when to ask for credentials, and does nothing itself.
//!
//! [`Machine::on`] takes what happened and when, and answers whether to start an attempt and when to look again. It
//! reads no clock, draws no number but the one handed in, and does no I/O, so every rule of renewal can be shown
//! with a list of events. Deadlines are times since boot: a suspended host finds them passed, and a clock that is
//! set moves none. Credentials end by both clocks, and a clock that was set is a reason to renew them.

use std::sync::Arc;
use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;

use super::Phase;
use super::Policy;
use super::Record;
use super::Snapshot;
use super::snapshot::as_of;
use anchord_core::clock::CLOCK_STEP;
use anchord_core::clock::ClockOffset;
use anchord_core::clock::Moment;
use anchord_core::clock::rfc3339;
use anchord_core::credentials::Credentials;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

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
    pub wake_at: Moment,
}

/// The state of one session: what it holds, whether it fetches, and when it acts next.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    held: Option<Arc<Credentials>>,
    inherited: bool,
    trouble: Option<Failure>,
    /// The end of what the last attempt brought, if that was not needed.
    spare: Option<OffsetDateTime>,
    flight: Flight,
    /// When the next attempt begins, as time since boot.
    attempt: Span,
    /// From when on a waiting client may start it early.
    nudge: Span,
    /// Before this nothing starts it, not even a new certificate.
    not_before: Span,
    failures: u32,
    record: Record,
    clock_offset: Option<ClockOffset>,
    seen: Moment,
    /// The wall time at boot by which the clock was last found to be set.
    booted_at: OffsetDateTime,
    /// Before this no attempt begins because the clock was set.
    next_step_counts_at: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Grounded,
    UnderWay,
    /// Under way with a certificate that has been replaced since: another attempt follows soon.
    Outdated,
}

/// What became of new credentials.
enum Worth {
    /// They are held now.
    Held,
    /// They live this long, and what is held lives longer.
    Spare(Span),
    /// No client could use them.
    Useless(Failure),
}

impl Machine {
    /// A session that has never tried; its first event starts an attempt.
    pub fn new(policy: Policy, now: Moment) -> Self {
        Self {
            policy,
            held: None,
            inherited: false,
            trouble: None,
            spare: None,
            flight: Flight::Grounded,
            attempt: now.up,
            nudge: now.up,
            not_before: now.up,
            failures: 0,
            record: Record::default(),
            clock_offset: None,
            seen: now,
            booted_at: now.booted_at(),
            next_step_counts_at: now.up,
        }
    }

    /// A session that goes on from what was last published: after its keeper has ended with a panic, in a daemon
    /// that follows another, or with new settings.
    ///
    /// Credentials survive. An attempt that was under way is lost and counts as failed, so that a keeper which
    /// panics each time does not become a storm of calls; only a session that holds nothing of its own tries at once.
    pub fn resume(policy: Policy, last: &Snapshot, now: Moment, jitter: &Jitter) -> Self {
        let mut machine = Self::new(policy, now);
        machine.held = last.credentials.clone();
        machine.inherited = last.inherited;
        machine.trouble = last.trouble.clone();
        machine.record = last.record;
        // Set since it was published, the clock is found to be set with the first event.
        machine.booted_at = last.next_attempt_at.booted_at();
        match (&last.credentials, &last.trouble) {
            (None, None) => {}
            (_, trouble) if last.fetching => {
                let lost = || Failure::of(Reason::Bug, "the session's keeper ended during an attempt", None);
                machine.pause_after(trouble.clone().unwrap_or_else(lost), jitter);
            }
            (Some(_), None) if last.inherited => {}
            (Some(held), None) => {
                // Without a plan it is their end that is given (`Snapshot::kept`).
                let is_planned = last.next_attempt_at - now < held.remaining(now);
                machine.attempt = match is_planned {
                    true => last.next_attempt_at.up,
                    false => now.up + machine.renew_in(held, jitter),
                };
            }
            (_, Some(trouble)) => {
                machine.attempt = last.next_attempt_at.up;
                machine.nudge = last.nudge_from.up;
                if trouble.class() == Class::Throttled || trouble.retry_after().is_some() {
                    machine.not_before = machine.nudge;
                }
            }
        }
        machine
    }

    /// Takes in what happened at `now`. Draws from `jitter` once if that sets a deadline, and else never.
    pub fn on(&mut self, event: Event, now: Moment, jitter: &Jitter) -> Step {
        self.seen = now;
        self.note_clock(jitter);
        let wanted = match event {
            Event::Wake => false,
            Event::Wanted => !self.is_live() && self.nudge <= now.up,
            Event::IdentityChanged => {
                self.outdate(jitter);
                false
            }
            Event::Fetched(result) => {
                self.settle(result, jitter);
                false
            }
        };
        // A clock that was set forward ends what was to be renewed later.
        if self.trouble.is_none() && self.flight == Flight::Grounded && !self.is_live() {
            self.hasten(now.up, SHORTEST_SPREAD, jitter);
        }
        let fetch = self.flight == Flight::Grounded && (wanted || self.attempt <= now.up);
        if fetch {
            self.flight = Flight::UnderWay;
        }
        Step { fetch, wake_at: self.wake_at() }
    }

    /// Takes in the `Date` of a reply of AWS, be it a refusal, which dates what is held anew. It holds against the time
    /// since boot, so that it may be old: the wall clock may have been set since.
    pub fn learn(&mut self, date: ClockOffset, now: Moment) {
        if self.clock_offset == Some(date) {
            return;
        }
        self.clock_offset = Some(date);
        self.redate(date.ahead_at_most(now), now);
        if let Some(held) = self.held.take() {
            self.held = Some(as_of(&held, now));
        }
    }

    fn redate(&mut self, ahead: Span, at: Moment) {
        if let Some(held) = &self.held {
            let dated = Credentials::clone(held).redated(ahead, at);
            if dated.end().differs(held.end()) {
                self.held = Some(Arc::new(dated));
            }
        }
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
            next_attempt_at: self.seen.when_up(self.attempt),
            nudge_from: self.seen.when_up(self.nudge),
            record: self.record,
        }
    }

    /// How long until the next attempt, as of the last event; zero while one is under way.
    pub fn next_attempt_in(&self) -> Duration {
        match self.flight {
            Flight::Grounded => Duration::try_from(self.attempt - self.seen.up).unwrap_or_default(),
            Flight::UnderWay | Flight::Outdated => Duration::ZERO,
        }
    }

    /// The end of what the last attempt brought, if that succeeded and what was held before lives longer.
    pub fn spare(&self) -> Option<OffsetDateTime> {
        self.spare
    }

    fn remaining(&self) -> Option<Span> {
        self.held.as_ref().map(|held| held.remaining(self.seen))
    }

    fn is_live(&self) -> bool {
        self.remaining().is_some_and(|left| left > self.policy.reserve)
    }

    fn wake_at(&self) -> Moment {
        let attempt = (self.flight == Flight::Grounded).then_some(self.attempt - self.seen.up);
        let lapses = self.remaining().filter(|_| self.is_live()).map(|left| left - self.policy.reserve);
        let nothing_to_wait_for = span(self.policy.look_again);
        self.seen + attempt.into_iter().chain(lapses).min().unwrap_or(nothing_to_wait_for)
    }

    /// Finds out whether the clock was set. That may have made what is held useless to clients, or have put it right. A
    /// clock that is set again and again hastens an attempt each minute at most.
    fn note_clock(&mut self, jitter: &Jitter) {
        let was_set = (self.seen.booted_at() - self.booted_at).abs() > CLOCK_STEP;
        if let Some(date) = self.clock_offset.filter(|_| was_set) {
            // What AWS said of the time still holds, against the time since boot.
            self.redate(date.ahead_at_most(self.seen), self.seen);
        }
        if let Some(held) = self.held.take() {
            self.held = Some(as_of(&held, self.seen));
        }
        if !was_set {
            return;
        }
        self.booted_at = self.seen.booted_at();
        if self.flight == Flight::Grounded {
            let earliest = self.next_step_counts_at.max(self.seen.up);
            self.hasten(earliest, self.spread(), jitter);
            self.next_step_counts_at = earliest + Span::MINUTE;
        }
    }

    /// There is a new certificate. An attempt under way must end first.
    fn outdate(&mut self, jitter: &Jitter) {
        self.failures = 0;
        match self.flight {
            Flight::Grounded => self.hasten(self.seen.up, self.spread(), jitter),
            Flight::UnderWay | Flight::Outdated => self.flight = Flight::Outdated,
        }
    }

    /// Over how long the hosts that got a new certificate at the same time are spread: longer while their clients have
    /// something to live on.
    fn spread(&self) -> Span {
        let Some(held) = self.held.as_ref().filter(|_| self.is_live()) else { return SHORTEST_SPREAD };
        if held.session_token().is_none() {
            // A user's own keys are read from a file, and no call is made for them.
            return Span::ZERO;
        }
        let part: Span = held.remaining(self.seen) / 360;
        part.clamp(SHORTEST_SPREAD, LONGEST_SPREAD)
    }

    /// Brings the next attempt forward to somewhere in `spread` from `earliest`, but not into a time that AWS asked
    /// for. One that comes as soon in any case stays where it is.
    fn hasten(&mut self, earliest: Span, spread: Span, jitter: &Jitter) {
        let earliest = self.not_before.max(earliest);
        if self.attempt > earliest + spread {
            self.attempt = earliest + spread * jitter.draw();
        }
    }

    /// Takes in the end of an attempt.
    fn settle(&mut self, result: Result<Arc<Credentials>, Failure>, jitter: &Jitter) {
        let outdated = self.flight == Flight::Outdated;
        self.flight = Flight::Grounded;
        self.spare = None;
        let worth = match result {
            Ok(fresh) => self.accept(fresh),
            Err(failure) => Worth::Useless(failure),
        };
        let next = match worth {
            Worth::Useless(failure) => return self.fail(failure, outdated, jitter),
            Worth::Held => self.held.as_ref().map(|held| self.renew_in(held, jitter)).unwrap_or_default(),
            Worth::Spare(life) => self.outlived_in(life, jitter),
        };
        let now = self.seen.up;
        (self.trouble, self.failures) = (None, 0);
        self.record.succeed(self.seen);
        self.attempt = now + next.max(SHORTEST_RENEWAL);
        self.nudge = now + SHORTEST_RENEWAL;
        self.not_before = self.nudge;
        if outdated {
            self.hasten(self.seen.up, self.spread(), jitter);
        }
    }

    fn fail(&mut self, failure: Failure, outdated: bool, jitter: &Jitter) {
        self.record.fail(self.seen);
        self.pause_after(failure, jitter);
        if outdated {
            self.outdate(jitter);
        }
    }

    /// Holds `fresh` if it is the first of another identity or of new settings, or if what is held ends earlier.
    fn accept(&mut self, fresh: Arc<Credentials>) -> Worth {
        let life = fresh.remaining(self.seen);
        let is_usable = life > self.policy.reserve;
        let is_wanted = self.inherited
            || self.held.as_ref().is_none_or(|held| fresh.outlive(held) || fresh.are_of_newer_identity(held));
        // By more than the two clocks differ that are not read at the very same time. What AWS takes longer may yet be
        // dead by this host's clocks, and must not replace the living then.
        let lives_longer = self.remaining().is_none_or(|left| life > left + Span::SECOND);
        if !is_usable {
            let end = rfc3339(fresh.expires_at());
            if is_wanted && lives_longer {
                (self.held, self.inherited) = (Some(fresh), false);
            }
            return Worth::Useless(self.too_short(&end));
        }
        // What has ended by this host's clocks makes way for anything that lives, whatever AWS says of its end.
        if is_wanted || lives_longer || !self.is_live() {
            (self.held, self.inherited) = (Some(fresh), false);
            return Worth::Held;
        }
        self.spare = Some(fresh.expires_at());
        Worth::Spare(life)
    }

    fn too_short(&self, end: &str) -> Failure {
        let reserve = self.policy.reserve.as_secs();
        Failure::of(
            Reason::ClockOff,
            format!("the new credentials end at {end}, less than {reserve} s from now by this host's clock"),
            Some("see this host's clock, and how long the profile's sessions may last".into()),
        )
    }

    /// When `held` has to be renewed: early by up to a twelfth of its usable life, so that the sessions of many hosts
    /// spread. Negative when that is past.
    fn renew_in(&self, held: &Credentials, jitter: &Jitter) -> Span {
        let reserve = span(self.policy.reserve);
        let life = held.life();
        let earlier = (life - reserve).max(Span::ZERO) / 12 * jitter.draw();
        held.remaining(self.seen) - left_when_due(life, reserve) - earlier
    }

    /// When credentials that live for `life` would outlive what is held: later by up to a twelfth of it, and not before
    /// what is held is due.
    fn outlived_in(&self, life: Span, jitter: &Jitter) -> Span {
        let Some(held) = &self.held else { return Span::ZERO };
        // AWS grants no less; one odd answer must not put off the renewal to the last minute.
        let life = life.max(SHORTEST_GRANT);
        let left = held.remaining(self.seen);
        let due_in = left - left_when_due(held.life(), span(self.policy.reserve));
        let outlived_in: Span = left - life + life / 12 * jitter.draw() + Span::SECOND;
        // A proxy that repeats one answer would be asked each second else.
        outlived_in.max(due_in).max(left / 12)
    }

    fn pause_after(&mut self, failure: Failure, jitter: &Jitter) {
        self.failures = self.failures.saturating_add(1);
        let pauses = self.pauses(&failure, jitter.draw());
        let now = self.seen.up;
        self.attempt = now + pauses.next;
        self.nudge = now + pauses.client.min(pauses.next);
        self.not_before = now + pauses.certificate.min(pauses.next);
        self.trouble = Some(failure);
    }

    /// How long to pause after `failure`.
    fn pauses(&self, failure: &Failure, drawn: f64) -> Pauses {
        let growing_from = |first: Duration| {
            let doublings = self.failures.saturating_sub(1).min(16);
            let ceiling = (first * 2_u32.pow(doublings)).min(LONGEST_GROWN_PAUSE);
            ceiling.mul_f64(0.25 + 0.75 * drawn)
        };
        let (grown, client) = match failure.class() {
            Class::Transient | Class::Broken => (growing_from(TRANSIENT_PAUSE), CLIENT_PATIENCE),
            Class::Misconfigured => (growing_from(LOCAL_PAUSE), CLIENT_PATIENCE),
            Class::Throttled => (growing_from(THROTTLED_PAUSE), Duration::MAX),
            Class::Denied => (DENIED_PAUSE.mul_f64(0.9 + 0.2 * drawn), DENIED_CLIENT_PATIENCE),
        };
        if let Some(pause) = failure.retry_after().filter(|_| failure.is_local()) {
            let pause = span(pause);
            return Pauses { next: pause, client: pause, certificate: pause };
        }
        // Being told to wait asks for that much at least: the pause that grows goes on growing.
        let told =
            failure.retry_after().unwrap_or_default().min(LONGEST_TOLD_PAUSE).mul_f64(1.0 + 0.1 * drawn);
        let asked_by_aws = if failure.class() == Class::Throttled { grown.max(told) } else { told };
        Pauses {
            next: span(grown.max(told)),
            client: span(client.max(told)),
            certificate: span(asked_by_aws).max(SHORTEST_RENEWAL),
        }
    }
}

/// Before what a failure lets the next attempt begin.
struct Pauses {
    /// By itself.
    next: Span,
    /// When a client waits for it.
    client: Span,
    /// When there is a new certificate.
    certificate: Span,
}

fn span(duration: Duration) -> Span {
    duration.try_into().unwrap_or(Span::MAX)
}

/// The first ceiling after a failure that nobody has to act on; it doubles with each further one.
const TRANSIENT_PAUSE: Duration = Duration::from_secs(1);
/// Local files and settings are cheap to read again, but do not change within a second.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
const THROTTLED_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_GROWN_PAUSE: Duration = Duration::from_secs(60);
/// A `Retry-After` beyond this is taken for a mistake; a session must not end because of one header.
const LONGEST_TOLD_PAUSE: Duration = Duration::from_secs(15 * 60);
/// An administrator needs minutes to mend a policy and expects no restart to be needed afterwards.
const DENIED_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Waiting clients end a pause after this, so that they never wait for the slow end of the back-off.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
const DENIED_CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// Credentials too short-lived for renewal in time lapse between attempts; AWS is not called more often.
const SHORTEST_RENEWAL: Span = Span::SECOND;
/// The shortest life that can be asked for (CreateSession, `durationSeconds`).
pub const SHORTEST_GRANT: Span = Span::minutes(15);
/// A thousand hosts whose clients wait are spread over this much, and over up to a minute while none waits: an account
/// may make ten sessions a second (Roles Anywhere quotas).
const SHORTEST_SPREAD: Span = Span::seconds(2);
const LONGEST_SPREAD: Span = Span::MINUTE;

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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
