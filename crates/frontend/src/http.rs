//! Serves HTTP/1.1 to local callers, and is the only part of the front ends that waits.
//!
//! A listener outlives whatever strangers do to it: an error of `accept` pauses it, a connection that talks
//! nonsense is closed, a panic ends one request. Whatever takes time or memory has a limit. It must never log a
//! query, a header's value or a body: all three may hold secrets.

mod exchange;
mod listen;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::HeaderValue;
use http::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use super::Peer;
use super::Route;
use anchord_core::event;
use exchange::Exchange;
pub use listen::Listen;
use listen::Trouble;

/// What one listener grants its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; the next client waits until another has gone or an idle one has been closed for it.
    pub connections: usize,
    /// How long a connection may take to send a request's head, including the time between two requests: above
    /// 60 s, which clients may rely on.
    pub quiet: Duration,
    /// How long a request may take, body and wait for a session included.
    pub handling: Duration,
    /// How long requests under way may take to finish once the server is asked to stop.
    pub drain: Duration,
    /// Bytes of a request's head.
    pub head: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's body. Nothing here needs one, but some clients send one.
    pub body: usize,
}

impl Default for Limits {
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

/// One listener and what it serves.
pub struct Server<L> {
    listener: L,
    shared: Arc<Shared>,
}

/// What the connections of a listener have in common.
struct Shared {
    name: Arc<str>,
    limits: Limits,
    exchange: Exchange,
    slots: Arc<Semaphore>,
    crowded: Notify,
}

impl<L> fmt::Debug for Server<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.shared.limits;
        formatter.debug_struct("Server").field("name", &self.shared.name).field("limits", limits).finish()
    }
}

impl<L: Listen> Server<L> {
    /// Serves on `listener` whatever `routes` holds at the time of each request; `name` is for the log.
    pub fn new(name: &str, listener: L, routes: watch::Receiver<Arc<dyn Route>>) -> Self {
        Self::with_limits(name, listener, routes, Limits::default())
    }

    /// The same, with other limits.
    pub fn with_limits(
        name: &str,
        listener: L,
        routes: watch::Receiver<Arc<dyn Route>>,
        limits: Limits,
    ) -> Self {
        let shared = Shared {
            name: name.into(),
            limits,
            exchange: Exchange::new(name, routes, limits),
            slots: Arc::new(Semaphore::new(limits.connections)),
            crowded: Notify::new(),
        };
        Self { listener, shared: Arc::new(shared) }
    }

    /// Serves until `stop` is true or its sender is gone, then closes the listener, finishes the requests under
    /// way and returns. Dropping the future ends every connection at once; no task outlives it.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { listener, shared } = self;
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::new(shared.name.clone());
        let mut stopping = std::pin::pin!(stopped(stop.clone()));
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stopping.as_mut() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    report(&shared.name, ended);
                    continue;
                }
                accepted = listen::next(&listener, &mut trouble) => accepted,
            };
            let slot = tokio::select! {
                biased;
                () = stopping.as_mut() => break,
                slot = shared.slot() => slot,
            };
            connections.spawn(Arc::clone(&shared).serve(stream, peer, slot, stop.clone()));
        }
        drop(listener);
        shared.drain(connections).await;
    }
}

impl Shared {
    /// Room for one more connection. If there is none, the connections that have been open the longest are ended,
    /// one after the other until there is: those that ask for something after its answer, the others (idle, or
    /// slow to say what they want) at once, so that holding connections open locks nobody out.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        loop {
            self.crowded.notify_one();
            let slot = Arc::clone(&self.slots).acquire_owned();
            if let Ok(slot) = tokio::time::timeout(NEXT_VICTIM, slot).await {
                // A call that nobody has heard yet must not end a connection that needs not end any more.
                let _ = self.crowded.notified().now_or_never();
                return slot.ok();
            }
        }
    }

    async fn serve<S>(
        self: Arc<Self>,
        stream: S,
        peer: Peer,
        slot: Option<OwnedSemaphorePermit>,
        stop: watch::Receiver<bool>,
    ) where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        tracing::debug!(listener = %self.name, %peer, "Connected");
        let answering = AtomicBool::new(false);
        let service = service_fn(|request| {
            answering.store(true, Ordering::Relaxed);
            let (answered, answering) = (self.exchange.answer(request, peer, stop.clone()), &answering);
            let stop = stop.clone();
            async move {
                let mut answer = answered.await;
                if *stop.borrow() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                answering.store(false, Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            }
        });
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.quiet)
            .max_headers(self.limits.headers)
            .max_buf_size(self.limits.head);
        let mut connection = std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(Ok(ended)),
            // Whoever asks now is told, with the answer, that it was the last one.
            () = stopped(stop.clone()) => tokio::time::timeout(FAREWELL, connection.as_mut()).await.ok().map(Ok),
            () = self.crowded.notified() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                let ended = tokio::time::timeout(LAST_WORDS, connection.as_mut()).await;
                match ended {
                    Err(_) if answering.load(Ordering::Relaxed) => {
                        tokio::time::timeout(self.limits.drain, connection).await
                    }
                    ended => ended,
                }
            }
        };
        let name = &self.name;
        match ended {
            Ok(Ok(())) => tracing::debug!(listener = %name, %peer, "Disconnected"),
            Ok(Err(error)) => tracing::debug!(listener = %name, %peer, %error, "Connection failed"),
            Err(_) => tracing::debug!(listener = %name, %peer, "Connection cut off while it drained"),
        }
        drop(slot);
    }

    async fn drain(&self, mut connections: JoinSet<()>) {
        let finished = async {
            while let Some(ended) = connections.join_next().await {
                report(&self.name, ended);
            }
        };
        // Each connection ends itself within `drain`; a second more catches those that cannot even do that.
        let limit = self.limits.drain + Duration::from_secs(1);
        if tokio::time::timeout(limit, finished).await.is_err() {
            tracing::warn!(
                event = event::LISTENER_NOT_DRAINED,
                listener = %self.name, connections = connections.len(), "Ended without draining"
            );
            connections.shutdown().await;
        }
    }
}

/// How long a connection that is asked to end may take to free its place before the next is asked too.
const NEXT_VICTIM: Duration = Duration::from_millis(20);
/// How long connections stay open for requests that are on their way when the server is asked to stop.
const FAREWELL: Duration = Duration::from_millis(100);
/// For a request that is on its way, or an answer that is, when a connection is asked to end.
const LAST_WORDS: Duration = Duration::from_millis(10);

/// A sender that is gone can no longer ask to stop, and whoever held it has ended.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn report(listener: &str, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(
            event = event::CONNECTION_PANICKED,
            listener,
            "A connection's task panicked; the listener goes on"
        );
    }
}

#[cfg(test)]
mod tests;
