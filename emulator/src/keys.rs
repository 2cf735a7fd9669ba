//! The kinds of key that certificates are for, and the forms in which their private halves are written.

use std::fmt;

use aws_lc_rs::signature;
use rcgen::KeyPair;
use rcgen::RsaKeySize;

use crate::Error;

/// The kinds of key this authority makes, which are those that the service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum KeyKind {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    P521,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl KeyKind {
    /// Every kind, for tests that go through all.
    pub const ALL: [Self; 9] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::P256,
        Self::P384,
        Self::P521,
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
    ];

    /// Whether it is one of the three that quantum computers do not break.
    pub fn is_ml_dsa(self) -> bool {
        self.ml_dsa().is_some()
    }

    pub(crate) fn generate(self) -> Result<KeyPair, Error> {
        Ok(match self.rsa_size() {
            Some(size) => KeyPair::generate_rsa_for(self.algorithm(), size)?,
            None => KeyPair::generate_for(self.algorithm())?,
        })
    }

    pub(crate) fn algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::MlDsa44 => &rcgen::PKCS_ML_DSA_44,
            Self::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
            Self::MlDsa87 => &rcgen::PKCS_ML_DSA_87,
        }
    }

    pub(crate) fn rsa_size(self) -> Option<RsaKeySize> {
        match self {
            Self::Rsa2048 => Some(RsaKeySize::_2048),
            Self::Rsa3072 => Some(RsaKeySize::_3072),
            Self::Rsa4096 => Some(RsaKeySize::_4096),
            _ => None,
        }
    }

    pub(crate) fn curve(self) -> Option<&'static signature::EcdsaSigningAlgorithm> {
        match self {
            Self::P256 => Some(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::P384 => Some(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Self::P521 => Some(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            _ => None,
        }
    }

    /// The algorithm with the content of its OID, 2.16.840.1.101.3.4.3.17 to 19.
    pub(crate) fn ml_dsa(self) -> Option<(&'static signature::PqdsaSigningAlgorithm, &'static [u8])> {
        match self {
            Self::MlDsa44 => Some((&signature::ML_DSA_44_SIGNING, b"\x60\x86\x48\x01\x65\x03\x04\x03\x11")),
            Self::MlDsa65 => Some((&signature::ML_DSA_65_SIGNING, b"\x60\x86\x48\x01\x65\x03\x04\x03\x12")),
            Self::MlDsa87 => Some((&signature::ML_DSA_87_SIGNING, b"\x60\x86\x48\x01\x65\x03\x04\x03\x13")),
            _ => None,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::P256 => "p-256",
            Self::P384 => "p-384",
            Self::P521 => "p-521",
            Self::MlDsa44 => "ml-dsa-44",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlDsa87 => "ml-dsa-87",
        })
    }
}

/// The forms in which private keys are found in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyForm {
    /// `PRIVATE KEY`
    Pkcs8,
    /// `RSA PRIVATE KEY`
    Pkcs1,
    /// `EC PRIVATE KEY`
    Sec1,
    /// `PRIVATE KEY` with the expanded ML-DSA key and not its seed
    Expanded,
    /// `PRIVATE KEY` with the seed and the expanded ML-DSA key, as OpenSSL 3.5 writes it
    SeedAndExpanded,
}

impl KeyForm {
    /// Every form, of which each kind of key has two or three.
    pub const ALL: [Self; 5] = [Self::Pkcs8, Self::Pkcs1, Self::Sec1, Self::Expanded, Self::SeedAndExpanded];
}

impl fmt::Display for KeyForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pkcs8 => "PKCS#8",
            Self::Pkcs1 => "PKCS#1",
            Self::Sec1 => "SEC1",
            Self::Expanded => "PKCS#8 with the expanded key",
            Self::SeedAndExpanded => "PKCS#8 with seed and expanded key",
        })
    }
}
