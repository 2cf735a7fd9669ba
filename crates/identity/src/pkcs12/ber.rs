//! As much of BER (X.690, section 8) as PKCS#12 files need.
//!
//! OpenSSL and Windows write DER; browsers and macOS write lengths that are open (indefinite) and strings in pieces.
//! Both are read here, and nothing is decoded that is not asked for.

use zeroize::Zeroizing;

/// Deeper than any PKCS#12 file, and shallow enough for any stack.
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
    /// The element that `bytes` begin with, and what follows it.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        Self::at_depth(bytes, 0)
    }

    fn at_depth(bytes: &'a [u8], depth: usize) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&length, rest) = rest.split_first()?;
        // Tags above 30 take more bytes, and do not occur.
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

    /// Content of an open length, up to the two zero bytes that end it.
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

    /// What it holds, element by element.
    pub(super) fn members(&self) -> Members<'a> {
        Members(self.content)
    }

    /// The bytes of a string, put together where it is in pieces.
    pub(super) fn octets(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(self.content.len()));
        match self.tag {
            OCTET_STRING | CONTEXT_0_PRIMITIVE => octets.extend_from_slice(self.content),
            _ if self.tag & CONSTRUCTED != 0 => {
                let mut members = self.members();
                while !members.is_empty() {
                    // Pieces of pieces are allowed and not written by anybody.
                    octets.extend_from_slice(members.next(OCTET_STRING)?.content);
                }
            }
            _ => return None,
        }
        Some(octets)
    }

    /// A number that fits.
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
