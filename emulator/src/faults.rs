//! What goes wrong on purpose.
//!
//! Each fault is something that clients of AWS have met: throttling, an error page from a proxy, a connection cut in the
//! middle, an answer that parses but says nothing.

use std::time::Duration;

/// Something that goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// 429 `ThrottlingException`, with `Retry-After` in seconds if given.
    Throttle {
        /// The header's value.
        retry_after: Option<u32>,
    },
    /// This status with a JSON body, as the service's own failures have.
    Status(u16),
    /// This status with an HTML body and no error type, as load balancers and proxies answer.
    Html(u16),
    /// 403 `AccessDeniedException` with this message.
    Denied {
        /// What is said.
        message: String,
    },
    /// No answer: the connection is reset; over HTTP/2 it just ends.
    Reset,
    /// The usual answer, late.
    Slow(Duration),
    /// The usual answer, decided now and sent after [`crate::Emulator::release`].
    Hold,
    /// The usual answer, and the connection is closed after it; over HTTP/2 it stays.
    Close,
    /// 201 with a body that is no JSON.
    Malformed,
    /// 201 with a `Content-Length` beyond the body, then the connection is closed.
    Truncated,
    /// 201 with an empty `credentialSet`.
    EmptyCredentialSet,
    /// 201 without a `sessionToken`.
    PartialCredentials,
    /// 201 with credentials that have expired an hour ago.
    Expired,
    /// 201 with a session in a body of four MiB.
    Oversized,
    /// Of a stream the first half, then this exception; anything else as usual.
    StreamException {
        /// Its type: `throttlingException`, `modelStreamErrorException`, ...
        kind: String,
        /// What it says.
        message: String,
    },
    /// Of a stream the first half, then the connection is closed in the middle of a frame; anything else as usual.
    StreamCut,
    /// Of a stream the first half, and the other after [`crate::Emulator::release`]; anything else as usual.
    StreamHold,
}

impl Fault {
    /// Whether the request is decided as usual and only its answer is delayed or ended differently.
    pub(crate) fn answers_as_usual(&self) -> bool {
        let is_of_streams = matches!(self, Self::StreamException { .. } | Self::StreamCut | Self::StreamHold);
        is_of_streams || matches!(self, Self::Slow(_) | Self::Hold | Self::Close)
    }
}
