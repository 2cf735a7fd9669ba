//! Decides when to ask for credentials, and does nothing itself.
//!
//! [`Machine::on`] takes an event and its time, and returns whether to start an attempt and when to check again. It
//! reads no clock, has no randomness but the given jitter, and does no I/O, so a test can show every rule of renewal
//! with a list of events. Deadlines are times since boot: after a suspend they have passed, and setting the clock does
//! not move them. Credentials end by both clocks, and setting the clock is a reason to renew them.

use std::sync::Arc;
use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;

use super::AttemptHistory;
use super::Phase;
use super::Policy;
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
pub enum SessionEvent {
    /// Time has passed.
    Wake,
    /// A client is waiting for credentials.
    Wanted,
    /// There is a new certificate. This is how most refusals get fixed.
    IdentityChanged,
    /// The running attempt has ended.
    Fetched(Result<Arc<Credentials>, Failure>),
}

/// What the keeper must do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Action {
    /// Whether to start an attempt now. Never true while one is running.
    pub fetch: bool,
    /// When to send [`SessionEvent::Wake`] at the latest. Always later than the event.
    pub wake_at: Moment,
}

/// The state of one session: its credentials, whether an attempt is running, and when it acts next.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    held: Option<Arc<Credentials>>,
    inherited: bool,
    trouble: Option<Failure>,
    /// The end of the credentials that the last attempt brought, if they were not needed.
    spare: Option<OffsetDateTime>,
    attempt: AttemptState,
    /// When the next attempt begins, as time since boot.
    attempt_at: Span,
    /// From this time on, a waiting client may start it early.
    nudge_from: Span,
    /// Before this time nothing may start it, not even a new certificate.
    not_before: Span,
    failures: u32,
    history: AttemptHistory,
    clock_offset: Option<ClockOffset>,
    /// The time of the last event.
    seen: Moment,
    /// The wall time of the boot, as of the last check. It changes when the clock is set.
    booted_at: OffsetDateTime,
    /// Before this time, setting the clock starts no attempt.
    clock_step_counts_from: Span,
}

/// Whether the session's one attempt is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptState {
    Idle,
    Running,
    /// Running with a certificate that has been replaced since: another attempt follows soon.
    Outdated,
}

/// What became of the result of an attempt.
enum Verdict {
    /// The new credentials are held now.
    Held,
    /// The new credentials live this long, and those that are held live longer.
    Spare(Span),
    /// There are no new credentials, or no client could use them.
    Useless(Failure),
}

impl Machine {
    /// A session without any attempt yet. Its first event starts one.
    pub fn new(policy: Policy, now: Moment) -> Self {
        Self {
            policy,
            held: None,
            inherited: false,
            trouble: None,
            spare: None,
            attempt: AttemptState::Idle,
            attempt_at: now.up,
            nudge_from: now.up,
            not_before: now.up,
            failures: 0,
            history: AttemptHistory::default(),
            clock_offset: None,
            seen: now,
            booted_at: now.booted_at(),
            clock_step_counts_from: now.up,
        }
    }

    /// A session that continues from its last snapshot: after a panic of its keeper, in a new daemon process, or with
    /// new settings.
    ///
    /// It keeps its credentials. A running attempt is lost and counts as failed, so that a keeper that panics each time
    /// does not call AWS all the time. Only a session without credentials of its own settings starts an attempt
    /// immediately.
    pub fn resume(policy: Policy, last: &Snapshot, now: Moment, jitter: &Jitter) -> Self {
        let mut machine = Self::new(policy, now);
        machine.held = last.credentials.clone();
        machine.inherited = last.inherited;
        machine.trouble = last.trouble.clone();
        machine.history = last.history;
        // If the clock was set since the snapshot, the first event finds it.
        machine.booted_at = last.next_attempt_at.booted_at();
        match (&last.credentials, &last.trouble) {
            (None, None) => {}
            (_, trouble) if last.fetching => {
                let lost = || Failure::of(Reason::Bug, "the session's keeper ended during an attempt", None);
                machine.pause_after(trouble.clone().unwrap_or_else(lost), jitter);
            }
            (Some(_), None) if last.inherited => {}
            (Some(held), None) => {
                // `Snapshot::kept` has no planned attempt and gives the credentials' end instead.
                let is_planned = last.next_attempt_at - now < held.remaining(now);
                machine.attempt_at = match is_planned {
                    true => last.next_attempt_at.up,
                    false => now.up + machine.renew_in(held, jitter),
                };
            }
            (_, Some(trouble)) => {
                machine.attempt_at = last.next_attempt_at.up;
                machine.nudge_from = last.nudge_from.up;
                if trouble.class() == Class::Throttled || trouble.retry_after().is_some() {
                    machine.not_before = machine.nudge_from;
                }
            }
        }
        machine
    }

    /// Handles an event at `now`. Draws from `jitter` once if the event sets a deadline, otherwise not at all.
    pub fn on(&mut self, event: SessionEvent, now: Moment, jitter: &Jitter) -> Action {
        self.seen = now;
        self.check_clock(jitter);
        let wanted = match event {
            SessionEvent::Wake => false,
            SessionEvent::Wanted => !self.is_live() && self.nudge_from <= now.up,
            SessionEvent::IdentityChanged => {
                self.outdate(jitter);
                false
            }
            SessionEvent::Fetched(result) => {
                self.settle(result, jitter);
                false
            }
        };
        // A clock that was set forward can expire credentials that were to be renewed later.
        if self.trouble.is_none() && self.attempt == AttemptState::Idle && !self.is_live() {
            self.hasten(now.up, SHORTEST_SPREAD, jitter);
        }
        let fetch = self.attempt == AttemptState::Idle && (wanted || self.attempt_at <= now.up);
        if fetch {
            self.attempt = AttemptState::Running;
        }
        Action { fetch, wake_at: self.wake_at() }
    }

    /// Corrects the end of the current credentials by what the last reply, even a refusal, said about AWS's clock. The
    /// reply may be old, and the wall clock may have been set since: the offset is relative to the time since boot.
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
        let fetching = self.attempt != AttemptState::Idle;
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
            next_attempt_at: self.seen.when_up(self.attempt_at),
            nudge_from: self.seen.when_up(self.nudge_from),
            history: self.history,
        }
    }

    /// The time from the last event until the next attempt; zero while one is running.
    pub fn next_attempt_in(&self) -> Duration {
        match self.attempt {
            AttemptState::Idle => Duration::try_from(self.attempt_at - self.seen.up).unwrap_or_default(),
            AttemptState::Running | AttemptState::Outdated => Duration::ZERO,
        }
    }

    /// The end of the last attempt's credentials, if they were not needed because the current ones live longer.
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
        let attempt = (self.attempt == AttemptState::Idle).then_some(self.attempt_at - self.seen.up);
        let lapses = self.remaining().filter(|_| self.is_live()).map(|left| left - self.policy.reserve);
        let nothing_to_wait_for = span(self.policy.look_again);
        self.seen + attempt.into_iter().chain(lapses).min().unwrap_or(nothing_to_wait_for)
    }

    /// Checks whether the clock was set. If so, it brings the next attempt forward, because clients may see the current
    /// credentials as expired. A clock that is set again and again does so at most once a minute.
    fn check_clock(&mut self, jitter: &Jitter) {
        let was_set = (self.seen.booted_at() - self.booted_at).abs() > CLOCK_STEP;
        if let Some(date) = self.clock_offset.filter(|_| was_set) {
            // The offset is relative to the time since boot, so it is still right.
            self.redate(date.ahead_at_most(self.seen), self.seen);
        }
        if let Some(held) = self.held.take() {
            self.held = Some(as_of(&held, self.seen));
        }
        if !was_set {
            return;
        }
        self.booted_at = self.seen.booted_at();
        if self.attempt == AttemptState::Idle {
            let earliest = self.clock_step_counts_from.max(self.seen.up);
            self.hasten(earliest, self.spread(), jitter);
            self.clock_step_counts_from = earliest + Span::MINUTE;
        }
    }

    /// There is a new certificate. A running attempt must end first.
    fn outdate(&mut self, jitter: &Jitter) {
        self.failures = 0;
        match self.attempt {
            AttemptState::Idle => self.hasten(self.seen.up, self.spread(), jitter),
            AttemptState::Running | AttemptState::Outdated => self.attempt = AttemptState::Outdated,
        }
    }

    /// The time over which hosts spread their attempts after they get new certificates at the same time. It is longer
    /// while their clients have valid credentials.
    fn spread(&self) -> Span {
        let Some(held) = self.held.as_ref().filter(|_| self.is_live()) else { return SHORTEST_SPREAD };
        if held.session_token().is_none() {
            // A user's own keys are read from a file, without a call.
            return Span::ZERO;
        }
        let part: Span = held.remaining(self.seen) / 360;
        part.clamp(SHORTEST_SPREAD, LONGEST_SPREAD)
    }

    /// Brings the next attempt forward to a random time within `spread` from `earliest`, but not before AWS allows one. An
    /// attempt that comes as soon anyway is not moved.
    fn hasten(&mut self, earliest: Span, spread: Span, jitter: &Jitter) {
        let earliest = self.not_before.max(earliest);
        if self.attempt_at > earliest + spread {
            self.attempt_at = earliest + spread * jitter.draw();
        }
    }

    /// Handles the end of an attempt.
    ///
    /// There are three cases. A failure pauses by its class. New credentials that are held set the renewal. New
    /// credentials that expire before those held are a success too, but not a reason to ask again soon: AWS would
    /// answer the same, as when a profile was shortened from twelve hours to one. The next attempt then comes when such
    /// credentials would live longer than those held. After each case, a certificate that came during the attempt
    /// brings the next one forward.
    fn settle(&mut self, result: Result<Arc<Credentials>, Failure>, jitter: &Jitter) {
        let outdated = self.attempt == AttemptState::Outdated;
        self.attempt = AttemptState::Idle;
        self.spare = None;
        let verdict = match result {
            Ok(fresh) => self.accept(fresh),
            Err(failure) => Verdict::Useless(failure),
        };
        let next = match verdict {
            Verdict::Useless(failure) => return self.fail(failure, outdated, jitter),
            Verdict::Held => self.held.as_ref().map(|held| self.renew_in(held, jitter)).unwrap_or_default(),
            Verdict::Spare(life) => self.outlived_in(life, jitter),
        };
        let now = self.seen.up;
        (self.trouble, self.failures) = (None, 0);
        self.history.succeed(self.seen);
        self.attempt_at = now + next.max(SHORTEST_RENEWAL);
        self.nudge_from = now + SHORTEST_RENEWAL;
        self.not_before = self.nudge_from;
        if outdated {
            self.hasten(self.seen.up, self.spread(), jitter);
        }
    }

    fn fail(&mut self, failure: Failure, outdated: bool, jitter: &Jitter) {
        self.history.fail(self.seen);
        self.pause_after(failure, jitter);
        if outdated {
            self.outdate(jitter);
        }
    }

    /// Decides whether `fresh` replaces the credentials that are held.
    ///
    /// It does if it is the first set of another certificate or of new settings, or if it lives longer by AWS's clock or by
    /// this host's. After a wrong `Date` or a clock that was set, these clocks disagree; so there are two more rules. A
    /// fresh set that counts as expired here is a failure, and replaces only what ends even sooner here. And what counts as
    /// expired here gives way to any usable set, whatever AWS says about the ends.
    fn accept(&mut self, fresh: Arc<Credentials>) -> Verdict {
        let life = fresh.remaining(self.seen);
        let is_usable = life > self.policy.reserve;
        let is_wanted = self.inherited
            || self.held.as_ref().is_none_or(|held| fresh.outlive(held) || fresh.are_of_newer_identity(held));
        // By more than a second, because the two clocks are not read at exactly the same time.
        let lives_longer = self.remaining().is_none_or(|left| life > left + Span::SECOND);
        if !is_usable {
            let end = rfc3339(fresh.expires_at());
            if is_wanted && lives_longer {
                (self.held, self.inherited) = (Some(fresh), false);
            }
            return Verdict::Useless(self.too_short(&end));
        }
        if is_wanted || lives_longer || !self.is_live() {
            (self.held, self.inherited) = (Some(fresh), false);
            return Verdict::Held;
        }
        self.spare = Some(fresh.expires_at());
        Verdict::Spare(life)
    }

    fn too_short(&self, end: &str) -> Failure {
        let reserve = self.policy.reserve.as_secs();
        Failure::of(
            Reason::ClockOff,
            format!(
                "the new credentials expire at {end}, less than {reserve} s from now by this host's clock"
            ),
            Some("check this host's clock, and the session duration of the profile".into()),
        )
    }

    /// The time until `held` must be renewed. It is shorter by up to a twelfth of the usable life, to spread the
    /// sessions of many hosts. Negative if that time has passed.
    fn renew_in(&self, held: &Credentials, jitter: &Jitter) -> Span {
        let reserve = span(self.policy.reserve);
        let life = held.life();
        let earlier = (life - reserve).max(Span::ZERO) / 12 * jitter.draw();
        held.remaining(self.seen) - left_when_due(life, reserve) - earlier
    }

    /// The time until new credentials with `life` would outlive those held. It is longer by up to a twelfth of `life`,
    /// and not before the renewal of those held is due.
    fn outlived_in(&self, life: Span, jitter: &Jitter) -> Span {
        let Some(held) = &self.held else { return Span::ZERO };
        // AWS grants no shorter life. One odd answer must not delay the renewal until the last minute.
        let life = life.max(SHORTEST_GRANT);
        let left = held.remaining(self.seen);
        let due_in = left - left_when_due(held.life(), span(self.policy.reserve));
        let outlived_in: Span = left - life + life / 12 * jitter.draw() + Span::SECOND;
        // Without this, a proxy that repeats one answer would be asked each second.
        outlived_in.max(due_in).max(left / 12)
    }

    fn pause_after(&mut self, failure: Failure, jitter: &Jitter) {
        self.failures = self.failures.saturating_add(1);
        let pauses = self.pauses(&failure, jitter.draw());
        let now = self.seen.up;
        self.attempt_at = now + pauses.next;
        self.nudge_from = now + pauses.client.min(pauses.next);
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
        // `Retry-After` is a minimum: the growing pause may be longer.
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

/// The pauses after a failure, before the next attempt may begin.
struct Pauses {
    /// If nothing happens.
    next: Span,
    /// If a client is waiting.
    client: Span,
    /// If there is a new certificate.
    certificate: Span,
}

fn span(duration: Duration) -> Span {
    duration.try_into().unwrap_or(Span::MAX)
}

/// The upper bound of the first pause after a failure that may pass by itself. It doubles with each further failure.
const TRANSIENT_PAUSE: Duration = Duration::from_secs(1);
/// Local files and settings are cheap to read again, but do not change within a second.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
const THROTTLED_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_GROWN_PAUSE: Duration = Duration::from_secs(60);
/// A longer `Retry-After` is taken for a mistake: one header must not make a session expire.
const LONGEST_TOLD_PAUSE: Duration = Duration::from_secs(15 * 60);
/// An administrator needs minutes to correct a policy, and expects the daemon to notice without a restart.
const DENIED_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Waiting clients may end a pause after this time, so that they never wait for the longest pauses of the back-off.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
const DENIED_CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// The shortest time between two attempts. Credentials with less life than this expire between attempts.
const SHORTEST_RENEWAL: Span = Span::SECOND;
/// The shortest life that a request can ask for (CreateSession, `durationSeconds`).
pub const SHORTEST_GRANT: Span = Span::minutes(15);
/// How long the attempts of many hosts are spread while their clients wait.
const SHORTEST_SPREAD: Span = Span::seconds(2);
/// The same while no client waits. An account may create ten sessions a second (Roles Anywhere quotas).
const LONGEST_SPREAD: Span = Span::MINUTE;

/// How much life credentials have left when their renewal is due. They live for `life` and count as expired with
/// `reserve` left.
///
/// SDKs fetch again 5, 15 or 60 minutes before the end, depending on the life that they saw. Renewal comes 5 minutes
/// before that window, so that no client has a reason to fetch on each call. But at least a quarter of the usable life
/// passes first: otherwise credentials that live for 20 to 26 minutes would be due immediately.
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
