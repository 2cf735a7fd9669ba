//! Reads messages from the bytes of a gRPC stream.
//!
//! Five bytes come before each message: whether it is compressed, and its length (gRPC over HTTP/2,
//! Length-Prefixed-Message).

use zeroize::Zeroizing;

/// Collects bytes until a message is whole.
#[derive(Default)]
pub(super) struct GrpcFrames {
    head: [u8; HEAD],
    read: usize,
    /// Allocated at its full length: a growing buffer leaves copies of keys in memory.
    message: Option<Zeroizing<Vec<u8>>>,
    length: usize,
}

const HEAD: usize = 5;

/// An answer has a few kilobytes; with many federated bundles it may have hundreds.
pub(super) const LARGEST: usize = 8 << 20;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    TooLarge,
    /// The request did not allow compression.
    Compressed,
}

impl GrpcFrames {
    /// Takes bytes from the front of `data`, at most up to the end of a message, which is returned.
    pub(super) fn take(&mut self, data: &mut &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Unreadable> {
        if self.message.is_none() {
            let (head, rest) = data.split_at(data.len().min(HEAD - self.read));
            self.head[self.read..self.read + head.len()].copy_from_slice(head);
            (self.read, *data) = (self.read + head.len(), rest);
            if self.read < HEAD {
                return Ok(None);
            }
            self.begin()?;
        }
        let Some(message) = &mut self.message else { return Ok(None) };
        let (body, rest) = data.split_at(data.len().min(self.length - message.len()));
        message.extend_from_slice(body);
        *data = rest;
        if message.len() < self.length {
            return Ok(None);
        }
        self.read = 0;
        Ok(self.message.take())
    }

    fn begin(&mut self) -> Result<(), Unreadable> {
        let [compressed, length @ ..] = self.head;
        if compressed != 0 {
            return Err(Unreadable::Compressed);
        }
        self.length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Unreadable::TooLarge)?;
        if self.length > LARGEST {
            return Err(Unreadable::TooLarge);
        }
        self.message = Some(Zeroizing::new(Vec::with_capacity(self.length)));
        Ok(())
    }
}
