//! Decodes frames of `application/vnd.amazon.eventstream` from bytes that arrive in pieces of any size.

use aws_smithy_eventstream::frame::DecodedFrame;
use aws_smithy_eventstream::frame::MessageFrameDecoder;
use bytes::Buf as _;
use bytes::Bytes;
use bytes::BytesMut;

/// The protocol allows frames of up to 24 MB. A larger length means that the bytes are not an event stream.
const LARGEST: usize = 24 << 20;

/// One frame: the headers that say what it is, and the payload.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Frame {
    /// `event`, `exception` or `error`.
    pub(super) message_type: String,
    /// The event's, exception's or error's type.
    pub(super) kind: String,
    /// The message of an error, which has no payload.
    pub(super) error_message: String,
    pub(super) payload: Bytes,
}

/// The bytes are not an event stream, or were damaged in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Decodes frames from bytes.
#[derive(Default)]
pub(super) struct FrameDecoder {
    decoder: MessageFrameDecoder,
    buffer: BytesMut,
    /// The length of the current frame; `None` between frames.
    announced: Option<usize>,
}

impl FrameDecoder {
    /// Adds the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Damaged> {
        if self.announced.is_none() {
            let Some(length) = self.buffer.first_chunk().copied().map(u32::from_be_bytes) else {
                return Ok(None);
            };
            let length = usize::try_from(length).map_err(|_| Damaged)?;
            if length > LARGEST {
                return Err(Damaged);
            }
            self.announced = Some(length);
        }
        match self.decoder.decode_frame(&mut self.buffer) {
            Ok(DecodedFrame::Complete(message)) => {
                self.announced = None;
                // The first header of a name counts.
                let header = |name: &str| {
                    let header = message.headers().iter().find(|header| header.name().as_str() == name)?;
                    Some(header.value().as_string().ok()?.as_str().to_owned())
                };
                let kinds = [":event-type", ":exception-type", ":error-code"];
                Ok(Some(Frame {
                    message_type: header(":message-type").ok_or(Damaged)?,
                    kind: kinds.into_iter().find_map(header).unwrap_or_default(),
                    error_message: header(":error-message").unwrap_or_default(),
                    payload: message.payload().clone(),
                }))
            }
            Ok(_) => Ok(None),
            Err(_) => Err(Damaged),
        }
    }

    /// Whether there is no incomplete frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.announced.is_none() && !self.buffer.has_remaining()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// CRC-32 as in zip files, a bit at a time.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    /// A frame as the protocol has it, with text headers.
    pub(in crate::bedrock) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        for (name, value) in headers {
            written.push(u8::try_from(name.len()).unwrap());
            written.extend(name.as_bytes());
            written.push(7);
            written.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            written.extend(value.as_bytes());
        }
        let mut frame = Vec::new();
        frame.extend(u32::try_from(16 + written.len() + payload.len()).unwrap().to_be_bytes());
        frame.extend(u32::try_from(written.len()).unwrap().to_be_bytes());
        frame.extend(crc32(&frame).to_be_bytes());
        frame.extend(written);
        frame.extend(payload);
        frame.extend(crc32(&frame).to_be_bytes());
        frame
    }

    pub(in crate::bedrock) fn event(kind: &str, payload: &str) -> Vec<u8> {
        let headers =
            [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
        frame(&headers, payload.as_bytes())
    }

    fn all(bytes: &[u8], piece: usize) -> Result<(Vec<Frame>, bool), Damaged> {
        let (mut frames, mut found) = (FrameDecoder::default(), Vec::new());
        for bytes in bytes.chunks(piece) {
            frames.push(bytes);
            while let Some(frame) = frames.next()? {
                found.push(frame);
            }
        }
        Ok((found, frames.is_between_frames()))
    }

    #[test]
    fn frames_are_found_in_whatever_pieces_they_come() {
        let error = [(":message-type", "error"), (":error-code", "Oops"), (":error-message", "no more")];
        let bytes = [event("messageStart", "{}"), event("unheardOf", "[1]"), frame(&error, b"")].concat();

        for piece in 1..=bytes.len() {
            let (found, whole) = all(&bytes, piece).unwrap();
            let kinds: Vec<_> =
                found.iter().map(|frame| (frame.message_type.as_str(), frame.kind.as_str())).collect();
            assert_eq!(kinds, [("event", "messageStart"), ("event", "unheardOf"), ("error", "Oops")]);
            assert_eq!((&found[1].payload[..], found[2].error_message.as_str()), (&b"[1]"[..], "no more"));
            assert!(whole);
        }
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_known_to_be() {
        let bytes = event("messageStart", "{}");

        for end in 1..bytes.len() {
            assert_eq!(all(&bytes[..end], 7), Ok((Vec::new(), false)), "{end}");
        }
    }

    #[test]
    fn damage_is_found_and_an_absurd_length_is_not_waited_for() {
        for index in 0..event("a", "{}").len() {
            let mut bytes = event("a", "{}");
            bytes[index] ^= 0x40;
            assert!(!matches!(all(&bytes, 16), Ok((found, true)) if !found.is_empty()), "byte {index}");
        }
        assert_eq!(all(b"<html><body>Sign in", 19), Err(Damaged));
        assert_eq!(all(&frame(&[], b"{}"), 100), Err(Damaged), "which says nothing of itself");
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
            let _ = all(&bytes, piece);
        }

        /// Behind checksums that are right, where only bad intent could lead.
        #[test]
        fn no_headers_whatever_make_it_panic(headers in proptest::collection::vec(any::<u8>(), 0..80), length in 0_u32..100) {
            let mut bytes = Vec::new();
            bytes.extend(u32::try_from(16 + headers.len()).unwrap().to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend(crc32(&bytes).to_be_bytes());
            bytes.extend(headers);
            bytes.extend(crc32(&bytes).to_be_bytes());
            let _ = all(&bytes, 100);
        }
    }
}
