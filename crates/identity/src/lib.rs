//! Loads, proves and watches the certificate chain and its key.
//!
//! An [`Identity`] cannot be built unless its key belongs to its leaf and Roles Anywhere would accept that
//! leaf now. Code that holds one need not check again.

#[cfg_attr(not(feature = "pkcs12"), expect(dead_code, reason = "PKCS#12 alone needs BER"))]
mod asn1;
mod authorities;
mod chain;
mod current;
mod error;
mod expiry;
mod file;
mod file_content;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod inspect;
mod key;
mod last_attempt;
mod leaf;
mod name;
mod origin;
mod passphrase;
mod pem;
pub mod pkcs11;
#[cfg(feature = "pkcs12")]
mod pkcs12;
pub mod reading;
mod selection;
mod source;
mod source_stamp;
pub mod spiffe;
pub mod tpm;
mod watch;

use std::fmt;
use std::sync::Arc;

pub use authorities::Authorities;
pub use current::Current;
pub use error::Error;
pub use expiry::ChainLink;
use expiry::ChainPosition;
pub use expiry::days_left;
pub use expiry::life_left;
pub use file::Guard;
pub use file_content::FileContent;
pub use file_content::FileError;
pub use inspect::AlternativeName;
pub use inspect::CertificateRole;
pub use inspect::InspectedCertificate;
pub use inspect::Inspection;
pub use key::Algorithm;
pub use key::Hash;
pub use key::SignFailure;
pub use key::SigningKey;
pub use last_attempt::LastAttempt;
pub use last_attempt::WatchOutcome;
pub use leaf::LeafFault;
pub use leaf::NEGATIVE_SERIAL;
pub use leaf::PublicKeyKind;
pub use leaf::has_negative_serial;
pub use name::NameAttributes;
pub use name::attribute_text;
pub use origin::Origin;
pub use passphrase::Error as PassphraseError;
pub use passphrase::Passphrase;
pub use pem::Damage;
#[cfg(feature = "pkcs12")]
pub use pkcs12::Pkcs12Fault;
pub use selection::Fingerprint;
pub use selection::LeafSelection;
pub use selection::Serial;
pub use source::FirstCertificate;
pub use source::Locator;
pub use source::Pipes;
pub use source::ProcessInput;
pub use source::Reach;
pub use source::Source;
pub use source_stamp::SourceStamp;
use time::OffsetDateTime;
pub use watch::WatchSubject;
pub use watch::Watcher;
pub use watch::Watches;

use anchord_core::clock;
use anchord_core::notice::Notice;

/// The most intermediates that Roles Anywhere accepts (CreateSession, `X-Amz-X509-Chain`).
const MAX_INTERMEDIATES: usize = 5;

/// An identity, and what its owner should know although it works.
#[derive(Debug)]
pub struct Loaded {
    /// The proven identity.
    pub identity: Identity,
    /// Warnings. Each names a file, token, TPM or agent.
    pub warnings: Vec<Notice>,
}

/// A leaf certificate, its intermediates and its private key.
pub struct Identity {
    leaf: Vec<u8>,
    intermediates: Vec<Vec<u8>>,
    key: Arc<dyn SigningKey>,
    own_link: ChainLink,
    links_above: Vec<ChainLink>,
}

impl Identity {
    fn new(
        leaf: &pem::Certificate,
        chain: &[&pem::Certificate],
        key: Arc<dyn SigningKey>,
    ) -> Result<Self, pem::Error> {
        let links_above = chain.iter().map(|issuer| ChainLink::of(issuer, ChainPosition::Intermediate));
        Ok(Self {
            leaf: leaf.der.clone(),
            intermediates: chain.iter().map(|certificate| certificate.der.clone()).collect(),
            key,
            own_link: ChainLink::of(leaf, ChainPosition::Leaf)?,
            links_above: links_above.collect::<Result<_, _>>()?,
        })
    }

    /// The leaf, DER.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// The intermediates, DER, the leaf's issuer first; at most five, self-signed roots left out.
    pub fn intermediates(&self) -> &[Vec<u8>] {
        &self.intermediates
    }

    /// The key that belongs to the leaf.
    pub fn key(&self) -> &Arc<dyn SigningKey> {
        &self.key
    }

    /// The leaf's serial number in decimal, as the credential scope wants it.
    pub fn serial(&self) -> &str {
        &self.own_link.serial
    }

    /// The leaf's subject.
    pub fn subject(&self) -> &str {
        &self.own_link.subject
    }

    /// When the leaf ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.own_link.not_after
    }

    /// Whether the leaf has expired at `now`; its last instant still counts as valid (RFC 5280, 4.1.2.5).
    fn has_ended(&self, now: OffsetDateTime) -> bool {
        now > self.not_after()
    }

    /// The error if the leaf is expired or not yet valid at `now`.
    fn fault_of_time(&self, now: OffsetDateTime) -> Option<Error> {
        let ChainLink { origin, not_before, not_after, .. } = &self.own_link;
        let fault = leaf::fault_of_life(*not_before, *not_after, now)?;
        Some(Error::Leaf { origin: origin.clone(), fault })
    }

    /// The leaf and the intermediates with their validity.
    pub fn links(&self) -> impl Iterator<Item = &ChainLink> {
        std::iter::once(&self.own_link).chain(&self.links_above)
    }

    /// Whether both send the same certificates and sign with the same key, which the leaf identifies.
    fn is_same(&self, other: &Self) -> bool {
        self.leaf == other.leaf && self.intermediates == other.intermediates
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("subject", &self.subject())
            .field("serial", &self.serial())
            .field("not_after", &clock::rfc3339(self.not_after()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;
