//! Addresses of the settings that this host does not have yet: the daemon serves the others, and listens on these once
//! they appear.
//!
//! Typical are `[::1]` where IPv6 is switched off, and a link-local address whose interface comes after the daemon. A
//! port in use is another matter: whoever has it would be asked for credentials in our place.

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

/// The addresses that are waited for.
#[derive(Debug)]
pub(super) struct MissingAddresses {
    waiting: Vec<MissingAddress>,
    looks: Interval,
}

#[derive(Debug)]
struct MissingAddress {
    address: SocketAddr,
    /// Why it cannot be listened on, now that it is there.
    trouble: Option<String>,
}

/// What a look finds.
#[derive(Debug)]
pub(super) enum AddressChange {
    /// An address has appeared.
    Appeared(Appeared),
    /// An address is there and cannot be listened on for another reason than before; without one it has gone again.
    Trouble(SocketAddr, Option<String>),
}

/// A listener on an address that has appeared.
#[derive(Debug)]
pub(super) struct Appeared {
    /// As the settings have it.
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
}

/// Listens on each of `addresses` that this host has.
///
/// # Errors
/// When one of them cannot be had for another reason than that it is not there.
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

/// The kernel's words for an address, an address family or an interface that is not there.
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
            if let Some(news) = self.look().await {
                return news;
            }
        }
    }

    /// Tries each until there is something to tell.
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
                    %address, error, "The address has appeared and cannot be listened on; trying again"
                );
            }
            waiting.trouble.clone_from(&trouble);
            return Some(AddressChange::Trouble(address, trouble));
        }
        None
    }
}

/// One system call for each address that is missing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Reserved for documentation (RFC 5737): no host has it.
    const NOWHERE: &str = "192.0.2.7:0";

    fn appeared(news: AddressChange) -> Appeared {
        let AddressChange::Appeared(appeared) = news else { panic!("{news:?}") };
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

        let news = tokio::time::timeout(LOOK_AGAIN * 2, missing.next()).await.unwrap();
        assert_eq!(appeared(news).address, address);
    }
}
