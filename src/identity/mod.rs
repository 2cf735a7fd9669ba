//! Loads, proves and watches the certificate chain and its key.
//!
//! An [`Identity`] cannot be built unless its key belongs to its leaf and Roles Anywhere would accept that
//! leaf now; whoever holds one need not check again.

mod chain;
mod current;
mod error;
mod expiry;
mod key;
mod leaf;
mod pem;
mod watch;

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub use current::Current;
pub use current::Found;
pub use error::Error;
pub use expiry::Link;
use expiry::Place;
pub use key::Algorithm;
pub use key::SignFailure;
pub use key::SigningKey;
pub use leaf::Fault;
use time::OffsetDateTime;
pub use watch::Watcher;

use crate::clock;

/// The most intermediates Roles Anywhere takes (CreateSession, `X-Amz-X509-Chain`).
const MAX_INTERMEDIATES: usize = 5;

/// Where an identity comes from. Loading is cheap and may be repeated to pick up a rotated certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// PEM files.
    Pem(PemFiles),
}

/// Certificate and key in PEM files, intermediates with the leaf, in a file of their own, or absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFiles {
    /// The leaf, with or without intermediates, in any order.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub private_key: PathBuf,
    /// More certificates, in any order.
    pub intermediates: Option<PathBuf>,
}

impl Source {
    /// Loads and proves the identity as of `now`.
    pub fn load(&self, now: OffsetDateTime) -> Result<Loaded, Error> {
        match self {
            Self::Pem(files) => files.load(now),
        }
    }

    /// The file that stands for it in messages.
    fn path(&self) -> &Path {
        match self {
            Self::Pem(files) => &files.certificate,
        }
    }

    /// Everything it is loaded from.
    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Pem(PemFiles { certificate, private_key, intermediates }) => {
                [certificate, private_key].into_iter().chain(intermediates).cloned().collect()
            }
        }
    }
}

/// An identity, and what its owner should know although it works.
#[derive(Debug)]
pub struct Loaded {
    /// The proven identity.
    pub identity: Identity,
    /// Sentences without a full stop, each naming a file.
    pub warnings: Vec<String>,
}

impl PemFiles {
    fn load(&self, now: OffsetDateTime) -> Result<Loaded, Error> {
        let key_file = pem::read(&self.private_key)?;
        let key = key::from_pem(&key_file)?;
        let mut certificates = pem::certificates(&pem::read(&self.certificate)?)?;
        if let Some(path) = &self.intermediates {
            certificates.extend(pem::certificates(&pem::read(path)?)?);
        }
        let leaf = chain::find_leaf(&certificates, key.public_key(), now).ok_or_else(|| Error::Mismatch {
            certificate: self.certificate.clone(),
            private_key: self.private_key.clone(),
        })?;
        leaf::check(&leaf.parse()?, now).map_err(|fault| Error::Leaf { path: leaf.path.clone(), fault })?;
        let chain = chain::order(leaf, &certificates)?;
        if chain.len() > MAX_INTERMEDIATES {
            return Err(Error::ChainTooLong { path: self.certificate.clone(), length: chain.len() });
        }
        let identity = Identity::new(leaf, &chain, key)?;
        let warnings = self.warnings(&key_file, &certificates, &chain)?;
        Ok(Loaded { identity, warnings })
    }

    fn warnings(
        &self,
        key_file: &pem::File,
        certificates: &[pem::Certificate],
        chain: &[&pem::Certificate],
    ) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        if key_file.mode & 0o027 != 0 {
            warnings.push(format!(
                "the private key `{}` is open to others (mode {:04o}); hint: chmod 0600 it",
                self.private_key.display(),
                key_file.mode & 0o7777,
            ));
        }
        let left_out = chain::unused(certificates, chain)?;
        if left_out > 0 {
            warnings.push(format!(
                "{left_out} of the certificates in `{}` do not lead from the leaf towards its root and are not sent",
                self.certificate.display(),
            ));
        }
        Ok(warnings)
    }
}

/// A leaf, the intermediates above it and the private key that belongs to the leaf.
pub struct Identity {
    leaf: Vec<u8>,
    intermediates: Vec<Vec<u8>>,
    key: Arc<dyn SigningKey>,
    own_link: Link,
    links_above: Vec<Link>,
}

impl Identity {
    fn new(
        leaf: &pem::Certificate,
        chain: &[&pem::Certificate],
        key: Arc<dyn SigningKey>,
    ) -> Result<Self, Error> {
        let links_above = chain.iter().map(|issuer| issuer.link(Place::Intermediate));
        Ok(Self {
            leaf: leaf.der.clone(),
            intermediates: chain.iter().map(|certificate| certificate.der.clone()).collect(),
            key,
            own_link: leaf.link(Place::Leaf)?,
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

    /// Whether the leaf is over at `now`; its last instant is part of its life (RFC 5280, 4.1.2.5).
    fn has_ended(&self, now: OffsetDateTime) -> bool {
        now > self.not_after()
    }

    /// The leaf and the intermediates, and when they end.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.own_link).chain(&self.links_above)
    }

    /// Whether both would sign and send the same: the leaf says which key it is.
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
