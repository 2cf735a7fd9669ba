//! What a daemon leaves to its successor: the credentials that live, and the key of the IMDS tokens.
//!
//! Where systemd keeps descriptors (`FileDescriptorStoreMax=`, sd_notify(3)) it is a sealed memfd that systemd holds; else
//! a private file in the runtime directory, if that is in memory. Credentials must never reach a disk this way. A state
//! that is damaged, or of other settings, costs one CreateSession and nothing else.

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

/// What a predecessor left in `store`; the newest of several. What cannot be used is told and left out.
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
                "What the previous run left cannot be used; sessions are created anew"
            ),
        }
    }
    newest
}
