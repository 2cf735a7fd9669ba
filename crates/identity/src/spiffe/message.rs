//! The one message that is read, `X509SVIDResponse`, from its Protocol Buffers encoding.
//!
//! By hand, because five fields of two messages do not need a library that would add four crates; what the
//! encoding says is in <https://protobuf.dev/programming-guides/encoding/>. Nothing is copied: keys stay where they
//! arrived.

/// One `X509SVID` (SPIFFE Workload API, section 5.1).
#[derive(Clone, Copy, Default)]
pub(super) struct Entry<'a> {
    pub(super) id: &'a str,
    /// The leaf and what leads on from it, DER after DER.
    pub(super) certificates: &'a [u8],
    /// PKCS#8, DER.
    pub(super) key: &'a [u8],
    /// Empty for none.
    pub(super) hint: &'a str,
}

/// Bytes that are not the message that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Garbled {
    #[error("it ends within a field")]
    Cut,
    #[error("it has a number of more than 64 bits")]
    Number,
    #[error("it has a field of an unknown kind")]
    Kind,
    #[error("it has a name that is not text")]
    Text,
}

/// The SVIDs of an `X509SVIDResponse`, in their order.
pub(super) fn entries(response: &[u8]) -> Result<Vec<Entry<'_>>, Garbled> {
    const SVIDS: u64 = 1;
    let mut entries = Vec::new();
    for field in Fields(response) {
        if let (SVIDS, Content::Bytes(bytes)) = field? {
            entries.push(entry(bytes)?);
        }
    }
    Ok(entries)
}

fn entry(message: &[u8]) -> Result<Entry<'_>, Garbled> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Garbled::Text);
    let mut entry = Entry::default();
    for field in Fields(message) {
        // Where a field comes twice the last one counts. Others, such as the bundle (4), are not needed.
        match field? {
            (1, Content::Bytes(bytes)) => entry.id = text(bytes)?,
            (2, Content::Bytes(bytes)) => entry.certificates = bytes,
            (3, Content::Bytes(bytes)) => entry.key = bytes,
            (5, Content::Bytes(bytes)) => entry.hint = text(bytes)?,
            _ => {}
        }
    }
    Ok(entry)
}

/// A field's content: bytes, or something that no field of ours is.
enum Content<'a> {
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message, each with its number; ends with the message or its first fault.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Content<'a>), Garbled>;

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

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Content<'a>), Garbled> {
        let tag = self.number()?;
        let content = match tag & 7 {
            0 => self.number().map(|_| Content::Other)?,
            1 => self.take(8).map(|_| Content::Other)?,
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| Garbled::Cut)?;
                Content::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Content::Other)?,
            _ => return Err(Garbled::Kind),
        };
        Ok((tag >> 3, content))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Garbled::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Seven bits a byte, the least significant first.
    fn number(&mut self) -> Result<u64, Garbled> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if bits << shift >> shift != bits {
                return Err(Garbled::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Garbled::Number)
    }
}
