//! Hands a session's credentials to callers.
//!
//! A handle checks expiry itself when it hands out credentials. A late keeper can make them less fresh, never invalid.

use std::sync::Arc;

use time::Duration as Span;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Freshness;
use super::Policy;
use super::Snapshot;
use super::snapshot::as_of;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// A session, as its callers see it. It is cheap to clone, and all callers share one attempt.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    snapshots: watch::Receiver<Snapshot>,
    nudge: Arc<Notify>,
    clock: Clock,
    policy: Policy,
}

impl Handle {
    /// A handle that reads the snapshots of a keeper; `nudge` wakes that keeper.
    pub fn new(name: &str, snapshots: watch::Receiver<Snapshot>, nudge: Arc<Notify>, clock: Clock) -> Self {
        Self { name: name.into(), snapshots, nudge, clock, policy: Policy::default() }
    }

    /// The same handle with the reserves of `policy`, which must be the keeper's.
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The session's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A receiver of the keeper's snapshots, for callers that wait for other changes than new credentials.
    pub fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    /// Whether both handles belong to the same keeper.
    pub fn is_same(&self, other: &Self) -> bool {
        self.snapshots.same_channel(&other.snapshots)
    }

    /// Whether the session's keeper is gone. A new session of the same name may have replaced it.
    pub fn has_ended(&self) -> bool {
        self.snapshots.has_changed().is_err()
    }

    /// The snapshot that the keeper last published.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// The last snapshot for people: its wall times are right by the clock as it is now, even if it was set since.
    pub fn shown(&self) -> Snapshot {
        let (snapshot, now) = (self.snapshot(), self.clock.moment());
        Snapshot {
            credentials: snapshot.credentials.as_ref().map(|held| as_of(held, now)),
            next_attempt_at: now.when_up(snapshot.next_attempt_at.up),
            history: snapshot.history.as_of(now),
            ..snapshot
        }
    }

    /// Credentials with at least `freshness` left. Waits for an attempt, but no longer than `patience`. If the next one
    /// may begin within [`SHORT_PAUSE`], it waits for that one too.
    ///
    /// # Errors
    /// Why the last attempt failed, or that none has ended yet.
    pub async fn hand_out(
        &self,
        freshness: Freshness,
        patience: std::time::Duration,
    ) -> Result<Arc<Credentials>, Failure> {
        let reserve = match freshness {
            Freshness::Full => self.policy.reserve,
            // After a promise, less life is enough, even if only one of the two reserves was configured.
            Freshness::Promised => self.policy.promised_reserve.min(self.policy.reserve),
        };
        let gives_up_at = Instant::now() + patience;
        let mut snapshots = self.snapshots.clone();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let now = self.clock.moment();
            if let Some(credentials) = &snapshot.credentials
                && credentials.remaining(now) > reserve
            {
                return Ok(as_of(credentials, now));
            }
            let mut looks_again_at = gives_up_at;
            if !snapshot.fetching {
                let pause = snapshot.nudge_from.up - now.up;
                if !pause.is_positive() {
                    self.nudge.notify_one();
                } else if let Some(ends_at) = end_of_short(pause).filter(|ends_at| *ends_at < gives_up_at) {
                    looks_again_at = ends_at;
                } else {
                    return Err(self.unavailable(&snapshot));
                }
            }
            match tokio::time::timeout_at(looks_again_at, snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Failure::of(Reason::Bug, "the session's keeper has ended", None)),
                Err(_) if looks_again_at < gives_up_at => {}
                Err(_) => return Err(self.unavailable(&snapshot)),
            }
        }
    }

    fn unavailable(&self, snapshot: &Snapshot) -> Failure {
        snapshot.trouble.clone().unwrap_or_else(|| {
            Failure::of(
                Reason::NoCredentialsYet,
                format!("session `{}` has no credentials yet", self.name),
                None,
            )
        })
    }
}

/// When a pause between attempts ends, if it is short.
fn end_of_short(pause: Span) -> Option<Instant> {
    let pause = std::time::Duration::try_from(pause).ok()?;
    (pause <= SHORT_PAUSE).then(|| Instant::now() + pause)
}

/// Clients outwait the pause after the first failure that may pass by itself, which is no longer. A client that comes
/// during a longer pause learns immediately why there are no credentials: nothing of what it waits for would come.
const SHORT_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration as Patience;

    use time::Duration;

    use super::*;
    use crate::Phase;
    use crate::support::NOON;
    use crate::support::credentials;
    use crate::support::failure;
    use anchord_core::failure::Class;

    const PATIENCE: Patience = Patience::from_secs(1);

    struct Rig {
        clock: Clock,
        published: watch::Sender<Snapshot>,
        nudge: Arc<Notify>,
        handle: Handle,
    }

    fn rig(snapshot: Snapshot) -> Rig {
        let clock = Clock::manual(NOON.wall);
        let (published, snapshots) = watch::channel(snapshot);
        let nudge = Arc::new(Notify::new());
        let handle = Handle::new("web", snapshots, Arc::clone(&nudge), clock.clone());
        Rig { clock, published, nudge, handle }
    }

    /// As a keeper publishes it at noon with credentials that end after `left`.
    fn live(left: Duration) -> Snapshot {
        Snapshot {
            phase: Phase::Live,
            credentials: Some(credentials(NOON, left)),
            fetching: false,
            next_attempt_at: NOON + left,
            ..Snapshot::first(NOON)
        }
    }

    fn lapsed(nudge_after: Duration) -> Snapshot {
        Snapshot {
            phase: Phase::Lapsed,
            trouble: Some(failure(Class::Denied)),
            fetching: false,
            nudge_from: NOON + nudge_after,
            ..Snapshot::first(NOON)
        }
    }

    async fn is_nudged(nudge: &Notify) -> bool {
        tokio::time::timeout(Patience::ZERO, nudge.notified()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn valid_credentials_are_handed_out_without_waiting_or_nudging() {
        let rig = rig(live(Duration::HOUR));

        let held = rig.handle.hand_out(Freshness::Full, Patience::ZERO).await.unwrap();

        assert_eq!(held.expires_at(), NOON.wall + Duration::HOUR);
        assert!(!is_nudged(&rig.nudge).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_depends_on_what_the_client_was_told() {
        let full = async |left| {
            rig(live(Duration::seconds(left))).handle.hand_out(Freshness::Full, Patience::ZERO).await.is_ok()
        };
        let promised = async |left| {
            let rig = rig(live(Duration::seconds(left)));
            rig.handle.hand_out(Freshness::Promised, Patience::ZERO).await.is_ok()
        };

        assert!(full(61).await && !full(60).await);
        assert!(promised(31).await && !promised(30).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_may_shorten_the_reserves() {
        let rig = rig(live(Duration::seconds(3)));
        let policy = Policy {
            reserve: Patience::from_secs(2),
            promised_reserve: Patience::from_secs(1),
            ..Policy::default()
        };
        let handle = rig.handle.with_policy(policy);

        assert!(handle.hand_out(Freshness::Full, Patience::ZERO).await.is_ok());
        rig.clock.jump(Duration::seconds(1));
        assert!(handle.hand_out(Freshness::Full, Patience::ZERO).await.is_err());
        assert!(handle.hand_out(Freshness::Promised, Patience::ZERO).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_never_asks_for_more_than_the_offer_did() {
        let rig = rig(live(Duration::seconds(3)));
        let handle = rig.handle.with_policy(Policy { reserve: Patience::from_secs(2), ..Policy::default() });

        assert!(handle.hand_out(Freshness::Promised, Patience::ZERO).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_are_never_handed_out_however_late_the_keeper_is() {
        let rig = rig(live(Duration::HOUR));
        rig.clock.jump(Duration::hours(8));

        assert_eq!(rig.handle.snapshot().phase, Phase::Live);
        let refused = rig.handle.hand_out(Freshness::Full, PATIENCE).await.unwrap_err();

        assert_eq!(refused.message(), "session `web` has no credentials yet");
        assert!(is_nudged(&rig.nudge).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_are_not_handed_out_though_the_clock_is_set_back_and_the_keeper_is_late() {
        let rig = rig(live(Duration::HOUR));
        rig.clock.suspend(Patience::from_secs(50 * 60));
        rig.clock.jump(-Duration::hours(2));

        let handed = rig.handle.hand_out(Freshness::Full, Patience::ZERO).await.unwrap();
        assert_eq!(handed.expires_at(), NOON.wall - Duration::HOUR, "as a client's clock has to see it");
        rig.clock.suspend(Patience::from_secs(9 * 60));

        assert!(rig.handle.hand_out(Freshness::Full, Patience::ZERO).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn people_are_shown_times_as_the_clock_is_now() {
        let rig = rig(live(Duration::HOUR));
        let before = rig.handle.shown();

        rig.clock.jump(-Duration::hours(2));

        let after = rig.handle.shown();
        let end = |shown: &Snapshot| shown.credentials.as_ref().unwrap().expires_at();
        assert_eq!(end(&after), end(&before) - Duration::hours(2));
        assert_eq!(after.next_attempt_at.wall, before.next_attempt_at.wall - Duration::hours(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_gives_up_when_its_patience_ends() {
        let rig = rig(Snapshot::first(NOON));
        let started = Instant::now();

        let refused = rig.handle.hand_out(Freshness::Full, PATIENCE).await.unwrap_err();

        assert_eq!(started.elapsed(), PATIENCE);
        assert_eq!(refused.class(), Class::Transient);
        assert!(!is_nudged(&rig.nudge).await, "an attempt is under way already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_gets_what_an_attempt_brings_while_it_waits() {
        let rig = rig(Snapshot::first(NOON));
        let bring = async {
            tokio::time::sleep(PATIENCE / 2).await;
            rig.published.send_replace(live(Duration::HOUR));
        };

        let (handed, ()) = tokio::join!(rig.handle.hand_out(Freshness::Full, PATIENCE), bring);

        assert!(handed.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_hears_the_cause_as_soon_as_the_attempt_has_failed() {
        let rig = rig(Snapshot::first(NOON));
        let fail = async {
            tokio::time::sleep(PATIENCE / 2).await;
            rig.published.send_replace(lapsed(Duration::MINUTE));
        };
        let started = Instant::now();

        let (refused, ()) = tokio::join!(rig.handle.hand_out(Freshness::Full, PATIENCE), fail);

        assert_eq!(refused.unwrap_err(), failure(Class::Denied));
        assert_eq!(started.elapsed(), PATIENCE / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_nudges_only_when_that_is_allowed() {
        let rig = rig(lapsed(Duration::seconds(5)));

        rig.clock.suspend(Patience::from_millis(3999));
        assert!(rig.handle.hand_out(Freshness::Full, PATIENCE).await.is_err());
        assert!(!is_nudged(&rig.nudge).await);

        rig.clock.suspend(Patience::from_millis(1001));
        assert_eq!(rig.handle.hand_out(Freshness::Full, PATIENCE).await.unwrap_err(), failure(Class::Denied));
        assert!(is_nudged(&rig.nudge).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_outwaits_a_pause_that_is_shorter_than_its_patience() {
        let rig = rig(lapsed(Duration::milliseconds(700)));
        let bring = async {
            rig.nudge.notified().await;
            let asked_after = rig.clock.moment() - NOON;
            rig.published.send_replace(live(Duration::HOUR));
            asked_after
        };

        let (handed, asked_after) = tokio::join!(rig.handle.hand_out(Freshness::Full, PATIENCE), bring);

        assert!(handed.is_ok());
        assert!((700..710).contains(&asked_after.whole_milliseconds()), "after {asked_after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_no_pause_that_its_patience_does_not_outlast() {
        let short_of_patience = Patience::from_millis(600);
        for (pause, patience) in [(700, short_of_patience), (1001, PATIENCE * 8), (30_000, PATIENCE * 8)] {
            let rig = rig(lapsed(Duration::milliseconds(pause)));
            let started = Instant::now();

            let refused = rig.handle.hand_out(Freshness::Full, patience).await.unwrap_err();

            assert_eq!((refused, started.elapsed()), (failure(Class::Denied), Patience::ZERO), "{pause} ms");
            assert!(!is_nudged(&rig.nudge).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handle_knows_its_keeper_and_whether_that_has_ended() {
        let (one, other) = (rig(Snapshot::first(NOON)), rig(Snapshot::first(NOON)));
        let clone = one.handle.clone();

        assert!(one.handle.is_same(&clone) && !one.handle.is_same(&other.handle));
        one.published.send_replace(live(Duration::HOUR));
        assert!(!clone.has_ended());
        drop(one.published);
        assert!(clone.has_ended() && !other.handle.has_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_whose_keeper_has_ended_says_so_at_once() {
        let Rig { published, handle, clock: _, nudge: _ } = rig(Snapshot::first(NOON));
        drop(published);

        let refused = handle.hand_out(Freshness::Full, PATIENCE).await.unwrap_err();

        assert_eq!((refused.class(), refused.message()), (Class::Broken, "the session's keeper has ended"));
    }
}
