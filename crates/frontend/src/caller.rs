//! Who is at the other end of a connection.
//!
//! [`Kernel`] asks the kernel once for each connection, when it is accepted. [`Callers`] then finds out which of the
//! users, groups and units that the settings name this client is. Front ends only compare.

mod socket_owner;
mod units;
mod unix_peer;
mod users;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use anchord_core::access::Access;
use anchord_core::access::Principal;

pub use socket_owner::SocketOwners;
pub use units::Units;
pub use users::SystemUsers;
pub use users::UserDatabase;
use users::Users;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process that is connected to a Unix socket, with its credentials at the time of `connect` (`SO_PEERCRED`).
    Unix {
        /// Its effective user ID.
        uid: u32,
        /// Its effective group ID.
        gid: u32,
        /// Its process ID, if the kernel knows it.
        pid: Option<i32>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix { uid, gid, pid: Some(pid) } => write!(formatter, "uid={uid} gid={gid} pid={pid}"),
            Self::Unix { uid, gid, pid: None } => write!(formatter, "uid={uid} gid={gid}"),
        }
    }
}

/// What the kernel tells of a connection's client. It does not change while the connection lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its address, or its process.
    pub peer: Peer,
    /// The address that it reached; `None` for a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether its process is on this host, as far as the kernel can tell.
    pub is_here: bool,
    /// The user who made its socket. `None` if the kernel does not tell, or if the user has no number in the daemon's
    /// user namespace.
    pub uid: Option<u32>,
    /// The groups of its process. `None` over TCP, where only the user database knows them.
    pub groups: Option<Vec<u32>>,
    /// The ID of its control group (version 2).
    pub cgroup: Option<u64>,
}

impl Connection {
    /// A client of which the kernel tells nothing else.
    pub fn unknown(peer: Peer) -> Self {
        Self { peer, local: None, is_here: false, uid: None, groups: None, cgroup: None }
    }

    /// Whether it may send requests. A loopback address is for this host alone, also where the host's rules let packets
    /// of a neighbour reach it (`route_localnet`). Clients whose packets this host redirects to it have their sockets
    /// here.
    pub fn is_allowed(&self) -> bool {
        let is_loopback = self.local.is_some_and(|local| local.ip().to_canonical().is_loopback());
        self.is_here || !is_loopback
    }
}

/// Asks the kernel about connections.
#[derive(Debug)]
pub struct Kernel {
    owners: Option<SocketOwners>,
    /// The number that the kernel gives for users without one in this user namespace.
    overflow: u32,
}

impl Kernel {
    /// Opens the kernel's socket diagnostics in this network namespace. Without them the users of TCP clients are not
    /// known: [`Kernel::knows_tcp_users`].
    pub fn open() -> Self {
        let overflow = fs_err::read_to_string("/proc/sys/kernel/overflowuid");
        let overflow = overflow.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65534);
        Self { owners: SocketOwners::open(), overflow }
    }

    /// Whether the kernel tells which user a TCP client is.
    pub fn knows_tcp_users(&self) -> bool {
        self.owners.is_some()
    }

    /// What the kernel tells of a TCP client. `stream` is the accepted socket.
    pub fn tcp(&self, stream: BorrowedFd<'_>, peer: SocketAddr) -> Connection {
        let owner = self.owners.as_ref().and_then(|owners| owners.of_client(stream, peer));
        let local = rustix::net::getsockname(stream).ok();
        Connection {
            local: local.and_then(|local| SocketAddr::try_from(local).ok()),
            is_here: owner.is_some() || peer.ip().to_canonical().is_loopback(),
            uid: owner.and_then(|owner| self.mapped(owner.uid)),
            cgroup: owner.and_then(|owner| owner.cgroup),
            ..Connection::unknown(Peer::Tcp(peer))
        }
    }

    /// What the kernel tells of a Unix socket's client. `stream` is the accepted socket.
    ///
    /// # Errors
    /// If `SO_PEERCRED` fails.
    pub fn unix(&self, stream: BorrowedFd<'_>) -> std::io::Result<Connection> {
        let credentials = rustix::net::sockopt::socket_peercred(stream)?;
        let (uid, gid) = (credentials.uid.as_raw(), credentials.gid.as_raw());
        // 0 for a process of another PID namespace.
        let pid = Some(credentials.pid.as_raw_pid()).filter(|pid| *pid > 0);
        let mut groups = unix_peer::groups(stream).unwrap_or_default();
        groups.push(gid);
        Ok(Connection {
            peer: Peer::Unix { uid, gid, pid },
            local: None,
            is_here: true,
            uid: self.mapped(uid),
            groups: Some(groups),
            cgroup: unix_peer::cgroup(stream, pid),
        })
    }

    fn mapped(&self, uid: u32) -> Option<u32> {
        (uid != self.overflow && uid != u32::MAX).then_some(uid)
    }
}

/// The client of a request: what the kernel tells of its connection, and what that means for the settings.
#[derive(Clone, Debug)]
pub struct Caller {
    connection: Arc<Connection>,
    standing: Standing,
}

#[derive(Clone, Debug)]
enum Standing {
    /// Root or the daemon's own user.
    Trusted,
    /// Those of the principals in the settings that it is or belongs to.
    Is(Arc<[Principal]>),
    /// The user database has not answered.
    Unclear,
}

/// Whether a caller may use a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Admitted,
    /// It may not.
    Refused,
    /// The user database has not answered in time; the next request may be admitted.
    Unclear,
}

impl Caller {
    /// A caller of whom nothing is known that would admit it.
    pub fn stranger(peer: Peer) -> Self {
        Self { connection: Arc::new(Connection::unknown(peer)), standing: Standing::Is(Arc::new([])) }
    }

    /// A caller who may use every session, such as root.
    pub fn trusted(peer: Peer) -> Self {
        Self { standing: Standing::Trusted, ..Self::stranger(peer) }
    }

    /// A caller who is each of `principals`.
    pub fn who_is(peer: Peer, principals: &[Principal]) -> Self {
        Self { standing: Standing::Is(principals.into()), ..Self::stranger(peer) }
    }

    /// What the kernel tells of its connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The other end of its connection.
    pub fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    /// Whether `access` admits it.
    pub fn may(&self, access: &Access) -> Verdict {
        match (access, &self.standing) {
            (Access::Anybody, _) | (_, Standing::Trusted) => Verdict::Admitted,
            (Access::Only(named), Standing::Is(those)) => {
                let is_named = named.iter().any(|principal| those.contains(principal));
                if is_named { Verdict::Admitted } else { Verdict::Refused }
            }
            (Access::Only(named), Standing::Unclear) if named.is_empty() => Verdict::Refused,
            (Access::Only(_), Standing::Unclear) => Verdict::Unclear,
        }
    }
}

/// Finds out which of the principals in the settings a client is.
#[derive(Debug)]
pub struct Callers {
    kernel: Kernel,
    own_uid: u32,
    users: Users,
    units: Units,
    named: RwLock<Arc<[Principal]>>,
}

impl Callers {
    /// For a daemon that runs as the user `own_uid`. No principals are named yet.
    pub fn new(kernel: Kernel, own_uid: u32, database: impl UserDatabase, units: Units) -> Self {
        let named = RwLock::new(Arc::from([]));
        Self { kernel, own_uid, users: Users::new(database), units, named }
    }

    /// For this process and this host.
    pub fn of_this_host() -> Self {
        Self::new(Kernel::open(), rustix::process::geteuid().as_raw(), SystemUsers, Units::of_this_host())
    }

    /// Asks the kernel about connections.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Replaces the principals that the settings name, and forgets what the user database has answered.
    pub fn name(&self, principals: impl IntoIterator<Item = Principal>) {
        let mut named: Vec<_> = principals.into_iter().collect();
        named.sort();
        named.dedup();
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = named.into();
        self.users.forget();
    }

    /// The caller of a request on `connection`. Waits at most [`users::PATIENCE`] for the user database.
    pub async fn caller(&self, connection: &Arc<Connection>) -> Caller {
        let standing = match connection.uid {
            Some(uid) if uid == 0 || uid == self.own_uid => Standing::Trusted,
            uid => self.standing(uid, connection).await,
        };
        Caller { connection: Arc::clone(connection), standing }
    }

    async fn standing(&self, uid: Option<u32>, connection: &Connection) -> Standing {
        let named = Arc::clone(&self.named.read().unwrap_or_else(PoisonError::into_inner));
        let mut those = Vec::new();
        let mut is_unclear = false;
        for principal in &*named {
            let is_it = match principal {
                Principal::Unit(name) => Some(self.units.has(name, connection.cgroup)),
                Principal::User(name) => match uid {
                    Some(uid) => self.users.is(uid, name).await,
                    None => Some(false),
                },
                Principal::Group(name) => match uid {
                    Some(uid) => self.users.belongs(uid, connection.groups.as_deref(), name).await,
                    None => Some(false),
                },
            };
            match is_it {
                Some(true) => those.push(principal.clone()),
                Some(false) => {}
                None => is_unclear = true,
            }
        }
        if is_unclear && those.is_empty() { Standing::Unclear } else { Standing::Is(those.into()) }
    }
}

#[cfg(test)]
mod tests;
