//! Passes bytes between an SDK and the daemon, and knows when the SDK has let go of connections that the daemon ended.
//!
//! An SDK that asks in the very instant in which its idle connection ends may fail once, whoever ends it (the AWS
//! Common Runtime does). That is no matter of the daemon's, so nothing is asked in that instant.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use anchord_testing::stage::process::PATIENCE;

pub(crate) struct Pipe {
    address: SocketAddr,
    open: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pipe {
    pub(crate) async fn to(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, open) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let count = count.clone();
                count.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    if let Ok(mut daemon) = TcpStream::connect(daemon).await {
                        // Ends when both sides have ended, each of which is passed on to the other.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
                    }
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, open, task }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Waits until no connection is left.
    pub(crate) async fn wait_until_empty(&self) -> Result<(), String> {
        let mut open = self.open.clone();
        let empty = tokio::time::timeout(PATIENCE, open.wait_for(|open| *open == 0)).await;
        empty.map(|_| ()).map_err(|_| "the SDK holds on to a connection that has ended".to_owned())
    }
}
