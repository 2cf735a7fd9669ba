//! A call to an agent: gRPC over plaintext HTTP/2, as the Workload Endpoint uses.
//!
//! Not tonic, which is built on the same HTTP/2 and would add twelve crates, one of them in a second version.

use std::io;
use std::io::ErrorKind;

use bytes::Buf as _;
use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::header::TE;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Read;
use hyper::rt::Write;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use super::AgentFault;
use super::WorkloadEndpoint;
use super::endpoint::SocketAddress;
use super::error::AgentMessage;
use super::frames;
use super::frames::GrpcFrames;
use super::frames::Unreadable;

/// The messages of an open `FetchX509SVID` stream.
pub(super) struct Messages {
    body: Incoming,
    frames: GrpcFrames,
    /// Bytes received after the end of the last message.
    rest: Bytes,
    _call: GrpcConnection,
}

/// Keeps the connection while its stream is read, and closes it when dropped.
struct GrpcConnection {
    connection: AbortHandle,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Drop for GrpcConnection {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Connects and calls, without a time limit.
pub(super) async fn open(endpoint: &WorkloadEndpoint) -> Result<Messages, AgentFault> {
    match &endpoint.place {
        SocketAddress::Unix(path) => {
            call(TokioIo::new(UnixStream::connect(path).await.map_err(unreachable)?)).await
        }
        SocketAddress::Tcp(address) => {
            call(TokioIo::new(TcpStream::connect(address).await.map_err(unreachable)?)).await
        }
    }
}

pub(super) fn unreachable(error: io::Error) -> AgentFault {
    match error.kind() {
        ErrorKind::NotFound => AgentFault::NoSocket,
        ErrorKind::ConnectionRefused => AgentFault::NotListening,
        ErrorKind::PermissionDenied => AgentFault::Forbidden,
        _ => AgentFault::Unreachable(error),
    }
}

pub(super) async fn call<T: Read + Write + Unpin + Send + 'static>(
    stream: T,
) -> Result<Messages, AgentFault> {
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), stream).await.map_err(AgentFault::Broken)?;
    // Its errors also reach the call.
    let connection = tokio::spawn(async { drop(connection.await) }).abort_handle();
    let mut call = GrpcConnection { connection, sender };
    let response = call.sender.send_request(request()).await.map_err(AgentFault::Broken)?;
    check(&response)?;
    Ok(Messages {
        body: response.into_body(),
        frames: GrpcFrames::default(),
        rest: Bytes::new(),
        _call: call,
    })
}

/// gRPC over HTTP/2, "Requests"; the metadata is the Workload Endpoint's, section 3.
fn request() -> Request<Full<Bytes>> {
    /// An `X509SVIDRequest`, which has no fields: not compressed, no bytes.
    const NOTHING_TO_SAY: &[u8] = &[0; 5];
    let mut request = Request::new(Full::new(Bytes::from_static(NOTHING_TO_SAY)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("http://localhost/SpiffeWorkloadAPI/FetchX509SVID");
    let headers = request.headers_mut();
    headers.insert(TE, http::HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    headers.insert("workload.spiffe.io", http::HeaderValue::from_static("true"));
    request
}

/// gRPC over HTTP/2, "Responses": a refusal may already be in the headers.
fn check(response: &Response<Incoming>) -> Result<(), AgentFault> {
    let headers = response.headers();
    if let Some(fault) = final_word(headers) {
        return Err(fault);
    }
    if response.status() != StatusCode::OK {
        return Err(AgentFault::NotGrpc { with: format!("the HTTP status {}", response.status()) });
    }
    match headers.get(CONTENT_TYPE) {
        Some(kind) if kind.as_bytes().starts_with(b"application/grpc") => Ok(()),
        Some(kind) => Err(AgentFault::NotGrpc { with: words(kind.as_bytes()) }),
        None => Err(AgentFault::NotGrpc { with: "an HTTP response of no type".into() }),
    }
}

/// The status that ends a call (gRPC, "Status codes and their use in gRPC").
fn final_word(headers: &HeaderMap) -> Option<AgentFault> {
    let status = headers.get("grpc-status")?;
    /// `UNKNOWN`, for a status that is not a number (gRPC over HTTP/2, "Status").
    const UNKNOWN: u16 = 2;
    let code = status.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    let message = headers.get("grpc-message").map_or(&[][..], |message| message.as_bytes());
    let message: Vec<u8> = percent_decode(message).collect();
    let message = AgentMessage(words(&message));
    Some(match code {
        0 => AgentFault::Ended,
        3 => AgentFault::Malformed { message },
        7 => AgentFault::NoIdentity { message },
        14 => AgentFault::Unavailable { message },
        code => AgentFault::Status { code, message },
    })
}

/// Outside text, made safe to print.
fn words(text: &[u8]) -> String {
    const ENOUGH: usize = 200;
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|letter| !letter.is_control()).take(ENOUGH).collect::<String>().trim().to_owned()
}

impl Messages {
    /// The next message; waits as long as the agent sends none.
    pub(super) async fn next(&mut self) -> Result<Zeroizing<Vec<u8>>, AgentFault> {
        loop {
            let mut unread = &self.rest[..];
            let message = self.frames.take(&mut unread).map_err(|why| match why {
                Unreadable::TooLarge => AgentFault::TooLarge { limit: frames::LARGEST },
                Unreadable::Compressed => AgentFault::Garbled { why: "it is compressed".into() },
            });
            self.rest.advance(self.rest.len() - unread.len());
            if let Some(message) = message? {
                return Ok(message);
            }
            let frame = self.body.frame().await.ok_or(AgentFault::Ended)?.map_err(AgentFault::Broken)?;
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Err(final_word(&trailers).unwrap_or(AgentFault::Ended));
                }
            }
        }
    }
}
