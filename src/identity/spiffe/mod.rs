//! X.509-SVIDs from the Workload API of this host's SPIFFE agent, such as SPIRE's.
//!
//! The agent makes keys and certificates itself, for whatever process it takes the caller to be, and renews them by
//! itself; there is nothing to configure but where it listens and, if it gives several, which is meant. It is asked
//! anew for each load, so what is used is what it gives now. The wire format is read here (`frames`, `message`), over
//! hyper's HTTP/2.

mod agent;
mod choice;
mod endpoint;
mod error;
mod frames;
mod message;
mod watch;

use std::time::Duration;

use tokio::runtime;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::asn1_rs::Sequence;
use zeroize::Zeroizing;

pub use choice::Choice;
pub use choice::MalformedId;
pub use endpoint::Endpoint;
pub use endpoint::Malformed;
pub use error::Error;
pub use error::Fault;
pub use error::Said;
pub use watch::Stream;

use self::message::Entry;
use crate::secret::Secret;

/// An identity as the agent gives it.
#[derive(Debug)]
pub struct Svid {
    /// Its SPIFFE ID.
    pub id: String,
    /// What its registration entry calls its use, if anything.
    pub hint: Option<String>,
    /// DER; the leaf, then the intermediates above it.
    pub certificates: Vec<Vec<u8>>,
    /// PKCS#8, DER.
    pub key: Secret<Vec<u8>>,
}

/// An agent has what it gives in memory, and answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks the agent for the SVID that is meant.
///
/// Blocks, for four seconds at most; must not be called by a task of a runtime.
pub fn fetch(endpoint: &Endpoint, choice: &Choice) -> Result<Svid, Error> {
    let answer = ask(endpoint).and_then(|message| svid(&message, choice));
    answer.map_err(|fault| Error { endpoint: endpoint.clone(), fault })
}

/// On a runtime of its own, for loading is blocking work to its callers and may happen where there is none.
fn ask(endpoint: &Endpoint) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Fault::NoQueue)?;
    runtime.block_on(first_message(endpoint))
}

async fn first_message(endpoint: &Endpoint) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let answer = async { agent::open(endpoint).await?.next().await };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.unwrap_or(Err(Fault::Silent { patience: PATIENCE }))
}

fn svid(message: &[u8], choice: &Choice) -> Result<Svid, Fault> {
    let entries = message::entries(message).map_err(|why| Fault::Garbled { why: why.to_string() })?;
    let offered = || entries.iter().map(|entry| (entry.id.to_owned(), entry.hint.to_owned())).collect();
    let Entry { id, certificates, key, hint } = *choice
        .among(&entries)
        .ok_or_else(|| Fault::NotOffered { wanted: Box::new(choice.clone()), offered: offered() })?;
    // Section 4.5: what lacks a mandatory field is not to be used.
    let fields =
        [("SPIFFE ID", id.is_empty()), ("certificate", certificates.is_empty()), ("key", key.is_empty())];
    if let Some((missing, _)) = fields.into_iter().find(|(_, is_empty)| *is_empty) {
        return Err(Fault::Incomplete { id: id.into(), missing });
    }
    Ok(Svid {
        id: id.into(),
        hint: (!hint.is_empty()).then(|| hint.into()),
        certificates: split(certificates)?,
        key: Secret::new(key.to_vec()),
    })
}

/// Certificates that stand one after the other without anything between them.
fn split(mut ders: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut certificates = Vec::new();
    while !ders.is_empty() {
        let (rest, _) = Sequence::from_der(ders)
            .map_err(|_| Fault::Garbled { why: "its certificates are not DER".into() })?;
        certificates.push(ders[..ders.len() - rest.len()].to_vec());
        ders = rest;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
