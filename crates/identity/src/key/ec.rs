//! Keys on the NIST curves, implemented by RustCrypto.
//!
//! Not by ring, which signs P-384 with SHA-384 only, does not support P-521, and reads neither SEC1 nor PKCS#8 without
//! the public key.

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

/// A key on one curve. An enum of all curves would leave memory of a smaller key unwritten, with what was there before,
/// such as a copy of a key.
struct Ec<K> {
    /// Boxed, so that its memory is freed and wiped with the key: `cache` keeps the `Arc`'s memory for a while.
    signer: Box<K>,
    public_key: Vec<u8>,
}

/// A signing key of RustCrypto on any curve.
trait Signer: Send + Sync + 'static {
    /// Signs `digest`; the signature is DER.
    fn signed(&self, digest: &[u8]) -> Option<Vec<u8>>;

    /// The public point as SEC1 has it, not compressed.
    fn point(&self) -> Vec<u8>;
}

macro_rules! signer {
    ($($curve:ident),*) => {$(
        impl Signer for $curve::ecdsa::SigningKey {
            fn signed(&self, digest: &[u8]) -> Option<Vec<u8>> {
                let signature: $curve::ecdsa::Signature = self.sign_prehash(digest).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }

            fn point(&self) -> Vec<u8> {
                $curve::PublicKey::from(self.verifying_key()).to_sec1_bytes().to_vec()
            }
        }
    )*};
}
signer!(p256, p384, p521);

impl<K: Signer> SigningKey for Ec<K> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EcdsaSha256
    }

    fn description(&self) -> String {
        "EC private key".into()
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

impl<K: Signer> Ec<K> {
    fn sign_hashed(
        &self,
        algorithm: &'static ring::digest::Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, SignFailure> {
        let digest = ring::digest::digest(algorithm, message);
        self.signer.signed(digest.as_ref()).ok_or_else(SignFailure::unexpected)
    }
}

impl<K: Signer> fmt::Debug for Ec<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} [redacted]", self.description())
    }
}

/// A key in PKCS#8, with or without its public key, which RFC 5915 makes optional.
pub(super) fn from_pkcs8(origin: &Origin, info: PrivateKeyInfoRef<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    let invalid = |curve: &str| unusable(origin, format!("is not a valid {curve} key"), COPY_AGAIN);
    match info.algorithm.parameters_oid().ok() {
        Some(P256) => p256::SecretKey::try_from(info)
            .map(ready::<p256::ecdsa::SigningKey>)
            .map_err(|_| invalid("P-256")),
        Some(P384) => p384::SecretKey::try_from(info)
            .map(ready::<p384::ecdsa::SigningKey>)
            .map_err(|_| invalid("P-384")),
        Some(P521) => p521::SecretKey::try_from(info)
            .map(ready::<p521::ecdsa::SigningKey>)
            .map_err(|_| invalid("P-521")),
        _ => Err(unusable(origin, "is on a curve that Roles Anywhere does not accept", SUPPORTED)),
    }
}

/// The curve's name is optional in SEC1, but the private value's length identifies the curve.
pub(super) fn from_sec1(origin: &Origin, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    p256::SecretKey::from_sec1_der(der)
        .map(ready::<p256::ecdsa::SigningKey>)
        .or_else(|_| p384::SecretKey::from_sec1_der(der).map(ready::<p384::ecdsa::SigningKey>))
        .or_else(|_| p521::SecretKey::from_sec1_der(der).map(ready::<p521::ecdsa::SigningKey>))
        .map_err(|_| unusable(origin, "is not a valid key on P-256, P-384 or P-521", SUPPORTED))
}

fn ready<K: Signer>(key: impl Into<K>) -> Arc<dyn SigningKey> {
    // The public key is derived only once, because that is the most expensive step.
    let signer = Box::new(key.into());
    let public_key = signer.point();
    Arc::new(Ec { signer, public_key })
}
