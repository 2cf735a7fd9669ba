//! Clients that ask a daemon without a pause, to see whether one of them ever notices what happens to its key.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::task::JoinSet;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Reply;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::PATIENCE;

const CLIENTS: usize = 12;

/// Clients of session `bedrock` through all front ends, at work until [`Load::end`].
pub(crate) struct Load {
    clients: JoinSet<()>,
    over: Arc<AtomicBool>,
    answers: watch::Receiver<usize>,
}

impl Load {
    /// Starts them; the daemon must be ready.
    pub(crate) async fn start(stage: &Stage, daemon: &Daemon) -> Self {
        let (address, bearer) = (daemon.http().await, stage.bearer("bedrock"));
        let over = Arc::new(AtomicBool::new(false));
        let (count, answers) = watch::channel(0);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (address, bearer, socket) = (address.clone(), bearer.clone(), stage.socket());
            let (over, count) = (Arc::clone(&over), count.clone());
            clients.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let reply = ask(number, &address, &bearer, &socket).await;
                    assert_eq!(reply.status, 200, "a client was refused: {}", reply.body);
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Self { clients, over, answers }
    }

    /// Waits until clients have been answered `more` times from now on.
    pub(crate) async fn answered(&mut self, more: usize) {
        let wanted = *self.answers.borrow() + more;
        let enough = self.answers.wait_for(|answers| *answers >= wanted);
        tokio::time::timeout(PATIENCE, enough).await.expect("clients are no longer answered").unwrap();
    }

    /// Ends them, and panics if one of them was ever refused; the number of answers.
    pub(crate) async fn end(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client failed");
        }
        *self.answers.borrow()
    }
}

async fn ask(number: usize, address: &str, bearer: &str, socket: &Path) -> Reply {
    match number % 3 {
        0 => client::imds(address).await,
        1 => client::container(address, "bedrock", bearer).await,
        _ => client::socket(socket, "bedrock").await,
    }
}
