//! Binds the listeners of the settings. Detects whether a daemon still uses a Unix socket, and binds a deleted one
//! again.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;

use anchord_core::access::is_near;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::failure::system_reason;
use anchord_core::private_file;
use anchord_core::private_file::Lock;
use anchord_core::private_file::LockError;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;
use anchord_core::trusted_path;
use anchord_core::trusted_path::Directory;
use anchord_frontend::Connection;
use anchord_frontend::Listen;
use anchord_frontend::Peer;
use anchord_frontend::caller::Kernel;

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A TCP address cannot be bound.
    #[error("cannot listen on {address}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A socket that was passed cannot be used.
    #[error("cannot use a socket passed by systemd")]
    Passed(#[source] io::Error),
    /// A socket that was passed listens on an address that other hosts can reach.
    #[error("systemd passed a socket on {address}, which other hosts can reach")]
    PassedAddress {
        /// The address.
        address: SocketAddr,
    },
    /// Another daemon answers on the Unix socket.
    #[error("another daemon listens on `{}`", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// The socket's path is a file of another kind.
    #[error("`{}` exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another file is at the path of the deleted Unix socket.
    #[error("`{}` was replaced by another file", path.display())]
    Displaced {
        /// The path.
        path: PathBuf,
    },
    /// The Unix socket cannot be made.
    #[error("cannot listen on `{}`", path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Other users can lead the Unix socket's path elsewhere.
    #[error(transparent)]
    Path(trusted_path::Error),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Path(error) => error.reason(),
            _ => Reason::AddressUnusable,
        }
    }

    fn hint(&self) -> Option<Text> {
        Some(match self {
            Self::Tcp { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                let who = format!("`ss -ltnp` shows the process that uses port {}; set ", address.port());
                Text::of(&[Say(&who), Key("http.listen"), Say(" to another")])
            }
            Self::Tcp { .. } => {
                Text::of(&[Say("set "), Key("http.listen"), Say(" to an address of this host")])
            }
            Self::Passed(_) => "check the socket unit of this service: `systemctl cat anchord.socket`".into(),
            Self::PassedAddress { .. } => {
                "set `ListenStream=` of the socket unit to a loopback or link-local address, such as 127.0.0.1:9911".into()
            }
            Self::Taken { .. } => Text::of(&[
                Say("stop it first, or set "),
                Key("runtime_directory"),
                Say(" or "),
                Key("socket.path"),
                Say(" to another path"),
            ]),
            Self::Displaced { .. } => {
                "this daemon's socket was deleted; remove the other file, and the daemon recreates its socket"
                    .into()
            }
            Self::NotASocket { .. } => {
                Text::of(&[Say("move it away, or set "), Key("socket.path"), Say(" to another path")])
            }
            Self::Unix { path, .. } => format!(
                "make sure that {} exists and that the daemon's user can write to it; {}",
                path.parent().unwrap_or(path).display(),
                private_file::SANDBOX
            )
            .into(),
            Self::Path(error) => return error.hint(),
        })
    }
}

/// Clients must retry while the queue is full, so make it long. The kernel reduces it to its own limit (usually 4096).
const BACKLOG: i32 = 4096;

/// Binds a listener to `address`.
pub(super) async fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = bind_tcp(address).map_err(|error| Error::Tcp { address, source: error.into() })?;
    TcpListener::from_std(bound).map_err(|source| Error::Tcp { address, source })
}

fn bind_tcp(address: SocketAddr) -> Result<StdTcpListener, rustix::io::Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    keep_near(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Gives a listener's answers the hop limit 1, so that no router forwards them. Connections inherit it, also for their
/// first packets, which are sent before `accept` returns.
fn keep_near(listener: &impl AsFd, address: SocketAddr) -> Result<(), rustix::io::Errno> {
    if address.is_ipv6() {
        sockopt::set_ipv6_unicast_hops(listener, Some(1))?;
    }
    // An IPv6 listener may have IPv4 clients, for which this one counts.
    sockopt::set_ip_ttl(listener, 1)
}

/// Takes a TCP listener that systemd passed.
///
/// # Errors
/// If it listens on an address that other hosts can reach.
pub(super) fn passed_tcp(listener: StdTcpListener) -> Result<TcpListener, Error> {
    let address = listener.local_addr().map_err(Error::Passed)?;
    if !is_near(address.ip()) {
        return Err(Error::PassedAddress { address });
    }
    keep_near(&listener, address).map_err(|error| Error::Passed(error.into()))?;
    listen_again(&listener)?;
    listener.set_nonblocking(true).map_err(Error::Passed)?;
    TcpListener::from_std(listener).map_err(Error::Passed)
}

/// Listens once more on a socket that another process has made. The queue gets this daemon's length, and clients see
/// this daemon's user at the other end (`SO_PEERCRED`).
pub(super) fn listen_again(listener: &impl AsFd) -> Result<(), Error> {
    rustix::net::listen(listener, BACKLOG).map_err(|error| Error::Passed(error.into()))
}

/// The listener on a Unix socket. If its file was deleted, a new listener replaces it. Open connections continue.
#[derive(Clone, Debug)]
pub(super) struct UnixSocketListener(watch::Receiver<Arc<UnixListener>>);

impl UnixSocketListener {
    /// A listener that systemd passed, which is never replaced.
    pub(super) fn passed(listener: UnixListener) -> Self {
        Self(watch::channel(Arc::new(listener)).1)
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        let address = self.0.borrow().local_addr().ok()?;
        address.as_pathname().map(Path::to_path_buf)
    }
}

impl Listen for UnixSocketListener {
    type Stream = UnixStream;

    fn connection(stream: &UnixStream, peer: Peer, kernel: &Kernel) -> Connection {
        <UnixListener as Listen>::connection(stream, peer, kernel)
    }

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let mut current = self.0.clone();
        loop {
            let listener = Arc::clone(&current.borrow_and_update());
            tokio::select! {
                accepted = Listen::accept(&*listener) => return accepted,
                Ok(()) = current.changed() => {}
            }
        }
    }
}

/// A Unix socket that this daemon has bound. Its file is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    place: SocketPlace,
    listener: watch::Sender<Arc<UnixListener>>,
}

/// The path of a bound socket, and the identity of its file.
#[derive(Clone, Debug)]
pub(super) struct SocketPlace {
    path: PathBuf,
    mode: u32,
    /// Device and inode.
    file: (u64, u64),
    /// Held as long as the socket. It decides between two daemons that start at the same time.
    lock: Arc<Lock>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if private_file::identity(&self.place.path).is_ok_and(|there| there == self.place.file) {
            let _ = private_file::remove(&self.place.path);
        }
    }
}

/// Binds a Unix socket to `path` with `mode`. Replaces the socket of a daemon that has ended, but never one in use.
pub(super) async fn unix(path: &Path, mode: u32) -> Result<(UnixSocketListener, SocketFile), Error> {
    let lock = Arc::new(lock_beside(path)?);
    remove_stale(path).await?;
    let (listener, place) = bind_at(path, mode, lock)?;
    let (listener, current) = watch::channel(Arc::new(in_runtime(listener, path)?));
    Ok((UnixSocketListener(current), SocketFile { place, listener }))
}

impl SocketFile {
    pub(super) fn place(&self) -> &SocketPlace {
        &self.place
    }

    /// Replaces the listener with the result of [`SocketPlace::bind_again`].
    pub(super) fn move_to(&mut self, listener: StdListener, place: SocketPlace) -> Result<(), Error> {
        let listener = in_runtime(listener, &place.path)?;
        self.place = place;
        self.listener.send_replace(Arc::new(listener));
        Ok(())
    }
}

impl SocketPlace {
    /// Binds again if the file was deleted; `None` if it still exists. May block.
    ///
    /// # Errors
    /// If it cannot be bound, or another file is at the path, which stays unchanged.
    pub(super) fn bind_again(&self) -> Result<Option<(StdListener, Self)>, Error> {
        match private_file::identity(&self.path) {
            Ok(there) if there == self.file => return Ok(None),
            Ok(_) => return Err(Error::Displaced { path: self.path.clone() }),
            Err(LockError::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(&self.path, error)),
        }
        // If the whole folder was deleted, the lock's file is gone too, and another daemon could lock a new one.
        let lock = if self.lock.is_at(&lock_path(&self.path)) {
            Arc::clone(&self.lock)
        } else {
            Arc::new(lock_beside(&self.path)?)
        };
        bind_at(&self.path, self.mode, lock).map(Some)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn bind_at(path: &Path, mode: u32, lock: Arc<Lock>) -> Result<(StdListener, SocketPlace), Error> {
    let listener = bind(path, mode)?;
    let file = private_file::identity(path).map_err(|error| unusable(path, error))?;
    Ok((listener, SocketPlace { path: path.into(), mode, file, lock }))
}

fn in_runtime(listener: StdListener, path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::Unix { path: path.into(), source };
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}

fn unusable(path: &Path, error: LockError) -> Error {
    match error {
        LockError::Path(error) => Error::Path(error),
        LockError::System(source) => Error::Unix { path: path.into(), source },
    }
}

fn lock_beside(path: &Path) -> Result<Lock, Error> {
    let found = private_file::lock(&lock_path(path)).map_err(|error| unusable(path, error))?;
    found.ok_or_else(|| Error::Taken { path: path.into() })
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

async fn remove_stale(path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Unix { path: path.into(), source: system_reason(&error) };
    let (folder, name) = folder_of(path)?;
    match folder.find(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Socket => {
            return Err(Error::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Error::Taken { path: path.into() }),
        // Its queue is full, so a daemon listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Taken { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            folder.remove(&name).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn folder_of(path: &Path) -> Result<(Directory, OsString), Error> {
    trusted_path::file(path).map_err(|error| unusable(path, error.into()))
}

/// Binds so that other users never have access to the file: on Linux the socket's mode before `bind` becomes the
/// file's.
///
/// `bind` takes no descriptor of a directory. The path is used, because it was just judged: only root and this user
/// can change a part of it. `/proc/self/fd/N/NAME` would do, but the kernel would show clients and `ss` that name.
fn bind(path: &Path, mode: u32) -> Result<StdListener, Error> {
    let (folder, name) = folder_of(path)?;
    let bound = try_bind(path).and_then(|socket| {
        // Fails if the socket is not in the directory that was judged.
        rustix::fs::chmodat(folder.descriptor(), &*name, Mode::from(mode), AtFlags::empty())?;
        Ok(socket)
    });
    bound.map_err(|errno| Error::Unix { path: path.into(), source: errno.into() })
}

fn try_bind(path: &Path) -> Result<StdListener, rustix::io::Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use anchord_core::failure::Failure;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchord.sock");
        (folder, path)
    }

    #[tokio::test]
    async fn a_socket_has_the_mode_it_was_asked_for_and_goes_with_its_owner() {
        let (_folder, path) = folder();

        let (listener, file) = unix(&path, 0o660).await.unwrap();

        let mode = |path: &Path| fs_err::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(&path.with_extension("sock.lock")), 0o600, "no other user can hold the lock");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_deleted_is_bound_again_and_clients_reach_it() {
        let (_folder, path) = folder();
        let (listener, mut file) = unix(&path, 0o660).await.unwrap();
        assert!(file.place().bind_again().unwrap().is_none(), "it is there");
        let accepting = tokio::spawn(async move { Listen::accept(&listener).await });
        fs_err::remove_file(&path).unwrap();

        let (again, place) = file.place().bind_again().unwrap().unwrap();
        file.move_to(again, place).unwrap();

        UnixStream::connect(&path).await.unwrap();
        assert!(accepting.await.unwrap().is_ok());
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    /// Deleting the folder deletes the lock's file too.
    #[tokio::test]
    async fn a_socket_that_is_bound_again_is_locked_again() {
        let (_folder, path) = folder();
        let (_listener, mut file) = unix(&path, 0o600).await.unwrap();
        fs_err::remove_file(&path).unwrap();
        fs_err::remove_file(lock_path(&path)).unwrap();

        let (again, place) = file.place().bind_again().unwrap().unwrap();
        file.move_to(again, place).unwrap();

        assert!(matches!(unix(&path, 0o600).await, Err(Error::Taken { .. })));
    }

    #[tokio::test]
    async fn what_another_puts_in_the_place_of_a_deleted_socket_is_left_alone() {
        let (_folder, path) = folder();
        let (_listener, file) = unix(&path, 0o600).await.unwrap();
        fs_err::rename(&path, path.with_extension("moved")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();

        assert!(matches!(file.place().bind_again(), Err(Error::Displaced { .. })));
        drop(file);

        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn another_daemon_that_has_locked_the_place_meanwhile_keeps_it() {
        let (_folder, path) = folder();
        let (_listener, file) = unix(&path, 0o600).await.unwrap();
        fs_err::remove_file(&path).unwrap();
        fs_err::remove_file(lock_path(&path)).unwrap();
        let _other = lock_beside(&path).unwrap();

        assert!(matches!(file.place().bind_again(), Err(Error::Taken { .. })));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_daemons_socket_is_refused() {
        let (_folder, path) = folder();
        let _live = unix(&path, 0o600).await.unwrap();

        let text = Failure::from(unix(&path, 0o600).await.unwrap_err()).to_string();

        assert!(text.contains("another daemon listens on") && text.contains("hint: stop it first"), "{text}");
        assert!(path.exists());
    }

    /// There is no lock beside it, so another program has bound it.
    #[tokio::test]
    async fn a_strangers_live_socket_is_refused() {
        let (_folder, path) = folder();
        let _live = UnixListener::bind(&path).unwrap();

        assert!(matches!(unix(&path, 0o600).await.unwrap_err(), Error::Taken { .. }));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_dead_daemons_socket_is_taken_over() {
        let (_folder, path) = folder();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        let _taken_over = unix(&path, 0o600).await.unwrap();

        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_link_in_place_of_the_lock_is_not_followed() {
        let (folder, path) = folder();
        let target = folder.path().join("target");
        fs_err::os::unix::fs::symlink(&target, path.with_extension("sock.lock")).unwrap();

        assert!(unix(&path, 0o600).await.is_err());
        assert!(!target.exists());
    }

    #[tokio::test]
    async fn no_socket_is_bound_where_others_could_exchange_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, path) = folder();
        let set_mode = |mode: u32| {
            fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };

        set_mode(0o777);
        let refused = unix(&path, 0o600).await.unwrap_err();

        assert!(matches!(refused, Error::Path(_)), "{refused}");
        assert!(!path.exists() && !lock_path(&path).exists());
        set_mode(0o1777);
        assert!(unix(&path, 0o600).await.is_ok(), "nobody else can remove it from a sticky directory");
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let (_folder, path) = folder();
        fs_err::write(&path, "notes").unwrap();

        let error = unix(&path, 0o600).await.unwrap_err();

        assert!(matches!(error, Error::NotASocket { .. }));
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "notes");
    }

    #[tokio::test]
    async fn a_taken_port_says_how_to_find_its_owner() {
        let taken = tcp(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = taken.local_addr().unwrap();

        let text = Failure::from(tcp(address).await.unwrap_err()).to_string();

        assert!(text.starts_with(&format!("cannot listen on {address}: Address already in use")), "{text}");
        assert!(text.contains("hint: `ss -ltnp` shows the process"), "{text}");
    }
}
