//! Asks the agent once, and picks the wanted SVID from its answer.

use std::time::Duration;

use tokio::runtime;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::asn1_rs::Sequence;
use zeroize::Zeroizing;

use super::AgentFault;
use super::Choice;
use super::Error;
use super::Svid;
use super::WorkloadEndpoint;
use super::agent;
use super::message;
use super::message::X509Svid;
use anchord_core::secret::Secret;

/// An agent answers from memory, in milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// Asks the agent for the wanted SVID.
///
/// Blocks for at most four seconds. Do not call it from a task of a runtime.
pub fn fetch(endpoint: &WorkloadEndpoint, choice: &Choice) -> Result<Svid, Error> {
    let answer = ask(endpoint).and_then(|message| svid(&message, choice));
    answer.map_err(|fault| Error { endpoint: endpoint.clone(), fault })
}

/// Uses its own runtime: callers run this as blocking work, and may have no runtime.
fn ask(endpoint: &WorkloadEndpoint) -> Result<Zeroizing<Vec<u8>>, AgentFault> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(AgentFault::NoQueue)?;
    runtime.block_on(first_message(endpoint))
}

pub(super) async fn first_message(endpoint: &WorkloadEndpoint) -> Result<Zeroizing<Vec<u8>>, AgentFault> {
    let answer = async { agent::open(endpoint).await?.next().await };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.unwrap_or(Err(AgentFault::Silent { patience: PATIENCE }))
}

pub(super) fn svid(message: &[u8], choice: &Choice) -> Result<Svid, AgentFault> {
    let entries = message::entries(message).map_err(|why| AgentFault::Garbled { why: why.to_string() })?;
    let offered = || entries.iter().map(|entry| (entry.id.to_owned(), entry.hint.to_owned())).collect();
    let X509Svid { id, certificates, key, hint } = *among(choice, &entries)
        .ok_or_else(|| AgentFault::NotOffered { wanted: Box::new(choice.clone()), offered: offered() })?;
    // Section 4.5: an SVID without a mandatory field must not be used.
    let fields =
        [("SPIFFE ID", id.is_empty()), ("certificate", certificates.is_empty()), ("key", key.is_empty())];
    if let Some((missing, _)) = fields.into_iter().find(|(_, is_empty)| *is_empty) {
        return Err(AgentFault::Incomplete { id: id.into(), missing });
    }
    Ok(Svid {
        id: id.into(),
        hint: (!hint.is_empty()).then(|| hint.into()),
        certificates: split(certificates)?,
        key: Secret::new(key.to_vec()),
    })
}

/// The first that matches: hints may occur twice, and then the first counts (section 5.2.1).
fn among<'a, 'b>(choice: &Choice, entries: &'b [X509Svid<'a>]) -> Option<&'b X509Svid<'a>> {
    let fits = |wanted: &Option<String>, found| wanted.as_deref().is_none_or(|wanted| wanted == found);
    entries.iter().find(|entry| fits(&choice.id, entry.id) && fits(&choice.hint, entry.hint))
}

/// Splits concatenated DER certificates.
pub(super) fn split(mut ders: &[u8]) -> Result<Vec<Vec<u8>>, AgentFault> {
    let mut certificates = Vec::new();
    while !ders.is_empty() {
        let (rest, _) = Sequence::from_der(ders)
            .map_err(|_| AgentFault::Garbled { why: "its certificates are not DER".into() })?;
        certificates.push(ders[..ders.len() - rest.len()].to_vec());
        ders = rest;
    }
    Ok(certificates)
}
