//! Asks a running daemon through its Unix socket.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::failure::Class;
use crate::failure::Failure;
use crate::secret::Secret;

/// Far above any answer, which is a set of credentials or the status of a few sessions.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What came of asking.
pub(super) enum Asked {
    /// The daemon's answer.
    Answered(Secret<Vec<u8>>),
    /// The daemon's refusal.
    Refused(Failure),
    /// Nobody listens there.
    NoDaemon,
}

/// An error as the socket's front end writes it.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    hint: Option<String>,
}

/// Where a daemon may listen: the place that is configured, then the system's.
pub(super) fn candidates(configured: Option<&Path>) -> Vec<PathBuf> {
    let system = PathBuf::from("/run/anchord/anchord.sock");
    let configured = configured.map(Path::to_path_buf);
    configured.into_iter().filter(|path| *path != system).chain([system.clone()]).collect()
}

/// Asks the first of `sockets` on which a daemon listens.
pub(super) async fn ask(sockets: &[PathBuf], path: &str, limit: Duration) -> Asked {
    for socket in sockets {
        match UnixStream::connect(socket).await {
            Ok(stream) => return answer(stream, socket, path, limit).await,
            Err(error) if is_absence(&error) => {}
            Err(error) => return Asked::Refused(unreachable(socket, &error)),
        }
    }
    Asked::NoDaemon
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::NotFound | Kind::ConnectionRefused | Kind::NotADirectory)
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let hint = (error.kind() == io::ErrorKind::PermissionDenied)
        .then(|| "join the group that may use the socket, or widen `socket.mode`".to_owned());
    Failure::of(
        Class::Misconfigured,
        format!("cannot reach the daemon at `{}`: {error}", socket.display()),
        hint,
    )
}

async fn answer(stream: UnixStream, socket: &Path, path: &str, limit: Duration) -> Asked {
    let failed = |what: &str| {
        let message = format!("the daemon at `{}` {what}", socket.display());
        Asked::Refused(Failure::of(Class::Transient, message, None))
    };
    match tokio::time::timeout(limit, exchange(stream, path)).await {
        Err(_) => failed(&format!("did not answer within {} s", limit.as_secs())),
        Ok(None) => failed("broke off its answer"),
        Ok(Some((StatusCode::OK, body))) => Asked::Answered(body),
        Ok(Some((status, body))) => match serde_json::from_slice::<Refusal>(body.expose()) {
            Ok(Refusal { message, hint }) => Asked::Refused(Failure::of(Class::Transient, message, hint)),
            Err(_) => failed(&format!("answered {status}")),
        },
    }
}

async fn exchange(stream: UnixStream, path: &str) -> Option<(StatusCode, Secret<Vec<u8>>)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request =
        Request::get(path).header(http::header::HOST, "localhost").body(Empty::<Bytes>::new()).ok()?;
    let reply = async move {
        let reply = sender.send_request(request).await.ok()?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?;
        Some((status, Secret::new(body.to_bytes().to_vec())))
    };
    // The connection must be polled for the reply to arrive; it ends when the sender is dropped.
    let (reply, _) = tokio::join!(reply, connection);
    reply
}
