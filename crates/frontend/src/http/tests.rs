//! The server with clients that are slow, many or late, or send invalid requests.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use http::StatusCode;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::Caller;
use crate::CredentialsRequest;
use crate::Decision;
use crate::Peer;
use crate::Reply;
use crate::caller;
use crate::router;
use crate::support;
use crate::support::Answered;
use crate::support::Session;
use crate::support::answer;
use crate::support::exchange;
use anchord_core::secret::Secret;
use anchord_session::Freshness;
use anchord_testing::Log;

mod endings;

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A running server with its own port.
struct Running {
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn serve(route: impl Route, limits: ServerLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let server = Server::with_limits("test", listener, router::fixed(route), callers(), limits);
    Running { address, stop, task: tokio::spawn(server.run(stopping)) }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn callers() -> Arc<Callers> {
    Arc::new(Callers::of_this_host())
}

fn hello(_: &http::request::Parts, _: &Caller) -> Decision {
    Reply::text("hello").into()
}

/// A route that waits for `session` for up to an hour, and notifies `entered` when a request arrives.
fn waits_for(session: &Session, entered: &Arc<Notify>) -> impl Route + use<> {
    let (session, entered) = (session.handle.clone(), Arc::clone(entered));
    move |_: &http::request::Parts, _: &Caller| {
        entered.notify_one();
        Decision::Credentials(CredentialsRequest {
            session: session.clone(),
            freshness: Freshness::Full,
            patience: Duration::from_secs(3600),
            render: Box::new(|outcome| match outcome {
                Ok(_) => Reply::text("late"),
                Err(failure) => {
                    let why = format!("{}: {}", failure.class(), failure.message());
                    Reply::json(StatusCode::SERVICE_UNAVAILABLE, Secret::new(why.into_bytes()))
                }
            }),
        })
    }
}

/// A listener that accepts the connections that the test sends it.
struct Scripted<S>(Mutex<mpsc::UnboundedReceiver<io::Result<S>>>);

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Listen for Scripted<S> {
    type Stream = S;

    async fn accept(&self) -> io::Result<(S, Peer)> {
        match self.0.lock().await.recv().await {
            Some(accepted) => accepted.map(|stream| (stream, support::TCP_PEER)),
            None => std::future::pending().await,
        }
    }

    fn connection(_: &S, peer: Peer, _: &caller::Kernel) -> Connection {
        Connection { is_here: true, ..Connection::unknown(peer) }
    }
}

fn scripted<S>() -> (mpsc::UnboundedSender<io::Result<S>>, Scripted<S>) {
    let (script, accepted) = mpsc::unbounded_channel();
    (script, Scripted(Mutex::new(accepted)))
}

/// A server with one connection in memory, so that the test can pause time.
async fn serve_in_memory(
    route: impl Route,
    limits: ServerLimits,
) -> (DuplexStream, watch::Sender<bool>, JoinHandle<()>) {
    let (script, listener) = scripted();
    let (client, accepted) = tokio::io::duplex(64 * 1024);
    script.send(Ok(accepted)).unwrap();
    let (stop, stopping) = watch::channel(false);
    let server = Server::with_limits("test", listener, router::fixed(route), callers(), limits);
    (client, stop, tokio::spawn(server.run(stopping)))
}

/// Counts the writes that reach the network.
struct Counted {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn head_and_body_leave_in_one_write() {
    let (script, listener) = scripted();
    let (mut client, stream) = tokio::io::duplex(64 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    script.send(Ok(Counted { stream, writes: Arc::clone(&writes) })).unwrap();
    let (_stop, stopping) = watch::channel(false);
    let route = |_: &http::request::Parts, _: &Caller| Reply::text(&"c".repeat(4000)).into();
    let server = tokio::spawn(Server::new("test", listener, router::fixed(route), callers()).run(stopping));

    for requests in 1..=3 {
        let answered = exchange(&mut client, GET).await;

        assert_eq!(answered.body.len(), 4000);
        assert_eq!(writes.load(Ordering::SeqCst), requests);
    }
    server.abort();
}

#[tokio::test]
async fn a_connection_serves_many_requests_with_a_content_length_each() {
    let server = serve(hello, ServerLimits::default()).await;
    let mut client = server.connect().await;

    for _ in 0..5 {
        let answered = exchange(&mut client, GET).await;

        assert_eq!((answered.status, answered.body.as_str()), (200, "hello"));
        assert_eq!(answered.header("content-length"), Some("5"));
        assert_eq!(answered.header("connection"), None);
        assert_eq!(answered.header("transfer-encoding"), None);
        assert_eq!(answered.header("content-encoding"), None);
    }
}

#[tokio::test]
async fn requests_sent_all_at_once_are_answered_in_order() {
    let route = |head: &http::request::Parts, _: &Caller| Reply::text(head.uri.path()).into();
    let server = serve(route, ServerLimits::default()).await;
    let mut client = server.connect().await;

    let requests = ["/a", "/b", "/c"].map(|path| GET.replacen('/', path, 1)).concat();
    client.write_all(requests.as_bytes()).await.unwrap();

    for path in ["/a", "/b", "/c"] {
        assert_eq!(answer(&mut client).await.body, path);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let (mut client, _stop, _server) = serve_in_memory(hello, ServerLimits::default()).await;

    client.write_all(b"GET / HTTP/1.1\r\nHost: local").await.unwrap();
    for _ in 0..8 {
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::task::yield_now().await;
        let _ = client.write_all(b"h").await;
    }

    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "no answer, and the end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_let_go_after_75_seconds() {
    let (mut client, _stop, _server) = serve_in_memory(hello, ServerLimits::default()).await;
    let connected_at = Instant::now();

    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();

    assert_eq!(connected_at.elapsed().as_secs(), 75);
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_idle_for_more_than_a_minute_between_requests() {
    let (mut client, _stop, _server) = serve_in_memory(hello, ServerLimits::default()).await;

    for _ in 0..3 {
        assert_eq!(exchange(&mut client, GET).await.status, 200);
        tokio::time::advance(Duration::from_secs(70)).await;
    }
}

#[tokio::test]
async fn huge_heads_are_refused_and_the_listener_goes_on() {
    let server = serve(hello, ServerLimits::default()).await;
    let many = "X-A: b\r\n".repeat(200);
    let long = format!("X-A: {}\r\n", "b".repeat(64 * 1024));

    for headers in [many, long] {
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let mut client = server.connect().await;
        // The server may close the connection before it has read the whole head.
        let _ = client.write_all(request.as_bytes()).await;
        let mut reply = Vec::new();
        let _ = client.read_to_end(&mut reply).await;
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
    }
    assert_eq!(exchange(&mut server.connect().await, GET).await.status, 200);
}

#[tokio::test]
async fn a_head_has_64_headers_and_no_more() {
    let server = serve(hello, ServerLimits::default()).await;
    let with = |more: usize| GET.replacen("\r\n\r\n", &format!("\r\n{}\r\n", "X-A: b\r\n".repeat(more)), 1);

    assert_eq!(exchange(&mut server.connect().await, &with(63)).await.status, 200);
    assert_eq!(exchange(&mut server.connect().await, &with(64)).await.status, 431);
}

#[tokio::test]
async fn a_small_body_is_read_and_a_large_one_is_refused_unread() {
    let server = serve(hello, ServerLimits::default()).await;
    let put = "PUT / HTTP/1.1\r\nHost: localhost\r\n";
    let mut client = server.connect().await;

    let small =
        exchange(&mut client, &format!("{put}Content-Length: 1024\r\n\r\n{}", "x".repeat(1024))).await;
    let chunked =
        exchange(&mut client, &format!("{put}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).await;
    assert_eq!((small.status, chunked.status), (200, 200));

    let announced = exchange(&mut client, &format!("{put}Content-Length: 1025\r\n\r\n")).await;
    assert_eq!((announced.status, announced.header("connection")), (413, Some("close")));

    let chunk = format!("{put}Transfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n", "x".repeat(0x800));
    let unannounced = exchange(&mut server.connect().await, &chunk).await;
    assert_eq!((unannounced.status, unannounced.header("connection")), (413, Some("close")));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for_longer_than_a_request_may_take() {
    let (mut client, _stop, _server) = serve_in_memory(hello, ServerLimits::default()).await;
    let sent_at = Instant::now();

    let answered = exchange(&mut client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await;

    assert_eq!((answered.status, answered.header("connection")), (503, Some("close")));
    assert_eq!(sent_at.elapsed().as_secs(), ServerLimits::default().handling.as_secs());
}

#[tokio::test]
async fn nonsense_never_ends_the_listener() {
    let server = serve(hello, ServerLimits::default()).await;

    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"",
    ] {
        let mut client = server.connect().await;
        client.write_all(nonsense).await.unwrap();
        client.shutdown().await.unwrap();
        let mut reply = Vec::new();
        let _ = client.read_to_end(&mut reply).await;
        assert!(!reply.starts_with(b"HTTP/1.1 200"), "{nonsense:?}");
    }
    assert_eq!(exchange(&mut server.connect().await, GET).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_accept_error_does_not_end_the_listener() {
    let log = Log::verbose();
    let (script, listener) = scripted();
    let (mut client, stream) = tokio::io::duplex(64 * 1024);
    let full = || io::Error::from(rustix::io::Errno::MFILE);
    for error in [full(), full(), full(), io::ErrorKind::ConnectionAborted.into()] {
        script.send(Err(error)).unwrap();
    }
    script.send(Ok(stream)).unwrap();
    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(Server::new("test", listener, router::fixed(hello), callers()).run(stopping));
    let started_at = Instant::now();

    let answered = exchange(&mut client, GET).await;

    assert_eq!(answered.status, 200);
    assert_eq!(started_at.elapsed().as_millis(), 70, "10 + 20 + 40 ms");
    assert_eq!(log.text().matches("WARN").count(), 1, "one line for the whole burst: {}", log.text());
    assert_eq!(log.text().matches(event::LISTENER_RECOVERED).count(), 1);
    stop.send(true).unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn a_panic_ends_its_request_only() {
    let log = Log::verbose();
    let route = |head: &http::request::Parts, _: &Caller| match head.uri.path() {
        "/panic" => panic!("deliberate"),
        _ => Reply::text("hello").into(),
    };
    let server = serve(route, ServerLimits::default()).await;
    let mut client = server.connect().await;

    let panicked = exchange(&mut client, &GET.replacen('/', "/panic", 1)).await;
    let same_connection = exchange(&mut client, GET).await;
    let another = exchange(&mut server.connect().await, GET).await;

    assert_eq!((panicked.status, panicked.body.as_str()), (500, ""));
    assert_eq!((same_connection.status, another.status), (200, 200));
    assert_eq!(log.text().matches(event::REQUEST_PANICKED).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_request_is_handled_for_ever() {
    let session = Session::pending("app");
    let route = waits_for(&session, &Arc::new(Notify::new()));
    let (mut client, _stop, _server) = serve_in_memory(route, ServerLimits::default()).await;

    let answered = exchange(&mut client, GET).await;

    assert_eq!((answered.status, answered.body.as_str()), (503, ""));
}

#[tokio::test]
async fn three_hundred_clients_at_once_are_all_served() {
    let server = serve(hello, ServerLimits::default()).await;

    let clients: Vec<_> = (0..300)
        .map(|_| {
            let address = server.address;
            tokio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                let first = exchange(&mut client, GET).await.status;
                (first, exchange(&mut client, GET).await.status)
            })
        })
        .collect();

    for client in clients {
        assert_eq!(client.await.unwrap(), (200, 200));
    }
}

/// The request's body has not arrived completely.
#[tokio::test]
async fn stopping_finishes_the_request_under_way_and_takes_no_new_ones() {
    let server = serve(hello, ServerLimits::default()).await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    exchange(&mut busy, GET).await;
    busy.write_all(WITH_BODY.as_bytes()).await.unwrap();

    server.stop.send(true).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed first");
    busy.write_all(b"body").await.unwrap();
    let answered = answer(&mut busy).await;

    assert_eq!((answered.status, answered.body.as_str()), (200, "hello"));
    assert_eq!(answered.header("connection"), Some("close"));
    server.task.await.unwrap();
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

const WITH_BODY: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn stopping_takes_no_longer_than_the_drain_allows() {
    let limits = ServerLimits { handling: Duration::from_secs(3600), ..ServerLimits::default() };
    let (mut client, stop, server) = serve_in_memory(hello, limits).await;
    client.write_all(WITH_BODY.as_bytes()).await.unwrap();
    // Paused time does not advance until the server has read everything.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stopped_at = Instant::now();

    stop.send(true).unwrap();
    server.await.unwrap();

    assert_eq!(stopped_at.elapsed().as_secs(), limits.drain.as_secs());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

/// The client may wait for longer than requests in progress have to finish.
#[tokio::test(start_paused = true)]
async fn stopping_answers_a_client_that_waits_for_credentials_at_once() {
    let (session, entered) = (Session::pending("app"), Arc::new(Notify::new()));
    let (mut client, stop, server) =
        serve_in_memory(waits_for(&session, &entered), ServerLimits::default()).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    entered.notified().await;
    let stopped_at = Instant::now();

    stop.send(true).unwrap();
    let answered = answer(&mut client).await;

    assert_eq!((answered.status, stopped_at.elapsed()), (503, Duration::ZERO));
    assert_eq!(answered.body, "transient: the daemon is stopping");
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_handed_out_to_the_last() {
    let (session, entered) = (Session::live("app"), Arc::new(Notify::new()));
    let (mut client, stop, _server) =
        serve_in_memory(waits_for(&session, &entered), ServerLimits::default()).await;
    exchange(&mut client, GET).await;

    stop.send(true).unwrap();

    assert_eq!(exchange(&mut client, GET).await.body, "late");
}

#[tokio::test]
async fn a_stop_that_came_before_the_start_is_not_missed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_stop, stopping) = watch::channel(true);

    Server::new("test", listener, router::fixed(hello), callers()).run(stopping).await;
}

#[tokio::test]
async fn no_connection_outlives_a_server_that_is_dropped() {
    let server = serve(hello, ServerLimits::default()).await;
    let mut client = server.connect().await;
    exchange(&mut client, GET).await;

    server.task.abort();
    assert!(server.task.await.unwrap_err().is_cancelled());

    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn new_routes_hold_from_the_next_request_on_open_connections_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (routes, current) = watch::channel(Arc::new(hello) as Arc<dyn Route>);
    let (_stop, stopping) = watch::channel(false);
    let server = tokio::spawn(Server::new("test", listener, current, callers()).run(stopping));
    let mut client = TcpStream::connect(address).await.unwrap();

    let before: Answered = exchange(&mut client, GET).await;
    routes.send_replace(Arc::new(|_: &http::request::Parts, _: &Caller| Decision::from(Reply::text("new"))));
    let after = exchange(&mut client, GET).await;

    assert_eq!((before.body.as_str(), after.body.as_str()), ("hello", "new"));
    server.abort();
}

#[tokio::test]
async fn refusals_are_a_warning_once_and_then_debug() {
    let log = Log::verbose();
    let route =
        |_: &http::request::Parts, _: &Caller| Reply::empty(StatusCode::FORBIDDEN).denied("why not").into();
    let server = serve(route, ServerLimits::default()).await;
    let mut client = server.connect().await;

    for _ in 0..5 {
        assert_eq!(exchange(&mut client, GET).await.status, 403);
    }

    assert_eq!(log.text().matches("Refused a request").count(), 5);
    assert_eq!(log.text().matches("WARN").count(), 1, "{}", log.text());
}
