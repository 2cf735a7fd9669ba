//! Serves HTTP/1.1 to local clients. No other part of the front ends waits.
//!
//! No client can stop a listener: after an error of `accept` it pauses and continues, a connection with invalid HTTP is
//! closed, and a panic ends one request. Everything that takes time or memory has a limit. The server never logs a
//! query, a header's value or a body, because each may contain a secret.

mod handler;
mod listen;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;

use super::Callers;
use super::Connection;
use super::Route;
use anchord_core::event;
use handler::RequestHandler;
use listen::AcceptFailures;
pub use listen::Listen;

/// The limits of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections open at the same time. One more client waits until another leaves or the server closes one for it.
    pub connections: usize,
    /// The time between two requests of a connection, including the time to send the second one's head. More than 60 s,
    /// which clients rely on.
    pub quiet: Duration,
    /// The time to answer a request, including the time to read its body and to wait for a session.
    pub handling: Duration,
    /// The time that requests in progress have to finish when the server stops.
    pub drain: Duration,
    /// Bytes of a request's head.
    pub head: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's body. No request needs one, but some clients send one.
    pub body: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            quiet: Duration::from_secs(75),
            handling: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            head: 16 * 1024,
            headers: 64,
            body: 1024,
        }
    }
}

/// Serves the requests of one listener.
pub struct Server<L> {
    listener: L,
    connections: Arc<Connections>,
}

/// Serves the connections of one listener.
///
/// A client must get a connection even if other programs keep all of them open. So when all slots are taken,
/// connections are asked to end, the oldest first: `Notify` wakes the task that has waited the longest. An idle
/// connection ends within [`LAST_WORDS`]. One that is answering a request may finish it first, so after [`NEXT_VICTIM`]
/// the next connection is asked too, until a slot is free.
struct Connections {
    listener: Arc<str>,
    limits: ServerLimits,
    callers: Arc<Callers>,
    handler: RequestHandler,
    slots: Arc<Semaphore>,
    /// Asks one connection to end.
    make_room: Notify,
}

impl<L> fmt::Debug for Server<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connections { listener, limits, .. } = &*self.connections;
        formatter
            .debug_struct("Server")
            .field("listener", listener)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl<L: Listen> Server<L> {
    /// A server for `listener` with the default limits. Each request takes the routes that `routes` holds when it
    /// arrives. Logs call the listener `name`.
    pub fn new(
        name: &str,
        listener: L,
        routes: watch::Receiver<Arc<dyn Route>>,
        callers: Arc<Callers>,
    ) -> Self {
        Self::with_limits(name, listener, routes, callers, ServerLimits::default())
    }

    /// Like [`Server::new`], with other limits.
    pub fn with_limits(
        name: &str,
        listener: L,
        routes: watch::Receiver<Arc<dyn Route>>,
        callers: Arc<Callers>,
        limits: ServerLimits,
    ) -> Self {
        let connections = Connections {
            listener: name.into(),
            limits,
            handler: RequestHandler::new(name, routes, Arc::clone(&callers), limits),
            callers,
            slots: Arc::new(Semaphore::new(limits.connections)),
            make_room: Notify::new(),
        };
        Self { listener, connections: Arc::new(connections) }
    }

    /// Serves until `stop` is true or its sender is dropped. Then closes the listener, finishes the requests in
    /// progress and returns. Dropping the future ends every connection immediately; no task outlives it.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { listener, connections } = self;
        let mut tasks = JoinSet::new();
        let mut failures = AcceptFailures::new(Arc::clone(&connections.listener));
        let mut stopping = std::pin::pin!(stopped(stop.clone()));
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stopping.as_mut() => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    report_panic(&connections.listener, ended);
                    continue;
                }
                accepted = listen::accept(&listener, &mut failures) => accepted,
            };
            let connection = L::connection(&stream, peer, connections.callers.kernel());
            if !connection.is_allowed() {
                connections.handler.refuse(&connection);
                continue;
            }
            let slot = tokio::select! {
                biased;
                () = stopping.as_mut() => break,
                slot = connections.slot() => slot,
            };
            tasks.spawn(Arc::clone(&connections).serve(stream, connection.into(), slot, stop.clone()));
        }
        drop(listener);
        connections.drain(tasks).await;
    }
}

impl Connections {
    /// Waits for a slot for one more connection, and asks others to end while there is none.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        loop {
            self.make_room.notify_one();
            let slot = Arc::clone(&self.slots).acquire_owned();
            if let Ok(slot) = tokio::time::timeout(NEXT_VICTIM, slot).await {
                // If no connection has received the notification yet, take it back: it would end one needlessly.
                let _ = self.make_room.notified().now_or_never();
                return slot.ok();
            }
        }
    }

    async fn serve<S>(
        self: Arc<Self>,
        stream: S,
        client: Arc<Connection>,
        slot: Option<OwnedSemaphorePermit>,
        stop: watch::Receiver<bool>,
    ) where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (listener, peer) = (&*self.listener, client.peer);
        tracing::debug!(listener, %peer, "Connected");
        let is_answering = AtomicBool::new(false);
        let service = service_fn(|request| self.respond(request, &client, stop.clone(), &is_answering));
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.quiet)
            .max_headers(self.limits.headers)
            .max_buf_size(self.limits.head);
        let connection = std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), service));
        match self.until_end(connection, &is_answering, stop.clone()).await {
            Ok(Ok(())) => tracing::debug!(listener, %peer, "Disconnected"),
            Ok(Err(error)) => tracing::debug!(listener, %peer, %error, "Connection failed"),
            Err(_) => tracing::debug!(listener, %peer, "Closed a connection that did not finish in time"),
        }
        drop(slot);
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        client: &Arc<Connection>,
        stop: watch::Receiver<bool>,
        is_answering: &AtomicBool,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        is_answering.store(true, Ordering::Relaxed);
        let mut response = self.handler.respond(request, client, stop.clone()).await;
        if *stop.borrow() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        is_answering.store(false, Ordering::Relaxed);
        Ok(response)
    }

    /// Runs a connection until its client ends it, the server stops, or another client needs its slot.
    ///
    /// hyper's graceful shutdown closes an idle connection immediately, even if a request is already on its way: the
    /// client would see an error for a request that it cannot know to be lost. So when the server stops, the connection
    /// first stays open for [`FAREWELL`]; a request that arrives in this time is answered with `Connection: close`.
    /// After the shutdown, [`LAST_WORDS`] is for bytes in transit, and only a request that is being answered gets more
    /// time.
    async fn until_end<S, H>(
        &self,
        mut connection: Pin<&mut http1::Connection<TokioIo<S>, H>>,
        is_answering: &AtomicBool,
        stop: watch::Receiver<bool>,
    ) -> Result<Result<(), hyper::Error>, Elapsed>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
        H: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
    {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ok(ended),
            () = stopped(stop) => {
                if let Ok(ended) = tokio::time::timeout(FAREWELL, connection.as_mut()).await {
                    return Ok(ended);
                }
            }
            () = self.make_room.notified() => {}
        }
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(LAST_WORDS, connection.as_mut()).await {
            Err(_) if is_answering.load(Ordering::Relaxed) => {
                tokio::time::timeout(self.limits.drain, connection).await
            }
            ended => ended,
        }
    }

    async fn drain(&self, mut tasks: JoinSet<()>) {
        let finished = async {
            while let Some(ended) = tasks.join_next().await {
                report_panic(&self.listener, ended);
            }
        };
        // Each connection ends itself within `drain`. One second more is for a task that fails to do so.
        let limit = self.limits.drain + Duration::from_secs(1);
        if tokio::time::timeout(limit, finished).await.is_err() {
            tracing::warn!(
                event = event::LISTENER_NOT_DRAINED,
                listener = %self.listener, connections = tasks.len(), "Closed connections that did not finish in time"
            );
            tasks.shutdown().await;
        }
    }
}

/// How long a connection that is asked to end has to free its slot before the next one is asked too.
const NEXT_VICTIM: Duration = Duration::from_millis(20);
/// How long a connection stays open for a request in transit when the server stops.
const FAREWELL: Duration = Duration::from_millis(100);
/// How long a connection that was asked to end may take for bytes in transit.
const LAST_WORDS: Duration = Duration::from_millis(10);

/// Returns when `stop` is true, or its sender is dropped: then the part that could ask to stop has ended.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn report_panic(listener: &str, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(
            event = event::CONNECTION_PANICKED,
            listener,
            "A connection's task panicked; the listener continues"
        );
    }
}

#[cfg(test)]
mod tests;
