//! Accepts connections, and continues after errors.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::net::AddressFamily;
use rustix::net::SocketType;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::Peer;
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
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        tune(&stream, address);
        Ok((stream, Peer::Tcp(address)))
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
}

/// Sends responses without delay: Nagle's algorithm and delayed acknowledgements together cost 40 ms. Sets the hop
/// limit of responses to loopback to 1, so that no router forwards them, unless the listener has a hop limit of its
/// own. A client is served even if this fails.
fn tune(stream: &TcpStream, peer: SocketAddr) {
    let mut tuned = stream.set_nodelay(true);
    if peer.ip().to_canonical().is_loopback() {
        let hops = match peer {
            SocketAddr::V4(_) if has_own_limit(stream) => Ok(()),
            SocketAddr::V4(_) => rustix::net::sockopt::set_ip_ttl(stream, 1),
            SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_unicast_hops(stream, Some(1)),
        };
        tuned = tuned.and(hops.map_err(Into::into));
    }
    if let Err(error) = tuned {
        tracing::debug!(%peer, %error, "Cannot set the options of a connection");
    }
}

/// Whether the listener's hop limit differs from the kernel's default, as with `anchord serve --hop-limit`. A
/// connection has the hop limit of its listener.
fn has_own_limit(stream: &TcpStream) -> bool {
    static DEFAULT: LazyLock<Option<u32>> = LazyLock::new(|| {
        let fresh = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
        rustix::net::sockopt::ip_ttl(fresh).ok()
    });
    let own = stream.ttl().ok();
    own.is_some() && DEFAULT.is_some() && own != *DEFAULT
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
    async fn responses_to_loopback_are_not_delayed_and_pass_no_router() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Some hosts have no IPv6.
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();

            let (stream, peer) = Listen::accept(&listener).await.unwrap();

            assert_eq!(peer, Peer::Tcp(client.local_addr().unwrap()));
            assert!(stream.nodelay().unwrap());
            let hops = match peer {
                Peer::Tcp(SocketAddr::V6(_)) => rustix::net::sockopt::ipv6_unicast_hops(&stream).unwrap(),
                _ => u8::try_from(stream.ttl().unwrap()).unwrap(),
            };
            assert_eq!(hops, 1, "{address}");
        }
    }

    #[tokio::test]
    async fn responses_of_a_listener_with_a_hop_limit_have_it_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_ttl(7).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();

        let (stream, _) = Listen::accept(&listener).await.unwrap();

        assert_eq!((stream.ttl().unwrap(), stream.nodelay().unwrap()), (7, true));
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
