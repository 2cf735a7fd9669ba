//! Whether Roles Anywhere would accept a leaf, judged before AWS is asked.
//!
//! The conditions are those that the user guide has for end entity certificates (trust model, "Signature validation",
//! before 2024 in "Signing process"): X.509v3; "Basic constraints MUST include CA: false"; "The key usage MUST include
//! Digital Signature"; SHA-256 or stronger.

use std::fmt;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::num_bigint::BigUint;
use x509_parser::oid_registry::OID_HASH_SHA1;
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::X509Version;

use super::Origin;
use anchord_core::clock;
use anchord_core::notice::Notice;

/// Why Roles Anywhere would refuse a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafFault {
    /// Its validity has not begun.
    NotYetValid {
        /// When it begins.
        not_before: OffsetDateTime,
    },
    /// Its validity is over.
    Expired {
        /// When it ended.
        not_after: OffsetDateTime,
    },
    /// It is a CA certificate.
    Ca,
    /// Its key usage does not allow signatures.
    NoDigitalSignature,
    /// Its issuer signed it with a broken hash.
    WeakSignature {
        /// `SHA-1` or `MD5`.
        hash: &'static str,
    },
    /// Its serial number, which requests name, is negative.
    NegativeSerial {
        /// The number.
        serial: String,
    },
    /// It is X.509 version 1 or 2.
    OldVersion,
    /// It names no subject.
    NoSubject,
    /// Roles Anywhere does not accept this kind of key.
    Key {
        /// What it is.
        kind: PublicKeyKind,
    },
}

impl fmt::Display for LeafFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid { not_before } => {
                write!(formatter, "is not valid before {}", clock::rfc3339(*not_before))
            }
            Self::Expired { not_after } => write!(formatter, "expired at {}", clock::rfc3339(*not_after)),
            Self::Ca => formatter.write_str("is a CA certificate (CA:true)"),
            Self::NoDigitalSignature => formatter.write_str("has no key usage digitalSignature"),
            Self::WeakSignature { hash } => write!(formatter, "is signed with {hash}"),
            Self::NegativeSerial { serial } => write!(formatter, "has a negative serial number ({serial})"),
            Self::OldVersion => formatter.write_str("is not X.509 version 3"),
            Self::NoSubject => formatter.write_str("has an empty subject"),
            Self::Key { kind } => write!(formatter, "has a key that is {kind}"),
        }
    }
}

impl LeafFault {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NotYetValid { .. } => "check this host's clock, or wait",
            Self::Expired { .. } => "renew the certificate; check this host's clock",
            Self::Ca => "name the leaf issued to this host, not its CA",
            Self::NoDigitalSignature => "reissue it with keyUsage digitalSignature",
            Self::WeakSignature { .. } => "reissue it with SHA-256 or stronger",
            Self::NegativeSerial { .. } => NEGATIVE_SERIAL,
            Self::OldVersion => "reissue it with basicConstraints and keyUsage extensions",
            Self::NoSubject => "reissue it with a subject, such as CN=this-host",
            Self::Key { .. } => {
                "reissue it for RSA with 2048 to 4096 bits, EC P-256, P-384 or P-521, or ML-DSA"
            }
        }
    }
}

/// Finds the first reason for which Roles Anywhere would refuse `leaf` at `now`.
pub(super) fn check(leaf: &X509Certificate<'_>, now: OffsetDateTime) -> Result<(), LeafFault> {
    faults(leaf, now).into_iter().next().map_or(Ok(()), Err)
}

/// All reasons. Those about time come last, because they may pass.
pub(super) fn faults(leaf: &X509Certificate<'_>, now: OffsetDateTime) -> Vec<LeafFault> {
    let may_sign = leaf.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature());
    let kind = key_kind(leaf);
    let found = [
        (leaf.version() != X509Version::V3).then_some(LeafFault::OldVersion),
        leaf.is_ca().then_some(LeafFault::Ca),
        has_negative_serial(leaf).then(|| LeafFault::NegativeSerial { serial: serial(leaf) }),
        (!may_sign).then_some(LeafFault::NoDigitalSignature),
        weak_hash(leaf).map(|hash| LeafFault::WeakSignature { hash }),
        leaf.subject().iter().next().is_none().then_some(LeafFault::NoSubject),
        (!kind.is_accepted()).then_some(LeafFault::Key { kind }),
        fault_of_time(leaf, now),
    ];
    found.into_iter().flatten().collect()
}

/// A warning about a requirement of the guide that AWS may not enforce.
///
/// Without the extension a certificate is not a CA's (RFC 5280, 4.2.1.9), so a validator may accept it. What AWS does
/// was not observed.
pub(super) fn doubt(leaf: &X509Certificate<'_>, origin: &Origin) -> Option<Notice> {
    const HINT: &str =
        "if AWS answers `Untrusted signing certificate`, reissue the leaf with basicConstraints CA:FALSE";
    if has_basic_constraints(leaf) {
        return None;
    }
    let what = format!(
        "the leaf in {origin} has no basicConstraints extension, and AWS's guide demands one with CA:false"
    );
    Some(Notice::new(what).hinting(HINT))
}

/// Whether it has the basicConstraints extension.
pub(super) fn has_basic_constraints(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().is_ok_and(|extension| extension.is_some())
}

/// What to do about a serial number that is below zero.
pub const NEGATIVE_SERIAL: &str = "reissue it with a positive serial number, as RFC 5280 demands";

/// Whether the serial number is below zero.
pub fn has_negative_serial(certificate: &X509Certificate<'_>) -> bool {
    certificate.raw_serial().first().is_some_and(|byte| byte & 0x80 != 0)
}

/// The serial number in decimal, as AWS shows it.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> String {
    let (sign, magnitude) = sign_and_magnitude(certificate);
    format!("{sign}{magnitude}")
}

/// The serial number in hexadecimal, as OpenSSL shows it.
pub(super) fn serial_hex(certificate: &X509Certificate<'_>) -> String {
    let (sign, magnitude) = sign_and_magnitude(certificate);
    format!("{sign}{magnitude:#x}")
}

/// Needed because the parser reads a negative number as a positive one.
fn sign_and_magnitude(certificate: &X509Certificate<'_>) -> (&'static str, BigUint) {
    if !has_negative_serial(certificate) {
        return ("", certificate.tbs_certificate.serial.clone());
    }
    let inverted: Vec<u8> = certificate.raw_serial().iter().map(|byte| !byte).collect();
    ("-", BigUint::from_bytes_be(&inverted) + 1_u8)
}

/// The fault if `certificate` is expired or not yet valid at `now`.
pub(super) fn fault_of_time(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> Option<LeafFault> {
    let not_before = certificate.validity().not_before.to_datetime();
    let not_after = certificate.validity().not_after.to_datetime();
    fault_of_life(not_before, not_after, now)
}

/// The fault if `now` is not between `not_before` and `not_after`.
pub(super) fn fault_of_life(
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    now: OffsetDateTime,
) -> Option<LeafFault> {
    match now {
        now if now < not_before => Some(LeafFault::NotYetValid { not_before }),
        now if now > not_after => Some(LeafFault::Expired { not_after }),
        _ => None,
    }
}

/// What a certificate's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// RSA, with its size in bits.
    Rsa(usize),
    /// On one of NIST's curves.
    Ec(&'static str),
    /// FIPS 204.
    MlDsa(&'static str),
    /// Anything else, by name or object identifier.
    Other(String),
}

impl PublicKeyKind {
    /// "Roles Anywhere supports RSA, EC and ML-DSA keys" (user guide, signing process). RSA below 2048 bits is broken.
    fn is_accepted(&self) -> bool {
        match self {
            Self::Rsa(bits) => *bits >= 2048,
            Self::Ec(_) | Self::MlDsa(_) => true,
            Self::Other(_) => false,
        }
    }
}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(formatter, "RSA with {bits} bits"),
            Self::Ec(curve) => write!(formatter, "EC {curve}"),
            Self::MlDsa(set) => formatter.write_str(set),
            Self::Other(name) => formatter.write_str(name),
        }
    }
}

/// The kind of public key in `certificate`.
pub(super) fn key_kind(certificate: &X509Certificate<'_>) -> PublicKeyKind {
    let info = certificate.public_key();
    let curve = || info.algorithm.parameters.as_ref()?.as_oid().ok().map(|oid| oid.to_id_string());
    match info.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => match info.parsed() {
            Ok(PublicKey::RSA(key)) => PublicKeyKind::Rsa(key.key_size()),
            _ => PublicKeyKind::Other("RSA that cannot be parsed".into()),
        },
        "1.2.840.10045.2.1" => match curve().as_deref() {
            Some("1.2.840.10045.3.1.7") => PublicKeyKind::Ec("P-256"),
            Some("1.3.132.0.34") => PublicKeyKind::Ec("P-384"),
            Some("1.3.132.0.35") => PublicKeyKind::Ec("P-521"),
            Some(other) => PublicKeyKind::Other(format!("EC on the curve {other}")),
            None => PublicKeyKind::Other("EC on an unnamed curve".into()),
        },
        "2.16.840.1.101.3.4.3.17" => PublicKeyKind::MlDsa("ML-DSA-44"),
        "2.16.840.1.101.3.4.3.18" => PublicKeyKind::MlDsa("ML-DSA-65"),
        "2.16.840.1.101.3.4.3.19" => PublicKeyKind::MlDsa("ML-DSA-87"),
        "1.3.101.112" => PublicKeyKind::Other("Ed25519".into()),
        "1.3.101.113" => PublicKeyKind::Other("Ed448".into()),
        "1.2.840.113549.1.1.10" => PublicKeyKind::Other("RSASSA-PSS".into()),
        other => PublicKeyKind::Other(other.into()),
    }
}

fn weak_hash(leaf: &X509Certificate<'_>) -> Option<&'static str> {
    // RSASSA-PSS names its hash in the parameters; everything else has an OID per hash.
    if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) =
        SignatureAlgorithm::try_from(&leaf.signature_algorithm)
    {
        return (*parameters.hash_algorithm_oid() == OID_HASH_SHA1).then_some("SHA-1");
    }
    match leaf.signature_algorithm.algorithm.to_id_string().as_str() {
        // sha1WithRSAEncryption, its OIW twin, ecdsa-with-SHA1, dsa-with-sha1
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        _ => None,
    }
}
