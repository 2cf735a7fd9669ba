//! Which leaf to use, if there are several.

use std::fmt;
use std::str::FromStr;

use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Name;

use super::name::NameAttributes;
use anchord_core::digest::hex;
use anchord_core::digest::sha256;

/// The conditions a leaf must meet. If all are empty, any leaf may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafSelection {
    /// The pinned leaves; empty for no pin.
    pub fingerprints: Vec<Fingerprint>,
    /// Attributes that its subject must have.
    pub subject: Option<NameAttributes>,
    /// Attributes that its issuer's name must have.
    pub issuer: Option<NameAttributes>,
    /// Its serial number.
    pub serial: Option<Serial>,
}

impl LeafSelection {
    /// Whether a certificate has the wanted subject, issuer and serial number.
    pub fn names(&self, certificate: &X509Certificate<'_>) -> bool {
        let has = |wanted: &Option<NameAttributes>, name: &X509Name<'_>| {
            wanted.as_ref().is_none_or(|wanted| wanted.are_in(name))
        };
        has(&self.subject, certificate.subject())
            && has(&self.issuer, certificate.issuer())
            && self.serial.as_ref().is_none_or(|serial| serial.0 == significant(certificate.raw_serial()))
    }

    /// Whether a certificate is pinned, or there are no pins.
    pub(super) fn pins(&self, der: &[u8]) -> bool {
        self.fingerprints.is_empty() || self.fingerprints.contains(&Fingerprint::of(der))
    }
}

/// Its conditions, one after another.
impl fmt::Display for LeafSelection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fingerprint in &self.fingerprints {
            write!(formatter, "{fingerprint} ")?;
        }
        for (what, name) in [("subject", &self.subject), ("issuer", &self.issuer)] {
            if let Some(name) = name {
                write!(formatter, "{what} {name} ")?;
            }
        }
        self.serial.iter().try_for_each(|serial| write!(formatter, "serial {serial}"))
    }
}

/// The SHA-256 of a certificate's DER, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate, DER.
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", hex(&self.0))
    }
}

/// 64 hexadecimal digits, with or without colons, after `sha256:` or what OpenSSL prints before them.
impl FromStr for Fingerprint {
    type Err = MalformedSelector;

    fn from_str(text: &str) -> Result<Self, MalformedSelector> {
        let lower = text.to_ascii_lowercase();
        let heads = ["sha256:", "sha256 fingerprint="];
        let digits = heads.iter().find_map(|head| lower.strip_prefix(head)).unwrap_or(&lower);
        let bytes = hexadecimal(digits).ok_or(MalformedSelector::Fingerprint)?;
        Ok(Self(bytes.try_into().map_err(|_| MalformedSelector::Fingerprint)?))
    }
}

/// A serial number, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(Vec<u8>);

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "0x{}", hex(&self.0))
    }
}

/// Hexadecimal after `0x` or if it has a letter, as OpenSSL prints it; otherwise decimal, as AWS prints it.
impl FromStr for Serial {
    type Err = MalformedSelector;

    fn from_str(text: &str) -> Result<Self, MalformedSelector> {
        if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
            let bytes = hexadecimal(&padded).ok_or(MalformedSelector::Serial)?;
            return Ok(Self(significant(&bytes).to_vec()));
        }
        if text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            return format!("0x{text}").parse();
        }
        decimal(text).map(|bytes| Self(significant(&bytes).to_vec())).ok_or(MalformedSelector::Serial)
    }
}

/// A text that is neither a fingerprint nor a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSelector {
    /// Not a fingerprint.
    #[error("is not a fingerprint: it is `sha256:` and 64 hexadecimal digits")]
    Fingerprint,
    /// Not a serial number.
    #[error("is not a serial number: it is decimal, or hexadecimal after 0x")]
    Serial,
}

/// RFC 5280 allows 20 octets; certificates have no longer ones.
const LONGEST_SERIAL: usize = 64;

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.is_empty() || digits.len() % 2 == 1 || digits.len() > 2 * LONGEST_SERIAL {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

fn decimal(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > 2 * LONGEST_SERIAL {
        return None;
    }
    // Least significant byte first, until the end.
    let mut bytes: Vec<u8> = Vec::new();
    for letter in text.chars() {
        let mut carry = letter.to_digit(10)?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    bytes.reverse();
    Some(bytes)
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests;
