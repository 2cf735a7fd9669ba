//! The wire format: big-endian numbers, and buffers with a 16-bit length in front (TPM 2.0 Library, Part 1,
//! "Marshaling").

use zeroize::Zeroizing;

/// The largest command or response; TPMs of the PC Client profile have 4096 bytes of buffer.
pub(super) const MAX_SIZE: usize = 4096;

/// Tag, size, code.
pub(super) const HEADER: usize = 10;

/// `TPM_ST_NO_SESSIONS`
pub(super) const NO_SESSIONS: u16 = 0x8001;

/// `TPM_ST_SESSIONS`
pub(super) const SESSIONS: u16 = 0x8002;

/// `TPM_RS_PW`, the session that is a password.
const PASSWORD_SESSION: u32 = 0x4000_0009;

/// Writes a structure. Wiped when dropped, because it may hold an authorization value.
#[derive(Default)]
pub(super) struct Marshaller(Zeroizing<Vec<u8>>);

impl Marshaller {
    pub(super) fn new() -> Self {
        // As large as it can get, because a growing buffer leaves copies in memory.
        Self(Zeroizing::new(Vec::with_capacity(MAX_SIZE)))
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `TPM2B`. A length that does not fit is never sent, because commands are at most [`MAX_SIZE`] long.
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }

    /// The authorization area of one password: its size, the session, no nonce, no attributes, the password.
    pub(super) fn password(self, password: &[u8]) -> Self {
        let length = u32::try_from(9 + password.len()).unwrap_or(u32::MAX);
        self.u32(length).u32(PASSWORD_SESSION).u16(0).u8(0).sized(password)
    }

    /// Adds the command's header; `None` if the command would be larger than a TPM accepts.
    pub(super) fn command(self, tag: u16, code: u32) -> Option<Self> {
        let size = HEADER + self.0.len();
        if size > MAX_SIZE {
            return None;
        }
        let size = u32::try_from(size).ok()?;
        Some(Self::new().u16(tag).u32(size).u32(code).bytes(&self.0))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a structure from the front. Every method returns `None` if too few bytes are left.
#[derive(Clone, Copy)]
pub(super) struct Unmarshaller<'a>(&'a [u8]);

impl<'a> Unmarshaller<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    /// The content of a `TPM2B`.
    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// A response of exactly the size in its header.
pub(super) struct Response<'a> {
    pub(super) tag: u16,
    pub(super) code: u32,
    pub(super) rest: Unmarshaller<'a>,
}

impl<'a> Response<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Unmarshaller::new(bytes);
        let (tag, size, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
        (usize::try_from(size) == Ok(bytes.len())).then_some(Self { tag, code, rest: reader })
    }
}

/// The size in a response's header, if it is within the limits.
pub(super) fn announced_size(header: &[u8]) -> Option<usize> {
    let mut reader = Unmarshaller::new(header);
    reader.u16()?;
    let size = usize::try_from(reader.u32()?).ok()?;
    (HEADER..=MAX_SIZE).contains(&size).then_some(size)
}
