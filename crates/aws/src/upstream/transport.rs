//! Sends one request over HTTPS and receives a reply of limited size.
//!
//! It is the only user of an HTTP client for AWS. It neither retries nor follows redirects: a signed request is valid
//! for one host and a few minutes.

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

/// An HTTP response. Its body may contain credentials, so it cannot be printed.
pub type HttpReply = Response<Secret<Vec<u8>>>;

/// Sends requests to AWS.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request.
    ///
    /// # Errors
    /// If no complete reply arrived. A refusal of AWS is a reply.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<HttpReply, TransportError>>;

    /// Waits for permission to send a request to `host`. The caller keeps the permit until it has the reply.
    fn permit(&self, host: Option<Authority>) -> BoxFuture<'_, SendPermit> {
        let _ = host;
        Box::pin(std::future::ready(SendPermit(None)))
    }
}

/// The permission to send one request to a host, until it is dropped.
#[derive(Debug)]
pub struct SendPermit(
    #[expect(dead_code, reason = "it is only held, and then dropped")] Option<OwnedSemaphorePermit>,
);

/// A transport that can be replaced while sessions use it. A reload of the settings does so.
pub struct Replaceable(RwLock<Arc<dyn Transport>>);

impl Replaceable {
    /// Starts with `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self(RwLock::new(transport))
    }

    /// Uses `transport` from the next request on.
    pub fn replace(&self, transport: Arc<dyn Transport>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = transport;
    }
}

impl Transport for Replaceable {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<HttpReply, TransportError>> {
        let transport = Arc::clone(&*self.0.read().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move { transport.send(request).await })
    }

    fn permit(&self, host: Option<Authority>) -> BoxFuture<'_, SendPermit> {
        let transport = Arc::clone(&*self.0.read().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move { transport.permit(host).await })
    }
}

/// Far larger than any reply of CreateSession (2 to 4 KiB), and small enough to keep in memory.
const MAX_REPLY_BYTES: usize = 256 << 10;

/// Why no complete reply arrived.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The HTTP client reported an error.
    #[error("the request did not complete")]
    Incomplete(#[source] reqwest::Error),
    /// Nothing arrived within the time limit.
    #[error("nothing arrived for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The reply is too large.
    #[error("the reply is larger than any that AWS sends")]
    TooLarge,
    /// The proxy did not open a tunnel.
    #[error("{0}")]
    NoTunnel(NoTunnel),
    /// The connection through the proxy failed.
    #[error("through the proxy {proxy}")]
    Through {
        /// The proxy's host and port.
        proxy: String,
        /// Why.
        source: Box<TransportError>,
    },
    /// The client cannot be built from the options.
    #[error("the HTTPS client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

/// Time limits; `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For TCP, the tunnel through the proxy, and TLS together.
    pub connect: Option<Duration>,
    /// For the head of the reply after connecting, then for each piece of the body.
    pub read: Option<Duration>,
}

impl TransportError {
    /// The error itself, without the information that the request went through a proxy.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Through { source, .. } => source.cause(),
            other => other,
        }
    }
}

/// The real transport: a pool of kept-alive connections, and a second pool for those through a proxy.
#[derive(Clone, Debug)]
pub struct Https {
    direct: reqwest::Client,
    proxied: Option<Proxied>,
    timeouts: Timeouts,
    permits: Arc<HostPermits>,
}

/// The maximum number of concurrent requests to one host, and so of connections. Otherwise a thousand sessions that
/// start together would open one connection each, and AWS accepts ten calls a second (quotas of Roles Anywhere).
const MAX_CONCURRENT: usize = 16;

/// Timeouts the concurrent requests to each host. Further requests wait in the order in which they came.
///
/// Each host has its own limit, so that a host that hangs does not delay calls of another, such as the second Region's.
/// The time limits on connecting and reading begin after this wait; the limit on a whole attempt includes it.
#[derive(Debug, Default)]
struct HostPermits(Mutex<HashMap<Authority, Arc<Semaphore>>>);

impl HostPermits {
    async fn take(&self, host: Option<&Authority>) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let of_host = hosts.entry(host?.clone());
            Arc::clone(of_host.or_insert_with(|| Arc::new(Semaphore::new(MAX_CONCURRENT))))
        };
        // Fails only if the semaphore is closed, and no code closes it.
        semaphore.acquire_owned().await.ok()
    }
}

impl Https {
    /// A transport with these TLS settings, time limits and proxy. It ignores the environment.
    ///
    /// # Errors
    /// If the HTTP client cannot be built from them.
    pub fn new(
        tls: rustls::ClientConfig,
        timeouts: Timeouts,
        proxy: Option<&Proxy>,
    ) -> Result<Self, TransportError> {
        let proxied = match proxy {
            Some(proxy) => Some(Proxied::new(tls.clone(), timeouts, proxy)?),
            None => None,
        };
        let direct = builder(tls, timeouts).build().map_err(TransportError::Setup)?;
        Ok(Self { direct, proxied, timeouts, permits: Arc::default() })
    }

    /// Sends one request. Returns the head of the reply, and its body piece by piece.
    ///
    /// # Errors
    /// If no head arrived.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Response<Chunks>, TransportError> {
        let uri = request.uri().clone();
        let proxied = self.proxied.as_ref().filter(|proxied| proxied.proxy.is_for(&uri));
        let client = proxied.map_or(&self.direct, |proxied| &proxied.client);
        let request = request.try_into().map_err(incomplete)?;
        // reqwest's own time limit on reading includes the time to connect. If connecting has no limit, the head of the
        // reply has none either, because reqwest does not report when it is connected.
        let head = self.timeouts.connect.zip(self.timeouts.read).map(|(connect, read)| connect + read);
        let mut response = match (within(head, client.execute(request)).await, proxied) {
            (Ok(response), _) => response,
            (Err(error), Some(proxied)) => {
                return Err(proxied.explained(error, &uri, self.timeouts.connect).await);
            }
            (Err(error), None) => return Err(error),
        };
        let mut reply = Response::new(());
        *reply.status_mut() = response.status();
        *reply.headers_mut() = std::mem::take(response.headers_mut());
        Ok(reply.map(|()| Chunks { response, limit: self.timeouts.read }))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<HttpReply, TransportError> {
        let (head, mut chunks) = self.open(request).await?.into_parts();
        // Allocated at full length: a buffer that grows leaves copies of secrets in memory.
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

/// The settings that both clients share.
fn builder(tls: rustls::ClientConfig, timeouts: Timeouts) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(true)
        .pool_max_idle_per_host(MAX_CONCURRENT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("anchord/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    match timeouts.connect {
        Some(connect) => builder.connect_timeout(connect),
        None => builder,
    }
}

/// How long a connection stays open for the next request: long enough for the next step of a role chain, the next
/// session and a retry. The buffers of an open connection hold what was received and sent last, credentials included.
const IDLE: Duration = Duration::from_secs(5);

/// The client that connects through a proxy.
#[derive(Clone, Debug)]
struct Proxied {
    client: reqwest::Client,
    proxy: Proxy,
}

impl Proxied {
    fn new(tls: rustls::ClientConfig, timeouts: Timeouts, proxy: &Proxy) -> Result<Self, TransportError> {
        let through = reqwest::Proxy::https(proxy.url().expose())
            .map_err(|error| TransportError::Setup(error.without_url()))?;
        let client = builder(tls, timeouts).proxy(through).build().map_err(TransportError::Setup)?;
        Ok(Self { client, proxy: proxy.clone() })
    }

    /// Explains what the proxy has to do with a failure to connect. Other errors stay as they are.
    async fn explained(&self, error: TransportError, uri: &Uri, limit: Option<Duration>) -> TransportError {
        let TransportError::Incomplete(cause) = &error else { return error };
        if !cause.is_connect() {
            return error;
        }
        // reqwest has no type for a refusal of the proxy, only these words.
        let text = ErrorChain(cause).to_string();
        let wants_login = text.contains("proxy authorization required");
        if wants_login || text.contains("tunnel error: unsuccessful") {
            let status = wants_login.then_some(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
            let target = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
            return TransportError::NoTunnel(self.proxy.no_tunnel(&target, status, limit).await);
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
    /// The next piece; `None` at the end of the body.
    ///
    /// # Errors
    /// If the connection breaks, or nothing arrives within the time limit on reading.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        within(self.limit, self.response.chunk()).await
    }

    /// The whole body.
    ///
    /// # Errors
    /// Those of [`Chunks::next`], or if it is longer than `limit` bytes.
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

/// The URL is left out: the caller's error names the host.
fn incomplete(error: reqwest::Error) -> TransportError {
    TransportError::Incomplete(error.without_url())
}

impl Transport for Https {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<HttpReply, TransportError>> {
        Box::pin(self.exchange(request))
    }

    fn permit(&self, host: Option<Authority>) -> BoxFuture<'_, SendPermit> {
        Box::pin(async move { SendPermit(self.permits.take(host.as_ref()).await) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_host_that_hangs_keeps_calls_from_itself_alone_and_they_go_on_in_their_order() {
        let permits = HostPermits::default();
        let (hanging, other) = (Authority::from_static("a.example"), Authority::from_static("b.example"));
        let mut held = Vec::new();
        for _ in 0..MAX_CONCURRENT {
            held.push(permits.take(Some(&hanging)).now_or_never().expect("there is room"));
        }

        let mut first = Box::pin(permits.take(Some(&hanging)));
        let mut second = Box::pin(permits.take(Some(&hanging)));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert!(permits.take(Some(&other)).now_or_never().is_some(), "another host has permits of its own");

        held.pop();
        assert!((&mut second).now_or_never().is_none(), "it came later");
        assert!((&mut first).now_or_never().is_some());
    }

    /// A client that gave up, or an attempt that ran out of time.
    #[tokio::test]
    async fn a_call_that_waits_no_more_takes_no_permit() {
        let permits = HostPermits::default();
        let host = Authority::from_static("a.example");
        let mut held = Vec::new();
        for _ in 0..MAX_CONCURRENT {
            held.push(permits.take(Some(&host)).now_or_never().expect("there is room"));
        }
        let mut gone = Box::pin(permits.take(Some(&host)));
        assert!((&mut gone).now_or_never().is_none());

        drop(gone);
        held.pop();

        assert!(permits.take(Some(&host)).now_or_never().is_some());
    }
}
