//! Keys on the NIST curves, signed with by RustCrypto.
//!
//! Not by ring: it signs P-384 with SHA-384 only and P-521 not at all, and reads neither SEC1 nor PKCS#8 without the
//! public part.

use std::fmt;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use pkcs8::ObjectIdentifier;
use pkcs8::PrivateKeyInfoRef;

use super::Algorithm;
use super::COPY_AGAIN;
use super::Error;
use super::Hash;
use super::Origin;
use super::SUPPORTED;
use super::SignFailure;
use super::SigningKey;
use super::unusable;

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

enum Signer {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

struct Ec {
    signer: Signer,
    public_key: Vec<u8>,
}

impl SigningKey for Ec {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaSha256
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        self.sign_hashed(&ring::digest::SHA256, message)
    }

    fn sign_with(&self, hash: Hash, message: &[u8]) -> Option<Result<Vec<u8>, SignFailure>> {
        let algorithm = match hash {
            Hash::Sha256 => &ring::digest::SHA256,
            Hash::Sha384 => &ring::digest::SHA384,
            Hash::Sha512 => &ring::digest::SHA512,
        };
        Some(self.sign_hashed(algorithm, message))
    }
}

impl Ec {
    fn sign_hashed(
        &self,
        algorithm: &'static ring::digest::Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, SignFailure> {
        let digest = ring::digest::digest(algorithm, message);
        let signature = match &self.signer {
            Signer::P256(key) => {
                signed(key, digest.as_ref(), |s: p256::ecdsa::Signature| s.to_der().as_bytes().to_vec())
            }
            Signer::P384(key) => {
                signed(key, digest.as_ref(), |s: p384::ecdsa::Signature| s.to_der().as_bytes().to_vec())
            }
            Signer::P521(key) => {
                signed(key, digest.as_ref(), |s: p521::ecdsa::Signature| s.to_der().as_bytes().to_vec())
            }
        };
        signature.ok_or_else(SignFailure::unexpected)
    }
}

fn signed<S>(key: &impl PrehashSigner<S>, digest: &[u8], der: impl FnOnce(S) -> Vec<u8>) -> Option<Vec<u8>> {
    key.sign_prehash(digest).ok().map(der)
}

impl fmt::Debug for Ec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EC private key [redacted]")
    }
}

/// A key in PKCS#8, with or without its public part (RFC 5915 leaves that open).
pub(super) fn from_pkcs8(origin: &Origin, info: PrivateKeyInfoRef<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    let invalid = |curve: &str| unusable(origin, format!("is not a valid {curve} key"), COPY_AGAIN);
    match info.algorithm.parameters_oid().ok() {
        Some(P256) => p256::SecretKey::try_from(info).map(p256).map_err(|_| invalid("P-256")),
        Some(P384) => p384::SecretKey::try_from(info).map(p384).map_err(|_| invalid("P-384")),
        Some(P521) => p521::SecretKey::try_from(info).map(p521).map_err(|_| invalid("P-521")),
        _ => Err(unusable(origin, "is on a curve that Roles Anywhere does not accept", SUPPORTED)),
    }
}

/// SEC1 names its curve optionally; the private value's length tells the curves apart in any case.
pub(super) fn from_sec1(origin: &Origin, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    p256::SecretKey::from_sec1_der(der)
        .map(p256)
        .or_else(|_| p384::SecretKey::from_sec1_der(der).map(p384))
        .or_else(|_| p521::SecretKey::from_sec1_der(der).map(p521))
        .map_err(|_| unusable(origin, "is no valid key on P-256, P-384 or P-521", SUPPORTED))
}

fn p256(key: p256::SecretKey) -> Arc<dyn SigningKey> {
    // Derived once, with the signer: it is what costs most.
    let signer = p256::ecdsa::SigningKey::from(key);
    let public_key = p256::PublicKey::from(signer.verifying_key()).to_sec1_bytes().to_vec();
    Arc::new(Ec { signer: Signer::P256(signer), public_key })
}

fn p384(key: p384::SecretKey) -> Arc<dyn SigningKey> {
    // Derived once, with the signer: it is what costs most.
    let signer = p384::ecdsa::SigningKey::from(key);
    let public_key = p384::PublicKey::from(signer.verifying_key()).to_sec1_bytes().to_vec();
    Arc::new(Ec { signer: Signer::P384(signer), public_key })
}

fn p521(key: p521::SecretKey) -> Arc<dyn SigningKey> {
    // Derived once, with the signer: it is what costs most.
    let signer = p521::ecdsa::SigningKey::from(key);
    let public_key = p521::PublicKey::from(signer.verifying_key()).to_sec1_bytes().to_vec();
    Arc::new(Ec { signer: Signer::P521(signer), public_key })
}
