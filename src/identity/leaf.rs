//! Whether Roles Anywhere would accept a leaf, judged before AWS is asked.
//!
//! The conditions are those of the user guide's trust model page ("end entity certificates").

use std::fmt;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_HASH_SHA1;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::X509Version;

use crate::clock;

/// Why Roles Anywhere would refuse a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
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
    /// It is X.509 version 1 or 2.
    OldVersion,
    /// It names no subject.
    NoSubject,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid { not_before } => {
                write!(formatter, "is not valid before {}", clock::rfc3339(*not_before))
            }
            Self::Expired { not_after } => write!(formatter, "expired at {}", clock::rfc3339(*not_after)),
            Self::Ca => formatter.write_str("is a CA certificate (CA:true)"),
            Self::NoDigitalSignature => formatter.write_str("has no key usage digitalSignature"),
            Self::WeakSignature { hash } => write!(formatter, "is signed with {hash}"),
            Self::OldVersion => formatter.write_str("is not X.509 version 3"),
            Self::NoSubject => formatter.write_str("has an empty subject"),
        }
    }
}

impl Fault {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NotYetValid { .. } => "check this host's clock, or wait",
            Self::Expired { .. } => "renew the certificate; check this host's clock",
            Self::Ca => "name the leaf issued to this host, not its CA",
            Self::NoDigitalSignature => "have it issued with keyUsage digitalSignature",
            Self::WeakSignature { .. } => "have it issued with SHA-256 or stronger",
            Self::OldVersion => "have it issued with basicConstraints and keyUsage extensions",
            Self::NoSubject => "have it issued with a subject, such as CN=this-host",
        }
    }
}

/// Finds the first reason for which Roles Anywhere would refuse `leaf` at `now`.
pub(super) fn check(leaf: &X509Certificate<'_>, now: OffsetDateTime) -> Result<(), Fault> {
    let not_before = leaf.validity().not_before.to_datetime();
    let not_after = leaf.validity().not_after.to_datetime();
    if leaf.version() != X509Version::V3 {
        return Err(Fault::OldVersion);
    }
    if leaf.is_ca() {
        return Err(Fault::Ca);
    }
    if !leaf.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature()) {
        return Err(Fault::NoDigitalSignature);
    }
    if let Some(hash) = weak_hash(leaf) {
        return Err(Fault::WeakSignature { hash });
    }
    if leaf.subject().iter().next().is_none() {
        return Err(Fault::NoSubject);
    }
    if now < not_before {
        return Err(Fault::NotYetValid { not_before });
    }
    if now > not_after {
        return Err(Fault::Expired { not_after });
    }
    Ok(())
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
