//! Stores the state: in a descriptor that systemd keeps, or in a file in memory.

use std::io;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;

use crate::daemon::systemd;
use crate::daemon::systemd::Passed;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::private_file;
use anchord_core::secret::Secret;
use anchord_core::text::Text;

/// The place of a stored state, and its content.
pub(super) type StoredState = (String, Result<Secret<Vec<u8>>, Error>);

/// Far more than a thousand sessions need.
const MAX_BYTES: usize = 8 << 20;

/// The place of a daemon's state.
#[derive(Debug)]
pub(in crate::daemon) enum Store {
    /// systemd keeps descriptors for us.
    Descriptors {
        /// The descriptors of an earlier run, with their names.
        passed: Vec<(String, OwnedFd)>,
        /// The index of the name to write next.
        next: AtomicUsize,
    },
    /// A private file on a file system in memory.
    File(PathBuf),
    /// There is no suitable place.
    Nowhere {
        /// Why not.
        why: String,
    },
}

const FILE: &str = "state";

/// Written alternately, so that one of them is complete whenever the process is killed.
const NAMES: [&str; 2] = ["anchord-state-0", "anchord-state-1"];

/// Why the state cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum Error {
    #[error(transparent)]
    File(#[from] private_file::Error),
    #[error("cannot make a memfd for the state")]
    Descriptor(#[source] io::Error),
    #[error("cannot pass the state's descriptor to systemd")]
    Notify(#[source] io::Error),
    #[error("cannot read the descriptor that systemd kept")]
    Kept(#[source] io::Error),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::File(error) => error.reason(),
            _ => Reason::Bug,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::File(error) => error.hint(),
            _ => None,
        }
    }
}

impl Store {
    /// Chooses the best place. `runtime_directory` is `None` if the daemon has none to write to.
    pub(in crate::daemon) fn choose(passed: &mut Passed, runtime_directory: Option<&Path>) -> Self {
        if passed.keeps_descriptors {
            let passed = std::mem::take(&mut passed.kept);
            let next = AtomicUsize::new(usize::from(passed.iter().any(|(name, _)| name == NAMES[0])));
            // An earlier run without systemd's store may have left a file. It is older than the descriptors, so remove
            // it.
            let _ = runtime_directory.map(|path| private_file::remove(&path.join(FILE)));
            return Self::Descriptors { passed, next };
        }
        let Some(runtime_directory) = runtime_directory else {
            return Self::Nowhere { why: "there is no writable runtime directory".into() };
        };
        match is_in_memory(runtime_directory) {
            Ok(true) => Self::File(runtime_directory.join(FILE)),
            Ok(false) => Self::Nowhere {
                why: format!("`{}` is not on an in-memory file system (tmpfs)", runtime_directory.display()),
            },
            Err(error) => Self::Nowhere {
                why: format!("the file system of `{}` is unknown: {error}", runtime_directory.display()),
            },
        }
    }

    /// Reads everything that an earlier run left.
    pub(super) fn read(&mut self) -> Vec<StoredState> {
        match self {
            Self::Descriptors { passed, .. } => {
                let mut found = Vec::new();
                for (name, descriptor) in std::mem::take(passed) {
                    if NAMES.contains(&name.as_str()) {
                        found.push((name, read_all(descriptor).map_err(Error::Kept)));
                    }
                }
                found
            }
            Self::File(path) => match private_file::read(path, MAX_BYTES).transpose() {
                Some(content) => vec![(path.display().to_string(), content.map_err(Error::File))],
                None => Vec::new(),
            },
            Self::Nowhere { .. } => Vec::new(),
        }
    }

    /// Replaces the stored state with `content`.
    ///
    /// # Errors
    /// If it cannot be written or passed to systemd.
    pub(in crate::daemon) fn write(&self, content: &Secret<Vec<u8>>) -> Result<(), Error> {
        match self {
            Self::Descriptors { next, .. } => {
                let descriptor = sealed(content).map_err(Error::Descriptor)?;
                let now = next.load(Ordering::Relaxed);
                let (name, other) = (NAMES[now], NAMES[1 - now]);
                systemd::keep_descriptor(name, &descriptor).map_err(Error::Notify)?;
                // Drop the old descriptor only after systemd has the new one.
                systemd::forget_descriptor(other).map_err(Error::Notify)?;
                next.store(1 - now, Ordering::Relaxed);
                Ok(())
            }
            Self::File(path) => Ok(private_file::replace(path, content.expose())?),
            Self::Nowhere { .. } => Ok(()),
        }
    }
}

/// Makes a memfd that no process can change any more, this one included.
fn sealed(content: &Secret<Vec<u8>>) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    private_file::check_size_limit(content.expose().len())?;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("anchord-state", flags)?);
    file.write_all(content.expose())?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Reads from offset 0, because processes that share a descriptor share its position.
fn read_all(descriptor: OwnedFd) -> io::Result<Secret<Vec<u8>>> {
    let file = std::fs::File::from(descriptor);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, 0)?;
    Ok(Secret::new(content))
}

/// Whether the file system is in memory only.
fn is_in_memory(directory: &Path) -> io::Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = u64::try_from(rustix::fs::statfs(directory)?.f_type).unwrap_or(0);
    Ok([TMPFS, RAMFS].contains(&kind))
}
