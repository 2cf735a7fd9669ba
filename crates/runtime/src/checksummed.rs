//! The file format of saved credentials: three lines with a title, a checksum and JSON.
//!
//! The checksum detects damage, not forgery. Only this user can write the files, so forgery needs no defence here.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_core::text::Text;

/// The format of one kind of content.
pub(crate) struct ChecksummedFormat {
    /// The first line: the kind of content and the version of its format.
    pub(crate) title: &'static str,
    /// SHA-256 as text. Each kind has its own encoding, because files of earlier versions must stay readable.
    pub(crate) checksum: fn(&[u8]) -> String,
}

/// Why content cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is not in the format of this version")]
    Foreign,
    #[error("it is damaged: its checksum does not match")]
    Damaged,
    #[error("it is damaged: its content cannot be read")]
    Malformed,
}

impl Classify for Unusable {
    fn reason(&self) -> Reason {
        Reason::FileUnusable
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Foreign => Some("after an upgrade this is expected; the next renewal replaces it".into()),
            Self::Damaged | Self::Malformed => Some("the next renewal replaces it".into()),
        }
    }
}

impl ChecksummedFormat {
    /// Encodes `content`, which must consist of text, numbers, and lists and records of these.
    pub(crate) fn encode(&self, content: &impl Serialize) -> Secret<Vec<u8>> {
        const PROOF: &str = "text, numbers, and lists and records of these can always be written as JSON";
        let mut length = Length(0);
        serde_json::to_writer(&mut length, content).expect(PROOF);
        // Reserve the whole length first: a growing buffer would leave copies of the secrets in memory.
        let mut json = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *json, content).expect(PROOF);
        let head = format!("{}\n{}\n", self.title, (self.checksum)(&json));
        Secret::new([head.as_bytes(), &json].concat())
    }

    /// Decodes content and verifies its checksum.
    pub(crate) fn decode<T: DeserializeOwned>(&self, bytes: &Secret<Vec<u8>>) -> Result<T, Unusable> {
        let rest = bytes.expose().strip_prefix(self.title.as_bytes()).ok_or(Unusable::Foreign)?;
        let rest = rest.strip_prefix(b"\n").ok_or(Unusable::Foreign)?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Damaged)?;
        let (stated, json) = (&rest[..end], &rest[end + 1..]);
        if (self.checksum)(json).as_bytes() != stated {
            return Err(Unusable::Damaged);
        }
        serde_json::from_slice(json).map_err(|_| Unusable::Malformed)
    }
}

/// Counts the bytes that are written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use anchord_core::digest::sha256_hex;

    const FORMAT: ChecksummedFormat = ChecksummedFormat { title: "anchord test 1", checksum: sha256_hex };

    fn content() -> Vec<String> {
        vec!["first".into(), "second \"quoted\"".into()]
    }

    fn decode(bytes: &[u8]) -> Result<Vec<String>, Unusable> {
        FORMAT.decode(&Secret::new(bytes.to_vec()))
    }

    #[test]
    fn what_was_written_is_read() {
        let written = FORMAT.encode(&content());

        let text = std::str::from_utf8(written.expose()).unwrap();
        let json = r#"["first","second \"quoted\""]"#;
        assert_eq!(text, format!("anchord test 1\n{}\n{json}", sha256_hex(json.as_bytes())));
        assert_eq!(decode(written.expose()), Ok(content()));
    }

    #[test]
    fn each_reason_why_content_cannot_be_used_is_told_apart() {
        let of_another_shape = FORMAT.encode(&7);

        assert_eq!(decode(b""), Err(Unusable::Foreign));
        assert_eq!(decode(b"anchord test 2\n{}"), Err(Unusable::Foreign));
        assert_eq!(decode(b"anchord test 10\n{}"), Err(Unusable::Foreign));
        assert_eq!(decode(b"anchord test 1\n"), Err(Unusable::Damaged));
        assert_eq!(decode(b"anchord test 1\nnonsense\n[]"), Err(Unusable::Damaged));
        assert_eq!(decode(of_another_shape.expose()), Err(Unusable::Malformed));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in 0_usize..200, by in 1_u8..=255) {
            let mut bytes = FORMAT.encode(&content()).expose().clone();
            let at = at % bytes.len();
            bytes[at] ^= by;

            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
