//! Which user made the socket at the other end of a TCP connection (sock_diag(7)).
//!
//! The kernel finds a socket of the daemon's network namespace by its two addresses. The user is the one who created
//! the socket: a process that has changed its user since, or got the socket from another process, counts as the
//! creator. A program that forwards connections vouches for all of its clients.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::netlink;
use rustix::net::sockopt;

/// The kernel's socket diagnostics, kept open: a question takes a few microseconds.
#[derive(Debug)]
pub struct SocketOwners(Mutex<Questions>);

#[derive(Debug)]
struct Questions {
    netlink: OwnedFd,
    last: u32,
}

/// The owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    /// Since Linux 5.8.
    pub(super) cgroup: Option<u64>,
}

impl SocketOwners {
    /// Opens the diagnostics, and asks whether they are there. `None` if not: a kernel without the handler answers a
    /// question about a socket as if it found none.
    pub fn open() -> Option<Self> {
        let kind = SocketType::DGRAM;
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        let netlink = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, protocol).ok()?;
        let owners = Self(Mutex::new(Questions { netlink, last: 0 }));
        owners.have_a_handler().then_some(owners)
    }

    /// Asks for all sockets in no state. The answer has no sockets, and its end tells whether there is a handler.
    fn have_a_handler(&self) -> bool {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let answer = self.ask(|number| {
            let mut message = question(number, nowhere, nowhere);
            message[6..8].copy_from_slice(&(REQUEST | DUMP).to_ne_bytes());
            message[20..24].copy_from_slice(&0_u32.to_ne_bytes());
            message
        });
        let Some(answer) = answer else { return false };
        bytes(&answer, 4).map(u16::from_ne_bytes) == Some(DONE) && number_at(&answer, 16) == Some(0)
    }

    /// The owner of the socket of the client `peer` that is connected to the accepted socket `stream`. `None` if its
    /// socket is not in this network namespace, or is closed.
    pub(super) fn of_client(&self, stream: BorrowedFd<'_>, peer: SocketAddr) -> Option<Owner> {
        let local = rustix::net::getsockname(stream).ok()?;
        let local = SocketAddr::try_from(local).ok()?;
        self.owner(peer, local).or_else(|| {
            // Redirected by a rule of this host (169.254.169.254:80 to here): the client's socket has the address that
            // it connected to.
            let original = match peer {
                SocketAddr::V4(_) => sockopt::ip_original_dst(stream).map(SocketAddr::V4),
                SocketAddr::V6(_) => sockopt::ipv6_original_dst(stream).map(SocketAddr::V6),
            };
            self.owner(peer, original.ok()?)
        })
    }

    /// The owner of the socket that is bound to `source` and connected to `destination`.
    fn owner(&self, source: SocketAddr, destination: SocketAddr) -> Option<Owner> {
        let (source, destination) = (canonical(source), canonical(destination));
        parse(&self.ask(|number| question(number, source, destination))?, source, destination)
    }

    /// Sends the question that `make` makes with a number of its own, and returns the answer with that number.
    fn ask(&self, make: impl Fn(u32) -> [u8; 72]) -> Option<Vec<u8>> {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        questions.last = questions.last.wrapping_add(1);
        let number = questions.last;
        rustix::net::send(&questions.netlink, &make(number), SendFlags::empty()).ok()?;
        let mut buffer = [0; 1024];
        // The answer is there when `send` returns. An earlier question's answer may be left over after an interruption.
        loop {
            let received = rustix::net::recv(&questions.netlink, &mut buffer, RecvFlags::DONTWAIT);
            let (length, _) = received.ok()?;
            let answer = &buffer[..length];
            if number_at(answer, 8) == Some(number) {
                return Some(answer.to_vec());
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
const TCP: u8 = 6;
/// `INET_DIAG_CGROUP_ID`.
const CGROUP: u16 = 21;

/// `struct nlmsghdr` and `struct inet_diag_req_v2` of Linux.
fn question(number: u32, source: SocketAddr, destination: SocketAddr) -> [u8; 72] {
    let mut message = [0; 72];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &72_u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST.to_ne_bytes());
    put(8, &number.to_ne_bytes());
    let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    put(16, &[family.as_raw().to_ne_bytes()[usize::from(cfg!(target_endian = "big"))], TCP]);
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &source.port().to_be_bytes());
    put(26, &destination.port().to_be_bytes());
    put(28, &octets(source.ip()));
    put(44, &octets(destination.ip()));
    // No cookie is known.
    put(64, &[0xff; 8]);
    message
}

/// An address as the kernel has it: an IPv4 address takes the first four bytes.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The owner in an answer about the socket from `source` to `destination`.
///
/// The kernel answers with a *listener* on the client's port if no connection has the addresses, so the answer must
/// repeat both. A socket that its owner has closed has no inode, and its user reads as root.
fn parse(answer: &[u8], source: SocketAddr, destination: SocketAddr) -> Option<Owner> {
    /// ESTABLISHED, and the states in which one side has shut its direction down: FIN-WAIT-1, FIN-WAIT-2, CLOSE-WAIT.
    const OPEN: [u8; 4] = [1, 4, 5, 8];
    let kind = u16::from_ne_bytes(bytes(answer, 4)?);
    let [family, state] = bytes(answer, 16)?;
    let is_v4 = i32::from(family) == i32::from(AddressFamily::INET.as_raw());
    let echoed = |port: usize, address: usize| -> Option<SocketAddr> {
        let octets: [u8; 16] = bytes(answer, address)?;
        let ip = match is_v4 {
            true => IpAddr::from(<[u8; 4]>::try_from(&octets[..4]).ok()?),
            false => Ipv6Addr::from(octets).to_canonical(),
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(bytes(answer, port)?)))
    };
    let is_asked = echoed(20, 24)? == source && echoed(22, 40)? == destination;
    let inode = number_at(answer, 84)?;
    if kind != SOCK_DIAG_BY_FAMILY || !OPEN.contains(&state) || !is_asked || inode == 0 {
        return None;
    }
    Some(Owner { uid: number_at(answer, 80)?, cgroup: attribute(answer.get(88..)?, CGROUP) })
}

/// The value of an attribute: length, type and value of each are padded to 4 bytes.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<u64> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes(attributes, 0)?));
        if u16::from_ne_bytes(bytes(attributes, 2)?) == wanted && length == 12 {
            return bytes(attributes, 4).map(u64::from_ne_bytes);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn number_at(message: &[u8], at: usize) -> Option<u32> {
    bytes(message, at).map(u32::from_ne_bytes)
}

fn bytes<const LENGTH: usize>(message: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    message.get(at..at + LENGTH)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::net::TcpListener;
    use std::net::TcpStream;
    use std::os::fd::AsFd as _;

    use super::*;

    fn owners() -> SocketOwners {
        SocketOwners::open().expect("this kernel has socket diagnostics")
    }

    fn us() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn connected(address: &str) -> Option<(TcpListener, TcpStream, TcpStream)> {
        let listener = TcpListener::bind(address).ok()?;
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        Some((listener, client, stream))
    }

    #[test]
    fn the_user_of_a_client_is_found_over_both_protocols() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Some hosts have no IPv6.
            let Some((_listener, client, stream)) = connected(address) else { continue };

            let owner = owners().of_client(stream.as_fd(), client.local_addr().unwrap());

            assert_eq!(owner.map(|owner| owner.uid), Some(us()), "{address}");
        }
    }

    #[test]
    fn an_ipv4_client_of_a_listener_of_both_protocols_is_found() {
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let client = TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        assert!(peer.is_ipv6(), "it is mapped");

        assert!(owners().of_client(stream.as_fd(), peer).is_some());
        drop(client);
    }

    #[test]
    fn a_client_that_has_shut_down_its_sending_side_is_still_known() {
        let (_listener, client, stream) = connected("127.0.0.1:0").unwrap();
        client.shutdown(Shutdown::Write).unwrap();

        let owner = owners().of_client(stream.as_fd(), client.local_addr().unwrap());

        assert_eq!(owner.map(|owner| owner.uid), Some(us()));
    }

    #[test]
    fn a_client_that_is_gone_is_nobody_and_not_root() {
        let (_listener, client, stream) = connected("127.0.0.1:0").unwrap();
        let peer = client.local_addr().unwrap();
        drop(client);

        assert_eq!(owners().of_client(stream.as_fd(), peer), None);
    }

    /// Without a connection the kernel answers with the listener on the client's port, whose user may be root.
    #[test]
    fn a_listener_on_the_clients_port_does_not_vouch_for_it() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = SocketAddr::from(([10, 9, 9, 2], port));

        assert_eq!(owners().owner(elsewhere, SocketAddr::from(([127, 0, 0, 1], 9911))), None);
    }

    #[test]
    fn an_answer_about_another_socket_or_cut_short_is_none() {
        let source = SocketAddr::from(([127, 0, 0, 1], 5000));
        let destination = SocketAddr::from(([127, 0, 0, 1], 9911));
        let mut answer = vec![0_u8; 88];
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        answer[16..18].copy_from_slice(&[2, 1]);
        answer[20..22].copy_from_slice(&5000_u16.to_be_bytes());
        answer[22..24].copy_from_slice(&9911_u16.to_be_bytes());
        answer[24..28].copy_from_slice(&[127, 0, 0, 1]);
        answer[40..44].copy_from_slice(&[127, 0, 0, 1]);
        answer[80..84].copy_from_slice(&7_u32.to_ne_bytes());
        answer[84..88].copy_from_slice(&1_u32.to_ne_bytes());
        assert_eq!(parse(&answer, source, destination), Some(Owner { uid: 7, cgroup: None }));

        let altered = |at: usize, value: u8| {
            let mut altered = answer.clone();
            altered[at] = value;
            parse(&altered, source, destination)
        };
        for (at, value) in [(4, 2), (17, 10), (17, 6), (20, 0), (22, 0), (24, 10), (40, 0), (84, 0)] {
            assert_eq!(altered(at, value), None, "byte {at}");
        }
        for length in 0..88 {
            assert_eq!(parse(&answer[..length], source, destination), None, "{length} bytes");
        }
    }

    #[test]
    fn the_control_group_is_found_behind_other_attributes() {
        let mut attributes = vec![5, 0, 1, 0, 9, 0, 0, 0];
        if cfg!(target_endian = "big") {
            attributes[..4].copy_from_slice(&[0, 5, 0, 1]);
        }
        attributes.extend_from_slice(&12_u16.to_ne_bytes());
        attributes.extend_from_slice(&CGROUP.to_ne_bytes());
        attributes.extend_from_slice(&4711_u64.to_ne_bytes());

        assert_eq!(attribute(&attributes, CGROUP), Some(4711));
        assert_eq!(attribute(&attributes[..16], CGROUP), None);
        assert_eq!(attribute(&[0, 0, 0, 0], CGROUP), None);
    }
}
