//! Addresses of the settings that this host does not have yet. The daemon serves the others, and listens on these once
//! they appear.
//!
//! Examples are `[::1]` if IPv6 is switched off, and a link-local address whose interface comes up after the daemon. A
//! port in use at the start is an error instead: clients would ask the program that uses it for credentials.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::sockets;
use super::sockets::Error;
use anchord_core::event;
use anchord_core::failure::ErrorChain;

/// The addresses that the daemon waits for.
#[derive(Debug)]
pub(super) struct MissingAddresses {
    waiting: Vec<MissingAddress>,
    looks: Interval,
}

#[derive(Debug)]
struct MissingAddress {
    address: SocketAddr,
    /// Why the daemon cannot listen on it, although the host has it.
    trouble: Option<String>,
}

/// A change of a missing address.
#[derive(Debug)]
pub(super) enum AddressChange {
    /// An address has appeared.
    Appeared(Appeared),
    /// The reason why the daemon cannot listen on an address has changed. `None` if the host does not have the address.
    Trouble(SocketAddr, Option<String>),
}

/// A listener on an address that has appeared.
#[derive(Debug)]
pub(super) struct Appeared {
    /// The address in the settings.
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
}

/// Listens on each of `addresses` that this host has.
///
/// # Errors
/// If listening on one fails for another reason than that this host does not have it.
pub(super) async fn listen(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, MissingAddresses), Error> {
    let mut listeners = Vec::new();
    let mut waiting = Vec::new();
    for &address in addresses {
        match sockets::tcp(address).await {
            Ok(listener) => listeners.push(listener),
            Err(Error::Tcp { source, .. }) if is_missing(&source) => {
                warn!(
                    event = event::LISTENER_ADDRESS_MISSING,
                    %address, error = %source, "This host does not have the address; listening on it once it appears"
                );
                waiting.push(address);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((listeners, MissingAddresses::new(waiting)))
}

/// Whether the kernel's error says that an address, an address family or an interface is missing.
fn is_missing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NODEV];
    missing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl MissingAddresses {
    pub(super) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let waiting =
            addresses.into_iter().map(|address| MissingAddress { address, trouble: None }).collect();
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        Self { waiting, looks }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.waiting.iter().map(|waiting| waiting.address).collect()
    }

    /// The next change. Cancel-safe.
    pub(super) async fn next(&mut self) -> AddressChange {
        loop {
            if self.waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            self.looks.tick().await;
            if let Some(change) = self.look().await {
                return change;
            }
        }
    }

    /// Tries each address until one has changed.
    async fn look(&mut self) -> Option<AddressChange> {
        for index in 0..self.waiting.len() {
            let waiting = &mut self.waiting[index];
            let address = waiting.address;
            let trouble = match sockets::tcp(address).await {
                Ok(listener) => {
                    self.waiting.remove(index);
                    return Some(AddressChange::Appeared(Appeared { address, listener }));
                }
                Err(Error::Tcp { source, .. }) if is_missing(&source) => None,
                Err(Error::Tcp { source, .. }) => Some(source.to_string()),
                Err(error) => Some(ErrorChain(&error).to_string()),
            };
            if trouble == waiting.trouble {
                continue;
            }
            if let Some(error) = &trouble {
                warn!(
                    event = event::LISTENER_ADDRESS_UNUSABLE,
                    %address, error, "The address has appeared, but listening on it fails; retrying"
                );
            }
            waiting.trouble.clone_from(&trouble);
            return Some(AddressChange::Trouble(address, trouble));
        }
        None
    }
}

/// A check is one system call for each missing address.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Reserved for documentation (RFC 5737): no host has it.
    const NOWHERE: &str = "192.0.2.7:0";

    fn appeared(change: AddressChange) -> Appeared {
        let AddressChange::Appeared(appeared) = change else { panic!("{change:?}") };
        appeared
    }

    #[tokio::test]
    async fn an_address_that_is_missing_keeps_no_other_from_being_served() {
        let addresses = [NOWHERE, "127.0.0.1:0"].map(|text| text.parse().unwrap());

        let (listeners, missing) = listen(&addresses).await.unwrap();

        assert_eq!(listeners.len(), 1);
        assert_eq!(missing.addresses(), [addresses[0]]);
    }

    #[tokio::test]
    async fn a_port_in_use_is_no_address_that_is_missing() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();

        let refused = listen(&[NOWHERE.parse().unwrap(), taken.local_addr().unwrap()]).await;

        assert!(matches!(refused, Err(Error::Tcp { .. })), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_appears_is_listened_on_at_the_next_look() {
        // This host has the second one, as if it had come after the start.
        let addresses: [SocketAddr; 2] = [NOWHERE, "127.0.0.1:0"].map(|text| text.parse().unwrap());
        let mut missing = MissingAddresses::new(addresses);
        assert!(missing.next().now_or_never().is_none(), "not before its time");

        let started = tokio::time::Instant::now();
        let appeared = appeared(missing.next().await);

        assert_eq!((appeared.address, started.elapsed()), (addresses[1], LOOK_AGAIN));
        assert_eq!(missing.addresses(), [addresses[0]]);
    }

    /// Other work of the daemon interrupts the wait again and again.
    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_interrupted_goes_on_where_it_was() {
        let mut missing = MissingAddresses::new(["127.0.0.1:0".parse().unwrap()]);
        for _ in 0..4 {
            let second = Duration::from_secs(1);
            assert!(tokio::time::timeout(second, missing.next()).await.is_err());
        }

        assert!(tokio::time::timeout(Duration::from_millis(1500), missing.next()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_appears_with_its_port_in_use_is_tried_again() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let mut missing = MissingAddresses::new([address]);

        let AddressChange::Trouble(troubled, Some(why)) = missing.next().await else {
            panic!("the port is in use")
        };
        assert!(troubled == address && why.contains("in use"), "{why}");
        let again = tokio::time::timeout(LOOK_AGAIN * 3, missing.next()).await;
        assert!(again.is_err(), "it is told once: {again:?}");
        drop(taken);

        let change = tokio::time::timeout(LOOK_AGAIN * 2, missing.next()).await.unwrap();
        assert_eq!(appeared(change).address, address);
    }
}
