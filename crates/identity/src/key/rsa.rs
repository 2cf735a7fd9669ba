//! RSA keys, implemented by ring.

use std::fmt;
use std::sync::Arc;

use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::signature::KeyPair as _;
use ring::signature::RSA_PKCS1_SHA256;
use ring::signature::RSA_PKCS1_SHA384;
use ring::signature::RSA_PKCS1_SHA512;
use ring::signature::RsaEncoding;
use ring::signature::RsaKeyPair;

use super::Algorithm;
use super::COPY_AGAIN;
use super::Error;
use super::Hash;
use super::Origin;
use super::SUPPORTED;
use super::SignFailure;
use super::SigningKey;
use super::unusable;

struct Rsa {
    pair: RsaKeyPair,
    public_key: Vec<u8>,
}

impl SigningKey for Rsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RsaSha256
    }

    fn description(&self) -> String {
        "RSA private key".into()
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        signature(&self.pair, &RSA_PKCS1_SHA256, message).ok_or_else(SignFailure::unexpected)
    }

    fn sign_with(&self, hash: Hash, message: &[u8]) -> Option<Result<Vec<u8>, SignFailure>> {
        let padding: &'static dyn RsaEncoding = match hash {
            Hash::Sha256 => &RSA_PKCS1_SHA256,
            Hash::Sha384 => &RSA_PKCS1_SHA384,
            Hash::Sha512 => &RSA_PKCS1_SHA512,
        };
        Some(signature(&self.pair, padding, message).ok_or_else(SignFailure::unexpected))
    }
}

fn signature(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, message: &[u8]) -> Option<Vec<u8>> {
    let mut signature = vec![0; pair.public().modulus_len()];
    // PKCS#1 v1.5 is deterministic; ring uses the randomness for blinding alone.
    pair.sign(padding, &SystemRandom::new(), message, &mut signature).ok()?;
    Some(signature)
}

impl fmt::Debug for Rsa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} [redacted]", self.description())
    }
}

/// A key in PKCS#1 (RFC 8017, appendix A.1.2).
pub(super) fn from_pkcs1(origin: &Origin, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    accept(origin, RsaKeyPair::from_der(der))
}

/// A key in PKCS#8.
pub(super) fn from_pkcs8(origin: &Origin, der: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    accept(origin, RsaKeyPair::from_pkcs8(der))
}

fn accept(origin: &Origin, pair: Result<RsaKeyPair, KeyRejected>) -> Result<Arc<dyn SigningKey>, Error> {
    let pair = pair.map_err(|rejected| match rejected.to_string().as_str() {
        "TooSmall" => unusable(origin, "is RSA with fewer than 2048 bits", SUPPORTED),
        "TooLarge" => unusable(origin, "is RSA with more than 4096 bits", SUPPORTED),
        why => unusable(origin, format!("is not a valid RSA key ({why})"), COPY_AGAIN),
    })?;
    // ring does not check dP and dQ when it reads a key, but it verifies each signature.
    if signature(&pair, &RSA_PKCS1_SHA256, b"").is_none() {
        return Err(unusable(origin, "is not a valid RSA key (its parts do not match)", COPY_AGAIN));
    }
    let public_key = pair.public_key().as_ref().to_vec();
    Ok(Arc::new(Rsa { pair, public_key }))
}
