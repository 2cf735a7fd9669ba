//! `application/vnd.amazon.eventstream`: frames of two lengths, headers, a payload and two checksums.

use serde_json::Value;

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// A header's value is a text.
const TEXT: u8 = 7;

/// An event of a stream.
pub(crate) fn event(kind: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// An exception in a stream, which ends it.
pub(crate) fn exception(kind: &str, payload: &Value) -> Vec<u8> {
    let headers =
        [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    frame(&headers, payload)
}

fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let headers: Vec<u8> = headers.iter().flat_map(|(name, value)| header(name, value)).collect();
    let payload = payload.to_string().into_bytes();
    let total = PRELUDE + headers.len() + payload.len() + 4;
    let mut frame = Vec::with_capacity(total);
    // Nothing that is said here is near four GiB.
    frame.extend((total as u32).to_be_bytes());
    frame.extend((headers.len() as u32).to_be_bytes());
    frame.extend(crc32(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc32(&frame).to_be_bytes());
    frame
}

fn header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![name.len() as u8];
    header.extend(name.bytes());
    header.push(TEXT);
    header.extend((value.len() as u16).to_be_bytes());
    header.extend(value.bytes());
    header
}

/// The checksum of Ethernet and gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |rest: u32| if rest & 1 == 1 { (rest >> 1) ^ 0xedb8_8320 } else { rest >> 1 };
    let all =
        bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |rest, _| step(rest)));
    !all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::encode;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    /// botocore's EventStreamBuffer reads these bytes as this event.
    #[test]
    fn a_frame_is_the_one_that_other_implementations_read() {
        assert_eq!(encode::hex(&event("messageStop", &json!({ "stopReason": "end_turn" }))), FRAME);
    }

    const FRAME: &str = "0000007a00000051ca2c46650b3a6576656e742d7479706507000b6d65737361676553746f700d3a636f6e74656e742d7479\
         70650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b2273746f7052\
         6561736f6e223a22656e645f7475726e227d5fbf09fc";
}
