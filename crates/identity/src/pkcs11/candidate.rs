//! A public key that a private key in a token may belong to.

use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::digest;
use ring::signature::ECDSA_P256_SHA256_ASN1;
use ring::signature::ECDSA_P384_SHA256_ASN1;
use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use ring::signature::UnparsedPublicKey;
use ring::signature::VerificationAlgorithm;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::protocol::TokenKeyType;

pub(super) struct Candidate {
    pub(super) public_key: Vec<u8>,
    verifier: Option<Verifier>,
}

#[derive(Clone, Copy)]
enum Verifier {
    Ring(&'static dyn VerificationAlgorithm),
    /// Not supported by ring.
    P521,
}

impl Candidate {
    /// From a `SubjectPublicKeyInfo`, DER; `None` if it cannot be parsed.
    pub(super) fn new(info: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(info).ok()?;
        let curve = || info.algorithm.parameters.as_ref()?.as_oid().ok().map(|oid| oid.to_id_string());
        let verifier = match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => Some(Verifier::Ring(&RSA_PKCS1_2048_8192_SHA256)),
            "1.2.840.10045.2.1" => match curve().as_deref() {
                Some("1.2.840.10045.3.1.7") => Some(Verifier::Ring(&ECDSA_P256_SHA256_ASN1)),
                Some("1.3.132.0.34") => Some(Verifier::Ring(&ECDSA_P384_SHA256_ASN1)),
                Some("1.3.132.0.35") => Some(Verifier::P521),
                _ => None,
            },
            _ => None,
        };
        Some(Self { public_key: info.subject_public_key.data.to_vec(), verifier })
    }

    /// From the `subjectPublicKey` of a certificate, whose length identifies the curve.
    pub(super) fn of_key(kind: TokenKeyType, public_key: &[u8]) -> Self {
        let verifier = match (kind, public_key.len()) {
            (TokenKeyType::Rsa, _) => Some(Verifier::Ring(&RSA_PKCS1_2048_8192_SHA256)),
            (_, 65) => Some(Verifier::Ring(&ECDSA_P256_SHA256_ASN1)),
            (_, 97) => Some(Verifier::Ring(&ECDSA_P384_SHA256_ASN1)),
            (_, 133) => Some(Verifier::P521),
            _ => None,
        };
        Self { public_key: public_key.to_vec(), verifier }
    }

    /// Whether its private key has signed `message`; `false` for unsupported keys.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.verifier {
            Some(Verifier::Ring(algorithm)) => {
                UnparsedPublicKey::new(algorithm, &self.public_key).verify(message, signature).is_ok()
            }
            Some(Verifier::P521) => p521_verifies(&self.public_key, message, signature),
            None => false,
        }
    }
}

fn p521_verifies(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let digest = digest::digest(&digest::SHA256, message);
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key);
    let signature = p521::ecdsa::Signature::from_der(signature);
    key.is_ok_and(|key| {
        signature.is_ok_and(|signature| key.verify_prehash(digest.as_ref(), &signature).is_ok())
    })
}
