//! The parts of ASN.1's encodings (X.690) that keys need: reads BER (section 8) and DER (section 10), writes DER.
//!
//! OpenSSL and Windows write PKCS#12 files in DER. Browsers and macOS write indefinite lengths and strings in pieces.
//! Key files of TPMs have a BOOLEAN that is not DER. Elements are decoded only when they are read.

use zeroize::Zeroizing;

/// Deeper than any real file, and shallow enough for any stack.
const MAX_DEPTH: usize = 32;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]` around something, or the pieces of an implicitly tagged string.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0] IMPLICIT` in place of a string's own tag.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;
const CONSTRUCTED: u8 = 0x20;

/// One element: its tag, what it holds, and all of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element of `bytes`, and the bytes after it.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        Self::at_depth(bytes, 0)
    }

    /// The same, but refuses indefinite lengths.
    pub(super) fn definite(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let is_open = |(element, _): &(Self, &[u8])| element.whole.get(1) == Some(&0x80);
        Self::first(bytes).filter(|found| !is_open(found))
    }

    fn at_depth(bytes: &'a [u8], depth: usize) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&length, rest) = rest.split_first()?;
        // Tags above 30 take more bytes, and do not occur here.
        if tag & 0x1f == 0x1f || depth > MAX_DEPTH {
            return None;
        }
        let (content, rest) = match length {
            0..0x80 => rest.split_at_checked(length.into())?,
            0x80 if tag & CONSTRUCTED != 0 => Self::until_end(rest, depth)?,
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked((length & 0x7f).into())?;
                let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
                rest.split_at_checked(length)?
            }
            _ => return None,
        };
        let whole = &bytes[..bytes.len() - rest.len()];
        Some((Self { tag, content, whole }, rest))
    }

    /// Content of indefinite length, up to the two zero bytes that end it.
    fn until_end(bytes: &'a [u8], depth: usize) -> Option<(&'a [u8], &'a [u8])> {
        let mut rest = bytes;
        loop {
            if let Some(after) = rest.strip_prefix(&[0, 0]) {
                return Some((&bytes[..bytes.len() - rest.len()], after));
            }
            (_, rest) = Self::at_depth(rest, depth + 1)?;
        }
    }

    /// The only element of `bytes`, if it has this tag.
    pub(super) fn only(bytes: &'a [u8], tag: u8) -> Option<Self> {
        match Self::first(bytes)? {
            (element, []) if element.tag == tag => Some(element),
            _ => None,
        }
    }

    /// Its members, one after another.
    pub(super) fn members(&self) -> Members<'a> {
        Members(self.content)
    }

    /// The bytes of a string; pieces are joined.
    pub(super) fn octets(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(self.content.len()));
        match self.tag {
            OCTET_STRING | CONTEXT_0_PRIMITIVE => octets.extend_from_slice(self.content),
            _ if self.tag & CONSTRUCTED != 0 => {
                let mut members = self.members();
                while !members.is_empty() {
                    // Nested pieces are allowed, but no program writes them.
                    octets.extend_from_slice(members.next(OCTET_STRING)?.content);
                }
            }
            _ => return None,
        }
        Some(octets)
    }

    /// A non-negative number of at most 64 bits.
    pub(super) fn number(&self) -> Option<u64> {
        let digits = match self.content {
            [0, digits @ ..] => digits,
            [first, ..] if *first < 0x80 => self.content,
            // Negative, or nothing at all.
            _ => return None,
        };
        (digits.len() <= 8).then(|| digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
    }
}

/// Reads the elements of a sequence one after another.
#[derive(Clone, Debug)]
pub(super) struct Members<'a>(&'a [u8]);

impl<'a> Members<'a> {
    /// Whether there are no more.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one, whatever it is.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (element, rest) = Element::first(self.0)?;
        self.0 = rest;
        Some(element)
    }

    /// The next one, which must have this tag.
    pub(super) fn next(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The next one, if it is there.
    pub(super) fn optional(&mut self) -> Option<Option<Element<'a>>> {
        if self.is_empty() { Some(None) } else { self.any().map(Some) }
    }
}

/// A SEQUENCE of two INTEGERs, DER: an RSA public key (RFC 8017, A.1.1), or an ECDSA signature (RFC 3279, 2.2.3).
pub(super) fn two_numbers(first: &[u8], second: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[integer(first), integer(second)].concat())
}

/// A non-negative INTEGER from big-endian bytes with any number of zeros in front.
fn integer(number: &[u8]) -> Vec<u8> {
    let digits = without_zeros(number);
    // Zero has a byte, and a first bit that is set would mean a negative number.
    let lead: &[u8] = if digits.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    element(INTEGER, &[lead, digits].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut der = vec![tag];
    match without_zeros(&length) {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).expect("a length has at most eight bytes"));
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

/// A big-endian number without the zeros in front of it.
pub(super) fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_definite_lengths_refuses_open_ones() {
        let open = b"\x30\x80\x02\x01\x07\x00\x00";
        let definite = b"\x30\x81\x03\x02\x01\x07";

        assert_eq!(Element::first(open).unwrap().0.content, b"\x02\x01\x07");
        assert_eq!(Element::definite(open), None);
        assert_eq!(Element::definite(definite).unwrap().0.content, b"\x02\x01\x07");
        assert_eq!(Element::definite(b"\x04\x84\xff\xff\xff\xff\x00"), None);
    }

    #[test]
    fn numbers_are_written_as_der_has_them() {
        assert_eq!(two_numbers(&[0, 0, 1], &[0x80]), b"\x30\x07\x02\x01\x01\x02\x02\x00\x80");
        assert_eq!(two_numbers(&[0], &[]), b"\x30\x06\x02\x01\x00\x02\x01\x00");
        assert!(two_numbers(&[1; 256], &[3]).starts_with(b"\x30\x82\x01\x07\x02\x82\x01\x00\x01"));
    }
}
