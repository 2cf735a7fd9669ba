//! Accepts connections, whatever happens.

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

/// Where connections come from.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection. Cancel-safe.
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

/// Answers leave at once (Nagle and delayed acknowledgements cost 40 ms together), and those meant for loopback
/// die at the first router, unless their listener has a limit of its own. Neither is worth refusing a client for.
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
        tracing::debug!(%peer, %error, "Cannot tune a connection");
    }
}

/// Whether the listener was given another limit than the kernel's, as `anchord serve --hop-limit` does: connections have
/// their listener's.
fn has_own_limit(stream: &TcpStream) -> bool {
    static USUAL: LazyLock<Option<u32>> = LazyLock::new(|| {
        let fresh = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
        rustix::net::sockopt::ip_ttl(fresh).ok()
    });
    let own = stream.ttl().ok();
    own.is_some() && USUAL.is_some() && own != *USUAL
}

/// A run of failures to accept: the first is told, the pauses grow, the end is told.
pub(super) struct Trouble {
    listener: Arc<str>,
    failures: u32,
}

impl Trouble {
    pub(super) fn new(listener: Arc<str>) -> Self {
        Self { listener, failures: 0 }
    }

    fn failed(&mut self, error: &io::Error) -> Duration {
        let listener = &*self.listener;
        if self.failures == 0 {
            tracing::warn!(
                event = event::LISTENER_FAILING,
                listener, %error, "Cannot accept connections for now"
            );
        } else {
            tracing::debug!(listener, %error, failures = self.failures, "Still cannot accept connections");
        }
        let doubled = SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST_PAUSE)
    }

    fn over(&mut self) {
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

/// The next connection, however many attempts it takes. Cancel-safe: what it knows of trouble, `trouble` keeps.
pub(super) async fn next<L: Listen>(listener: &L, trouble: &mut Trouble) -> (L::Stream, Peer) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                trouble.over();
                return accepted;
            }
            // The client went before we looked: no trouble of ours, and no reason to make others wait.
            Err(error) if is_of_the_client(&error) => {
                tracing::debug!(listener = %trouble.listener, %error, "A client went before it was accepted");
                tokio::task::yield_now().await;
            }
            // Out of descriptors or memory: the connection stays in the backlog, so asking again at once would
            // burn the processor that could free some.
            Err(error) => tokio::time::sleep(trouble.failed(&error)).await,
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
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
    async fn answers_to_loopback_leave_at_once_and_die_at_the_first_router() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A host without IPv6 is no failure of ours.
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
    async fn answers_of_a_listener_with_a_hop_limit_have_it_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_ttl(7).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();

        let (stream, _) = Listen::accept(&listener).await.unwrap();

        assert_eq!((stream.ttl().unwrap(), stream.nodelay().unwrap()), (7, true));
    }

    #[tokio::test]
    async fn the_kernel_says_who_is_at_the_other_end_of_a_unix_socket() {
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
        let mut trouble = Trouble::new("tcp".into());
        let full = io::Error::other("too many open files");

        let pauses: Vec<_> = (0..9).map(|_| trouble.failed(&full).as_millis()).collect();
        trouble.over();

        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(trouble.failed(&full), SHORTEST_PAUSE);
        trouble.failures = u32::MAX;
        assert_eq!(trouble.failed(&full), LONGEST_PAUSE);
    }
}
