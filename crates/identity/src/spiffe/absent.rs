//! What a build without gRPC has in place of a client: a refusal that says so.

use super::Choice;
use super::Endpoint;
use super::Error;
use super::Fault;
use super::Svid;

/// Nobody can be asked.
pub fn fetch(endpoint: &Endpoint, _choice: &Choice) -> Result<Svid, Error> {
    Err(Error { endpoint: endpoint.clone(), fault: Fault::NotBuilt })
}

/// Nobody is listened to.
pub struct Stream;

impl Stream {
    /// Does nothing.
    pub fn new(_endpoint: Endpoint, _session: &str) -> Self {
        Self
    }

    /// Waits for ever.
    pub async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}
