//! X.509-SVIDs from the Workload API of this host's SPIFFE agent, such as SPIRE's.
//!
//! The agent identifies the calling process, and makes and renews its keys and certificates. Settings only say where
//! the agent listens, and which SVID to use if there are several. Each load asks the agent again, so the current SVID
//! is used. The wire format is read here (`frames`, `message`), over hyper's HTTP/2.

#[cfg(not(feature = "spiffe"))]
mod absent;
#[cfg(feature = "spiffe")]
mod agent;
mod choice;
mod endpoint;
mod error;
#[cfg(feature = "spiffe")]
mod fetch;
#[cfg(feature = "spiffe")]
mod frames;
#[cfg(all(fuzzing, feature = "spiffe"))]
pub(super) mod fuzzing;
#[cfg(feature = "spiffe")]
mod message;
#[cfg(feature = "spiffe")]
mod watch;

#[cfg(not(feature = "spiffe"))]
pub use absent::SvidStream;
#[cfg(not(feature = "spiffe"))]
pub use absent::fetch;
pub use choice::Choice;
pub use choice::MalformedId;
pub use endpoint::MalformedEndpoint;
pub use endpoint::WorkloadEndpoint;
pub use error::AgentFault;
pub use error::AgentMessage;
pub use error::Error;
#[cfg(feature = "spiffe")]
pub use fetch::fetch;
#[cfg(feature = "spiffe")]
pub use watch::SvidStream;

use super::Origin;
use anchord_core::secret::Secret;

/// An agent, and which of its SVIDs to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Where it listens.
    pub endpoint: WorkloadEndpoint,
    /// Which SVID to use.
    pub choice: Choice,
}

impl Agent {
    /// As messages name it.
    pub(super) fn origin(&self) -> Origin {
        match &self.choice.id {
            Some(id) => Origin::named(format!("the SVID `{id}` of the agent at `{}`", self.endpoint)),
            None => Origin::named(format!("the SVID of the agent at `{}`", self.endpoint)),
        }
    }

    /// What identifies the SVID, for fingerprints of settings.
    pub(super) fn facts(&self) -> Vec<u8> {
        let Choice { id, hint } = &self.choice;
        let parts = [Some(self.endpoint.to_string()), id.clone(), hint.clone()];
        parts.map(Option::unwrap_or_default).join("\0").into_bytes()
    }

    /// Asks for the current SVID.
    pub(super) fn fetch(&self) -> Result<Svid, Error> {
        fetch(&self.endpoint, &self.choice)
    }
}

/// A certificate chain and key from an agent.
#[derive(Debug)]
pub struct Svid {
    /// Its SPIFFE ID.
    pub id: String,
    /// The hint of its registration entry, if any.
    pub hint: Option<String>,
    /// DER; the leaf, then the intermediates above it.
    pub certificates: Vec<Vec<u8>>,
    /// PKCS#8, DER.
    pub key: Secret<Vec<u8>>,
}

#[cfg(test)]
#[cfg(feature = "spiffe")]
mod tests;
