//! Listener, TLS and connections: everything that a clock, a socket or a task has a part in.

use std::collections::HashMap;
use std::collections::HashSet;
use std::convert::Infallible;
use std::future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use hyper::Response;
use hyper::Version;
use hyper::body::Frame;
use hyper::body::Incoming as IncomingBody;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Error;
use crate::answer::Answer;
use crate::answer::Body;
use crate::answer::Ending;
use crate::canonical::Incoming;
use crate::faults::Fault;
use crate::keyring::IssuedCredentials;
use crate::log::LoggedRequest;
use crate::readings::DateHeader;
use crate::roles_anywhere;
use crate::service::Service;
use crate::setup::Setup;
use crate::state::State;
use crate::tls::Tls;
use crate::wait::wait_for;

/// A running service. Dropping it closes listener and connections; [`Emulator::stop`] does so and waits for it.
pub struct Emulator {
    shared: Arc<Shared>,
    tls: Tls,
    address: SocketAddr,
    running: Option<Running>,
    reserved: Option<TcpSocket>,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Emulator {
    /// Listens, with a new TLS certificate, and serves until stopped or dropped.
    pub async fn start(setup: Setup) -> Result<Self, Error> {
        for anchor in &setup.trust_anchors {
            if roles_anywhere::certificates(&anchor.certificate_pem).is_empty() {
                return Err(Error::TrustAnchor { arn: anchor.arn.clone() });
            }
        }
        let tls = Tls::new(setup.listen)?;
        let address = setup.listen;
        let mut emulator =
            Self { shared: Arc::new(Shared::new(setup)), tls, address, running: None, reserved: None };
        emulator.restart().await?;
        Ok(emulator)
    }

    /// Closes the listener and every connection: from here on connections are refused.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.send_replace(true);
            // It can only fail by a panic in the task, which ended it as well.
            let _ = running.task.await;
            // While it is down the kernel would give its port to whoever asks for any.
            self.reserved = reserve(self.address).ok();
        }
    }

    /// Listens again at the same address, with the same certificate, account, log and script.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await;
        let reserved = self.reserved.take().map_or_else(|| reserve(self.address), Ok);
        let listener = reserved
            .and_then(|socket| socket.listen(1024))
            .map_err(|source| Error::Listen { address: self.address, source })?;
        if let Ok(address) = listener.local_addr() {
            self.address = address;
        }
        let (stop, stopped) = watch::channel(false);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.config));
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&self.shared), stopped));
        self.running = Some(Running { stop, task });
        Ok(())
    }

    /// Where it listens: `https://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA that signed its TLS certificate, which is for `127.0.0.1`, `::1` and `localhost`.
    pub fn tls_ca_pem(&self) -> &str {
        &self.tls.ca_pem
    }

    /// Every request so far, in the order they were decided.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.state().log.clone()
    }

    /// The requests to one service so far.
    pub fn requests_to(&self, service: Service) -> Vec<LoggedRequest> {
        self.shared.state().log.iter().filter(|entry| entry.service == service).cloned().collect()
    }

    /// All credentials given out so far.
    pub fn issued(&self) -> Vec<IssuedCredentials> {
        self.shared.state().issued.clone()
    }

    /// How many sessions Roles Anywhere created so far.
    pub fn sessions_created(&self) -> usize {
        self.shared.state().issued.iter().filter(|issued| issued.action == "CreateSession").count()
    }

    /// How many TCP connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// Waits until `count` requests have been decided and logged, counted from the start.
    ///
    /// # Panics
    /// After a minute, as all that wait here.
    pub async fn wait_for_requests(&self, count: usize) {
        wait_for("requests", &self.shared.requests, count).await;
    }

    /// Appends faults to the script; each is met by one request, in this order, before `always` is asked.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().script.extend(faults.into_iter().map(|fault| (None, fault)));
    }

    /// Appends faults to the script that only requests to this service meet.
    pub fn script_for(&self, service: Service, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().script.extend(faults.into_iter().map(|fault| (Some(service), fault)));
    }

    /// Lays a fault over every request that the script leaves alone, until `None`.
    pub fn always(&self, fault: Option<Fault>) {
        set_always(&mut self.shared.state().always, None, fault);
    }

    /// Lays a fault over every request to this service that the script leaves alone, until `None`; it goes before the
    /// one for all services.
    pub fn always_for(&self, service: Service, fault: Option<Fault>) {
        set_always(&mut self.shared.state().always, Some(service), fault);
    }

    /// Sends the answers that [`Fault::Hold`] holds back at this moment.
    pub fn release(&self) {
        self.shared.releases.send_modify(|count| *count += 1);
    }

    /// Waits until `count` answers are being held back at once.
    pub async fn wait_for_held(&self, count: usize) {
        wait_for("answers held back", &self.shared.held, count).await;
    }

    /// Closes every connection without a word, as a middlebox does to idle ones; the listener stays.
    pub fn drop_connections(&self) {
        self.shared.drops.send_modify(|count| *count += 1);
    }

    /// Changes the account while it is in use; `change` must not call the emulator, which waits for it.
    pub fn change(&self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.shared.state().setup);
    }

    /// Makes the trust policy of a role refuse everybody, or nobody.
    pub fn set_trust_policy_refusal(&self, role_arn: &str, refuses: bool) {
        self.change(|setup| set(&mut setup.trust_policy_refusals, role_arn, refuses));
    }

    /// Makes IAM deny this action to everybody, or to nobody.
    pub fn set_denied(&self, action: &str, denied: bool) {
        self.change(|setup| set(&mut setup.denied_actions, action, denied));
    }

    /// Forgets all credentials given out so far: whoever signs with them is a stranger.
    pub fn forget_issued(&self) {
        self.shared.state().keyring.clear();
    }

    /// Puts a leaf's decimal serial on the imported CRL, or takes it off.
    pub fn set_revoked(&self, serial: &str, revoked: bool) {
        self.change(|setup| set(&mut setup.revoked_serials, serial, revoked));
    }

    /// Enables or disables the profiles with this ARN.
    pub fn set_profile_enabled(&self, arn: &str, enabled: bool) {
        self.change(|setup| {
            setup
                .profiles
                .iter_mut()
                .filter(|profile| profile.arn == arn)
                .for_each(|profile| profile.enabled = enabled);
        });
    }

    /// Sets the longest session of the profiles with this ARN.
    pub fn set_profile_duration(&self, arn: &str, seconds: u32) {
        self.change(|setup| {
            setup
                .profiles
                .iter_mut()
                .filter(|profile| profile.arn == arn)
                .for_each(|profile| profile.duration_seconds = seconds);
        });
    }

    /// Sets which answers tell the time, and how wrongly.
    pub fn set_date_header(&self, date: DateHeader) {
        self.change(|setup| setup.readings.date = date);
    }

    /// Enables or disables the trust anchors with this ARN.
    pub fn set_trust_anchor_enabled(&self, arn: &str, enabled: bool) {
        self.change(|setup| {
            setup
                .trust_anchors
                .iter_mut()
                .filter(|anchor| anchor.arn == arn)
                .for_each(|anchor| anchor.enabled = enabled);
        });
    }

    /// Shifts what the service believes the time to be: `Date`, checks and expirations.
    pub fn set_clock_offset(&self, offset: time::Duration) {
        self.shared.state().clock_offset = offset;
    }

    /// What time the service believes it is.
    pub fn now(&self) -> OffsetDateTime {
        self.shared.state().now()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
        }
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Emulator").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What all connections share.
struct Shared {
    state: Mutex<State>,
    requests: watch::Sender<usize>,
    held: watch::Sender<usize>,
    releases: watch::Sender<u64>,
    drops: watch::Sender<u64>,
}

impl Shared {
    fn new(setup: Setup) -> Self {
        Self {
            state: Mutex::new(State::new(setup)),
            requests: watch::Sender::new(0),
            held: watch::Sender::new(0),
            releases: watch::Sender::new(0),
            drops: watch::Sender::new(0),
        }
    }

    /// A panic under the lock was a test's, in a closure of [`Emulator::change`]; the state is still whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, incoming: &Incoming, connection: u64) -> Answer {
        let answer = self.state().take(incoming, connection);
        self.requests.send_modify(|count| *count += 1);
        answer
    }

    async fn hold(&self) {
        let mut released = self.releases.subscribe();
        let _counted = Held::new(&self.held);
        // It fails when the emulator is gone, and then so is this connection.
        let _ = released.changed().await;
    }
}

/// Counts one held answer for as long as it is held, however that ends.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

fn set(all: &mut HashSet<String>, one: &str, included: bool) {
    if included {
        all.insert(one.to_owned());
    } else {
        all.remove(one);
    }
}

fn set_always(always: &mut HashMap<Option<Service>, Fault>, service: Option<Service>, fault: Option<Fault>) {
    match fault {
        Some(fault) => always.insert(service, fault),
        None => always.remove(&service),
    };
}

/// The address for us alone, where connections are refused until it listens.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it a restart meets the TIME_WAIT of its own connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(connection(tcp, acceptor.clone(), Arc::clone(&shared)));
                }
                // Out of descriptors, or a client that gave up: neither is the end of a service.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// One connection, until it ends by itself, by [`Fault::Reset`], or by [`Emulator::drop_connections`].
async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut dropped = shared.drops.subscribe();
    let id = {
        let mut state = shared.state();
        state.connections += 1;
        state.connections
    };
    // Small answers must not wait for the client's delayed acknowledgement; where they must, they are only late.
    let _ = tcp.set_nodelay(true);
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let reset = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let (shared, reset) = (Arc::clone(&shared), Arc::clone(&reset));
        async move { respond(request, id, shared, &reset).await }
    });
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return connection_of_http_2(stream, service, dropped, &reset).await;
    }
    // The date is the emulated clock's; certificates with ML-DSA keys and five intermediates make 100 kB of headers.
    let mut serving = http1::Builder::new()
        .auto_date_header(false)
        .max_buf_size(1 << 20)
        .max_headers(256)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut serving => {}
        _ = dropped.changed() => {}
        () = reset.notified() => {
            let stream = serving.into_parts().io.into_inner();
            // Where the option cannot be set, the client sees an end instead of a reset.
            let _ = stream.get_ref().0.set_zero_linger();
        }
    }
}

/// A connection of HTTP/2. A reset ends it without a word: hyper does not give its socket back.
async fn connection_of_http_2<S>(
    stream: TlsStream<TcpStream>,
    service: S,
    mut dropped: watch::Receiver<u64>,
    reset: &Notify,
) where
    S: hyper::service::Service<Request<IncomingBody>, Response = Response<BoxBody>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let serving = http2::Builder::new(TokioExecutor::new())
        .auto_date_header(false)
        .max_header_list_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        _ = dropped.changed() => {}
        () = reset.notified() => {}
    }
}

type BoxBody = UnsyncBoxBody<Bytes, io::Error>;

async fn respond(
    request: Request<IncomingBody>,
    connection: u64,
    shared: Arc<Shared>,
    reset: &Notify,
) -> Result<Response<BoxBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let answer = match Limited::new(body, 1 << 18).collect().await {
        Ok(body) => shared.take(&incoming(&parts, body.to_bytes().to_vec()), connection),
        Err(_) => Answer::too_large(shared.state().now()),
    };
    match answer.ending {
        Ending::Usual | Ending::Closed | Ending::Cut | Ending::HeldMidway => {}
        Ending::Late(pause) => tokio::time::sleep(pause).await,
        Ending::Held => shared.hold().await,
        Ending::Reset => {
            reset.notify_one();
            future::pending::<()>().await;
        }
    }
    Ok(render(answer, shared))
}

fn incoming(parts: &hyper::http::request::Parts, body: Vec<u8>) -> Incoming {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<(String, String)> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // HTTP/2 has it beside the headers. Some sign it by its own name, others as if it were the header.
    if let Some(authority) = parts.uri.authority().filter(|_| parts.version == Version::HTTP_2) {
        headers.push((":authority".to_owned(), authority.to_string()));
        if !parts.headers.contains_key("host") {
            headers.push(("host".to_owned(), authority.to_string()));
        }
    }
    Incoming {
        version: parts.version,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
    }
}

fn render(answer: Answer, shared: Arc<Shared>) -> Response<BoxBody> {
    let mut headers = vec![("content-type", answer.content_type.to_owned())];
    headers.extend(answer.at.map(|at| ("date", http_date(at))));
    headers.extend((!answer.request_id.is_empty()).then_some(("x-amzn-requestid", answer.request_id)));
    let error_type = answer.error_type.filter(|_| answer.content_type == "application/json");
    headers.extend(error_type.map(|kind| ("x-amzn-errortype", kind.to_owned())));
    headers.extend(answer.retry_after.map(|seconds| ("retry-after", seconds.to_string())));
    if answer.ending == Ending::Closed {
        headers.push(("connection", "close".to_owned()));
    }
    headers.extend(answer.headers);
    let body = match answer.body {
        Body::Whole(bytes) if answer.ending == Ending::Cut => {
            headers.push(("content-length", (bytes.len() + 100).to_string()));
            cut(vec![bytes])
        }
        Body::Whole(bytes) => Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync(),
        Body::Pieces(pieces) if answer.ending == Ending::Cut => cut(pieces),
        Body::Pieces(pieces) if answer.ending == Ending::HeldMidway => held(pieces, shared),
        Body::Pieces(pieces) => StreamBody::new(frames(pieces)).boxed_unsync(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// One frame a piece, each with a turn for hyper to send it by itself.
fn frames(pieces: Vec<Vec<u8>>) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        Ok(Frame::data(Bytes::from(piece)))
    })
}

/// A body that fails after all its bytes were sent, which makes hyper close the connection.
fn cut(pieces: Vec<Vec<u8>>) -> BoxBody {
    // A pause lets hyper flush; an error at once would take the bytes with it.
    let failed = stream::once(async {
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    });
    StreamBody::new(frames(pieces).chain(failed)).boxed_unsync()
}

/// A body whose second half is held back.
fn held(mut pieces: Vec<Vec<u8>>, shared: Arc<Shared>) -> BoxBody {
    let rest = pieces.split_off(pieces.len() / 2);
    let pause = stream::once(async move {
        shared.hold().await;
        Ok(Frame::data(Bytes::new()))
    });
    StreamBody::new(frames(pieces).chain(pause).chain(frames(rest))).boxed_unsync()
}

fn http_date(at: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}
