//! Restarts under load, with sockets that systemd holds: not one request fails.

use anchord_core::event;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use anchord_testing::stage::Stage;
use anchord_testing::stage::Systemd;
use anchord_testing::stage::client;
use anchord_testing::stage::process::PATIENCE;

const CLIENTS: usize = 64;
const RESTARTS: usize = 3;

/// What the clients have seen together.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    connections: AtomicUsize,
    farewells: AtomicUsize,
    over: AtomicBool,
}

/// Asks on one connection until told that it was the last answer, then on the next, like any HTTP client that keeps
/// connections. The first failure is its end.
async fn ask_on_and_on(
    address: String,
    request: String,
    key: String,
    seen: Arc<Seen>,
    news: watch::Sender<usize>,
) {
    while !seen.over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(&address).await.expect("connections are never refused");
        seen.connections.fetch_add(1, Ordering::Relaxed);
        loop {
            stream.write_all(request.as_bytes()).await.expect("a request can be sent");
            let (head, body) = answer(&mut stream).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(body.contains(&key), "not the session's credentials");
            seen.answers.fetch_add(1, Ordering::Relaxed);
            news.send_modify(|answers| *answers += 1);
            if head.to_ascii_lowercase().contains("\r\nconnection: close") {
                seen.farewells.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if seen.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let read = stream.read_buf(&mut bytes).await.expect("an answer arrives");
        assert_ne!(read, 0, "the connection ended without an answer after {} bytes", bytes.len());
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap())
        });
        if body.len() == length.expect("an answer has a length") {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// Enough for every client to be in the midst of its requests.
async fn more(answers: &mut watch::Receiver<usize>, so_far: usize) {
    let enough = answers.wait_for(|answers| *answers >= so_far + 50 * CLIENTS);
    tokio::time::timeout(PATIENCE, enough).await.expect("the clients have failed").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_fail_no_request() {
    let stage = Stage::new().await;
    let systemd = Systemd::new(&stage);
    let mut daemon = systemd.start(&stage);
    daemon.wait_for(event::DAEMON_READY).await;
    systemd.wait_for_kept(1).await;
    let (http, bearer) = (systemd.http(), stage.bearer("bedrock"));
    let key = client::container(&http, "bedrock", &bearer).await.key_id();
    let request =
        format!("GET /v1/credentials/bedrock HTTP/1.1\r\nhost: {http}\r\nauthorization: {bearer}\r\n\r\n");
    let seen = Arc::new(Seen::default());
    let (news, mut answers) = watch::channel(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (http, request, key) = (http.clone(), request.clone(), key.clone());
            tokio::spawn(ask_on_and_on(http, request, key, Arc::clone(&seen), news.clone()))
        })
        .collect();

    for nth in 1..=RESTARTS {
        let so_far = *answers.borrow();
        more(&mut answers, so_far).await;
        let (code, output) = daemon.stop().await;
        assert_eq!(code, 0, "{output}");
        daemon = systemd.start(&stage);
        systemd.wait_for_kept(nth + 1).await;
    }
    let so_far = *answers.borrow();
    more(&mut answers, so_far).await;
    seen.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client failed");
    }

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "{RESTARTS} restarts under {CLIENTS} keep-alive connections: {} requests, 0 failed, {} connections",
        count(&seen.answers),
        count(&seen.connections)
    );
    assert!(count(&seen.farewells) >= RESTARTS * CLIENTS / 2, "the restarts met clients that were asking");
    assert_eq!(stage.emulator.sessions_created(), 1, "AWS did not notice either");
}
