//! Between a token's forms of keys and signatures and those of X.509.

use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::asn1::Element;
use crate::asn1::OCTET_STRING;
use crate::asn1::two_numbers;

/// The longest signature half of any curve here: P-521's 66 bytes.
const MAX_HALF: usize = 66;

/// `CKM_ECDSA` gives `r` and `s` one after the other, equally long (PKCS#11 3.1, 6.3.1); X.509 wants
/// `Ecdsa-Sig-Value` (RFC 3279, 2.2.3).
pub(super) fn ecdsa_signature(raw: &[u8]) -> Option<Vec<u8>> {
    let half = raw.len() / 2;
    if half == 0 || !raw.len().is_multiple_of(2) || half > MAX_HALF {
        return None;
    }
    let (r, s) = raw.split_at(half);
    two_numbers(r, s)
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let is_number = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    if !is_number(modulus) || !is_number(exponent) {
        return None;
    }
    two_numbers(modulus, exponent)
}

/// The point of a `CKA_EC_POINT`: in an OCTET STRING as PKCS#11 says, or bare as some tokens have it.
pub(super) fn ec_point(attribute: &[u8]) -> Option<Vec<u8>> {
    const UNCOMPRESSED: u8 = 0x04;
    let is_point =
        |bytes: &[u8]| bytes.first() == Some(&UNCOMPRESSED) && matches!(bytes.len(), 65 | 97 | 133);
    // An OCTET STRING begins with the same byte; only one of the two readings has a point's length.
    let content = Element::only(attribute, OCTET_STRING).map(|string| string.content);
    content
        .filter(|content| is_point(content))
        .or_else(|| Some(attribute).filter(|bare| is_point(bare)))
        .map(<[u8]>::to_vec)
}

/// The `subjectPublicKey` of a certificate.
pub(super) fn key_of_certificate(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

/// The `subjectPublicKey` of a `SubjectPublicKeyInfo`.
pub(super) fn key_of_info(der: &[u8]) -> Option<Vec<u8>> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    Some(info.subject_public_key.data.to_vec())
}
