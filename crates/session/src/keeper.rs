//! Carries out what `plan` decides: one task per session owns its state, its alarm and its one attempt.
//!
//! Each attempt runs as a task of its own, so that a panic in an issuer ends only that attempt. The keeper checks the
//! clocks at least every 30 s, because timers stand still while a host is suspended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use super::Handle;
use super::Machine;
use super::Policy;
use super::SessionEvent;
use super::Snapshot;
use super::diary;
use super::diary::SessionDiary;
use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::Issuer;

/// Keeps one session's credentials fresh while [`Keeper::run`] is polled.
///
/// It survives a panic of `run`. Call `run` again on the same keeper, and the session continues from the last published
/// snapshot, with the same handles.
pub struct Keeper {
    issuer: Arc<dyn Issuer>,
    policy: Policy,
    clock: Clock,
    jitter: Jitter,
    published: watch::Sender<Snapshot>,
    nudge: Arc<Notify>,
    identity_changed: Arc<Notify>,
    diary: SessionDiary,
}

/// Opens the session `name`. Returns the handle for its callers, and the keeper that the caller has to run.
///
/// Callers that ask before the keeper runs wait for its first attempt, which it starts immediately.
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

/// Opens a session that continues from `past`, a snapshot of [`Snapshot::kept`], [`Snapshot::inherited`] or an earlier
/// handle. The session hands out the credentials of `past` from the start.
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
    let diary = SessionDiary::new(name);
    (handle, Keeper { issuer, policy, clock, jitter, published, nudge, identity_changed, diary })
}

impl Keeper {
    /// The session's name.
    pub fn name(&self) -> &str {
        self.diary.session()
    }

    /// Call its `notify_one` when the issuer will use another certificate than before. If the keeper does not run, it
    /// gets the notification when it runs again.
    pub fn identity_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.identity_changed)
    }

    /// Keeps the session's credentials fresh until the future is dropped, which aborts a running attempt.
    pub async fn run(&mut self) -> Infallible {
        let last = self.published.borrow().clone();
        let mut machine = Machine::resume(self.policy, &last, self.clock.moment(), &self.jitter);
        if let Some(date) = self.issuer.clock_offset() {
            machine.learn(date, self.clock.moment());
        }
        let mut attempt = JoinSet::new();
        let mut event = SessionEvent::Wake;
        loop {
            let now = self.clock.moment();
            if let Some(step) = self.clock.unreported_step(now) {
                diary::clock_was_set(step);
            }
            let ended = matches!(event, SessionEvent::Fetched(_));
            if let Some(date) = self.issuer.clock_offset().filter(|_| ended) {
                machine.learn(date, now);
            }
            let action = machine.on(event, now, &self.jitter);
            if action.fetch {
                self.start(&mut attempt);
            }
            let snapshot = machine.snapshot();
            // Published before it is logged, for two reasons: a reader of the log must find the session in the state
            // that the log says, and `run` continues from the published state if anything after this line panics.
            self.publish(snapshot.clone());
            let spare = machine.spare().filter(|_| ended);
            self.diary.note(ended, &snapshot, (machine.next_attempt_in(), spare), now);
            event = self.next_event(&mut attempt, action.wake_at).await;
        }
    }

    fn start(&self, attempt: &mut JoinSet<Result<Credentials, Failure>>) {
        let issuer = Arc::clone(&self.issuer);
        let limit = self.policy.attempt_limit;
        attempt.spawn(async move {
            tokio::time::timeout(limit, issuer.issue()).await.unwrap_or_else(|_| {
                Err(Failure::of(Reason::NoAnswer, format!("no answer within {} s", limit.as_secs()), None))
            })
        });
    }

    /// Publishes `newer`, and wakes waiting callers, only if it differs for them.
    fn publish(&self, newer: Snapshot) {
        self.published.send_if_modified(|published| {
            let differs = !published.is_equivalent_to(&newer);
            if differs {
                *published = newer;
            }
            differs
        });
    }

    /// Waits for the first of: the end of the attempt, a new certificate, a waiting client, the alarm.
    async fn next_event(
        &self,
        attempt: &mut JoinSet<Result<Credentials, Failure>>,
        wake_at: Moment,
    ) -> SessionEvent {
        let pause = Duration::try_from(wake_at.up - self.clock.moment().up).unwrap_or_default();
        let pause = pause.clamp(SHORTEST_SLEEP, self.policy.look_again);
        tokio::select! {
            Some(ended) = attempt.join_next() => SessionEvent::Fetched(outcome(ended)),
            () = self.identity_changed.notified() => SessionEvent::IdentityChanged,
            () = self.nudge.notified() => SessionEvent::Wanted,
            () = tokio::time::sleep(pause) => SessionEvent::Wake,
        }
    }
}

/// Timers are coarser than clocks. Without this minimum, the loop would spin on an alarm that is a microsecond away.
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
