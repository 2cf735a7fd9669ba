//! Does what `plan` decides: one task per session that owns its state, its alarm and its one attempt.
//!
//! Attempts run as tasks of their own, so that a panic in an issuer ends that attempt and nothing else. The
//! keeper looks at the clocks at least every 30 s, because timers stand still while a host is suspended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use super::Event;
use super::Handle;
use super::Machine;
use super::Policy;
use super::Snapshot;
use super::diary;
use super::diary::Diary;
use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::Issuer;

/// What keeps one session's credentials fresh while [`Keeper::run`] is polled.
///
/// It outlives a panic of `run`: call `run` again on the same keeper, and the session goes on from what was
/// last published, with the same handles.
pub struct Keeper {
    issuer: Arc<dyn Issuer>,
    policy: Policy,
    clock: Clock,
    jitter: Jitter,
    published: watch::Sender<Snapshot>,
    nudge: Arc<Notify>,
    identity_changed: Arc<Notify>,
    diary: Diary,
}

/// Opens the session `name`: the handle for its callers, and the keeper that has to be run for it.
///
/// Callers that come before the keeper runs wait for its first attempt, which it starts at once.
pub fn open(
    name: &str,
    issuer: Arc<dyn Issuer>,
    policy: Policy,
    clock: Clock,
    jitter: Jitter,
) -> (Handle, Keeper) {
    let first = Snapshot::first(clock.moment());
    reopen(first, name, issuer, policy, clock, jitter)
}

/// The same for a session with a past, as [`Snapshot::kept`], [`Snapshot::inherited`] or an earlier handle have it;
/// its credentials are handed out from the start.
pub fn reopen(
    past: Snapshot,
    name: &str,
    issuer: Arc<dyn Issuer>,
    policy: Policy,
    clock: Clock,
    jitter: Jitter,
) -> (Handle, Keeper) {
    let (published, snapshots) = watch::channel(past);
    let nudge = Arc::new(Notify::new());
    let handle = Handle::new(name, snapshots, Arc::clone(&nudge), clock.clone()).with_policy(policy);
    let identity_changed = Arc::new(Notify::new());
    let diary = Diary::new(name);
    (handle, Keeper { issuer, policy, clock, jitter, published, nudge, identity_changed, diary })
}

impl Keeper {
    /// The session's name.
    pub fn name(&self) -> &str {
        self.diary.session()
    }

    /// To be notified (`notify_one`) when the issuer would use another certificate than before. A notice given
    /// while the keeper does not run is kept for it.
    pub fn identity_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.identity_changed)
    }

    /// Keeps the session until dropped; an attempt under way is aborted then.
    pub async fn run(&mut self) -> Infallible {
        let last = self.published.borrow().clone();
        let mut machine = Machine::resume(self.policy, &last, self.clock.moment(), &self.jitter);
        if let Some(date) = self.issuer.clock_offset() {
            machine.learn(date, self.clock.moment());
        }
        let mut attempt = JoinSet::new();
        let mut event = Event::Wake;
        loop {
            let now = self.clock.moment();
            if let Some(step) = self.clock.unreported_step(now) {
                diary::clock_was_set(step);
            }
            let ended = matches!(event, Event::Fetched(_));
            if let Some(date) = self.issuer.clock_offset().filter(|_| ended) {
                machine.learn(date, now);
            }
            let step = machine.on(event, now, &self.jitter);
            if step.fetch {
                self.start(&mut attempt);
            }
            let snapshot = machine.snapshot();
            // Published first: what the log tells must hold for whoever reads it, and `run` must be able to go on
            // from here should anything after this panic.
            self.publish(snapshot.clone());
            let spare = machine.spare().filter(|_| ended);
            self.diary.note(ended, &snapshot, (machine.next_attempt_in(), spare), now);
            event = self.next_event(&mut attempt, step.wake_at).await;
        }
    }

    fn start(&self, attempt: &mut JoinSet<Result<Credentials, Failure>>) {
        let issuer = Arc::clone(&self.issuer);
        let limit = self.policy.attempt_limit;
        attempt.spawn(async move {
            tokio::time::timeout(limit, issuer.issue()).await.unwrap_or_else(|_| {
                Err(Failure::of(Reason::NoAnswer, format!("no answer within {limit:?}"), None))
            })
        });
    }

    /// Wakes waiting callers only if there is something new for them.
    fn publish(&self, newer: Snapshot) {
        self.published.send_if_modified(|published| {
            let is_news = !published.is_old_news(&newer);
            if is_news {
                *published = newer;
            }
            is_news
        });
    }

    async fn next_event(
        &self,
        attempt: &mut JoinSet<Result<Credentials, Failure>>,
        wake_at: Moment,
    ) -> Event {
        let pause = Duration::try_from(wake_at.up - self.clock.moment().up).unwrap_or_default();
        let pause = pause.clamp(SHORTEST_SLEEP, self.policy.look_again);
        tokio::select! {
            Some(ended) = attempt.join_next() => Event::Fetched(outcome(ended)),
            () = self.identity_changed.notified() => Event::IdentityChanged,
            () = self.nudge.notified() => Event::Wanted,
            () = tokio::time::sleep(pause) => Event::Wake,
        }
    }
}

/// Timers are coarser than clocks; without this an alarm a microsecond away would spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

fn outcome(ended: Result<Result<Credentials, Failure>, JoinError>) -> Result<Arc<Credentials>, Failure> {
    match ended {
        Ok(result) => result.map(Arc::new),
        Err(error) if error.is_panic() => Err(Failure::of(Reason::Bug, "the attempt panicked", None)),
        Err(_) => Err(Failure::of(Reason::Bug, "the attempt was aborted", None)),
    }
}

#[cfg(test)]
mod tests;
