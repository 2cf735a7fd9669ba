//! Binds what the settings name, and tells a live daemon's socket from a dead one's.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::failure::Class;
use crate::failure::Classify;
use crate::failure::system_reason;
use crate::private_file;
use crate::private_file::Lock;

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
    fn class(&self) -> Class {
        Class::Misconfigured
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Tcp { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                format!("`ss -ltnp` shows who uses port {}; set `http.listen` to another", address.port())
            }
            Self::Tcp { .. } => "set `http.listen` to an address of this host".into(),
            Self::Taken { .. } => {
                "stop it first, or set `runtime_directory` or `socket.path` to another place".into()
            }
            Self::NotASocket { .. } => "move it away, or set `socket.path` to another place".into(),
            Self::Unix { path, .. } => format!(
                "see that {} exists and may be written by the daemon's user",
                path.parent().unwrap_or(path).display()
            ),
        })
    }
}

/// Listens on `address`.
pub(super) async fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Tcp { address, source })
}

/// A Unix socket of ours: the file goes when the value does.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Held as long as the socket is: it decides between two daemons that start at once.
    _lock: Lock,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor that took over must keep its socket, but it cannot have: we hold the lock.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Listens on `path` with `mode`, taking the place of a dead daemon's socket but never of a live one's.
pub(super) async fn unix(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), Error> {
    let failed = |source| Error::Unix { path: path.into(), source };
    let lock = lock_beside(path)?;
    clear_the_dead(path).await?;
    let listener = bind(path, mode).map_err(|error| failed(error.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    Ok((listener, SocketFile { path: path.into(), _lock: lock }))
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
fn bind(path: &Path, mode: u32) -> Result<std::os::unix::net::UnixListener, rustix::io::Errno> {
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
    use crate::failure::Failure;

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
