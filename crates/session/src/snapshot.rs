//! What the rest of the program may know of a session at one instant.

use std::sync::Arc;

use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;

/// The state of a session as its keeper last published it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where the session stands.
    pub phase: Phase,
    /// The newest credentials ever obtained: replaced, never cleared. Whoever hands them out judges their life.
    pub credentials: Option<Arc<Credentials>>,
    /// Whether `credentials` are of the session's earlier settings, there until the first ones of its own.
    pub inherited: bool,
    /// Why the last attempt failed; `None` once one has succeeded.
    pub trouble: Option<Failure>,
    /// Whether an attempt is under way.
    pub fetching: bool,
    /// When the next attempt begins unless something hastens it; past while one is under way.
    pub next_attempt_at: Moment,
    /// From when on a waiting client may start the next attempt early.
    pub nudge_from: Moment,
    /// How the attempts so far have ended.
    pub record: Record,
}

/// How the attempts of a session have ended, as far as this process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When the last one ended that succeeded.
    pub last_success_at: Option<Moment>,
    /// How many have failed since.
    pub failures: u32,
    /// When the first of those ended.
    pub failing_since: Option<Moment>,
}

impl Record {
    /// One that ended well at `now`.
    pub(super) fn succeed(&mut self, now: Moment) {
        *self = Self { last_success_at: Some(now), ..Self::default() };
    }

    /// One that failed at `now`.
    pub(super) fn fail(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
    }

    /// The same with times as the clock shows them at `now`.
    pub(super) fn as_of(self, now: Moment) -> Self {
        let shown = |at: Option<Moment>| at.map(|at| now.when_up(at.up));
        let (last_success_at, failing_since) = (shown(self.last_success_at), shown(self.failing_since));
        Self { last_success_at, failing_since, ..self }
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing valid, and an attempt is under way: wait.
    Pending,
    /// Valid credentials are held.
    Live,
    /// Nothing valid, and no attempt is under way: `trouble` says why.
    Lapsed,
}

impl Snapshot {
    /// Before the first attempt, which starts at once.
    pub fn first(now: Moment) -> Self {
        Self {
            phase: Phase::Pending,
            credentials: None,
            inherited: false,
            trouble: None,
            fetching: true,
            next_attempt_at: now,
            nudge_from: now,
            record: Record::default(),
        }
    }

    /// A session that goes on with `credentials` of an earlier run and renews them when they are due.
    pub fn kept(credentials: Arc<Credentials>, now: Moment) -> Self {
        let next_attempt_at = now + credentials.remaining(now);
        let credentials = Some(credentials);
        Self { phase: Phase::Live, credentials, fetching: false, next_attempt_at, ..Self::first(now) }
    }

    /// A session with new settings, which hands out what it held before only until it has credentials of its own.
    pub fn inherited(credentials: Option<Arc<Credentials>>, now: Moment) -> Self {
        match credentials {
            Some(credentials) => Self { inherited: true, ..Self::kept(credentials, now) },
            None => Self::first(now),
        }
    }
}

impl Snapshot {
    /// Whether anybody who waits for this session has to hear of `newer`.
    ///
    /// While an attempt is under way nobody can tell when the next one will be.
    pub(super) fn is_old_news(&self, newer: &Self) -> bool {
        let id = |snapshot: &Self| snapshot.credentials.as_ref().map(|held| Arc::as_ptr(held).addr());
        self.phase == newer.phase
            && id(self) == id(newer)
            && self.trouble == newer.trouble
            && self.fetching == newer.fetching
            && self.record == newer.record
            && is_same(self.nudge_from, newer.nudge_from)
            && (is_same(self.next_attempt_at, newer.next_attempt_at) || newer.fetching)
    }
}

/// The two clocks are not read at the very same time, so that the wall time of one and the same moment varies a little.
fn is_same(one: Moment, other: Moment) -> bool {
    one.up == other.up && (one.wall - other.wall).abs() < time::Duration::SECOND
}

/// The clock may have been set since the keeper last looked.
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
    fn any_difference_is_news_but_the_next_look_during_an_attempt() {
        let during =
            Snapshot { credentials: Some(credentials(NOON, time::Duration::HOUR)), ..Snapshot::first(NOON) };
        let idle = Snapshot { fetching: false, ..during.clone() };
        let later = NOON + time::Duration::SECOND;

        assert!(idle.is_old_news(&idle.clone()));
        assert!(during.is_old_news(&Snapshot { next_attempt_at: later, ..during.clone() }));
        for news in [
            during,
            Snapshot { phase: Phase::Live, ..idle.clone() },
            Snapshot { credentials: Some(credentials(NOON, time::Duration::HOUR)), ..idle.clone() },
            Snapshot { trouble: Some(failure(Class::Denied)), ..idle.clone() },
            Snapshot { next_attempt_at: later, ..idle.clone() },
            Snapshot { nudge_from: later, ..idle.clone() },
            Snapshot { record: Record { failures: 1, ..Record::default() }, ..idle.clone() },
        ] {
            assert!(!idle.is_old_news(&news), "{news:?}");
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
