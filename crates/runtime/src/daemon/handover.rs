//! Writes the state for a successor, so that no client notices a restart.
//!
//! It writes at each renewal, because a killed process writes nothing more, and once more at an orderly end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;
use tracing::info;
use tracing::warn;

use super::running_sessions::RunningSession;
use super::running_sessions::RunningSessions;
use super::secrets::Secrets;
use super::state::RenewalId;
use super::state::SavedSession;
use super::state::SavedState;
use super::state::Store;
use anchord_core::clock::Clock;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_session::Snapshot;

/// Writes to `store` at each renewal of any session, after the directory of its file was recreated (`made_anew`), and
/// once more after the sender of `ending` was dropped.
pub(super) async fn keep(
    store: Store,
    mut secrets: watch::Receiver<Arc<Secrets>>,
    mut running: watch::Receiver<RunningSessions>,
    made_anew: Arc<Notify>,
    mut ending: oneshot::Receiver<()>,
    clock: Clock,
) {
    if let Store::Nowhere { why } = &store {
        info!(event = event::HANDOVER_OFF, why, "Credentials are not kept across restarts");
        return;
    }
    // A file store has no token key: the key has its own file beside it, which an operator may remove to invalidate all
    // tokens.
    let keeps_token_key = matches!(store, Store::Descriptors { .. });
    let dated_by = clock.clone();
    let write = move |state: &SavedState| store.write(&state.encode(&dated_by)).map_err(Failure::from);
    let mut writer = StateWriter::new(Arc::new(write), clock);
    loop {
        let sessions = running.borrow_and_update().clone();
        let watched = sessions.iter().map(|session| (Arc::clone(session), session.handle().snapshots()));
        let mut watched: Vec<_> = watched.collect();
        loop {
            let token_key = secrets.borrow_and_update().token_key.clone().filter(|_| keeps_token_key);
            writer.save(token_key, watched.iter_mut().flat_map(saved).collect()).await;
            if ending.is_terminated() {
                return;
            }
            tokio::select! {
                reloaded = running.changed() => match reloaded {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = any_change(&mut watched) => {
                    let _ = tokio::time::timeout(pause(watched.len()), &mut ending).await;
                }
                _ = &mut ending => {}
                Ok(()) = secrets.changed() => {}
                () = made_anew.notified() => writer.last_written = LastWritten::default(),
                () = tokio::time::sleep(TRY_AGAIN), if writer.failing => {}
            }
        }
    }
}

/// The pause before a write. Each write contains all sessions, so a thousand renewals within a second become one write.
/// If the process is killed during the pause, its successor repeats these renewals.
fn pause(sessions: usize) -> Duration {
    let pause = Duration::from_millis(u64::try_from(sessions).unwrap_or(u64::MAX));
    pause.min(Duration::from_secs(1))
}

/// Retries a failed write, for example because a full file system may have room again.
const TRY_AGAIN: Duration = Duration::from_secs(60);

type WatchedSession = (Arc<RunningSession>, watch::Receiver<Snapshot>);

/// What there is to keep of a session: its own credentials first, then what other settings made.
fn saved((session, seen): &mut WatchedSession) -> Vec<SavedSession> {
    let own = session.own(&seen.borrow_and_update());
    own.into_iter().chain(session.superseded().iter().cloned()).collect()
}

async fn any_change(watched: &mut [WatchedSession]) {
    let changes: Vec<Pin<Box<_>>> =
        watched.iter_mut().map(|(_, seen)| Box::pin(async { seen.changed().await.is_ok() })).collect();
    if changes.is_empty() || !select_all(changes).await.0 {
        // All keepers have ended. Only a reload can bring new snapshots.
        std::future::pending::<()>().await;
    }
}

/// Puts a state where it is saved; may block.
type WriteState = Arc<dyn Fn(&SavedState) -> Result<(), Failure> + Send + Sync>;

/// What was written last, by which a state is recognized.
type LastWritten = (Option<Secret<[u8; 32]>>, Vec<RenewalId>);

struct StateWriter {
    write: WriteState,
    clock: Clock,
    last_written: LastWritten,
    /// Whether the last write failed. A failure is logged once, and the write is retried even if nothing changes.
    failing: bool,
    /// A write that hangs. No other write starts before it ends, or each would block one more thread.
    hanging: Option<JoinHandle<Result<(), Failure>>>,
}

impl StateWriter {
    fn new(write: WriteState, clock: Clock) -> Self {
        Self { write, clock, last_written: LastWritten::default(), failing: false, hanging: None }
    }

    /// Writes `token_key` and `sessions`, unless they were written last.
    async fn save(&mut self, token_key: Option<Secret<[u8; 32]>>, sessions: Vec<SavedSession>) {
        let ids: Vec<_> = sessions.iter().map(SavedSession::id).collect();
        if (&token_key, &ids) == (&self.last_written.0, &self.last_written.1) {
            return;
        }
        let state = SavedState { saved_at: self.clock.moment(), token_key: token_key.clone(), sessions };
        match self.write(state).await {
            Ok(()) => {
                debug!(
                    event = event::HANDOVER_WRITTEN,
                    sessions = ids.len(),
                    "Credentials are kept for a successor"
                );
                (self.last_written, self.failing) = ((token_key, ids), false);
            }
            Err(failure) if !self.failing => {
                let (error, hint) = (failure.message(), failure.hint());
                warn!(
                    event = event::HANDOVER_NOT_WRITTEN,
                    error, hint, "Cannot save credentials for a successor; a restart would lose them"
                );
                self.failing = true;
            }
            Err(_) => {}
        }
    }

    /// Writes in another thread, because files and systemd's socket may block.
    async fn write(&mut self, state: SavedState) -> Result<(), Failure> {
        let hangs = || {
            Failure::of(
                Reason::Busy,
                format!("the write did not finish within {} s", WRITING.as_secs()),
                None,
            )
        };
        if let Some(hanging) = self.hanging.take() {
            // It wrote an older state, so its result does not matter.
            _ = self.outcome(hanging).await.ok_or_else(hangs)?;
        }
        let write = Arc::clone(&self.write);
        let writing = tokio::task::spawn_blocking(move || write(&state));
        self.outcome(writing).await.ok_or_else(hangs)?
    }

    /// The result of `writing`; `None` if it hangs.
    async fn outcome(&mut self, mut writing: JoinHandle<Result<(), Failure>>) -> Option<Result<(), Failure>> {
        match tokio::time::timeout(WRITING, &mut writing).await {
            Ok(Ok(outcome)) => Some(outcome),
            Ok(Err(_)) => Some(Err(Failure::of(Reason::Bug, "writing the state panicked", None))),
            Err(_) => {
                self.hanging = Some(writing);
                None
            }
        }
    }
}

/// A write to memory takes microseconds. One that takes longer than this hangs.
const WRITING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::*;
    use anchord_core::clock::Moment;
    use anchord_core::credentials::Credentials;
    use anchord_core::credentials::Keys;

    fn saved(id: &str) -> SavedSession {
        let now = time::macros::datetime!(2026-03-11 12:00:00 UTC);
        let keys = Keys {
            access_key_id: id.into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: Some(Secret::new("token".into())),
        };
        let obtained = Moment { wall: now, up: time::Duration::HOUR };
        let credentials = Credentials::new(keys, obtained, now + time::Duration::HOUR, None).unwrap();
        let credentials = Arc::new(credentials);
        SavedSession { name: "web".into(), settings: "settings".into(), leaf: None, credentials }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_is_the_only_one_until_it_ends() {
        let begun = Arc::new(AtomicUsize::new(0));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let counted = Arc::clone(&begun);
        let write = move |_: &SavedState| {
            // The first hangs until it is released.
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                _ = held.lock().unwrap().recv();
            }
            Ok(())
        };
        let clock = Clock::manual(time::macros::datetime!(2026-03-11 12:00:00 UTC));
        let mut writer = StateWriter::new(Arc::new(write), clock);
        let too_long = || tokio::time::advance(WRITING + Duration::from_secs(1));

        for id in ["ASIA1", "ASIA2", "ASIA3"] {
            tokio::join!(writer.save(None, vec![saved(id)]), too_long());
            assert!(writer.failing);
        }
        release.send(()).unwrap();
        writer.save(None, vec![saved("ASIA3")]).await;

        let begun = begun.load(Ordering::SeqCst);
        assert_eq!(
            (begun, writer.failing),
            (2, false),
            "the first and the last: others would have hung as well"
        );
    }
}
