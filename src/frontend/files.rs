//! The secrets of the front ends that have to outlive the process: bearers and the key of the IMDS tokens.
//!
//! A file that others could have read or written is refused, not repaired: whoever made it so may have copied
//! it. A file that holds something else is left alone: it may be there by a mistake in the settings.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::Bearer;
use crate::entropy::Entropy;
use crate::entropy::Exhausted;
use crate::failure::Class;
use crate::failure::Classify;
use crate::secret::Secret;

/// Why a file of ours cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read; the cause names it.
    #[error("cannot read a secret of the front ends")]
    Unreadable(#[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write `{path}`")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A symbolic link, a directory, a device.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Another user's file.
    #[error("`{path}` belongs to user {owner}, not to us")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may read or write it.
    #[error("`{path}` is open to others (mode {mode:03o})")]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not what we would have written.
    #[error("`{path}` does not hold {expected}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// There is nothing to make a secret of.
    #[error("cannot make a new secret")]
    Entropy(#[from] Exhausted),
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Entropy(_) => Class::Broken,
            _ => Class::Misconfigured,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(_) | Self::Entropy(_) => None,
            Self::Unwritable { path, source } if is_full(source) => {
                Some(format!("make room on the file system of `{}`", path.display()))
            }
            Self::Unwritable { path, .. } => {
                Some(format!("let the daemon's user write to the directory of `{}`", path.display()))
            }
            Self::TooOpen { path, .. } => {
                let path = path.display();
                Some(format!("remove `{path}` to get a new one, or `chmod 600 {path}` if nobody has read it"))
            }
            Self::NotAFile { path } | Self::Foreign { path, .. } | Self::Content { path, .. } => {
                Some(format!("remove `{}` to get a new one, or choose another path", path.display()))
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge)
}

/// The bearers of a session's container clients that are accepted, newest first: the one in `path`, made now if
/// there is none, and the one in `<path>.previous`, where there is such a file.
///
/// Clients that got theirs by an environment variable live through our restarts only because it stays the same.
pub fn bearers(path: &Path, entropy: &Entropy) -> Result<Vec<Bearer>, Error> {
    let made = || new_bearer(entropy).map(|bearer| bearer.expose().to_vec());
    let mut bearers = vec![parse(path, load_or_create(path, made)?)?];
    let mut previous = path.as_os_str().to_owned();
    previous.push(".previous");
    let previous = Path::new(&previous);
    if let Some(text) = read(previous)? {
        bearers.push(parse(previous, text)?);
    }
    Ok(bearers)
}

fn parse(path: &Path, text: Secret<Vec<u8>>) -> Result<Bearer, Error> {
    let expected = "a bearer: 43 characters of base64url and no line's end";
    Bearer::parse(text).ok_or_else(|| Error::Content { path: path.into(), expected })
}

/// The key that seals IMDS tokens, from an earlier run or new.
pub fn token_key(path: &Path, entropy: &Entropy) -> Result<Secret<[u8; 32]>, Error> {
    let key = load_or_create(path, || Ok(entropy.bytes::<32>()?.to_vec()))?;
    let key = key.expose().as_slice().try_into();
    key.map(Secret::new).map_err(|_| Error::Content { path: path.into(), expected: "a key of 32 bytes" })
}

fn new_bearer(entropy: &Entropy) -> Result<Bearer, Error> {
    let random = Secret::new(entropy.bytes::<32>()?);
    let text = Secret::new(URL_SAFE_NO_PAD.encode(random.expose()).into_bytes());
    Ok(Bearer::parse(text).expect("32 bytes are 43 characters of base64url"))
}

fn load_or_create(path: &Path, make: impl Fn() -> Result<Vec<u8>, Error>) -> Result<Secret<Vec<u8>>, Error> {
    if let Some(found) = read(path)? {
        return Ok(found);
    }
    let made = Secret::new(make()?);
    match write_new(path, made.expose()) {
        // Another instance was faster, and its clients may already have read the file.
        Err(Error::Unwritable { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or(Error::Unwritable { path: path.into(), source })
        }
        Err(error) => Err(error),
        Ok(()) => Ok(made),
    }
}

fn read(path: &Path) -> Result<Option<Secret<Vec<u8>>>, Error> {
    read_of(path, rustix::process::geteuid().as_raw())
}

/// The content of a file that only `owner` could have read or written.
fn read_of(path: &Path, owner: u32) -> Result<Option<Secret<Vec<u8>>>, Error> {
    match fs_err::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(Error::NotAFile { path: path.into() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Unreadable(error)),
    }
    // What has been looked at above may be another file by now: only what is open cannot be exchanged.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = fs_err::OpenOptions::new();
    let file =
        options.read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(Error::Unreadable)?;
    let found = file.metadata().map_err(Error::Unreadable)?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: path.into() });
    }
    if found.uid() != owner {
        return Err(Error::Foreign { path: path.into(), owner: found.uid() });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::TooOpen { path: path.into(), mode });
    }
    let mut content = Vec::with_capacity(LONGEST);
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut content).map_err(Error::Unreadable)?;
    Ok(Some(Secret::new(content)))
}

/// More than any of our secrets, so that a longer file is seen to be none.
const LONGEST: usize = 128;

/// Whoever opens `path` sees nothing or all of it; a file that is there stays. Mode 0600.
fn write_new(path: &Path, content: &[u8]) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { path: path.into(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".anchord-").tempfile_in(directory).map_err(unwritable)?;
    file.write_all(content).map_err(unwritable)?;
    // After a power cut an empty file would be refused, and the daemon would not start.
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist_noclobber(path).map(drop).map_err(|failed| unwritable(failed.error))
}

#[cfg(test)]
mod tests;
