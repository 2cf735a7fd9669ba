//! Accepts connections, and continues after errors.

use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::Connection;
use crate::Peer;
use crate::caller::Kernel;
use anchord_core::event;

/// A source of connections.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection. Cancel-safe.
    ///
    /// # Errors
    /// Those of `accept`. The server logs them and calls again.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;

    /// What the kernel tells of an accepted connection.
    fn connection(stream: &Self::Stream, peer: Peer, kernel: &Kernel) -> Connection;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        // Without it, Nagle's algorithm and delayed acknowledgements together cost 40 ms. A client is served even if this
        // fails.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "Cannot set the options of a connection");
        }
        Ok((stream, Peer::Tcp(address)))
    }

    fn connection(stream: &TcpStream, peer: Peer, kernel: &Kernel) -> Connection {
        match peer {
            Peer::Tcp(address) => kernel.tcp(stream.as_fd(), address),
            Peer::Unix { .. } => Connection::unknown(peer),
        }
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let peer = stream.peer_cred()?;
        let peer = Peer::Unix { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() };
        Ok((stream, peer))
    }

    fn connection(stream: &UnixStream, peer: Peer, kernel: &Kernel) -> Connection {
        kernel.unix(stream.as_fd()).unwrap_or(Connection::unknown(peer))
    }
}

/// Counts consecutive errors of `accept`. Logs the first one and the recovery.
pub(super) struct AcceptFailures {
    listener: Arc<str>,
    failures: u32,
}

impl AcceptFailures {
    pub(super) fn new(listener: Arc<str>) -> Self {
        Self { listener, failures: 0 }
    }

    /// Counts an error. Returns the pause before the next attempt, which doubles with each error.
    fn failed(&mut self, error: &io::Error) -> Duration {
        let listener = &*self.listener;
        if self.failures == 0 {
            tracing::warn!(
                event = event::LISTENER_FAILING,
                listener, %error, "Cannot accept connections; retrying"
            );
        } else {
            tracing::debug!(listener, %error, failures = self.failures, "Still cannot accept connections");
        }
        let doubled = SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST_PAUSE)
    }

    fn recovered(&mut self) {
        if self.failures > 0 {
            let listener = &*self.listener;
            tracing::info!(
                event = event::LISTENER_RECOVERED,
                listener,
                failures = self.failures,
                "Accepting connections again"
            );
            self.failures = 0;
        }
    }
}

/// Waits for the next connection, and tries again after errors. Cancel-safe: `failures` keeps the state between calls.
pub(super) async fn accept<L: Listen>(listener: &L, failures: &mut AcceptFailures) -> (L::Stream, Peer) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                failures.recovered();
                return accepted;
            }
            // The client closed the connection. The listener works, so other clients need not wait.
            Err(error) if is_from_client(&error) => {
                let listener = &*failures.listener;
                tracing::debug!(listener, %error, "A client closed its connection before it was accepted");
                tokio::task::yield_now().await;
            }
            // There are no descriptors or no memory left. The connection stays in the backlog, so `accept` would fail
            // again and again and take the processor time that is needed to free some.
            Err(error) => tokio::time::sleep(failures.failed(&error)).await,
        }
    }
}

fn is_from_client(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotConnected
            | ErrorKind::Interrupted
    )
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn responses_are_not_delayed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();

        let (stream, peer) = Listen::accept(&listener).await.unwrap();

        assert_eq!(peer, Peer::Tcp(client.local_addr().unwrap()));
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn the_kernel_names_the_client_of_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).await.unwrap();

        let (_stream, peer) = Listen::accept(&listener).await.unwrap();

        let us = Peer::Unix {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            pid: i32::try_from(std::process::id()).ok(),
        };
        assert_eq!(peer, us);
    }

    #[test]
    fn pauses_grow_to_a_second_and_start_anew_after_a_success() {
        let mut failures = AcceptFailures::new("tcp".into());
        let full = io::Error::other("too many open files");

        let pauses: Vec<_> = (0..9).map(|_| failures.failed(&full).as_millis()).collect();
        failures.recovered();

        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(failures.failed(&full), SHORTEST_PAUSE);
        failures.failures = u32::MAX;
        assert_eq!(failures.failed(&full), LONGEST_PAUSE);
    }
}
