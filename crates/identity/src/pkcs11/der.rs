//! Converts keys and signatures of tokens to X.509's formats.

use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::asn1::Element;
use crate::asn1::OCTET_STRING;
use crate::asn1::two_numbers;

/// The longest signature half of any curve here: P-521's 66 bytes.
const MAX_HALF: usize = 66;

/// `CKM_ECDSA` returns `r` and `s` one after the other, equally long (PKCS#11 3.1, 6.3.1). X.509 needs
/// `Ecdsa-Sig-Value` (RFC 3279, 2.2.3).
pub(super) fn ecdsa_signature(raw: &[u8]) -> Option<Vec<u8>> {
    let half = raw.len() / 2;
    if half == 0 || !raw.len().is_multiple_of(2) || half > MAX_HALF {
        return None;
    }
    let (r, s) = raw.split_at(half);
    Some(two_numbers(r, s))
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let is_number = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    (is_number(modulus) && is_number(exponent)).then(|| two_numbers(modulus, exponent))
}

/// The point of a `CKA_EC_POINT`: in an OCTET STRING as PKCS#11 specifies, or without one as some tokens return it.
pub(super) fn ec_point(attribute: &[u8]) -> Option<Vec<u8>> {
    const UNCOMPRESSED: u8 = 0x04;
    let is_point =
        |bytes: &[u8]| bytes.first() == Some(&UNCOMPRESSED) && matches!(bytes.len(), 65 | 97 | 133);
    // An OCTET STRING begins with the same byte, but only one of the two interpretations has the length of a point.
    if let Some((Element { tag: OCTET_STRING, content, .. }, [])) = Element::definite(attribute)
        && is_point(content)
    {
        return Some(content.to_vec());
    }
    is_point(attribute).then(|| attribute.to_vec())
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
