//! Watches for new SVIDs: keeps a stream to the agent open, and notifies when the agent sends something.
//!
//! The messages themselves are ignored: the caller asks the agent again with [`super::fetch()`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;
use tracing::info;
use tracing::warn;

use super::AgentFault;
use super::Error;
use super::WorkloadEndpoint;
use super::agent;
use anchord_core::event;
use anchord_core::failure::Classify as _;
use anchord_core::failure::ErrorChain;
use anchord_core::reported::Reported;

/// Watches an agent until it is dropped.
pub struct SvidStream {
    pushed: Arc<Notify>,
    listener: AbortHandle,
    rests_until: Instant,
}

/// A faulty agent that sends without a pause must not make anchord call AWS without a pause.
const REST: Duration = Duration::from_millis(250);

impl SvidStream {
    /// Starts watching in a task of the current runtime; `session` is the name in the log.
    pub fn new(endpoint: WorkloadEndpoint, session: &str) -> Self {
        let pushed = Arc::new(Notify::new());
        let listener = SvidListener {
            endpoint,
            session: session.into(),
            pushed: Arc::clone(&pushed),
            failures: 0,
            trouble: Reported::default(),
        };
        let listener = tokio::spawn(listener.listen()).abort_handle();
        Self { pushed, listener, rests_until: Instant::now() }
    }

    /// Waits until the agent has sent something since the last call. The agent also sends after each reconnect. Returns
    /// at most four times a second. Cancel-safe.
    pub async fn changed(&mut self) {
        tokio::time::sleep_until(self.rests_until).await;
        self.pushed.notified().await;
        self.rests_until = Instant::now() + REST;
    }
}

impl Drop for SvidStream {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

struct SvidListener {
    endpoint: WorkloadEndpoint,
    session: String,
    pushed: Arc<Notify>,
    /// The number of failures in a row.
    failures: u32,
    trouble: Reported<()>,
}

/// An agent answers immediately (SPIFFE Workload API, section 4.3).
const ANSWER: Duration = Duration::from_secs(10);

/// After this time without a message the connection may be dead without an error, as TCP connections can be.
const SILENCE: Duration = Duration::from_secs(3600);

impl SvidListener {
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

    /// Reads one stream to its end; `Ok` if it was only silent.
    async fn hear_out(&mut self) -> Result<(), AgentFault> {
        let first = async {
            let mut messages = agent::open(&self.endpoint).await?;
            messages.next().await?;
            Ok(messages)
        };
        let silent = |_| AgentFault::Silent { patience: ANSWER };
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

    /// Logs, once, an agent that stays away. A restart of the agent is not logged.
    fn failed(&mut self, fault: AgentFault) {
        const PATIENT: u32 = 3;
        self.failures = self.failures.saturating_add(1);
        let error = Error { endpoint: self.endpoint.clone(), fault };
        let (session, hint, text) = (&*self.session, error.hint(), ErrorChain(&error).to_string());
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

/// One second, doubled each time, up to half a minute. Without jitter: an agent only has the clients of its host, which
/// did not all start at the same time.
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
