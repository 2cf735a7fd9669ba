//! Private keys that can sign, and the trait of every key source.

mod cache;
mod ec;
pub(super) mod encrypted;
#[cfg(feature = "ml-dsa")]
mod ml_dsa;
mod rsa;

use std::fmt;
use std::sync::Arc;

use pkcs8::ObjectIdentifier;
use pkcs8::PrivateKeyInfoRef;

use self::encrypted::Encrypted;
use super::FileContent;
use super::Origin;
use super::Passphrase;
use super::passphrase;
use super::pem;
use anchord_core::failure::Classify;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// How a key signs. Roles Anywhere hashes with SHA-256 whatever the key's size or curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// PKCS#1 v1.5 with SHA-256.
    RsaSha256,
    /// ECDSA with SHA-256, the signature as DER.
    EcdsaSha256,
    /// ML-DSA over the message itself with an empty context (FIPS 204, algorithm 2).
    MlDsa,
}

/// A private key that signs and is never shown.
///
/// Signing may block (a token, a TPM): call it where blocking is allowed.
pub trait SigningKey: Send + Sync + fmt::Debug {
    /// How the key signs.
    fn algorithm(&self) -> Algorithm;

    /// What it is and where, for people: `RSA private key`. `Debug` shows no more.
    fn description(&self) -> String;

    /// The content of `subjectPublicKey` in a certificate for this key.
    fn public_key(&self) -> &[u8];

    /// Hashes and signs `message`, in the form that Roles Anywhere expects.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure>;

    /// The same with `hash`, for other uses than Roles Anywhere; `None` if the key supports SHA-256 only.
    fn sign_with(&self, hash: Hash, message: &[u8]) -> Option<Result<Vec<u8>, SignFailure>> {
        (hash == Hash::Sha256).then(|| self.sign(message))
    }
}

/// The hash of a message before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The key could not sign.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct SignFailure(Failure);

impl SignFailure {
    /// Wraps the error of a token, TPM or agent.
    pub fn new(why: &dyn Classify) -> Self {
        Self(Failure::new(why))
    }

    /// The error of a key in memory, which should always sign.
    fn unexpected() -> Self {
        Self(Failure::of(Reason::Bug, "the private key could not sign", None))
    }
}

impl Classify for SignFailure {
    fn reason(&self) -> Reason {
        self.0.reason()
    }

    fn hint(&self) -> Option<Text> {
        self.0.hint_text().cloned()
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM file without a readable key.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// The passphrase is missing or cannot be read.
    #[error(transparent)]
    Passphrase(#[from] passphrase::Error),
    /// A key that cannot be used.
    #[error("the private key in {origin} {what}")]
    Unusable {
        /// Where.
        origin: Origin,
        /// What is wrong with it, completing "the private key …".
        what: String,
        /// What to do.
        hint: Text,
    },
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Pem(error) => error.reason(),
            Self::Passphrase(error) => error.reason(),
            Self::Unusable { .. } => Reason::FileUnusable,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Pem(error) => error.hint(),
            Self::Passphrase(error) => error.hint(),
            Self::Unusable { hint, .. } => Some(hint.clone()),
        }
    }
}

/// The first private key of a PEM file, an unencrypted one before an encrypted one.
pub(super) fn from_pem(
    file: &FileContent,
    passphrase: Option<&Passphrase>,
) -> Result<Arc<dyn SigningKey>, Error> {
    let origin = file.origin.clone();
    if file.has_encryption_header() {
        return Err(unusable(&origin, "is encrypted in OpenSSL's old format", CONVERT));
    }
    for section in file.sections()? {
        let read = match section.label {
            b"RSA PRIVATE KEY" => rsa::from_pkcs1,
            b"EC PRIVATE KEY" => ec::from_sec1,
            b"PRIVATE KEY" => read_pkcs8,
            _ => continue,
        };
        let der = section.decode()?;
        return cache::cached(&[section.label, der.expose()], || read(&origin, der.expose()));
    }
    match file.labelled("ENCRYPTED PRIVATE KEY")? {
        Some(der) => from_encrypted_pkcs8(&origin, der.expose(), passphrase),
        None => Err(file.lacks("private key").into()),
    }
}

fn from_encrypted_pkcs8(
    origin: &Origin,
    der: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Arc<dyn SigningKey>, Error> {
    let refuse = |fault: encrypted::DecryptionFault| unusable(origin, fault.to_string(), fault.hint());
    // An unsupported scheme is an error with and without a passphrase.
    let encrypted = Encrypted::parse(der).map_err(refuse)?;
    let passphrase = passphrase.ok_or(encrypted::DecryptionFault::NoPassphrase).map_err(refuse)?.read()?;
    cache::cached(&[b"ENCRYPTED PRIVATE KEY", der, passphrase.expose()], || {
        let der = encrypted.decrypt(&passphrase).map_err(refuse)?;
        from_pkcs8(origin, der.expose())
    })
}

/// A key in PKCS#8 (RFC 5958), DER.
pub(super) fn from_pkcs8(origin: &Origin, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    cache::cached(&[b"PRIVATE KEY", der], || read_pkcs8(origin, der))
}

fn read_pkcs8(origin: &Origin, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    let info =
        PrivateKeyInfoRef::try_from(der).map_err(|_| unusable(origin, "is not valid PKCS#8", COPY_AGAIN))?;
    #[cfg(feature = "ml-dsa")]
    if let Some(key) = ml_dsa::from_pkcs8(&info) {
        return key.map_err(|what| unusable(origin, what, COPY_AGAIN));
    }
    match info.algorithm.oid {
        RSA => rsa::from_pkcs8(origin, der),
        EC => ec::from_pkcs8(origin, info),
        other => {
            let what = format!("is of a kind ({other}) that this version does not sign with");
            Err(unusable(origin, what, SUPPORTED))
        }
    }
}

const CONVERT: &str = "convert it: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in … -out …`";
#[cfg(feature = "ml-dsa")]
const SUPPORTED: &str = "use RSA with 2048 to 4096 bits, EC P-256, P-384 or P-521, or ML-DSA";
#[cfg(not(feature = "ml-dsa"))]
const SUPPORTED: &str =
    "use RSA with 2048 to 4096 bits, EC P-256, P-384 or P-521; ML-DSA is not in this build";
const COPY_AGAIN: &str = "copy the file again, complete from the BEGIN line to the END line";

fn unusable(origin: &Origin, what: impl Into<String>, hint: impl Into<Text>) -> Error {
    Error::Unusable { origin: origin.clone(), what: what.into(), hint: hint.into() }
}

#[cfg(test)]
mod tests;
