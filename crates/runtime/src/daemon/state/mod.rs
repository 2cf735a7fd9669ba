//! What a daemon leaves to its successor: the credentials that live, and the key of the IMDS tokens.
//!
//! Where systemd keeps descriptors (`FileDescriptorStoreMax=`, sd_notify(3)) it is a sealed memfd that systemd holds; else
//! a private file in the runtime directory, if that is in memory. Credentials must never reach a disk this way. A state
//! that is damaged, or of other settings, costs one CreateSession and nothing else.

mod aside;
mod form;
mod store;

use tracing::warn;

pub(super) use aside::Aside;
pub(super) use form::Id;
pub(super) use form::Kept;
pub(super) use form::State;
pub(super) use form::base64;
pub(super) use form::fingerprint;
pub(super) use form::hash;
pub(super) use store::Store;

use anchord_core::clock::Clock;
use anchord_core::event;
use anchord_core::failure::Failure;

/// What a predecessor left in `store`; the newest of several. What cannot be used is told and left out.
pub(super) fn read(store: &mut Store, clock: &Clock) -> Option<State> {
    let mut newest: Option<State> = None;
    for (place, found) in store.read() {
        let state = found
            .map_err(Failure::from)
            .and_then(|bytes| State::decode(&bytes, clock).map_err(Failure::from));
        match state {
            Ok(state) if newest.as_ref().is_none_or(|known| known.saved.up <= state.saved.up) => {
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
