//! The agent's answers, good and bad, as another implementation of gRPC and Protocol Buffers gives them.

use std::path::Path;
use std::time::Duration;

use anchord_emulator::Authority;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use anchord_emulator::spiffe;
use anchord_emulator::spiffe::Agent;
use anchord_emulator::spiffe::Code;
use anchord_emulator::spiffe::Mood;
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::UnixListener;

use super::fetch::PATIENCE;
use super::fetch::first_message;
use super::fetch::split;
use super::fetch::svid;
use super::frames::GrpcFrames;
use super::*;
use crate::support::Folder;
use crate::support::root;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;
use anchord_core::failure::Failure;
use anchord_testing::Log;
use anchord_testing::is_of;

const ROBOT: &str = "spiffe://example.org/robot-7";

fn leaf(root: &Authority, id: &str, key: KeyKind) -> Leaf {
    let mut request = LeafRequest::new("robot-7", key);
    request.uris = vec![id.into()];
    root.leaf(&request).unwrap()
}

fn offer(id: &str) -> spiffe::Svid {
    let root = root();
    spiffe::Svid::new(id, &leaf(&root, id, KeyKind::P256), &root)
}

struct Bench {
    _folder: Folder,
    agent: Agent,
}

impl Bench {
    async fn giving(svids: Vec<spiffe::Svid>) -> Self {
        let folder = Folder::new();
        let agent = Agent::start(&folder.path("agent.sock"), svids).await.unwrap();
        Self { _folder: folder, agent }
    }

    fn endpoint(&self) -> WorkloadEndpoint {
        self.agent.uri().parse().unwrap()
    }

    async fn fetch(&self, choice: Choice) -> Result<Svid, Error> {
        fetched(&self.endpoint(), choice).await
    }

    async fn failure(&self, choice: Choice) -> Failure {
        Failure::new(&self.fetch(choice).await.unwrap_err())
    }
}

async fn fetched(endpoint: &WorkloadEndpoint, choice: Choice) -> Result<Svid, Error> {
    let endpoint = endpoint.clone();
    tokio::task::spawn_blocking(move || fetch(&endpoint, &choice)).await.unwrap()
}

fn with_id(id: &str) -> Choice {
    Choice { id: Some(id.into()), hint: None }
}

fn with_hint(hint: &str) -> Choice {
    Choice { id: None, hint: Some(hint.into()) }
}

fn unix(path: &Path) -> WorkloadEndpoint {
    format!("unix://{}", path.display()).parse().unwrap()
}

#[tokio::test]
async fn the_first_svid_is_the_default_one() {
    let first = offer(ROBOT);
    let bench = Bench::giving(vec![first.clone(), offer("spiffe://example.org/other")]).await;

    let svid = bench.fetch(Choice::default()).await.unwrap();

    assert_eq!((svid.id.as_str(), svid.hint), (ROBOT, None));
    assert_eq!(svid.certificates, [first.x509_svid]);
    assert_eq!(svid.key.expose(), &first.x509_svid_key);
}

#[tokio::test]
async fn an_svid_is_chosen_by_id_by_hint_and_by_both() {
    let internal = offer(ROBOT).with_hint("internal");
    let external = offer(ROBOT).with_hint("external");
    let other = offer("spiffe://example.org/other").with_hint("external");
    let bench = Bench::giving(vec![internal.clone(), external.clone(), other.clone()]).await;
    let both = Choice { id: Some(other.spiffe_id.clone()), hint: Some("external".into()) };

    for (choice, wanted) in [
        (with_id(ROBOT), &internal),
        (with_id(&other.spiffe_id), &other),
        (with_hint("internal"), &internal),
        // Two have it: the first is meant (section 5.2.1).
        (with_hint("external"), &external),
        (both, &other),
    ] {
        let svid = bench.fetch(choice.clone()).await.unwrap();

        assert_eq!(svid.key.expose(), &wanted.x509_svid_key, "{choice}");
        assert_eq!(svid.hint.as_deref(), Some(wanted.hint.as_str()));
    }
}

#[tokio::test]
async fn an_svid_that_is_not_there_is_an_error_that_lists_what_is() {
    let bench =
        Bench::giving(vec![offer(ROBOT), offer("spiffe://example.org/b").with_hint("external")]).await;

    let failure = bench.failure(with_id("spiffe://example.org/c")).await;

    let expected = format!(
        "the SPIFFE agent at `{}` gives no SVID `spiffe://example.org/c`, only `{ROBOT}`, \
         `spiffe://example.org/b` (hint `external`)",
        bench.agent.uri()
    );
    assert_eq!((failure.message(), failure.class()), (&*expected, Class::Misconfigured));
    let failure = bench.failure(with_hint("internal")).await;
    assert!(failure.message().contains("no SVID with the hint `internal`, only"), "{failure}");
    bench.agent.rotate(vec![]);
    let failure = bench.failure(Choice::default()).await;
    assert!(failure.message().ends_with("gives no SVID at all"), "{failure}");
    assert!(failure.hint().unwrap().starts_with("register an entry"), "{failure}");
}

#[tokio::test]
async fn a_chain_comes_apart_into_its_certificates() {
    let root = root();
    let authority = root.intermediate("Intermediate", KeyKind::P384).unwrap();
    let leaf = leaf(&authority, ROBOT, KeyKind::Rsa2048);
    let svid = spiffe::Svid::new(ROBOT, &leaf, &root).with_intermediate(&authority);
    let bench = Bench::giving(vec![svid]).await;

    let svid = bench.fetch(Choice::default()).await.unwrap();

    assert_eq!(svid.certificates, [leaf.certificate_der(), authority.certificate_der()]);
    assert_eq!(svid.key.expose(), leaf.key_pkcs8_der());
}

#[tokio::test]
async fn no_key_is_printed() {
    let bench = Bench::giving(vec![offer(ROBOT)]).await;

    let printed = format!("{:?}", bench.fetch(Choice::default()).await.unwrap());

    assert!(printed.contains("key: [redacted]"), "{printed}");
}

#[tokio::test]
async fn each_refusal_says_whose_turn_it_is() {
    let bench = Bench::giving(vec![offer(ROBOT)]).await;
    for (code, class, text, hint) in [
        (
            Code::PermissionDenied,
            Class::Misconfigured,
            "has no identity for this process",
            "register an entry",
        ),
        (Code::InvalidArgument, Class::Broken, "refuses the call as malformed", ""),
        (Code::Unavailable, Class::Transient, "is not ready", "check the agent's own log"),
        (Code::Unimplemented, Class::Misconfigured, "gRPC status UNIMPLEMENTED", "name the socket"),
        (Code::Internal, Class::Transient, "gRPC status INTERNAL", "check the agent's own log"),
    ] {
        bench.agent.feel(Mood::Refuses(code, "no identity issued: 50 %\n\u{1b}[2J".into()));

        let failure = bench.failure(Choice::default()).await;

        assert_eq!(failure.class(), class);
        assert!(failure.message().contains(text), "{failure}");
        assert!(failure.message().ends_with(", saying \"no identity issued: 50 %[2J\""), "{failure}");
        assert!(failure.hint().unwrap_or_default().starts_with(hint), "{failure}");
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_or_not_running_is_told_apart() {
    let mut bench = Bench::giving(vec![offer(ROBOT)]).await;

    bench.agent.crash().await;
    let failure = bench.failure(Choice::default()).await;
    assert!(failure.message().ends_with("is not running: no process listens"), "{failure}");
    assert!(failure.hint().unwrap().starts_with("start the agent"), "{failure}");

    bench.agent.stop().await;
    let failure = bench.failure(Choice::default()).await;
    assert!(failure.message().ends_with("is not there: its socket does not exist"), "{failure}");
    assert!(failure.hint().unwrap().contains("SPIFFE_ENDPOINT_SOCKET"), "{failure}");
    assert_eq!(failure.class(), Class::Misconfigured);
    assert!(failure.is_local());

    bench.agent.restart().await.unwrap();
    bench.fetch(Choice::default()).await.unwrap();
}

#[test]
fn a_socket_in_tmp_may_be_hidden_by_the_unit() {
    let error = fetch(&unix(Path::new("/tmp/no/such/agent.sock")), &Choice::default()).unwrap_err();

    assert!(error.hint().unwrap().contains("PrivateTmp="), "{error}");
}

/// Tests may run as root, whom no mode keeps out.
#[test]
fn a_forbidden_socket_is_reported_with_what_to_do() {
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let endpoint = unix(Path::new("/run/agent.sock"));
    let error = Error { endpoint, fault: agent::unreachable(denied) };

    assert_eq!(
        error.to_string(),
        "the SPIFFE agent at `unix:///run/agent.sock` may not be reached by this user"
    );
    assert!(error.hint().unwrap().contains("SupplementaryGroups="));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_not_waited_for() {
    let bench = Bench::giving(vec![offer(ROBOT)]).await;
    bench.agent.feel(Mood::Silent);

    let started_at = tokio::time::Instant::now();
    let fault = first_message(&bench.endpoint()).await.unwrap_err();

    assert!(matches!(fault, AgentFault::Silent { patience: PATIENCE }), "{fault}");
    assert_eq!(started_at.elapsed().as_secs(), 4);
}

#[tokio::test]
async fn a_stream_that_ends_at_once_is_no_answer() {
    let bench = Bench::giving(vec![offer(ROBOT)]).await;
    bench.agent.feel(Mood::Ends);

    let failure = bench.failure(Choice::default()).await;

    assert!(failure.message().ends_with("ended the stream"), "{failure}");
    assert_eq!(failure.class(), Class::Transient);
}

#[tokio::test]
async fn a_server_of_another_kind_is_an_error() {
    let folder = Folder::new();
    let answers: [&[u8]; 4] =
        [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n", &[0, 0, 0, 4, 0, 0, 0, 0, 0]];
    for (number, answer) in answers.into_iter().enumerate() {
        let path = folder.path(&number.to_string());
        let listener = UnixListener::bind(&path).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // Until the client goes: what it has sent must not make the kernel reset the connection.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });

        let error = fetched(&unix(&path), Choice::default()).await.unwrap_err();

        assert!(matches!(error.fault, AgentFault::Broken(_)), "{number}: {error}");
        assert!(error.hint().unwrap().contains("must be the Workload API's"));
        serving.await.unwrap();
    }
}

/// A web server that has HTTP/2: the emulator's, on another path, would answer in gRPC.
async fn web_server(status: u16, kind: &'static str, body: &'static [u8]) -> WorkloadEndpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(move |_| async move {
            let response = http::Response::builder().status(status).header("content-type", kind);
            response.body(http_body_util::Full::new(bytes::Bytes::from_static(body)))
        });
        let io = hyper_util::rt::TokioIo::new(stream);
        let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        // The client leaves as soon as it knows.
        let _ = builder.serve_connection(io, service).await;
    });
    endpoint
}

#[tokio::test]
async fn an_answer_that_is_not_grpc_is_reported_with_what_came() {
    for (status, kind, body, text) in [
        (404, "text/html", &b"<p>"[..], "answers with the HTTP status 404 Not Found instead of gRPC"),
        (200, "text/html", b"<p>", "answers with text/html instead of gRPC"),
        (200, "application/grpc", b"\x00\x00\x00\x00\x02\x0a\x09", "cannot be read: it ends within a field"),
        (200, "application/grpc", b"\x01\x00\x00\x00\x01\x00", "cannot be read: it is compressed"),
        (200, "application/grpc", b"\x00\x00\x80\x00\x01\x00", "sends a message of more than 8388608 bytes"),
        (200, "application/grpc", b"\x00\x00\x00\x00\x09\x0a", "ended the stream"),
    ] {
        let endpoint = web_server(status, kind, body).await;

        let failure = Failure::new(&fetched(&endpoint, Choice::default()).await.unwrap_err());

        assert!(failure.message().ends_with(text), "{failure}");
    }
}

#[tokio::test]
async fn an_svid_without_its_key_or_certificate_is_not_used() {
    let bench = Bench::giving(vec![]).await;
    let good = offer(ROBOT);
    let mut bad = vec![good.clone(), good.clone(), good.clone(), good];
    bad[0].x509_svid_key.clear();
    bad[1].x509_svid.clear();
    bad[2].spiffe_id.clear();
    bad[3].x509_svid.pop();
    let texts = ["without its key", "without its certificate", "without its SPIFFE ID", "are not DER"];
    for (svid, text) in bad.into_iter().zip(texts) {
        bench.agent.rotate(vec![svid]);

        let failure = bench.failure(Choice::default()).await;

        assert!(failure.message().ends_with(text), "{failure}");
    }
}

#[tokio::test]
async fn an_answer_of_some_megabytes_is_read() {
    let mut svid = offer(ROBOT);
    svid.bundle = vec![7; 3 << 20];
    let bench = Bench::giving(vec![svid.clone()]).await;

    assert_eq!(bench.fetch(Choice::default()).await.unwrap().key.expose(), &svid.x509_svid_key);
}

#[test]
fn endpoints_are_read_as_the_specification_says() {
    for (text, path) in [
        ("unix:///run/spire/agent.sock", "/run/spire/agent.sock"),
        ("unix:/run/spire/agent.sock", "/run/spire/agent.sock"),
        ("UNIX:///run/a%20b.sock", "/run/a b.sock"),
    ] {
        let endpoint: WorkloadEndpoint = text.parse().unwrap();

        assert_eq!((endpoint.path(), endpoint.to_string()), (Some(Path::new(path)), text.to_owned()));
    }
    for text in ["tcp://127.0.0.1:8081", "tcp://[::1]:8081"] {
        let endpoint: WorkloadEndpoint = text.parse().unwrap();

        assert_eq!((endpoint.path(), endpoint.to_string()), (None, text.to_owned()));
    }
}

#[test]
fn what_is_no_endpoint_is_refused_with_what_to_write() {
    for (text, fault, hint) in [
        ("/run/agent.sock", "is a path, not a URI", "write unix:// in front"),
        ("", "is neither a unix: nor a tcp: URI", "write unix:///"),
        ("npipe:agent", "is neither a unix: nor a tcp: URI", "write unix:///"),
        ("unix://run/agent.sock", "has a host, which a unix: URI may not have", "write three slashes"),
        ("unix:run/agent.sock", "has a relative path", "write unix:///"),
        ("unix:///", "is not the path of a socket, which has 1 to 107 bytes", "write unix:///"),
        ("unix:///a%00b", "is not the path of a socket, which has 1 to 107 bytes", "write unix:///"),
        ("unix:///a?b", "has more parts than a Workload API's address may have", "write unix:///"),
        ("tcp://127.0.0.1:1/a", "has more parts than a Workload API's address may have", "write unix:///"),
        ("tcp://me@127.0.0.1:1", "has more parts than a Workload API's address may have", "write unix:///"),
        ("tcp://localhost:8081", "has no IP address", "write an IP address and a port"),
        ("tcp:127.0.0.1:8081", "has no IP address", "write an IP address and a port"),
        ("tcp://127.0.0.1", "has no port", "write an IP address and a port"),
        ("tcp://[::1]", "has no port", "write an IP address and a port"),
        ("tcp://127.0.0.1:0", "has no port", "write an IP address and a port"),
    ] {
        let malformed = text.parse::<WorkloadEndpoint>().unwrap_err();

        assert_eq!(malformed.to_string(), fault, "{text}");
        assert!(malformed.hint().starts_with(hint), "{text}: {}", malformed.hint());
    }
}

#[test]
fn a_uri_chooses_any_svid_or_one() {
    assert_eq!(Choice::of_uri("spiffe:"), Ok(Choice::default()));
    assert_eq!(Choice::of_uri(ROBOT), Ok(with_id(ROBOT)));
    for (uri, fault) in [
        ("spiffe:/robot", MalformedId::NotSpiffe),
        ("SPIFFE://example.org/robot", MalformedId::NotSpiffe),
        ("spiffe://", MalformedId::TrustDomain),
        ("spiffe://Example.org/robot", MalformedId::TrustDomain),
        ("spiffe://example.org:80/robot", MalformedId::TrustDomain),
        ("spiffe://example.org", MalformedId::NoPath),
        ("spiffe://example.org/", MalformedId::NoPath),
        ("spiffe://example.org/a//b", MalformedId::Path),
        ("spiffe://example.org/a/", MalformedId::Path),
        ("spiffe://example.org/../b", MalformedId::Path),
        ("spiffe://example.org/a%20b", MalformedId::Path),
    ] {
        assert_eq!(Choice::of_uri(uri), Err(fault), "{uri}");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

async fn hears(stream: &mut SvidStream, patience: Duration) -> bool {
    tokio::time::timeout(patience, stream.changed()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_and_each_rotation_are_heard_at_once() {
    let bench = Bench::giving(vec![offer(ROBOT)]).await;
    let mut stream = SvidStream::new(bench.endpoint(), "web");
    assert!(hears(&mut stream, Duration::ZERO).await || hears(&mut stream, Duration::from_millis(1)).await);

    for _ in 0..3 {
        assert!(!hears(&mut stream, HOUR / 2).await, "nothing has changed");
        bench.agent.rotate(vec![offer(ROBOT)]);
        assert!(hears(&mut stream, Duration::from_millis(1)).await);
    }
    assert_eq!((bench.agent.connections(), bench.agent.streams()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_is_heard_again_within_seconds_and_without_a_word() {
    let log = Log::start();
    let mut bench = Bench::giving(vec![offer(ROBOT)]).await;
    let mut stream = SvidStream::new(bench.endpoint(), "web");
    assert!(hears(&mut stream, Duration::from_millis(1)).await);
    for _ in 0..5 {
        bench.agent.crash().await;
        assert!(!hears(&mut stream, Duration::from_millis(1500)).await);
        bench.agent.restart().await.unwrap();

        assert!(hears(&mut stream, Duration::from_secs(3)).await);
    }
    assert_eq!(log.news(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_is_reported_once_and_looked_for_every_half_minute() {
    let log = Log::start();
    let mut bench = Bench::giving(vec![offer(ROBOT)]).await;
    bench.agent.stop().await;
    let mut stream = SvidStream::new(bench.endpoint(), "web");

    assert!(!hears(&mut stream, HOUR * 3).await);
    let told = log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(is_of(&told[0], "WARN", event::SPIFFE_UNREACHABLE), "{told:?}");
    assert!(told[0].contains("session=\"web\"") && told[0].contains("is not there"), "{told:?}");
    bench.agent.restart().await.unwrap();

    assert!(hears(&mut stream, Duration::from_secs(31)).await);
    let told = log.news();
    assert!(told.len() == 1 && is_of(&told[0], "INFO", event::SPIFFE_RECOVERED), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_or_ends_is_not_asked_in_a_loop() {
    for mood in [Mood::Refuses(Code::PermissionDenied, "no identity issued".into()), Mood::Ends] {
        let bench = Bench::giving(vec![offer(ROBOT)]).await;
        bench.agent.feel(mood);
        let mut stream = SvidStream::new(bench.endpoint(), "web");

        assert!(!hears(&mut stream, HOUR).await);
        assert!((100..130).contains(&bench.agent.streams()), "{}", bench.agent.streams());
        bench.agent.feel(Mood::Gives);
        assert!(hears(&mut stream, Duration::from_secs(31)).await, "granted at last");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_asked_again_after_an_hour() {
    let bench = Bench::giving(vec![offer(ROBOT)]).await;
    let mut stream = SvidStream::new(bench.endpoint(), "web");
    assert!(hears(&mut stream, Duration::from_millis(1)).await);

    assert!(hears(&mut stream, HOUR + Duration::from_secs(2)).await);

    assert_eq!(bench.agent.streams(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_closes_its_connection() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("agent.sock")).unwrap();
    let stream = SvidStream::new(unix(&folder.path("agent.sock")), "web");
    let (mut connection, _) = listener.accept().await.unwrap();

    drop(stream);

    connection.read_to_end(&mut Vec::new()).await.unwrap();
}

/// A response of which the ends, the middle and every length may be damaged.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        "[a-z:/]{0,20}",
        prop::collection::vec(any::<u8>(), 0..60),
        "[a-z]{0,4}",
        edits,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(spiffe_id, key, hint, edits, end)| {
            let svid =
                spiffe::Svid { spiffe_id, x509_svid: key.clone(), x509_svid_key: key, bundle: vec![1], hint };
            let mut bytes = spiffe::encode(vec![svid.clone(), svid]);
            for (at, byte) in &edits {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if edits.len() == 3 {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        })
}

proptest! {
    #[test]
    fn what_prost_reads_is_read_alike(bytes in damaged()) {
        let ours = message::entries(&bytes);
        let Some(theirs) = spiffe::decode(&bytes) else { return Ok(()) };
        match ours {
            // Groups, which no encoder has sent for ten years.
            Err(message::MalformedMessage::Kind) => {}
            Err(other) => prop_assert!(false, "{other}"),
            Ok(ours) => {
                prop_assert_eq!(ours.len(), theirs.len());
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    prop_assert_eq!(ours.id, &theirs.spiffe_id);
                    prop_assert_eq!(ours.certificates, &theirs.x509_svid);
                    prop_assert_eq!(ours.key, &theirs.x509_svid_key);
                    prop_assert_eq!(ours.hint, &theirs.hint);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = message::entries(&bytes);
        let _ = svid(&bytes, &Choice::default());
        let _ = split(&bytes);
        let _ = GrpcFrames::default().take(&mut &bytes[..]);
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
        lengths in prop::collection::vec(1_usize..20, 300),
    ) {
        let head = |message: &Vec<u8>| u32::try_from(message.len()).unwrap().to_be_bytes();
        let stream: Vec<u8> =
            messages.iter().flat_map(|message| [&[0][..], &head(message), message].concat()).collect();
        let (mut frames, mut rest, mut found) = (GrpcFrames::default(), &stream[..], Vec::new());
        for length in lengths {
            let (mut piece, others) = rest.split_at(length.min(rest.len()));
            rest = others;
            while let Some(message) = frames.take(&mut piece).unwrap() {
                found.push(message.to_vec());
            }
        }
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn no_text_makes_the_reader_of_endpoints_panic(text in "(unix|tcp|[a-z]{0,3}):?/{0,4}\\PC{0,30}") {
        if let Ok(endpoint) = text.parse::<WorkloadEndpoint>() {
            prop_assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_ids_panic(text in "(spiffe:)?/{0,3}\\PC{0,30}") {
        let _ = Choice::of_uri(&text);
    }
}
