//! Between a token's forms of keys and signatures and those of X.509.

use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::SubjectPublicKeyInfo;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

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
    Some(element(SEQUENCE, &[integer(r), integer(s)].concat()))
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let is_number = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    (is_number(modulus) && is_number(exponent))
        .then(|| element(SEQUENCE, &[integer(modulus), integer(exponent)].concat()))
}

/// The point of a `CKA_EC_POINT`: in an OCTET STRING as PKCS#11 says, or bare as some tokens have it.
pub(super) fn ec_point(attribute: &[u8]) -> Option<Vec<u8>> {
    const UNCOMPRESSED: u8 = 0x04;
    let is_point =
        |bytes: &[u8]| bytes.first() == Some(&UNCOMPRESSED) && matches!(bytes.len(), 65 | 97 | 133);
    // An OCTET STRING begins with the same byte; only one of the two readings has a point's length.
    let content = content_of(OCTET_STRING, attribute).filter(|content| is_point(content));
    content.or_else(|| Some(attribute).filter(|bare| is_point(bare))).map(<[u8]>::to_vec)
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

/// The content of the one element that `der` is, if its tag is `tag` and its length below 64 KiB.
fn content_of(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let (_, rest) = der.split_first().filter(|(first, _)| **first == tag)?;
    let (length, content) = match rest.split_first()? {
        (short @ 0..=0x7f, content) => (usize::from(*short), content),
        (0x81, rest) => rest.split_first().map(|(length, content)| (usize::from(*length), content))?,
        (0x82, rest) => {
            let (length, content) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), content)
        }
        _ => return None,
    };
    (content.len() == length).then_some(content)
}

/// A non-negative INTEGER from big-endian bytes with any number of zeros in front.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let needs_zero = digits.first().is_none_or(|first| *first >= 0x80);
    let content = if needs_zero { [&[0], digits].concat() } else { digits.to_vec() };
    element(INTEGER, &content)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![tag];
    if content.len() >= 0x80 {
        // At most eight bytes long.
        der.push(0x80 | length.len() as u8);
    }
    der.extend_from_slice(length);
    der.extend_from_slice(content);
    der
}
