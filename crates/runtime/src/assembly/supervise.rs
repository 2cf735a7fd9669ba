//! Restarts tasks after a panic, because they must run as long as the daemon.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tracing::error;

use anchord_core::event;
use anchord_identity::Watcher;
use anchord_session::Keeper;

/// Long enough to avoid a busy loop, and short compared with the life of credentials.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs a session's keeper for ever. After a panic it logs an error, and the keeper continues from its last published
/// state.
pub(super) async fn keep(mut keeper: Keeper) {
    loop {
        // A panic drops the future with all unfinished work. The keeper itself holds only published state.
        let Err(_panic) = AssertUnwindSafe(keeper.run()).catch_unwind().await;
        error!(
            event = event::TASK_RESTARTED,
            session = keeper.name(),
            "The session's keeper panicked; restarting it"
        );
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// Runs the watcher of a session's certificate or access keys for ever, and restarts it after a panic.
pub(super) async fn watch(watcher: Watcher) {
    loop {
        let Err(_panic) = AssertUnwindSafe(watcher.run()).catch_unwind().await;
        error!(
            event = event::TASK_RESTARTED,
            session = watcher.session(),
            "The watcher of the session's certificate or keys panicked; restarting it"
        );
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// Runs the writer of a credentials file until it returns, and restarts it after a panic.
pub(super) async fn write<F: Future<Output = ()>>(file: &str, follow: impl Fn() -> F) {
    while AssertUnwindSafe(follow()).catch_unwind().await.is_err() {
        error!(
            event = event::TASK_RESTARTED,
            file, "The writer of the credentials file panicked; restarting it"
        );
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::*;
    use anchord_core::clock::Clock;
    use anchord_core::credentials::Credentials;
    use anchord_core::credentials::Keys;
    use anchord_core::entropy::Entropy;
    use anchord_core::entropy::Jitter;
    use anchord_core::failure::Failure;
    use anchord_core::issuer::BoxFuture;
    use anchord_core::issuer::Issuer;
    use anchord_core::secret::Secret;
    use anchord_session as session;
    use anchord_session::Freshness;
    use anchord_session::Policy;

    struct Generous(Clock);

    impl Issuer for Generous {
        fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
            let now = self.0.moment();
            let keys = Keys {
                access_key_id: "ASIAEXAMPLE".into(),
                secret_access_key: Secret::new("secret".into()),
                session_token: Some(Secret::new("token".into())),
            };
            let made = Credentials::new(keys, now, now.wall + time::Duration::HOUR, None).unwrap();
            Box::pin(async move { Ok(made) })
        }
    }

    /// The keeper itself panics, where it draws jitter for the first renewal; not an attempt, which it would catch.
    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_panics_is_started_again() {
        let clock = Clock::manual(time::macros::datetime!(2026-03-11 12:00:00 UTC));
        let draws = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&draws);
        let jitter = Jitter::uniform(Entropy::from_fn(move |_| {
            assert_ne!(counted.fetch_add(1, Ordering::SeqCst), 0, "a deliberate panic");
        }));
        let issuer = Arc::new(Generous(clock.clone()));
        let (handle, keeper) = session::open("bedrock", issuer, Policy::default(), clock, jitter);

        let kept = tokio::spawn(keep(keeper));
        let credentials = handle.hand_out(Freshness::Full, Duration::from_secs(60)).await.unwrap();

        assert_eq!(credentials.access_key_id(), "ASIAEXAMPLE");
        assert!(draws.load(Ordering::SeqCst) > 1 && !kept.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn writing_a_file_that_panics_is_started_again_until_it_ends_by_itself() {
        let starts = AtomicUsize::new(0);

        write("legacy", async || {
            assert!(starts.fetch_add(1, Ordering::SeqCst) >= 2, "a deliberate panic");
        })
        .await;

        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
