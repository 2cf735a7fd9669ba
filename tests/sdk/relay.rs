//! Stands between an SDK and the daemon and holds its first GET back, so that something can happen before it arrives.
//!
//! Requests and answers pass as they are, the Host header included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use anchord_testing::stage::process::PATIENCE;

pub(crate) struct Relay {
    address: SocketAddr,
    held: mpsc::UnboundedReceiver<Held>,
    passed: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// A request that waits; it goes on when this is gone.
pub(crate) struct Held {
    _passing: oneshot::Sender<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    pub(crate) async fn to(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, held) = mpsc::unbounded_channel();
        let passed = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Mutex::new(Some(gate)));
        let passage = Passage { daemon, gate, passed: Arc::clone(&passed) };
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(passage.clone().serve(client));
            }
        });
        Self { address, held, passed, task }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Waits for the first GET, which waits in turn.
    pub(crate) async fn first_get(&mut self) -> Result<Held, String> {
        let held = tokio::time::timeout(PATIENCE, self.held.recv()).await;
        held.ok().flatten().ok_or_else(|| "the SDK never sent a GET".to_owned())
    }

    /// `METHOD STATUS` of what has passed.
    pub(crate) fn passed(&self) -> Vec<String> {
        self.passed.lock().unwrap().clone()
    }
}

/// What each connection needs.
#[derive(Clone)]
struct Passage {
    daemon: SocketAddr,
    /// Taken by the first GET.
    gate: Arc<Mutex<Option<mpsc::UnboundedSender<Held>>>>,
    passed: Arc<Mutex<Vec<String>>>,
}

impl Passage {
    /// Ends with the client's connection, or with an answer that cannot be had.
    async fn serve(self, client: TcpStream) {
        let mut client = BufReader::new(client);
        while let Some(request) = head(&mut client).await {
            let method = request.split(' ').next().unwrap_or_default().to_owned();
            let gate = if method == "GET" { self.gate.lock().unwrap().take() } else { None };
            if let Some(gate) = gate {
                let (passing, passed) = oneshot::channel();
                let _ = gate.send(Held { _passing: passing });
                let _ = passed.await;
            }
            let Some(answer) = ask(self.daemon, &request).await else { return };
            let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let line = format!("{method} {}", String::from_utf8_lossy(status));
            self.passed.lock().unwrap().push(line);
            if client.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// The daemon's answer, by a connection of its own: those to its predecessor have ended with it.
pub(crate) async fn ask(daemon: SocketAddr, request: &str) -> Option<Vec<u8>> {
    let mut daemon = BufReader::new(TcpStream::connect(daemon).await.ok()?);
    daemon.write_all(request.as_bytes()).await.ok()?;
    let head = head(&mut daemon).await?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length?];
    daemon.read_exact(&mut body).await.ok()?;
    Some([head.into_bytes(), body].concat())
}

/// Up to the empty line and with it. No request of these SDKs has a body.
pub(crate) async fn head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}
