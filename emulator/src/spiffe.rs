//! Plays the agent of a SPIFFE installation: the Workload API's `FetchX509SVID` on a Unix socket.
//!
//! tonic and prost speak gRPC here, so that a client that reads the wire by hand is heard by somebody else. The
//! messages are written out after the SPIFFE Workload API, section 5.1, because a generator would need protoc.

use std::convert::Infallible;
use std::future;
use std::future::Ready;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::Stream;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::server::Grpc;
use tonic::server::ServerStreamingService;
use tonic_prost::ProstCodec;

pub use tonic::Code;

use crate::Authority;
use crate::Error;
use crate::Leaf;
use crate::wait::wait_for;

/// A running agent. Dropping it closes listener and connections.
pub struct Agent {
    path: PathBuf,
    shared: Arc<Shared>,
    running: Option<JoinHandle<()>>,
}

/// One identity that the agent gives.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Svid {
    /// `spiffe://trust.domain/path`.
    #[prost(string, tag = "1")]
    pub spiffe_id: String,
    /// The leaf, then intermediates: DER after DER.
    #[prost(bytes = "vec", tag = "2")]
    pub x509_svid: Vec<u8>,
    /// PKCS#8, DER.
    #[prost(bytes = "vec", tag = "3")]
    pub x509_svid_key: Vec<u8>,
    /// The trust domain's roots: DER after DER.
    #[prost(bytes = "vec", tag = "4")]
    pub bundle: Vec<u8>,
    /// What the identity is for; empty for nothing.
    #[prost(string, tag = "5")]
    pub hint: String,
}

impl Svid {
    /// A leaf directly below its trust domain's root.
    pub fn new(id: &str, leaf: &Leaf, root: &Authority) -> Self {
        Self {
            spiffe_id: id.into(),
            x509_svid: leaf.certificate_der().into(),
            x509_svid_key: leaf.key_pkcs8_der().into(),
            bundle: root.certificate_der().into(),
            hint: String::new(),
        }
    }

    /// The same with a hint.
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with another certificate behind those that are there.
    pub fn with_intermediate(mut self, authority: &Authority) -> Self {
        self.x509_svid.extend(authority.certificate_der());
        self
    }
}

/// What is answered to whoever calls with the security header.
#[derive(Clone, Debug)]
pub enum Mood {
    /// The SVIDs, now and whenever they change.
    Gives,
    /// A status.
    Refuses(Code, String),
    /// Nothing at all.
    Silent,
    /// The end of the stream.
    Ends,
}

#[derive(Clone)]
struct State {
    svids: Vec<Svid>,
    mood: Mood,
}

struct Shared {
    state: watch::Sender<State>,
    streams: watch::Sender<usize>,
    left: watch::Sender<usize>,
    connections: AtomicUsize,
}

impl Agent {
    /// Listens at `path`, in place of what may be there, and gives `svids`.
    pub async fn start(path: &Path, svids: Vec<Svid>) -> Result<Self, Error> {
        let state = watch::Sender::new(State { svids, mood: Mood::Gives });
        let (streams, left) = (watch::Sender::new(0), watch::Sender::new(0));
        let shared = Shared { state, streams, left, connections: AtomicUsize::new(0) };
        let mut agent = Self { path: path.into(), shared: Arc::new(shared), running: None };
        agent.restart().await?;
        Ok(agent)
    }

    /// Closes listener and connections, and takes the socket away.
    pub async fn stop(&mut self) {
        self.crash().await;
        // Gone is gone.
        let _ = fs_err::remove_file(&self.path);
    }

    /// The same, but the socket stays, as that of a process that was killed does.
    pub async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            // It can only be told that it was aborted.
            let _ = running.await;
        }
    }

    /// Listens again at the same path, with what it gave last.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await;
        let listener = UnixListener::bind(&self.path)
            .map_err(|source| Error::Socket { path: self.path.clone(), source })?;
        self.running = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
        Ok(())
    }

    /// What belongs into `SPIFFE_ENDPOINT_SOCKET`.
    pub fn uri(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Gives other SVIDs from now on, also to whoever listens.
    pub fn rotate(&self, svids: Vec<Svid>) {
        self.shared.state.send_modify(|state| state.svids = svids);
    }

    /// Answers like this from now on, also to whoever listens.
    pub fn feel(&self, mood: Mood) {
        self.shared.state.send_modify(|state| state.mood = mood);
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many streams were asked for so far, those that were refused included.
    pub fn streams(&self) -> usize {
        *self.shared.streams.borrow()
    }

    /// Waits until `count` streams were asked for, counted from the start.
    pub async fn wait_for_streams(&self, count: usize) {
        wait_for("streams", &self.shared.streams, count).await;
    }

    /// Waits until `count` streams are over, counted from the start: whoever wants one answer leaves once it is there.
    pub async fn wait_for_left(&self, count: usize) {
        wait_for("streams that are over", &self.shared.left, count).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if let Ok((connection, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            connections.spawn(serve(connection, Arc::clone(&shared)));
        }
    }
}

async fn serve(connection: UnixStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // A client that goes away is no concern of an agent.
    let _ =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<hyper::Response<tonic::body::Body>, Infallible> {
    if request.uri().path() != "/SpiffeWorkloadAPI/FetchX509SVID" {
        return Ok(Status::unimplemented("no such method").into_http());
    }
    let mut grpc = Grpc::new(ProstCodec::<X509SvidResponse, X509SvidRequest>::default());
    Ok(grpc.server_streaming(FetchX509Svid(shared), request).await)
}

struct FetchX509Svid(Arc<Shared>);

type Responses = Pin<Box<dyn Stream<Item = Result<X509SvidResponse, Status>> + Send>>;

impl ServerStreamingService<X509SvidRequest> for FetchX509Svid {
    type Response = X509SvidResponse;
    type ResponseStream = Responses;
    type Future = Ready<Result<Response<Responses>, Status>>;

    fn call(&mut self, request: Request<X509SvidRequest>) -> Self::Future {
        self.0.streams.send_modify(|streams| *streams += 1);
        future::ready(self.open(&request).map(Response::new))
    }
}

impl FetchX509Svid {
    fn open(&self, request: &Request<X509SvidRequest>) -> Result<Responses, Status> {
        // SPIFFE Workload Endpoint, section 3: case-sensitive.
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        let mut state = self.0.state.subscribe();
        if let Mood::Refuses(code, message) = &state.borrow().mood {
            return Err(Status::new(*code, message));
        }
        state.mark_changed();
        let open = Open { state, shared: Arc::clone(&self.0) };
        Ok(Box::pin(stream::unfold(Some(open), respond)))
    }
}

/// A stream that is not over.
struct Open {
    state: watch::Receiver<State>,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.left.send_modify(|left| *left += 1);
    }
}

/// The next message of a stream, as soon as there is one; nothing follows a refusal.
async fn respond(open: Option<Open>) -> Option<(Result<X509SvidResponse, Status>, Option<Open>)> {
    let mut open = open?;
    loop {
        open.state.changed().await.ok()?;
        let State { svids, mood } = open.state.borrow_and_update().clone();
        match mood {
            Mood::Gives => return Some((Ok(X509SvidResponse { svids }), Some(open))),
            Mood::Refuses(code, message) => return Some((Err(Status::new(code, message)), None)),
            Mood::Silent => {}
            Mood::Ends => return None,
        }
    }
}

/// A response as it goes over the wire, for whoever tests a reader of it.
pub fn encode(svids: Vec<Svid>) -> Vec<u8> {
    X509SvidResponse { svids }.encode_to_vec()
}

/// What prost makes of such a response, if it takes it for one.
pub fn decode(response: &[u8]) -> Option<Vec<Svid>> {
    Some(X509SvidResponse::decode(response).ok()?.svids)
}

#[derive(Clone, PartialEq, prost::Message)]
struct X509SvidRequest {}

/// Revocation lists (2) and the bundles of other trust domains (3) are left out, as an agent may.
#[derive(Clone, PartialEq, prost::Message)]
struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
}
