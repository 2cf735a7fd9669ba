//! A call to an agent: gRPC over HTTP/2 in clear, as the Workload Endpoint is served.
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

use super::Endpoint;
use super::Fault;
use super::endpoint::Place;
use super::error::Said;
use super::frames;
use super::frames::Frames;
use super::frames::Unreadable;

/// The messages of an open `FetchX509SVID` stream.
pub(super) struct Messages {
    body: Incoming,
    frames: Frames,
    /// What has come after the end of the last message.
    rest: Bytes,
    _call: Call,
}

/// Keeps the connection as long as its stream is read, and not longer.
struct Call {
    connection: AbortHandle,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Connects and calls; waits as long as the agent does.
pub(super) async fn open(endpoint: &Endpoint) -> Result<Messages, Fault> {
    match &endpoint.place {
        Place::Unix(path) => call(TokioIo::new(UnixStream::connect(path).await.map_err(unreachable)?)).await,
        Place::Tcp(address) => {
            call(TokioIo::new(TcpStream::connect(address).await.map_err(unreachable)?)).await
        }
    }
}

pub(super) fn unreachable(error: io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound => Fault::NoSocket,
        ErrorKind::ConnectionRefused => Fault::NotListening,
        ErrorKind::PermissionDenied => Fault::Forbidden,
        _ => Fault::Unreachable(error),
    }
}

pub(super) async fn call<T: Read + Write + Unpin + Send + 'static>(stream: T) -> Result<Messages, Fault> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(Fault::Broken)?;
    // Its errors are the call's as well.
    let connection = tokio::spawn(async { drop(connection.await) }).abort_handle();
    let mut call = Call { connection, sender };
    let response = call.sender.send_request(request()).await.map_err(Fault::Broken)?;
    check(&response)?;
    Ok(Messages { body: response.into_body(), frames: Frames::default(), rest: Bytes::new(), _call: call })
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

/// gRPC over HTTP/2, "Responses": a refusal may come at once, in the headers.
fn check(response: &Response<Incoming>) -> Result<(), Fault> {
    let headers = response.headers();
    if let Some(fault) = final_word(headers) {
        return Err(fault);
    }
    if response.status() != StatusCode::OK {
        return Err(Fault::NotGrpc { with: format!("the HTTP status {}", response.status()) });
    }
    match headers.get(CONTENT_TYPE) {
        Some(kind) if kind.as_bytes().starts_with(b"application/grpc") => Ok(()),
        Some(kind) => Err(Fault::NotGrpc { with: words(kind.as_bytes()) }),
        None => Err(Fault::NotGrpc { with: "an HTTP response of no type".into() }),
    }
}

/// What an agent ends a call with (gRPC, "Status codes and their use in gRPC").
fn final_word(headers: &HeaderMap) -> Option<Fault> {
    let status = headers.get("grpc-status")?;
    /// `UNKNOWN`, for what is no number (gRPC over HTTP/2, "Status").
    const UNKNOWN: u16 = 2;
    let code = status.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    let message = headers.get("grpc-message").map_or(&[][..], |message| message.as_bytes());
    let message: Vec<u8> = percent_decode(message).collect();
    let said = Said(words(&message));
    Some(match code {
        0 => Fault::Ended,
        3 => Fault::Malformed { said },
        7 => Fault::NoIdentity { said },
        14 => Fault::Unavailable { said },
        code => Fault::Status { code, said },
    })
}

/// What a stranger says, fit to be printed.
fn words(text: &[u8]) -> String {
    const ENOUGH: usize = 200;
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|letter| !letter.is_control()).take(ENOUGH).collect::<String>().trim().to_owned()
}

impl Messages {
    /// The next one; waits as long as the agent has nothing to say.
    pub(super) async fn next(&mut self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        loop {
            let mut unread = &self.rest[..];
            let message = self.frames.take(&mut unread).map_err(|why| match why {
                Unreadable::TooLarge => Fault::TooLarge { limit: frames::LARGEST },
                Unreadable::Compressed => Fault::Garbled { why: "it is compressed".into() },
            });
            self.rest.advance(self.rest.len() - unread.len());
            if let Some(message) = message? {
                return Ok(message);
            }
            let frame = self.body.frame().await.ok_or(Fault::Ended)?.map_err(Fault::Broken)?;
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Err(final_word(&trailers).unwrap_or(Fault::Ended));
                }
            }
        }
    }
}
