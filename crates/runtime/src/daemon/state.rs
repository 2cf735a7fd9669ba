//! The state that a daemon leaves to its successor: valid credentials, and the key of the IMDS tokens.
//!
//! If systemd keeps descriptors (`FileDescriptorStoreMax=`, sd_notify(3)), the state is a sealed memfd that systemd
//! holds. Otherwise it is a private file in the runtime directory, if that is in memory. Credentials must never be
//! written to a disk. If the state is damaged or of other settings, the successor only makes one more call of
//! CreateSession.

mod document;
mod store;
mod superseded;

use tracing::warn;

pub(super) use document::RenewalId;
pub(super) use document::SavedSession;
pub(super) use document::SavedState;
pub(super) use document::base64;
pub(super) use document::fingerprint;
pub(super) use document::hash;
pub(super) use store::Store;
pub(super) use superseded::Superseded;

use anchord_core::clock::Clock;
use anchord_core::event;
use anchord_core::failure::Failure;

/// Reads the newest state in `store`. Logs and skips a state that cannot be used.
pub(super) fn read(store: &mut Store, clock: &Clock) -> Option<SavedState> {
    let mut newest: Option<SavedState> = None;
    for (place, found) in store.read() {
        let state = found
            .map_err(Failure::from)
            .and_then(|bytes| SavedState::decode(&bytes, clock).map_err(Failure::from));
        match state {
            Ok(state) if newest.as_ref().is_none_or(|known| known.saved_at.up <= state.saved_at.up) => {
                newest = Some(state);
            }
            Ok(_) => {}
            Err(failure) => warn!(
                event = event::HANDOVER_LOST,
                place,
                error = failure.message(),
                hint = failure.hint(),
                "Cannot use the state of the previous run; creating new sessions"
            ),
        }
    }
    newest
}
