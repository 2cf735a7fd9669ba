//! Reads `X509SVIDResponse` from its Protocol Buffers encoding.
//!
//! Written by hand, because five fields of two messages do not need a library with four crates. The encoding is
//! described in <https://protobuf.dev/programming-guides/encoding/>. Nothing is copied, so keys stay in one buffer.

/// One `X509SVID` (SPIFFE Workload API, section 5.1).
#[derive(Clone, Copy, Default)]
pub(super) struct X509Svid<'a> {
    pub(super) id: &'a str,
    /// The leaf and its intermediates, as concatenated DER.
    pub(super) certificates: &'a [u8],
    /// PKCS#8, DER.
    pub(super) key: &'a [u8],
    /// Empty for none.
    pub(super) hint: &'a str,
}

/// Why bytes are not this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MalformedMessage {
    #[error("it ends within a field")]
    Cut,
    #[error("it has a number of more than 64 bits")]
    Number,
    #[error("it has a field of an unknown kind")]
    Kind,
    #[error("it has a name that is not text")]
    Text,
}

/// The SVIDs of an `X509SVIDResponse`, in order.
pub(super) fn entries(response: &[u8]) -> Result<Vec<X509Svid<'_>>, MalformedMessage> {
    const SVIDS: u64 = 1;
    let mut entries = Vec::new();
    for field in MessageFields(response) {
        if let (SVIDS, FieldContent::Bytes(bytes)) = field? {
            entries.push(entry(bytes)?);
        }
    }
    Ok(entries)
}

fn entry(message: &[u8]) -> Result<X509Svid<'_>, MalformedMessage> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| MalformedMessage::Text);
    let mut entry = X509Svid::default();
    for field in MessageFields(message) {
        // If a field occurs twice, the last one counts. Other fields, such as the bundle (4), are not needed.
        match field? {
            (1, FieldContent::Bytes(bytes)) => entry.id = text(bytes)?,
            (2, FieldContent::Bytes(bytes)) => entry.certificates = bytes,
            (3, FieldContent::Bytes(bytes)) => entry.key = bytes,
            (5, FieldContent::Bytes(bytes)) => entry.hint = text(bytes)?,
            _ => {}
        }
    }
    Ok(entry)
}

/// A field's content: bytes, or a type that our fields do not have.
enum FieldContent<'a> {
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message, each with its number. Ends with the message or at the first error.
struct MessageFields<'a>(&'a [u8]);

impl<'a> Iterator for MessageFields<'a> {
    type Item = Result<(u64, FieldContent<'a>), MalformedMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> MessageFields<'a> {
    fn field(&mut self) -> Result<(u64, FieldContent<'a>), MalformedMessage> {
        let tag = self.number()?;
        let content = match tag & 7 {
            0 => self.number().map(|_| FieldContent::Other)?,
            1 => self.take(8).map(|_| FieldContent::Other)?,
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| MalformedMessage::Cut)?;
                FieldContent::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| FieldContent::Other)?,
            _ => return Err(MalformedMessage::Kind),
        };
        Ok((tag >> 3, content))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MalformedMessage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MalformedMessage::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Seven bits a byte, the least significant first.
    fn number(&mut self) -> Result<u64, MalformedMessage> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if bits << shift >> shift != bits {
                return Err(MalformedMessage::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(MalformedMessage::Number)
    }
}
