//! Waits for counts that requests move, and gives up loudly: a test must fail, not hang.

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::watch;

/// Above anything that a client does before it asks again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `count` are there.
///
/// # Panics
/// After a minute of real time, whatever tokio's own clock shows, which stands still or flies in tests.
pub(crate) async fn wait_for(what: &str, counted: &watch::Sender<usize>, count: usize) {
    wait_for_within(PATIENCE, what, counted, count).await;
}

async fn wait_for_within(patience: Duration, what: &str, counted: &watch::Sender<usize>, count: usize) {
    let (_ended, has_ended) = mpsc::channel::<()>();
    let (late, is_late) = oneshot::channel();
    std::thread::spawn(move || {
        if has_ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Nobody may be left to hear it.
            let _ = late.send(());
        }
    });
    let mut counts = counted.subscribe();
    tokio::select! {
        // It fails without a sender only, and here is one.
        _ = counts.wait_for(|now| *now >= count) => {}
        Ok(()) = is_late => panic!("{} {what} in {patience:?}, not {count}", *counted.borrow()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_not_waited_for() {
        wait_for("requests", &watch::Sender::new(2), 2).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "1 requests in 1ms, not 2")]
    async fn what_never_comes_ends_the_test() {
        wait_for_within(Duration::from_millis(1), "requests", &watch::Sender::new(1), 2).await;
    }
}
