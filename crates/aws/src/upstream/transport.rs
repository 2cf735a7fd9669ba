//! Sends one request over HTTPS and brings back a bounded reply.
//!
//! The only user of an HTTP client towards AWS. It neither retries nor follows redirects: a signed request is
//! good for one host and one instant.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::uri::Authority;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::NoTunnel;
use super::Proxy;
use anchord_core::failure::ErrorChain;
use anchord_core::issuer::BoxFuture;
use anchord_core::secret::Secret;

/// A reply whose body may hold credentials, and so cannot be printed.
pub type Reply = Response<Secret<Vec<u8>>>;

/// Carries requests to AWS.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request; `Err` means that no whole reply arrived.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Reply, TransportError>>;

    /// Waits for a turn to send to a host, to be held until the reply is there.
    fn turn(&self, host: Option<Authority>) -> BoxFuture<'_, Turn> {
        let _ = host;
        Box::pin(std::future::ready(Turn(None)))
    }
}

/// The right to call a host, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, and let go")] Option<OwnedSemaphorePermit>);

/// A transport that can be exchanged under the sessions that use it, as a reload of the settings does.
pub struct Replaceable(RwLock<Arc<dyn Transport>>);

impl Replaceable {
    /// Sends by `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self(RwLock::new(transport))
    }

    /// Sends by `transport` from the next request on.
    pub fn replace(&self, transport: Arc<dyn Transport>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = transport;
    }
}

impl Transport for Replaceable {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let transport = Arc::clone(&*self.0.read().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move { transport.send(request).await })
    }

    fn turn(&self, host: Option<Authority>) -> BoxFuture<'_, Turn> {
        let transport = Arc::clone(&*self.0.read().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move { transport.turn(host).await })
    }
}

/// Far above any CreateSession reply (2 to 4 KiB), far below what would hurt.
const MAX_REPLY_BYTES: usize = 256 << 10;

/// Why no whole reply arrived.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The HTTP client gave up.
    #[error("the request did not complete")]
    Incomplete(#[source] reqwest::Error),
    /// The other side said nothing for too long.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The reply is larger than any honest one.
    #[error("the reply is larger than any honest one")]
    TooLarge,
    /// The proxy opens no tunnel.
    #[error("{0}")]
    NoTunnel(NoTunnel),
    /// No connection came about through the proxy.
    #[error("through the proxy {proxy}")]
    Through {
        /// Its host and port.
        proxy: String,
        /// Why.
        source: Box<TransportError>,
    },
    /// The client cannot be built from the options.
    #[error("the HTTPS client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

/// How long to wait; `None` is without limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For TCP, the proxy's answer and TLS together.
    pub connect: Option<Duration>,
    /// For the reply's head once connected, then for each piece of its body.
    pub read: Option<Duration>,
}

impl TransportError {
    /// The same without the way that the request took.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Through { source, .. } => source.cause(),
            other => other,
        }
    }
}

/// The real transport: a connection pool, kept alive, and one more for what goes through a proxy.
#[derive(Clone, Debug)]
pub struct Https {
    direct: reqwest::Client,
    proxied: Option<Proxied>,
    limits: Limits,
    turns: Arc<Turns>,
}

/// How many exchanges there may be with one host at once, and so how many connections: a thousand sessions that start
/// together would open one each, and AWS takes ten calls a second (quotas of Roles Anywhere).
const MOST_AT_ONCE: usize = 16;

/// Who may exchange with a host now; others wait in the order in which they came.
///
/// For each host apart: one that hangs keeps nobody from another, such as the second Region's. Who waits for a turn has
/// not begun, so the limits on connecting and reading do not count it; the limit on a whole attempt does.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<Authority, Arc<Semaphore>>>);

impl Turns {
    async fn take(&self, host: Option<&Authority>) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(MOST_AT_ONCE));
            Arc::clone(hosts.entry(host?.clone()).or_insert_with(new))
        };
        // It fails only once it is closed, which nobody does.
        turns.acquire_owned().await.ok()
    }
}

impl Https {
    /// A client with TLS settings, limits and proxy of its own; the environment is not consulted.
    pub fn new(
        tls: rustls::ClientConfig,
        limits: Limits,
        proxy: Option<&Proxy>,
    ) -> Result<Self, TransportError> {
        let proxied = match proxy {
            Some(proxy) => Some(Proxied::new(tls.clone(), limits, proxy)?),
            None => None,
        };
        let direct = builder(tls, limits).build().map_err(TransportError::Setup)?;
        Ok(Self { direct, proxied, limits, turns: Arc::default() })
    }

    /// Sends one request and gives the reply's head, and its body as it comes.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Response<Chunks>, TransportError> {
        let uri = request.uri().clone();
        let proxied = self.proxied.as_ref().filter(|proxied| proxied.proxy.is_for(&uri));
        let client = proxied.map_or(&self.direct, |proxied| &proxied.client);
        let request = request.try_into().map_err(incomplete)?;
        // reqwest's own limit on reading would count the time to connect as well. Where connecting has no limit,
        // neither has the reply's head, for nothing tells when the one becomes the other.
        let head = self.limits.connect.zip(self.limits.read).map(|(connect, read)| connect + read);
        let mut response = match (within(head, client.execute(request)).await, proxied) {
            (Ok(response), _) => response,
            (Err(error), Some(proxied)) => {
                return Err(proxied.explained(error, &uri, self.limits.connect).await);
            }
            (Err(error), None) => return Err(error),
        };
        let mut reply = Response::new(());
        *reply.status_mut() = response.status();
        *reply.headers_mut() = std::mem::take(response.headers_mut());
        Ok(reply.map(|()| Chunks { response, limit: self.limits.read }))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Reply, TransportError> {
        let (head, mut chunks) = self.open(request).await?.into_parts();
        // Never grows, so it leaves no copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_REPLY_BYTES));
        while let Some(chunk) = chunks.next().await? {
            if body.len() + chunk.len() > MAX_REPLY_BYTES {
                return Err(TransportError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response::from_parts(head, Secret::new(body.to_vec())))
    }
}

/// What all clients have in common.
fn builder(tls: rustls::ClientConfig, limits: Limits) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(true)
        .pool_max_idle_per_host(MOST_AT_ONCE)
        .user_agent(concat!("anchord/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    match limits.connect {
        Some(connect) => builder.connect_timeout(connect),
        None => builder,
    }
}

/// The client whose connections all go through a proxy.
#[derive(Clone, Debug)]
struct Proxied {
    client: reqwest::Client,
    proxy: Proxy,
}

impl Proxied {
    fn new(tls: rustls::ClientConfig, limits: Limits, proxy: &Proxy) -> Result<Self, TransportError> {
        let through = reqwest::Proxy::https(proxy.url().expose())
            .map_err(|error| TransportError::Setup(error.without_url()))?;
        let client = builder(tls, limits).proxy(through).build().map_err(TransportError::Setup)?;
        Ok(Self { client, proxy: proxy.clone() })
    }

    /// The same failure with what the proxy has to do with it, where no connection came about.
    async fn explained(&self, error: TransportError, uri: &Uri, limit: Option<Duration>) -> TransportError {
        let TransportError::Incomplete(cause) = &error else { return error };
        if !cause.is_connect() {
            return error;
        }
        // The client has no type for a proxy's refusal, only these words.
        let told = ErrorChain(cause).to_string();
        let said = told
            .contains("proxy authorization required")
            .then_some(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        if said.is_some() || told.contains("tunnel error: unsuccessful") {
            let target = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
            return TransportError::NoTunnel(self.proxy.no_tunnel(&target, said, limit).await);
        }
        TransportError::Through { proxy: self.proxy.shown(), source: Box::new(error) }
    }
}

/// The body of a reply, piece by piece. Dropping it closes the connection.
#[derive(Debug)]
pub struct Chunks {
    response: reqwest::Response,
    limit: Option<Duration>,
}

impl Chunks {
    /// The next piece, for which the limit on reading is waited; `None` when the body is whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        within(self.limit, self.response.chunk()).await
    }

    /// The whole body, if it is no longer than `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<u8>, TransportError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.next().await? {
            if body.len() + chunk.len() > limit {
                return Err(TransportError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

async fn within<T>(
    limit: Option<Duration>,
    step: impl Future<Output = reqwest::Result<T>>,
) -> Result<T, TransportError> {
    let Some(limit) = limit else { return step.await.map_err(incomplete) };
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done.map_err(incomplete),
        Err(_) => Err(TransportError::Silent(limit)),
    }
}

/// Without the URL: whoever reports the error names the host.
fn incomplete(error: reqwest::Error) -> TransportError {
    TransportError::Incomplete(error.without_url())
}

impl Transport for Https {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(self.exchange(request))
    }

    fn turn(&self, host: Option<Authority>) -> BoxFuture<'_, Turn> {
        Box::pin(async move { Turn(self.turns.take(host.as_ref()).await) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_host_that_hangs_keeps_calls_from_itself_alone_and_they_go_on_in_their_order() {
        let turns = Turns::default();
        let (hanging, other) = (Authority::from_static("a.example"), Authority::from_static("b.example"));
        let mut held = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            held.push(turns.take(Some(&hanging)).now_or_never().expect("there is room"));
        }

        let mut first = Box::pin(turns.take(Some(&hanging)));
        let mut second = Box::pin(turns.take(Some(&hanging)));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert!(turns.take(Some(&other)).now_or_never().is_some(), "another host has turns of its own");

        held.pop();
        assert!((&mut second).now_or_never().is_none(), "it came later");
        assert!((&mut first).now_or_never().is_some());
    }

    /// A client that gave up, or an attempt that ran out of time.
    #[tokio::test]
    async fn who_waits_no_more_takes_no_turn() {
        let turns = Turns::default();
        let host = Authority::from_static("a.example");
        let mut held = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            held.push(turns.take(Some(&host)).now_or_never().expect("there is room"));
        }
        let mut gone = Box::pin(turns.take(Some(&host)));
        assert!((&mut gone).now_or_never().is_none());

        drop(gone);
        held.pop();

        assert!(turns.take(Some(&host)).now_or_never().is_some());
    }
}
