//! Keeps tasks going that may only end with the daemon.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tracing::error;

use crate::session::Keeper;

/// Long enough not to spin, short against any credential's life.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs a session's keeper for ever; a panic in it is reported and it goes on from what it last published.
pub(super) async fn keep(mut keeper: Keeper) {
    loop {
        // What a panic may leave half done is dropped with the future: the keeper itself holds only what was
        // published.
        let Err(_panic) = AssertUnwindSafe(keeper.run()).catch_unwind().await;
        error!(session = keeper.name(), "The session's keeper ended by a panic; starting it again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}
