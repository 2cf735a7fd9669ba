//! What a daemon leaves to its successor, so that no client notices a restart: the credentials that live, and the
//! key of the IMDS tokens.
//!
//! It is written at each renewal, not at the end: a process that is killed has no last words. Where systemd keeps
//! descriptors (`FileDescriptorStoreMax=`, sd_notify(3)) it is a sealed memfd in its hands; else a private file in
//! the runtime directory, if that is in memory. Credentials must never reach a disk this way, and a state that is
//! damaged, or of other settings, costs one CreateSession and nothing else.

mod state;
mod store;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::watch;
use tracing::debug;
use tracing::info;
use tracing::warn;

pub(super) use state::Kept;
pub(super) use state::State;
pub(super) use state::base64;
pub(super) use state::fingerprint;
pub(super) use state::hash;
pub(super) use store::Store;

use super::roster::Member;
use super::roster::Roster;
use crate::clock::Clock;
use crate::failure::Class;
use crate::failure::Failure;
use crate::secret::Secret;
use crate::session::Snapshot;

/// What a predecessor left in `store`; the newest of several. What cannot be used is told and left out.
pub(super) fn read(store: &mut Store) -> Option<State> {
    let mut newest: Option<State> = None;
    for (place, found) in store.read() {
        let state =
            found.map_err(Failure::from).and_then(|bytes| State::decode(&bytes).map_err(Failure::from));
        match state {
            Ok(state) if newest.as_ref().is_none_or(|known| known.saved_at <= state.saved_at) => {
                newest = Some(state);
            }
            Ok(_) => {}
            Err(failure) => warn!(
                place,
                error = failure.message(),
                hint = failure.hint(),
                "What the previous run left cannot be used; sessions are created anew"
            ),
        }
    }
    newest
}

/// Writes to `store` at each renewal of any session, until dropped.
pub(super) async fn keep(
    store: Store,
    token_key: Option<Secret<[u8; 32]>>,
    mut rosters: watch::Receiver<Roster>,
    clock: Clock,
) {
    if let Store::Nowhere { why } = &store {
        info!(why, "Credentials are not kept across restarts");
        return;
    }
    // Beside a file there is the key's own, which may be removed to end all tokens.
    let token_key = token_key.filter(|_| matches!(store, Store::Descriptors { .. }));
    let store = Arc::new(store);
    let mut writer = Writer { store, token_key, clock, saved: Vec::new(), failing: false };
    loop {
        let members = rosters.borrow_and_update().clone();
        let watched = members.iter().map(|member| (Arc::clone(member), member.handle().snapshots()));
        let mut watched: Vec<_> = watched.collect();
        loop {
            writer.save(watched.iter_mut().filter_map(kept).collect()).await;
            tokio::select! {
                reloaded = rosters.changed() => match reloaded {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = any_change(&mut watched) => tokio::time::sleep(pause(watched.len())).await,
                () = tokio::time::sleep(TRY_AGAIN), if writer.failing => {}
            }
        }
    }
}

/// Each write holds all sessions: what a thousand sessions renew within a second is one write and not a thousand. A
/// process that is killed in this time costs a successor the calls that it covers.
fn pause(sessions: usize) -> Duration {
    let pause = Duration::from_millis(u64::try_from(sessions).unwrap_or(u64::MAX));
    pause.min(Duration::from_secs(1))
}

/// A full file system may have room again.
const TRY_AGAIN: Duration = Duration::from_secs(60);

type Watched = (Arc<Member>, watch::Receiver<Snapshot>);

/// What there is to keep of a session: credentials of its present settings, but for a user's own keys, which do not end
/// and can be read again.
fn kept((member, seen): &mut Watched) -> Option<Kept> {
    let snapshot = seen.borrow_and_update();
    let credentials = snapshot.credentials.as_ref().filter(|held| held.session_token().is_some())?;
    if snapshot.inherited {
        return None;
    }
    Some(Kept::of(member, Arc::clone(credentials)))
}

async fn any_change(watched: &mut [Watched]) {
    let changes: Vec<Pin<Box<_>>> =
        watched.iter_mut().map(|(_, seen)| Box::pin(async { seen.changed().await.is_ok() })).collect();
    if changes.is_empty() || !select_all(changes).await.0 {
        // Nobody publishes any more; only another roster brings news.
        std::future::pending::<()>().await;
    }
}

struct Writer {
    store: Arc<Store>,
    token_key: Option<Secret<[u8; 32]>>,
    clock: Clock,
    saved: Vec<state::Id>,
    failing: bool,
}

impl Writer {
    /// Writes `sessions` unless that has been done.
    async fn save(&mut self, sessions: Vec<Kept>) {
        let ids: Vec<_> = sessions.iter().map(Kept::id).collect();
        if ids == self.saved {
            return;
        }
        let state = State { saved_at: self.clock.now(), token_key: self.token_key.clone(), sessions };
        match self.write(state).await {
            Ok(()) => {
                debug!(sessions = ids.len(), "Credentials are kept for a successor");
                (self.saved, self.failing) = (ids, false);
            }
            Err(failure) if !self.failing => {
                let (error, hint) = (failure.message(), failure.hint());
                warn!(error, hint, "Credentials cannot be kept for a successor; a restart would lose them");
                self.failing = true;
            }
            Err(_) => {}
        }
    }

    /// Files and systemd's socket may block.
    async fn write(&self, state: State) -> Result<(), Failure> {
        let store = Arc::clone(&self.store);
        let written =
            tokio::task::spawn_blocking(move || store.write(&state.encode()).map_err(Failure::from));
        match tokio::time::timeout(WRITING, written).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::of(Class::Broken, "writing the state panicked", None)),
            Err(_) => {
                Err(Failure::of(Class::Transient, format!("it was not written within {WRITING:?}"), None))
            }
        }
    }
}

/// Memory takes microseconds; what takes longer than this hangs.
const WRITING: Duration = Duration::from_secs(10);
