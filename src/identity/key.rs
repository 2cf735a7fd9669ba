//! Private keys that can sign, and the one seam every key source stands behind.

use std::fmt;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::ObjectIdentifier;
use p256::pkcs8::PrivateKeyInfoRef;
use ring::rand::SystemRandom;
use ring::signature::KeyPair as _;
use ring::signature::RSA_PKCS1_SHA256;
use ring::signature::RsaKeyPair;
use rustls_pki_types::pem::SectionKind;

use super::Error;
use super::Origin;
use super::Passphrase;
use super::pem;
use crate::failure::Class;
use crate::failure::Classify;
use crate::failure::Failure;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// How a key signs. Roles Anywhere hashes with SHA-256 whatever the key's size or curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// PKCS#1 v1.5 with SHA-256.
    RsaSha256,
    /// ECDSA with SHA-256, the signature as DER.
    EcdsaSha256,
}

/// A private key that signs without being seen.
///
/// Signing may block (a token, a TPM): call it where blocking is allowed.
pub trait SigningKey: Send + Sync + fmt::Debug {
    /// How the key signs.
    fn algorithm(&self) -> Algorithm;

    /// The content of the `subjectPublicKey` that a certificate for this key carries.
    fn public_key(&self) -> &[u8];

    /// Signs `message` (hashing is the key's work) in the form Roles Anywhere expects.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure>;
}

/// The key did not sign.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct SignFailure(Failure);

impl SignFailure {
    /// For what a token, a TPM or an agent said.
    pub fn new(why: &dyn Classify) -> Self {
        Self(Failure::new(why))
    }

    /// For a key in memory, which can always sign.
    fn unexpected() -> Self {
        Self(Failure::of(Class::Broken, "the private key did not sign", None))
    }
}

impl Classify for SignFailure {
    fn class(&self) -> Class {
        self.0.class()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint().map(Into::into)
    }
}

struct Rsa {
    pair: RsaKeyPair,
    public_key: Vec<u8>,
}

enum EcSigner {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

struct Ec {
    signer: EcSigner,
    public_key: Vec<u8>,
}

impl SigningKey for Rsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RsaSha256
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        // PKCS#1 v1.5 is deterministic; ring uses the randomness for blinding alone.
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignFailure::unexpected())?;
        Ok(signature)
    }
}

/// Not ring: it signs P-384 with SHA-384 only, and reads neither SEC1 nor PKCS#8 without the public part.
impl SigningKey for Ec {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaSha256
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        let digest = ring::digest::digest(&ring::digest::SHA256, message);
        match &self.signer {
            EcSigner::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(digest.as_ref()).map_err(|_| SignFailure::unexpected())?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            EcSigner::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(digest.as_ref()).map_err(|_| SignFailure::unexpected())?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}

impl fmt::Debug for Rsa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RSA private key [redacted]")
    }
}

impl fmt::Debug for Ec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EC private key [redacted]")
    }
}

/// The first private key of a PEM file.
pub(super) fn from_pem(
    file: &pem::File,
    _passphrase: Option<&Passphrase>,
) -> Result<Arc<dyn SigningKey>, Error> {
    if file.has_encryption_header() {
        return Err(unusable(file, "is encrypted in OpenSSL's old format", DECRYPT));
    }
    for (kind, der) in file.sections()? {
        let der = der.expose();
        match kind {
            SectionKind::RsaPrivateKey => return rsa(file, RsaKeyPair::from_der(der)),
            SectionKind::EcPrivateKey => return sec1(file, der),
            SectionKind::PrivateKey => return pkcs8(file, der),
            _ => {}
        }
    }
    Err(Error::Missing { path: file.path.clone(), wanted: "private key", found: file.labels() })
}

const DECRYPT: &str = "this version reads unencrypted keys only: `openssl pkey -in … -out …` decrypts it";
const SUPPORTED: &str = "use RSA with 2048 to 4096 bits, EC P-256 or EC P-384";
const COPY_AGAIN: &str = "copy the file again, complete from the BEGIN line to the END line";

fn unusable(file: &pem::File, what: impl Into<String>, hint: &'static str) -> Error {
    Error::UnusableKey { origin: Origin::file(&file.path), what: what.into(), hint }
}

fn pkcs8(file: &pem::File, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    let info =
        PrivateKeyInfoRef::try_from(der).map_err(|_| unusable(file, "is not valid PKCS#8", COPY_AGAIN))?;
    match info.algorithm.oid {
        RSA => rsa(file, RsaKeyPair::from_pkcs8(der)),
        EC => match info.algorithm.parameters_oid().ok() {
            Some(P256) => p256::SecretKey::try_from(info)
                .map(ec_p256)
                .map_err(|_| unusable(file, "is not a valid P-256 key", COPY_AGAIN)),
            Some(P384) => p384::SecretKey::try_from(info)
                .map(ec_p384)
                .map_err(|_| unusable(file, "is not a valid P-384 key", COPY_AGAIN)),
            Some(P521) => {
                Err(unusable(file, "is EC P-521, which this version does not sign with", SUPPORTED))
            }
            _ => Err(unusable(file, "is on a curve that Roles Anywhere does not accept", SUPPORTED)),
        },
        other => Err(unusable(
            file,
            format!("is of a kind ({other}) that this version does not sign with"),
            SUPPORTED,
        )),
    }
}

/// SEC1 names its curve optionally; the private value's length tells P-256 from P-384 in any case.
fn sec1(file: &pem::File, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    p256::SecretKey::from_sec1_der(der)
        .map(ec_p256)
        .or_else(|_| p384::SecretKey::from_sec1_der(der).map(ec_p384))
        .map_err(|_| unusable(file, "is neither a valid P-256 nor a valid P-384 key", SUPPORTED))
}

fn rsa(
    file: &pem::File,
    pair: Result<RsaKeyPair, ring::error::KeyRejected>,
) -> Result<Arc<dyn SigningKey>, Error> {
    let pair = pair.map_err(|rejected| match rejected.to_string().as_str() {
        "TooSmall" => unusable(file, "is RSA with fewer than 2048 bits", SUPPORTED),
        "TooLarge" => unusable(file, "is RSA with more than 4096 bits", SUPPORTED),
        why => unusable(file, format!("is not a valid RSA key ({why})"), COPY_AGAIN),
    })?;
    let public_key = pair.public_key().as_ref().to_vec();
    Ok(Arc::new(Rsa { pair, public_key }))
}

fn ec_p256(key: p256::SecretKey) -> Arc<dyn SigningKey> {
    let public_key = key.public_key().to_sec1_bytes().to_vec();
    Arc::new(Ec { signer: EcSigner::P256(key.into()), public_key })
}

fn ec_p384(key: p384::SecretKey) -> Arc<dyn SigningKey> {
    let public_key = key.public_key().to_sec1_bytes().to_vec();
    Arc::new(Ec { signer: EcSigner::P384(key.into()), public_key })
}
