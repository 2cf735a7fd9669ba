//! All front ends behind real listeners, and what they log.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::support::Answered;
use super::support::Session;
use super::support::exchange;
use super::*;
use anchord_core::entropy::Entropy;
use anchord_core::secret::Secret;
use anchord_testing::Log;

const KEY: [u8; 32] = *b"canary-key-canary-key-canary-key";

fn tcp_router(session: &Session) -> Router {
    let tokens = TokenAuthority::new(&Secret::new(KEY), session.clock.clone(), Entropy::system());
    let imds = Imds::new(session.handle.clone(), RoleName::parse("app").unwrap(), tokens)
        .at("eu-west-1", Some("123456789012"));
    let container = Container::new().with(session.handle.clone(), vec![support::bearer('c')]);
    Router::tcp(RequestGuard::new([]), Some(imds), Some(container))
}

/// A daemon's front ends with their own port and socket. Dropping the value stops them.
struct FrontEnds {
    address: std::net::SocketAddr,
    folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
    _tasks: [JoinHandle<()>; 2],
}

impl FrontEnds {
    async fn of(session: &Session) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        let socket = Socket::new(vec![session.handle.clone()], ListenerStatus::default());
        let (stop, stopping) = watch::channel(false);
        let tasks = [
            tokio::spawn(
                Server::new(
                    "tcp",
                    tcp,
                    router::fixed(tcp_router(session)),
                    Arc::new(Callers::of_this_host()),
                )
                .run(stopping.clone()),
            ),
            tokio::spawn(
                Server::new(
                    "unix",
                    unix,
                    router::fixed(Router::unix(socket)),
                    Arc::new(Callers::of_this_host()),
                )
                .run(stopping),
            ),
        ];
        Self { address, folder, _stop: stop, _tasks: tasks }
    }

    async fn tcp(&self, request: &str) -> Answered {
        exchange(&mut TcpStream::connect(self.address).await.unwrap(), request).await
    }

    async fn unix(&self, path: &str) -> Answered {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).await.unwrap();
        exchange(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: anchord\r\n\r\n")).await
    }

    async fn token(&self) -> String {
        let put = "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\n";
        self.tcp(&format!("{put}x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n")).await.body
    }
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_token_request_needs_no_content_length_and_no_user_agent() {
    let front_ends = FrontEnds::of(&Session::live("app")).await;

    for length in ["", "Content-Length: 0\r\n"] {
        let put = "PUT /latest/api/token HTTP/1.1\r\nHost: LocalHost:9911\r\nAccept: text/html, *; q=.2\r\n";
        let request = format!("{put}{length}X-aws-ec2-metadata-token-ttl-seconds: 300\r\n\r\n");
        let answered = front_ends.tcp(&request).await;

        assert_eq!((answered.status, answered.body.len()), (200, TokenAuthority::TOKEN_LENGTH));
        assert_eq!(answered.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("300"));
    }
}

#[tokio::test]
async fn an_imds_client_finds_its_way_on_one_connection() {
    let front_ends = FrontEnds::of(&Session::live("app")).await;
    let token = front_ends.token().await;
    let token = format!("x-aws-ec2-metadata-token: {token}\r\nAccept-Encoding: gzip\r\n");
    let mut client = TcpStream::connect(front_ends.address).await.unwrap();

    let list = exchange(&mut client, &get("//latest/meta-data/iam/security-credentials/", &token)).await;
    let path = format!("/latest/meta-data/iam/security-credentials/{}", list.body);
    let credentials = exchange(&mut client, &get(&path, &token)).await;
    let region = exchange(&mut client, &get("/latest/meta-data/placement/region", &token)).await;
    let absolute = exchange(&mut client, &get(&format!("http://localhost:80{path}"), &token)).await;
    let bare = exchange(&mut client, &get("/latest/meta-data/placement/region", "")).await;

    assert_eq!((list.status, list.body.as_str()), (200, "app"));
    assert_eq!((region.status, region.body.as_str()), (200, "eu-west-1"));
    assert_eq!((credentials.status, credentials.header("content-encoding")), (200, None));
    assert!(credentials.body.starts_with(r#"{"Code":"Success","#), "{}", credentials.body);
    assert_eq!((absolute.status, absolute.body), (200, credentials.body));
    assert_eq!((bare.status, bare.body.as_str(), bare.header("content-length")), (401, "", Some("0")));
}

#[tokio::test]
async fn two_hundred_clients_start_at_once_and_each_gets_one_undivided_document() {
    let session = Session::live("app");
    let front_ends = Arc::new(FrontEnds::of(&session).await);
    let expected = document::render(&support::credentials());

    let clients: Vec<_> = (0..200)
        .map(|_| {
            let front_ends = Arc::clone(&front_ends);
            tokio::spawn(async move {
                let token = front_ends.token().await;
                let path = "/latest/meta-data/iam/security-credentials/app";
                front_ends.tcp(&get(path, &format!("x-aws-ec2-metadata-token: {token}\r\n"))).await
            })
        })
        .collect();

    for client in clients {
        let answered = client.await.unwrap();
        assert_eq!((answered.status, answered.body.as_bytes()), (200, expected.expose().as_slice()));
    }
}

#[tokio::test]
async fn no_secret_shows_in_logs_or_debug_output() {
    let log = Log::verbose();
    let session = Session::live("app");
    let front_ends = FrontEnds::of(&session).await;
    let (token, bearer) = (front_ends.token().await, "c".repeat(Bearer::LENGTH));
    let with_token = format!("x-aws-ec2-metadata-token: {token}\r\n");
    let with_bearer = format!("Authorization: {bearer}\r\n");

    let mut statuses = Vec::new();
    for request in [
        get("/latest/meta-data/iam/security-credentials/app?canary=query", &with_token),
        get(
            "/latest/meta-data/iam/security-credentials/app",
            &format!("{with_token}Origin: canary-origin\r\n"),
        ),
        get("/latest/meta-data/nothing", &with_bearer),
        get(&format!("/v1/credentials?{bearer}"), &with_bearer),
        get("/v1/credentials/app", &format!("Authorization: {bearer}x\r\n")),
        get("/v1/credentials/app", &format!("{with_bearer}X-Forwarded-For: canary-forwarded\r\n")),
    ] {
        statuses.push(front_ends.tcp(&request).await.status);
    }
    statuses.push(front_ends.unix("/v1/sessions/app/credential-process").await.status);
    statuses.push(front_ends.unix("/v1/status").await.status);
    let status = front_ends.unix("/v1/status").await.body;

    assert_eq!(statuses, [200, 403, 401, 200, 401, 403, 200, 200]);
    let router = tcp_router(&session);
    let headers = [("host", "::1"), ("authorization", bearer.as_str())];
    let decision = router.route(&support::head("GET", "/v1/credentials", &headers), &support::root());
    let printed = format!("{} {router:?} {decision:?} {:?} {status}", log.text(), support::bearer('c'));
    assert_eq!(log.text().matches("Answered").count(), 10, "{printed}");
    for canary in [support::SECRET_KEY, support::SESSION_TOKEN, "canary", &token, &bearer] {
        assert!(!printed.contains(canary), "`{canary}` in {printed}");
    }
    let key = format!("{:?}", &KEY[..4]);
    assert!(!printed.contains(key.trim_matches(['[', ']'])), "the key's bytes in {printed}");
}

#[tokio::test]
async fn a_unix_clients_identity_is_in_the_log() {
    let log = Log::verbose();
    let front_ends = FrontEnds::of(&Session::live("app")).await;

    front_ends.unix("/v1/status").await;

    let us = format!("uid={} ", rustix::process::geteuid().as_raw());
    assert!(log.text().contains(&us), "{}", log.text());
}
