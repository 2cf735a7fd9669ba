//! The published state of a session at one instant.

use std::sync::Arc;

use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;

/// The state of a session as its keeper last published it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The phase of the session.
    pub phase: Phase,
    /// The current credentials. They are replaced, never cleared, so they may have expired: check before handing them
    /// out.
    pub credentials: Option<Arc<Credentials>>,
    /// Whether `credentials` were obtained with the session's earlier settings. The first ones of the new settings
    /// replace them.
    pub inherited: bool,
    /// Why the last attempt failed; `None` once one has succeeded.
    pub trouble: Option<Failure>,
    /// Whether an attempt is running.
    pub fetching: bool,
    /// When the next attempt begins, unless an event brings it forward. In the past while an attempt runs.
    pub next_attempt_at: Moment,
    /// From this moment on, a waiting client may start the next attempt early.
    pub nudge_from: Moment,
    /// How earlier attempts ended.
    pub history: AttemptHistory,
}

/// How a session's attempts ended, as far as this process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptHistory {
    /// When the last successful attempt ended.
    pub last_success_at: Option<Moment>,
    /// The number of failed attempts since then.
    pub failures: u32,
    /// When the first of these ended.
    pub failing_since: Option<Moment>,
}

impl AttemptHistory {
    /// Adds an attempt that succeeded at `now`.
    pub(super) fn succeed(&mut self, now: Moment) {
        *self = Self { last_success_at: Some(now), ..Self::default() };
    }

    /// Adds an attempt that failed at `now`.
    pub(super) fn fail(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
    }

    /// The same, with wall times by the clock as it is at `now`.
    pub(super) fn as_of(self, now: Moment) -> Self {
        Self {
            last_success_at: self.last_success_at.map(|at| now.when_up(at.up)),
            failing_since: self.failing_since.map(|at| now.when_up(at.up)),
            ..self
        }
    }
}

/// The phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No valid credentials, and an attempt is running: wait.
    Pending,
    /// Valid credentials.
    Live,
    /// No valid credentials, and no attempt is running: `trouble` says why.
    Lapsed,
}

impl Snapshot {
    /// A session before its first attempt, which starts immediately.
    pub fn first(now: Moment) -> Self {
        Self {
            phase: Phase::Pending,
            credentials: None,
            inherited: false,
            trouble: None,
            fetching: true,
            next_attempt_at: now,
            nudge_from: now,
            history: AttemptHistory::default(),
        }
    }

    /// A session that continues with `credentials` of an earlier run, and renews them when they are due.
    pub fn kept(credentials: Arc<Credentials>, now: Moment) -> Self {
        let next_attempt_at = now + credentials.remaining(now);
        let credentials = Some(credentials);
        Self { phase: Phase::Live, credentials, fetching: false, next_attempt_at, ..Self::first(now) }
    }

    /// A session with new settings. It hands out the credentials of its earlier settings until it has its own.
    pub fn inherited(credentials: Option<Arc<Credentials>>, now: Moment) -> Self {
        match credentials {
            Some(credentials) => Self { inherited: true, ..Self::kept(credentials, now) },
            None => Self::first(now),
        }
    }
}

impl Snapshot {
    /// Whether `newer` is the same for clients that wait for this session.
    ///
    /// While an attempt runs, `next_attempt_at` does not count: its result will change that time.
    pub(super) fn is_equivalent_to(&self, newer: &Self) -> bool {
        let id = |snapshot: &Self| snapshot.credentials.as_ref().map(|held| Arc::as_ptr(held).addr());
        self.phase == newer.phase
            && id(self) == id(newer)
            && self.trouble == newer.trouble
            && self.fetching == newer.fetching
            && self.history == newer.history
            && is_same(self.nudge_from, newer.nudge_from)
            && (is_same(self.next_attempt_at, newer.next_attempt_at) || newer.fetching)
    }
}

/// The two clocks are not read at exactly the same time, so the wall time of the same moment varies a little.
fn is_same(one: Moment, other: Moment) -> bool {
    one.up == other.up && (one.wall - other.wall).abs() < time::Duration::SECOND
}

/// `credentials` as clients see them by the wall clock at `now`, which may have been set since the keeper last checked.
pub(super) fn as_of(credentials: &Arc<Credentials>, now: Moment) -> Arc<Credentials> {
    match credentials.are_shown_wrong(now) {
        true => Arc::new(Credentials::clone(credentials).as_of(now)),
        false => Arc::clone(credentials),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::NOON;
    use crate::support::credentials;
    use crate::support::failure;
    use anchord_core::failure::Class;

    #[test]
    fn what_an_earlier_run_left_is_live_before_any_attempt() {
        let kept = Snapshot::kept(credentials(NOON, time::Duration::HOUR), NOON);
        let inherited = Snapshot::inherited(kept.credentials.clone(), NOON);

        for snapshot in [&kept, &inherited] {
            assert_eq!((snapshot.phase, snapshot.fetching), (Phase::Live, false));
            assert_eq!(snapshot.next_attempt_at, NOON + time::Duration::HOUR);
        }
        assert!(!kept.inherited && inherited.inherited);
    }

    #[test]
    fn any_difference_counts_but_the_next_attempt_while_one_runs() {
        let during =
            Snapshot { credentials: Some(credentials(NOON, time::Duration::HOUR)), ..Snapshot::first(NOON) };
        let idle = Snapshot { fetching: false, ..during.clone() };
        let later = NOON + time::Duration::SECOND;

        assert!(idle.is_equivalent_to(&idle.clone()));
        assert!(during.is_equivalent_to(&Snapshot { next_attempt_at: later, ..during.clone() }));
        for news in [
            during,
            Snapshot { phase: Phase::Live, ..idle.clone() },
            Snapshot { credentials: Some(credentials(NOON, time::Duration::HOUR)), ..idle.clone() },
            Snapshot { trouble: Some(failure(Class::Denied)), ..idle.clone() },
            Snapshot { next_attempt_at: later, ..idle.clone() },
            Snapshot { nudge_from: later, ..idle.clone() },
            Snapshot { history: AttemptHistory { failures: 1, ..AttemptHistory::default() }, ..idle.clone() },
        ] {
            assert!(!idle.is_equivalent_to(&news), "{news:?}");
        }
    }

    #[test]
    fn one_time_is_another_when_either_clock_says_so() {
        let moved = |wall: i64, up: i64| Moment {
            wall: NOON.wall + time::Duration::milliseconds(wall),
            up: NOON.up + time::Duration::milliseconds(up),
        };

        assert!(is_same(NOON, moved(999, 0)) && is_same(NOON, moved(-999, 0)));
        assert!(!is_same(NOON, moved(1000, 0)), "the wall clock was set");
        assert!(!is_same(NOON, moved(0, 1)));
    }
}
