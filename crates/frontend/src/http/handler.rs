//! Answers one request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Body;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ServerLimits;
use super::stopped;
use crate::Callers;
use crate::Connection;
use crate::CredentialsRequest;
use crate::Decision;
use crate::Peer;
use crate::Reply;
use crate::Route;
use crate::router;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Answers the requests of one listener.
pub(super) struct RequestHandler {
    listener: Arc<str>,
    routes: watch::Receiver<Arc<dyn Route>>,
    callers: Arc<Callers>,
    limits: ServerLimits,
    requests: AtomicU64,
    refusals: WarningLimit,
}

impl RequestHandler {
    pub(super) fn new(
        listener: &str,
        routes: watch::Receiver<Arc<dyn Route>>,
        callers: Arc<Callers>,
        limits: ServerLimits,
    ) -> Self {
        let requests = AtomicU64::new(1);
        Self {
            listener: listener.into(),
            routes,
            callers,
            limits,
            requests,
            refusals: WarningLimit::default(),
        }
    }

    /// Logs that a connection was closed because its client is on another host.
    pub(super) fn refuse(&self, client: &Connection) {
        let (listener, peer) = (&*self.listener, client.peer);
        if let Some(suppressed) = self.refusals.allow(Instant::now()) {
            tracing::warn!(
                event = event::CONNECTION_REFUSED,
                listener, %peer, suppressed, "Closed a connection from another host"
            );
        }
    }

    /// Answers a request within the time limit, also if its handler panics. Stops waiting for a session when `stop`
    /// becomes true.
    pub(super) async fn respond<B>(
        &self,
        request: Request<B>,
        client: &Arc<Connection>,
        stop: watch::Receiver<bool>,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let peer = client.peer;
        // A handler changes no state of ours, so a panic cannot leave any of it inconsistent.
        let handled = AssertUnwindSafe(self.handle(&head, body, (client, number), stop)).catch_unwind();
        let reply = match tokio::time::timeout(self.limits.handling, handled).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_panic)) => {
                let path = loggable(head.uri.path());
                tracing::error!(
                    event = event::REQUEST_PANICKED,
                    listener = %self.listener, request = number, path, "A request's handler panicked"
                );
                error(&head, StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled")
            }
            Err(_) => closing_error(&head, StatusCode::SERVICE_UNAVAILABLE, "the request took too long"),
        };
        self.log(&head, &reply, peer, number);
        let mut response = reply.into_response();
        response.headers_mut().insert("x-request-id", HeaderValue::from(number));
        response
    }

    async fn handle<B>(
        &self,
        head: &Parts,
        body: B,
        (client, number): (&Arc<Connection>, u64),
        stop: watch::Receiver<bool>,
    ) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !is_small(body, self.limits.body).await {
            return closing_error(head, StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large");
        }
        loop {
            let caller = self.callers.caller(client).await;
            let route = Arc::clone(&self.routes.borrow());
            let request = match route.route(head, &caller) {
                Decision::Reply(reply) => return reply,
                Decision::Credentials(request) => request,
            };
            let session = request.session.clone();
            let reply = obtain(request, number, stop.clone()).await;
            if reply.status().is_success() || !session.has_ended() {
                return reply;
            }
            // A reload may have replaced the session while this client waited for it.
            if Arc::ptr_eq(&route, &self.routes.borrow()) {
                return reply;
            }
        }
    }

    /// Logs method, path and status. A query, a header's value or a body might contain a secret.
    fn log(&self, head: &Parts, reply: &Reply, peer: Peer, number: u64) {
        let (listener, status) = (&*self.listener, reply.status().as_u16());
        let (method, path) = (short(head.method.as_str()), loggable(head.uri.path()));
        tracing::debug!(listener, request = number, %peer, method, path, status, "Answered");
        let Some(why) = reply.denial() else { return };
        if let Some(suppressed) = self.refusals.allow(Instant::now()) {
            tracing::warn!(
                event = event::REQUEST_REFUSED,
                listener, request = number, %peer, path, status, why, suppressed, "Refused a request"
            );
        } else {
            tracing::debug!(listener, request = number, %peer, path, status, why, "Refused a request");
        }
    }
}

/// Waits for a session's credentials; no other code does.
async fn obtain(request: CredentialsRequest, number: u64, stop: watch::Receiver<bool>) -> Reply {
    let CredentialsRequest { session, freshness, patience, render } = request;
    let outcome = tokio::select! {
        biased;
        // First, so that a server that stops still hands out credentials that the session has.
        outcome = session.hand_out(freshness, patience) => outcome,
        // The wait may be longer than the time that requests have to finish.
        () = stopped(stop) => Err(stopping()),
    };
    match outcome {
        Ok(credentials) => render(Ok(&credentials)),
        Err(failure) => {
            let (session, class, reason) = (session.name(), failure.class(), failure.reason());
            tracing::debug!(request = number, session, %class, %reason, %failure, "No credentials for a client");
            render(Err(&failure))
        }
    }
}

fn stopping() -> Failure {
    let hint = "try again when it has been restarted".to_owned();
    Failure::of(Reason::Stopping, "the daemon is stopping", Some(hint.into()))
}

/// Whether a body has at most `limit` bytes. Reads it to its end, so that the connection can take another request.
async fn is_small<B>(body: B, limit: usize) -> bool
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    announced <= limit && Limited::new(body, limit).collect().await.is_ok()
}

/// An error that closes the connection: the rest of the request was not read, so no other request can follow it.
fn closing_error(head: &Parts, status: StatusCode, why: &str) -> Reply {
    error(head, status, why).header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// An error in the form of the front end that the path belongs to. Errors of IMDS have no body, because some clients
/// read it as a role name.
fn error(head: &Parts, status: StatusCode, why: &str) -> Reply {
    if router::speaks_json(head) { Reply::error(status, "Failed", why) } else { Reply::empty(status) }
}

/// The path for the log, without parts that are as long as a token, which a client may have put there by mistake.
fn loggable(path: &str) -> String {
    const SHORTEST_SECRET: usize = 40;
    let mut parts: Vec<_> = short(path).split('/').collect();
    for part in &mut parts {
        if part.len() >= SHORTEST_SECRET {
            *part = "[…]";
        }
    }
    parts.join("/")
}

/// The first 200 bytes of a text that a client wrote, so that it cannot fill the log.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

/// Allows a warning once a minute, so that its cause cannot fill the log.
#[derive(Default)]
struct WarningLimit(Mutex<Option<LastWarning>>);

struct LastWarning {
    at: Instant,
    /// How many have been suppressed since.
    suppressed: u64,
}

impl WarningLimit {
    const PAUSE: Duration = Duration::from_secs(60);

    /// If a warning may be logged at `now`: how many were suppressed since the last one.
    fn allow(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &mut *last
            && now < last.at + Self::PAUSE
        {
            last.suppressed += 1;
            return None;
        }
        let before = last.replace(LastWarning { at: now, suppressed: 0 });
        Some(before.map_or(0, |before| before.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_is_logged_once_a_minute_with_the_number_of_those_suppressed() {
        let (limit, start) = (WarningLimit::default(), Instant::now());

        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start + Duration::from_secs(59)), None);
        assert_eq!(limit.allow(start + Duration::from_secs(60)), Some(2));
        assert_eq!(limit.allow(start + Duration::from_secs(61)), None);
    }

    #[test]
    fn a_secret_that_a_client_put_into_the_path_is_not_logged() {
        let path = format!("/v1/credentials/{}", "a".repeat(43));

        assert_eq!(loggable(&path), "/v1/credentials/[…]");
        assert_eq!(loggable("/latest/api/token"), "/latest/api/token");
    }

    #[test]
    fn a_truncated_log_line_never_splits_a_character() {
        let text = format!("/{}", "ä".repeat(200));

        assert_eq!(short(&text), format!("/{}", "ä".repeat(99)));
        assert_eq!(short("/latest"), "/latest");
    }
}
