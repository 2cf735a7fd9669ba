//! The answer of a model as a stream of events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::error::printable;
use super::event_stream::Frame;
use super::event_stream::FrameDecoder;
use crate::upstream::Chunks;
use crate::upstream::TransportError;

/// One event of a stream. It may be confidential, so it does not implement `Debug`.
#[derive(Clone)]
pub struct StreamEvent {
    /// Its type: `messageStart`, `contentBlockDelta` and so on; `chunk` for InvokeModel.
    pub kind: String,
    /// For ConverseStream, the event under its type, as in the SDKs (`{"metadata": {…}}`). For InvokeModel, what the
    /// model wrote, as a string if it is not JSON.
    pub value: Value,
}

/// A stream of events. Dropping it cancels the call.
pub struct EventStream {
    chunks: Chunks,
    frames: FrameDecoder,
    host: String,
    request_id: String,
    progress: Progress,
}

/// Tracks whether the model has finished.
struct Progress {
    /// The type of the final event. InvokeModel has none that is the same for all models.
    last: Option<&'static str>,
    seen_last: bool,
    any: bool,
}

impl Progress {
    fn new(is_converse: bool) -> Self {
        Self { last: is_converse.then_some("messageStop"), seen_last: false, any: false }
    }

    fn saw(&mut self, kind: &str) {
        self.any = true;
        self.seen_last |= self.last == Some(kind);
    }

    fn is_done(&self) -> bool {
        self.any && (self.last.is_none() || self.seen_last)
    }
}

impl EventStream {
    pub(super) fn new(chunks: Chunks, host: String, request_id: String, is_converse: bool) -> Self {
        Self {
            chunks,
            frames: FrameDecoder::default(),
            host,
            request_id,
            progress: Progress::new(is_converse),
        }
    }

    /// The next event; `None` when the model has finished.
    ///
    /// # Errors
    /// If AWS reports an error, or the stream is damaged or ends too early. There are no events after an error.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, Error> {
        loop {
            let frame = self.frames.next().map_err(|_| self.not_understood("the stream is damaged"))?;
            if let Some(frame) = frame {
                let event = event(frame, &self.request_id)?;
                self.progress.saw(&event.kind);
                return Ok(Some(event));
            }
            match self.chunks.next().await {
                Ok(Some(bytes)) => self.frames.push(&bytes),
                Ok(None) if self.is_done() => return Ok(None),
                Ok(None) => return Err(self.cut(None)),
                Err(error) => return Err(self.cut(Some(error))),
            }
        }
    }

    fn is_done(&self) -> bool {
        self.frames.is_between_frames() && self.progress.is_done()
    }

    fn cut(&self, source: Option<TransportError>) -> Error {
        Error::Cut { host: self.host.clone(), source }
    }

    fn not_understood(&self, why: &'static str) -> Error {
        Error::NotUnderstood { why, request_id: self.request_id.clone() }
    }
}

#[derive(Default, Deserialize)]
struct Exception {
    #[serde(alias = "Message")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Chunk {
    bytes: String,
}

fn event(frame: Frame, request_id: &str) -> Result<StreamEvent, Error> {
    let not_understood = |why| Error::NotUnderstood { why, request_id: request_id.to_owned() };
    match frame.message_type.as_str() {
        "event" if frame.kind == "chunk" => {
            let chunk: Chunk =
                serde_json::from_slice(&frame.payload).map_err(|_| not_understood("a chunk is not JSON"))?;
            let bytes = STANDARD.decode(chunk.bytes).map_err(|_| not_understood("a chunk is not base64"))?;
            Ok(StreamEvent { kind: frame.kind, value: json_or_text(&bytes) })
        }
        "event" => {
            let value: Value =
                serde_json::from_slice(&frame.payload).map_err(|_| not_understood("an event is not JSON"))?;
            let value = Value::Object([(frame.kind.clone(), value)].into_iter().collect());
            Ok(StreamEvent { kind: frame.kind, value })
        }
        "exception" | "error" => {
            Err(broken_off(&frame.kind, &frame.payload, &frame.error_message, request_id))
        }
        _ => Err(not_understood("the stream contains a message that is neither event nor exception")),
    }
}

fn broken_off(kind: &str, payload: &Bytes, error_message: &str, request_id: &str) -> Error {
    let exception: Exception = serde_json::from_slice(payload).unwrap_or_default();
    let message = exception.message.unwrap_or_else(|| error_message.to_owned());
    // In a stream the type begins in lower case (`throttlingException`), elsewhere in upper case.
    let mut letters = kind.chars();
    let kind: String =
        letters.next().into_iter().map(|first| first.to_ascii_uppercase()).chain(letters).collect();
    Error::BrokenOff {
        kind: printable(&kind),
        message: printable(&message),
        request_id: request_id.to_owned(),
    }
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use anchord_core::failure::Class;
    use anchord_core::failure::Classify as _;

    fn frame(message_type: &str, kind: &str, payload: &str) -> Frame {
        Frame {
            message_type: message_type.into(),
            kind: kind.into(),
            error_message: String::new(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    #[test]
    fn an_event_of_converse_stands_under_its_type() {
        let event = event(frame("event", "metadata", r#"{"usage":{"outputTokens":3}}"#), "r").unwrap();

        assert_eq!(event.value, json!({"metadata": {"usage": {"outputTokens": 3}}}));
    }

    #[test]
    fn a_chunk_is_what_the_model_wrote() {
        let payload = json!({"bytes": STANDARD.encode(r#"{"completion":"Hi"}"#), "p": "abcd"}).to_string();
        assert_eq!(event(frame("event", "chunk", &payload), "r").unwrap().value, json!({"completion": "Hi"}));

        let payload = json!({"bytes": STANDARD.encode("Hi")}).to_string();
        assert_eq!(event(frame("event", "chunk", &payload), "r").unwrap().value, json!("Hi"));
    }

    #[test]
    fn an_unknown_event_passes() {
        assert_eq!(event(frame("event", "thought", "{}"), "r").unwrap().value, json!({"thought": {}}));
    }

    /// A proxy that loses a connection may end the body as if it were whole.
    #[test]
    fn a_stream_that_ends_between_two_events_is_not_taken_for_an_answer() {
        let is_done = |is_converse, kinds: &[&str]| {
            let mut progress = Progress::new(is_converse);
            kinds.iter().for_each(|kind| progress.saw(kind));
            progress.is_done()
        };

        assert!(!is_done(true, &["messageStart", "contentBlockDelta"]));
        assert!(is_done(true, &["messageStart", "messageStop"]));
        assert!(is_done(true, &["messageStart", "messageStop", "metadata"]));
        assert!(is_done(false, &["chunk"]));
        assert!(!is_done(false, &[]));
    }

    #[test]
    fn an_exception_in_mid_stream_is_told_like_any_refusal() {
        let error =
            event(frame("exception", "throttlingException", r#"{"message":"Too many tokens"}"#), "r-1")
                .err()
                .unwrap();

        assert_eq!(
            error.to_string(),
            "Bedrock ended the stream with ThrottlingException: Too many tokens (request id r-1)"
        );
        assert_eq!(error.class(), Class::Throttled);
        let error = event(frame("error", "", ""), "r-1").err().unwrap();
        assert_eq!(error.to_string(), "Bedrock ended the stream with -: - (request id r-1)");
        assert!(event(frame("news", "a", "{}"), "r").is_err());
    }
}
