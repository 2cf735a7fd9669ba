//! Hexadecimal, PEM, timestamps and random text, in the few forms that several modules need.

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::Error;

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 3339 in whole seconds, as the service writes it.
pub(crate) fn stamp(instant: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    instant.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// Bytes of lower-case hexadecimal; anything else is `None`, because the service's signatures have one spelling.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// One DER element around `parts`.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|digit| **digit == 0).count()..];
    let mut element = vec![tag];
    match content.len() {
        // At most eight digits.
        128.. => element.push(0x80 | digits.len() as u8),
        0 => element.push(0),
        _ => {}
    }
    element.extend_from_slice(digits);
    element.extend(content);
    element
}

pub(crate) fn random_bytes(length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).map_err(|_| Error::Entropy)?;
    Ok(bytes)
}

/// Random text of base32's alphabet, as AWS's key ids and role ids are made of.
pub(crate) fn random_id(prefix: &str, length: usize) -> Result<String, Error> {
    Ok(id(prefix, &random_bytes(length)?))
}

/// One letter of base32's alphabet a byte.
pub(crate) fn id(prefix: &str, bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    prefix.chars().chain(bytes.iter().map(|byte| char::from(alphabet[usize::from(byte & 31)]))).collect()
}

/// A random request id.
pub(crate) fn request_id() -> String {
    random_bytes(16).map(|bytes| uuid(&bytes)).unwrap_or_default()
}

/// Random base64 text: secret keys and session tokens.
pub(crate) fn random_base64(length: usize) -> Result<String, Error> {
    let mut text = STANDARD.encode(random_bytes(length)?);
    text.truncate(length);
    Ok(text)
}

/// The shape of a UUID around 16 bytes.
pub(crate) fn uuid(bytes: &[u8]) -> String {
    let text = hex(bytes.get(..16).unwrap_or(bytes));
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_has_one_spelling() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(unhex("001fff"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(unhex("001FFF"), None);
        assert_eq!(unhex("001"), None);
        assert_eq!(unhex("é0"), None);
    }

    #[test]
    fn der_lengths_are_as_short_as_can_be() {
        assert_eq!(der(4, &[]), [4, 0]);
        assert_eq!(der(4, &[&[1], &[2]]), [4, 2, 1, 2]);
        assert_eq!(der(4, &[&[0; 127]])[..3], [4, 127, 0]);
        assert_eq!(der(4, &[&[0; 128]])[..4], [4, 0x81, 128, 0]);
        assert_eq!(der(4, &[&[0; 256]])[..5], [4, 0x82, 1, 0, 0]);
    }

    #[test]
    fn random_text_has_its_length_and_alphabet() {
        let id = random_id("ASIA", 16).unwrap();
        assert_eq!(id.len(), 20);
        assert!(id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()), "{id}");
        assert_eq!(random_base64(40).unwrap().len(), 40);
        assert_eq!(uuid(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
