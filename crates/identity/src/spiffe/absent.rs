//! What a build without gRPC has in place of a client: a refusal that says so.

use super::AgentFault;
use super::Choice;
use super::Error;
use super::Svid;
use super::WorkloadEndpoint;

/// Nobody can be asked.
pub fn fetch(endpoint: &WorkloadEndpoint, _choice: &Choice) -> Result<Svid, Error> {
    Err(Error { endpoint: endpoint.clone(), fault: AgentFault::NotBuilt })
}

/// Nobody is listened to.
pub struct SvidStream;

impl SvidStream {
    /// Does nothing.
    pub fn new(_endpoint: WorkloadEndpoint, _session: &str) -> Self {
        Self
    }

    /// Waits for ever.
    pub async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}
