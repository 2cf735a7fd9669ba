//! What goes wrong on purpose.
//!
//! Each fault is something that clients of AWS have met: throttling, an error page from a proxy, a connection cut in the
//! middle, an answer that parses but says nothing.

use std::time::Duration;

/// Something that goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// 429 `ThrottlingException` (400 `Throttling` of STS), with `Retry-After` in seconds if given.
    Throttle {
        /// The header's value.
        retry_after: Option<u32>,
    },
    /// This status with a body in the service's language, as its own failures have.
    Status(u16),
    /// 503 with `Retry-After` in seconds and a body in the service's language.
    Unavailable {
        /// The header's value.
        retry_after: u32,
    },
    /// This status with an HTML body, no error type and no request id, as load balancers and proxies answer.
    Html(u16),
    /// 403 `AccessDeniedException` (`AccessDenied` of STS) with this message.
    Denied {
        /// What is said.
        message: String,
    },
    /// The signature is refused, good as it may be; STS and Bedrock quote what should have been signed, session token
    /// included.
    SignatureRefused,
    /// No answer: the connection is reset; over HTTP/2 it just ends.
    Reset,
    /// The usual answer, late.
    Slow(Duration),
    /// The usual answer, decided now and sent after [`crate::Emulator::release`].
    Hold,
    /// The usual answer, and the connection is closed after it; over HTTP/2 it stays.
    Close,
    /// A success with a body that is no JSON, or no XML.
    Malformed,
    /// A success with a `Content-Length` beyond the body, then the connection is closed.
    Truncated,
    /// A success without credentials: an empty `credentialSet`, no `Credentials`, or nothing at all of Bedrock.
    EmptyCredentialSet,
    /// A success without a session token; nothing at all of Bedrock.
    PartialCredentials,
    /// A success with credentials that have expired an hour ago; nothing at all of Bedrock.
    Expired,
    /// The usual answer with credentials of this role, whichever was asked for; nothing changes where none is assumed.
    AnotherRole(String),
    /// A success in a body of four MiB.
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
        is_of_streams || matches!(self, Self::Slow(_) | Self::Hold | Self::Close | Self::AnotherRole(_))
    }
}
