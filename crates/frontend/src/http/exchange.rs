//! One request and its answer.

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

use super::Limits;
use super::stopped;
use crate::Decision;
use crate::Hand;
use crate::Peer;
use crate::Reply;
use crate::Route;
use crate::router;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Answers the requests of one listener.
pub(super) struct Exchange {
    listener: Arc<str>,
    routes: watch::Receiver<Arc<dyn Route>>,
    limits: Limits,
    requests: AtomicU64,
    refusals: Seldom,
}

impl Exchange {
    pub(super) fn new(listener: &str, routes: watch::Receiver<Arc<dyn Route>>, limits: Limits) -> Self {
        let requests = AtomicU64::new(1);
        Self { listener: listener.into(), routes, limits, requests, refusals: Seldom::default() }
    }

    /// The answer to a request, within the time allowed, whatever goes wrong; at once when `stop` becomes true.
    pub(super) async fn answer<B>(
        &self,
        request: Request<B>,
        peer: Peer,
        stop: watch::Receiver<bool>,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        // Nothing of ours is changed while a request is handled, so a panic leaves nothing half done.
        let handled = AssertUnwindSafe(self.handle(&head, body, (peer, number), stop)).catch_unwind();
        let reply = match tokio::time::timeout(self.limits.handling, handled).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_panic)) => {
                let path = loggable(head.uri.path());
                tracing::error!(
                    event = event::REQUEST_PANICKED,
                    listener = %self.listener, request = number, path, "A request's handler panicked"
                );
                failing(&head, StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled")
            }
            Err(_) => closing(&head, StatusCode::SERVICE_UNAVAILABLE, "the request took too long"),
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
        (peer, number): (Peer, u64),
        stop: watch::Receiver<bool>,
    ) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !is_small(body, self.limits.body).await {
            return closing(head, StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large");
        }
        loop {
            let route = Arc::clone(&self.routes.borrow());
            let hand = match route.route(head, &peer) {
                Decision::Reply(reply) => return reply,
                Decision::Hand(hand) => hand,
            };
            let session = hand.session.clone();
            let reply = hand_out(hand, number, stop.clone()).await;
            let is_replaced = || !Arc::ptr_eq(&route, &self.routes.borrow());
            // A reload has put another session in its place while this client waited.
            if reply.status().is_success() || !session.has_ended() || !is_replaced() {
                return reply;
            }
        }
    }

    /// Method, path and status: a query, a header's value or a body might hold a secret.
    fn log(&self, head: &Parts, reply: &Reply, peer: Peer, number: u64) {
        let (listener, status) = (&*self.listener, reply.status().as_u16());
        let (method, path) = (short(head.method.as_str()), loggable(head.uri.path()));
        tracing::debug!(listener, request = number, %peer, method, path, status, "Answered");
        let Some(why) = reply.denial() else { return };
        if let Some(untold) = self.refusals.again(Instant::now()) {
            tracing::warn!(
                event = event::REQUEST_REFUSED,
                listener, request = number, %peer, path, status, why, untold, "Refused a request"
            );
        } else {
            tracing::debug!(listener, request = number, %peer, path, status, why, "Refused a request");
        }
    }
}

/// The one place that waits for a session.
async fn hand_out(hand: Hand, number: u64, stop: watch::Receiver<bool>) -> Reply {
    let Hand { session, freshness, patience, answer } = hand;
    let handed = tokio::select! {
        biased;
        // What is held is handed out to the last.
        handed = session.hand_out(freshness, patience) => handed,
        // A wait may last longer than the requests under way have to finish.
        () = stopped(stop) => Err(stopping()),
    };
    match handed {
        Ok(credentials) => answer(Ok(&credentials)),
        Err(failure) => {
            let (session, class, reason) = (session.name(), failure.class(), failure.reason());
            tracing::debug!(request = number, session, %class, %reason, %failure, "No credentials for a caller");
            answer(Err(&failure))
        }
    }
}

fn stopping() -> Failure {
    let hint = "ask again when it has been started again".to_owned();
    Failure::of(Reason::Stopping, "the daemon is stopping", Some(hint.into()))
}

/// Reads a body to its end, so that the connection can be used again, unless it is longer than `limit`.
async fn is_small<B>(body: B, limit: usize) -> bool
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    announced <= limit && Limited::new(body, limit).collect().await.is_ok()
}

/// The rest of the request is not read, so nothing can follow it.
fn closing(head: &Parts, status: StatusCode, why: &str) -> Reply {
    failing(head, status, why).header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// A failure in the form that the asked front end uses: IMDS clients may take a body for a role.
fn failing(head: &Parts, status: StatusCode, why: &str) -> Reply {
    if router::speaks_json(head) { Reply::error(status, "Failed", why) } else { Reply::empty(status) }
}

/// A path without parts as long as a bearer or a token, which a client may have put there by mistake.
fn loggable(path: &str) -> String {
    const SHORTEST_SECRET: usize = 40;
    let parts: Vec<_> =
        short(path).split('/').map(|part| if part.len() < SHORTEST_SECRET { part } else { "[…]" }).collect();
    parts.join("/")
}

/// What a stranger wrote, no longer than a log line can bear.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

/// Lets one warning in a while through, however often its cause occurs.
#[derive(Default)]
struct Seldom(Mutex<Option<(Instant, u64)>>);

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(60);

    /// How often it went untold since it was last told, if it may be told again.
    fn again(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            Some((told_at, untold)) if now < *told_at + Self::PAUSE => {
                *untold += 1;
                None
            }
            other => Some(other.replace((now, 0)).map_or(0, |(_, untold)| untold)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_is_told_once_a_minute_with_the_number_of_those_untold() {
        let (seldom, start) = (Seldom::default(), Instant::now());

        assert_eq!(seldom.again(start), Some(0));
        assert_eq!(seldom.again(start), None);
        assert_eq!(seldom.again(start + Duration::from_secs(59)), None);
        assert_eq!(seldom.again(start + Duration::from_secs(60)), Some(2));
        assert_eq!(seldom.again(start + Duration::from_secs(61)), None);
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
