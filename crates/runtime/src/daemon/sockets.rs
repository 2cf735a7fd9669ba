//! Binds what the settings name, tells a live daemon's socket from a dead one's, and binds again what was deleted.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::failure::system_reason;
use anchord_core::private_file;
use anchord_core::private_file::Lock;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;
use anchord_frontend::Listen;
use anchord_frontend::Peer;

/// Why a listener could not be had.
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
    /// Another daemon answers on the Unix socket.
    #[error("another daemon listens on `{}`", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("`{}` exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Something else is where the Unix socket was.
    #[error("another file is at `{}` now", path.display())]
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
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        Reason::AddressUnusable
    }

    fn hint(&self) -> Option<Text> {
        Some(match self {
            Self::Tcp { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                let who = format!("`ss -ltnp` shows who uses port {}; set ", address.port());
                Text::of(&[Say(&who), Key("http.listen"), Say(" to another")])
            }
            Self::Tcp { .. } => {
                Text::of(&[Say("set "), Key("http.listen"), Say(" to an address of this host")])
            }
            Self::Taken { .. } => Text::of(&[
                Say("stop it first, or set "),
                Key("runtime_directory"),
                Say(" or "),
                Key("socket.path"),
                Say(" to another place"),
            ]),
            Self::Displaced { .. } => {
                "this daemon's socket was deleted; it is made again once the path is free".into()
            }
            Self::NotASocket { .. } => {
                Text::of(&[Say("move it away, or set "), Key("socket.path"), Say(" to another place")])
            }
            Self::Unix { path, .. } => format!(
                "make sure that {} exists and may be written by the daemon's user",
                path.parent().unwrap_or(path).display()
            )
            .into(),
        })
    }
}

/// Listens on `address`.
pub(super) async fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Tcp { address, source })
}

/// The listener on a Unix socket, exchanged where its file had to be made again. Connections go on.
#[derive(Clone, Debug)]
pub(super) struct Listener(watch::Receiver<Arc<UnixListener>>);

impl Listener {
    /// One that is never exchanged.
    pub(super) fn passed(listener: UnixListener) -> Self {
        Self(watch::channel(Arc::new(listener)).1)
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        let address = self.0.borrow().local_addr().ok()?;
        address.as_pathname().map(Path::to_path_buf)
    }
}

impl Listen for Listener {
    type Stream = UnixStream;

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

/// A Unix socket of ours: the file goes when the value does.
#[derive(Debug)]
pub(super) struct SocketFile {
    spot: Spot,
    listener: watch::Sender<Arc<UnixListener>>,
}

/// Where a socket is bound, and which file that has made.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    path: PathBuf,
    mode: u32,
    /// Device and inode.
    file: (u64, u64),
    /// Held as long as the socket is: it decides between two daemons that start at once.
    lock: Arc<Lock>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_at(&self.spot.path).is_ok_and(|there| there == self.spot.file) {
            let _ = fs_err::remove_file(&self.spot.path);
        }
    }
}

/// Listens on `path` with `mode`, taking the place of a dead daemon's socket but never of a live one's.
pub(super) async fn unix(path: &Path, mode: u32) -> Result<(Listener, SocketFile), Error> {
    let lock = Arc::new(lock_beside(path)?);
    clear_the_dead(path).await?;
    let (listener, spot) = bind_at(path, mode, lock)?;
    let (listener, current) = watch::channel(Arc::new(in_runtime(listener, path)?));
    Ok((Listener(current), SocketFile { spot, listener }))
}

impl SocketFile {
    pub(super) fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Listens on what [`Spot::bind_again`] has made.
    pub(super) fn move_to(&mut self, listener: StdListener, spot: Spot) -> Result<(), Error> {
        let listener = in_runtime(listener, &spot.path)?;
        self.spot = spot;
        self.listener.send_replace(Arc::new(listener));
        Ok(())
    }
}

impl Spot {
    /// Binds again if the file was deleted; `None` if it is there. May block.
    ///
    /// # Errors
    /// When it cannot be bound, or something else is there now, which is left alone.
    pub(super) fn bind_again(&self) -> Result<Option<(StdListener, Self)>, Error> {
        match file_at(&self.path) {
            Ok(there) if there == self.file => return Ok(None),
            Ok(_) => return Err(Error::Displaced { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Unix { path: self.path.clone(), source: system_reason(&error) }),
        }
        // Who deletes a folder deletes the lock's file too, and another daemon would lock a new one.
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

fn bind_at(path: &Path, mode: u32, lock: Arc<Lock>) -> Result<(StdListener, Spot), Error> {
    let failed = |source| Error::Unix { path: path.into(), source };
    let listener = bind(path, mode).map_err(|error| failed(error.into()))?;
    let file = file_at(path).map_err(|error| failed(system_reason(&error)))?;
    Ok((listener, Spot { path: path.into(), mode, file, lock }))
}

fn in_runtime(listener: StdListener, path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::Unix { path: path.into(), source };
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    fs_err::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn lock_beside(path: &Path) -> Result<Lock, Error> {
    let found =
        private_file::lock(&lock_path(path)).map_err(|source| Error::Unix { path: path.into(), source })?;
    found.ok_or_else(|| Error::Taken { path: path.into() })
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

async fn clear_the_dead(path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Unix { path: path.into(), source: system_reason(&error) };
    match fs_err::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Error::Taken { path: path.into() }),
        // Its queue is full, so it has one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Taken { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs_err::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The file is closed to others from its first instant: on Linux a socket's mode before `bind` is its file's.
fn bind(path: &Path, mode: u32) -> Result<StdListener, rustix::io::Errno> {
    // A client that finds the queue full has to come again and again. The kernel cuts it to its own limit (4096).
    const BACKLOG: i32 = 4096;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let permissions = std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(|_| rustix::io::Errno::ACCESS)?;
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
        assert_eq!(mode(&path.with_extension("sock.lock")), 0o600, "nobody else may hold the lock");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_deleted_is_bound_again_and_clients_reach_it() {
        let (_folder, path) = folder();
        let (listener, mut file) = unix(&path, 0o660).await.unwrap();
        assert!(file.spot().bind_again().unwrap().is_none(), "it is there");
        let accepting = tokio::spawn(async move { Listen::accept(&listener).await });
        fs_err::remove_file(&path).unwrap();

        let (again, spot) = file.spot().bind_again().unwrap().unwrap();
        file.move_to(again, spot).unwrap();

        UnixStream::connect(&path).await.unwrap();
        assert!(accepting.await.unwrap().is_ok());
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    /// Who deletes the folder deletes the lock's file too.
    #[tokio::test]
    async fn a_socket_that_is_bound_again_is_locked_again() {
        let (_folder, path) = folder();
        let (_listener, mut file) = unix(&path, 0o600).await.unwrap();
        fs_err::remove_file(&path).unwrap();
        fs_err::remove_file(lock_path(&path)).unwrap();

        let (again, spot) = file.spot().bind_again().unwrap().unwrap();
        file.move_to(again, spot).unwrap();

        assert!(matches!(unix(&path, 0o600).await, Err(Error::Taken { .. })));
    }

    #[tokio::test]
    async fn what_another_puts_in_the_place_of_a_deleted_socket_is_left_alone() {
        let (_folder, path) = folder();
        let (_listener, file) = unix(&path, 0o600).await.unwrap();
        fs_err::rename(&path, path.with_extension("moved")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();

        assert!(matches!(file.spot().bind_again(), Err(Error::Displaced { .. })));
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

        assert!(matches!(file.spot().bind_again(), Err(Error::Taken { .. })));
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

    /// No lock beside it: some other program's.
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
        assert!(text.contains("hint: `ss -ltnp` shows who"), "{text}");
    }
}
