//! The substitute for the client in a build without SPIFFE support: an error that says so.

use super::AgentFault;
use super::Choice;
use super::Error;
use super::Svid;
use super::WorkloadEndpoint;

/// Always fails.
pub fn fetch(endpoint: &WorkloadEndpoint, _choice: &Choice) -> Result<Svid, Error> {
    Err(Error { endpoint: endpoint.clone(), fault: AgentFault::NotBuilt })
}

/// Never reports a change.
pub struct SvidStream;

impl SvidStream {
    /// Does nothing.
    pub fn new(_endpoint: WorkloadEndpoint, _session: &str) -> Self {
        Self
    }

    /// Waits forever.
    pub async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}
