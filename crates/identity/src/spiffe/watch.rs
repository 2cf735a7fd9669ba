//! Hears of new SVIDs: keeps a stream to the agent open and says when the agent has sent anything.
//!
//! What it has sent is not looked at: whoever is told asks the agent again, as [`super::fetch()`] does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;
use tracing::info;
use tracing::warn;

use super::Endpoint;
use super::Error;
use super::Fault;
use super::agent;
use anchord_core::event;
use anchord_core::failure::Chain;
use anchord_core::failure::Classify as _;
use anchord_core::reported::Reported;

/// An agent that is listened to, until this is dropped.
pub struct Stream {
    pushed: Arc<Notify>,
    listener: AbortHandle,
    rests_until: Instant,
}

/// An agent gone wild must not have its host ask AWS without a pause.
const REST: Duration = Duration::from_millis(250);

impl Stream {
    /// Listens from now on, in a task of the current runtime; `session` is for the log.
    pub fn new(endpoint: Endpoint, session: &str) -> Self {
        let pushed = Arc::new(Notify::new());
        let listener = Listener {
            endpoint,
            session: session.into(),
            pushed: Arc::clone(&pushed),
            failures: 0,
            trouble: Reported::default(),
        };
        let listener = tokio::spawn(listener.listen()).abort_handle();
        Self { pushed, listener, rests_until: Instant::now() }
    }

    /// Waits until the agent has sent something since the last time, which it also does whenever it is reached
    /// again; four times a second at most. Cancel-safe.
    pub async fn changed(&mut self) {
        tokio::time::sleep_until(self.rests_until).await;
        self.pushed.notified().await;
        self.rests_until = Instant::now() + REST;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

struct Listener {
    endpoint: Endpoint,
    session: String,
    pushed: Arc<Notify>,
    /// In a row.
    failures: u32,
    trouble: Reported<()>,
}

/// An agent answers at once (SPIFFE Workload API, section 4.3).
const ANSWER: Duration = Duration::from_secs(10);

/// An agent that has said nothing for so long may have vanished without a word, as behind TCP it can.
const SILENCE: Duration = Duration::from_secs(3600);

impl Listener {
    async fn listen(mut self) {
        loop {
            match self.hear_out().await {
                Ok(()) => {
                    debug!(session = &*self.session, "The SPIFFE agent is silent; opening another stream");
                }
                Err(fault) => self.failed(fault),
            }
            tokio::time::sleep(pause(self.failures)).await;
        }
    }

    /// One stream to its end; good if it is only silent.
    async fn hear_out(&mut self) -> Result<(), Fault> {
        let first = async {
            let mut messages = agent::open(&self.endpoint).await?;
            messages.next().await?;
            Ok(messages)
        };
        let silent = |_| Fault::Silent { patience: ANSWER };
        let mut messages = tokio::time::timeout(ANSWER, first).await.map_err(silent)??;
        loop {
            self.heard();
            match tokio::time::timeout(SILENCE, messages.next()).await {
                Ok(message) => drop(message?),
                Err(_) => return Ok(()),
            }
        }
    }

    fn heard(&mut self) {
        self.failures = 0;
        if self.trouble.clear() {
            info!(event = event::SPIFFE_RECOVERED, session = &*self.session, agent = %self.endpoint, "Connected to the SPIFFE agent again");
        }
        self.pushed.notify_one();
    }

    /// An agent that restarts is no news; one that stays away is, once.
    fn failed(&mut self, fault: Fault) {
        const PATIENT: u32 = 3;
        self.failures = self.failures.saturating_add(1);
        let error = Error { endpoint: self.endpoint.clone(), fault };
        let (session, hint, text) = (&*self.session, error.hint(), Chain(&error).to_string());
        if self.failures < PATIENT || !self.trouble.is_new(()) {
            debug!(session, error = text, "The stream of SVIDs has ended; opening another one");
            return;
        }
        warn!(
            event = event::SPIFFE_UNREACHABLE,
            session,
            error = text,
            hint = hint.as_deref(),
            "Lost the SPIFFE agent; retrying until it answers"
        );
    }
}

/// From a second, twice as long each time, to half a minute. Without jitter: an agent has the clients of its host,
/// each of which began at a time of its own.
fn pause(failures: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    Duration::from_secs(1 << failures.saturating_sub(1).min(5)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_one_second_to_thirty() {
        let pauses: Vec<u64> = (0..8).map(|failures| pause(failures).as_secs()).collect();

        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause(u32::MAX).as_secs(), 30);
    }
}
