//! The secrets of the front ends that have to outlive the process: bearers and the key of the IMDS tokens.
//!
//! A file that others could have read or written is refused, not repaired: whoever made it so may have copied
//! it. A file that holds something else is left alone: it may be there by a mistake in the settings.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
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
            Self::Unwritable { path, .. } => Some(format!(
                "let our user write to the directory of `{}`, and be a member of the group it is shared with",
                path.display()
            )),
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

/// Who may read a bearer besides our own user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody: mode 0600.
    Owner,
    /// The members of this group, whose programs are the session's clients: mode 0640.
    Group(u32),
}

/// The file that a session's container clients read their bearer from, at each fetch.
#[derive(Clone, Debug)]
pub struct BearerFile {
    path: PathBuf,
    readers: Readers,
}

impl BearerFile {
    /// The file at `path`; next to it, `<path>.previous` holds the bearer before the last rotation.
    pub fn new(path: impl Into<PathBuf>, readers: Readers) -> Self {
        Self { path: path.into(), readers }
    }

    /// The bearers that are accepted, newest first: those of earlier runs, or a new one. Clients that got theirs
    /// by an environment variable live through our restarts only because of that.
    pub fn load_or_create(&self, entropy: &Entropy) -> Result<Vec<Bearer>, Error> {
        let made = || new_bearer(entropy).map(|bearer| bearer.expose().to_vec());
        let current = load_or_create(&self.path, self.readers, made)?;
        let mut bearers = vec![self.parse(&self.path, current)?];
        bearers.extend(self.previous()?);
        Ok(bearers)
    }

    /// Makes a new bearer; the one that was current until now is accepted until the next rotation.
    pub fn rotate(&self, entropy: &Entropy) -> Result<Vec<Bearer>, Error> {
        let current = self.load_or_create(entropy)?.swap_remove(0);
        let next = new_bearer(entropy)?;
        // In this order, a crash in between leaves the old bearer twice, and nobody is locked out.
        write(&self.previous_path(), Readers::Owner, current.expose(), Existing::Replaced)?;
        write(&self.path, self.readers, next.expose(), Existing::Replaced)?;
        Ok(vec![next, current])
    }

    fn previous(&self) -> Result<Option<Bearer>, Error> {
        let path = self.previous_path();
        read(&path, Readers::Owner)?.map(|text| self.parse(&path, text)).transpose()
    }

    fn previous_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".previous");
        path.into()
    }

    fn parse(&self, path: &Path, text: Secret<Vec<u8>>) -> Result<Bearer, Error> {
        let expected = "a bearer: 43 characters of base64url and no line's end";
        Bearer::parse(text).ok_or_else(|| Error::Content { path: path.into(), expected })
    }
}

/// The key that seals IMDS tokens, from an earlier run or new.
pub fn token_key(path: &Path, entropy: &Entropy) -> Result<Secret<[u8; 32]>, Error> {
    let key = load_or_create(path, Readers::Owner, || Ok(entropy.bytes::<32>()?.to_vec()))?;
    let key = key.expose().as_slice().try_into();
    key.map(Secret::new).map_err(|_| Error::Content { path: path.into(), expected: "a key of 32 bytes" })
}

fn new_bearer(entropy: &Entropy) -> Result<Bearer, Error> {
    let random = Secret::new(entropy.bytes::<32>()?);
    let text = Secret::new(URL_SAFE_NO_PAD.encode(random.expose()).into_bytes());
    Ok(Bearer::parse(text).expect("32 bytes are 43 characters of base64url"))
}

fn load_or_create(
    path: &Path,
    readers: Readers,
    make: impl Fn() -> Result<Vec<u8>, Error>,
) -> Result<Secret<Vec<u8>>, Error> {
    if let Some(found) = read(path, readers)? {
        return Ok(found);
    }
    let made = Secret::new(make()?);
    match write(path, readers, made.expose(), Existing::Kept) {
        // Another instance was faster, and its clients may already have read the file.
        Err(Error::Unwritable { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            read(path, readers)?.ok_or(Error::Unwritable { path: path.into(), source })
        }
        Err(error) => Err(error),
        Ok(()) => Ok(made),
    }
}

/// The content of a file that only we (and its readers) could have read, and only we could have written.
fn read(path: &Path, readers: Readers) -> Result<Option<Secret<Vec<u8>>>, Error> {
    match fs_err::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(Error::NotAFile { path: path.into() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Unreadable(error)),
    }
    // What has been looked at above may be another file by now: only what is open cannot be exchanged.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = fs_err::OpenOptions::new();
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = options.read(true).custom_flags(flags).open(path).map_err(Error::Unreadable)?;
    let found = file.metadata().map_err(Error::Unreadable)?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: path.into() });
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::Foreign { path: path.into(), owner: found.uid() });
    }
    let (mode, shared_with) = (found.mode() & 0o777, found.gid());
    let forbidden = if readers == Readers::Group(shared_with) { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(Error::TooOpen { path: path.into(), mode });
    }
    let mut content = Vec::with_capacity(LONGEST);
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    (&file).take(limit).read_to_end(&mut content).map_err(Error::Unreadable)?;
    let content = Secret::new(content);
    share(file.file(), readers).map_err(|source| Error::Unwritable { path: path.into(), source })?;
    Ok(Some(content))
}

/// More than any of our secrets, so that a longer file is seen to be none.
const LONGEST: usize = 128;

/// What becomes of a file that is already there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Kept,
    Replaced,
}

/// Whoever opens `path` sees the old content or the new, never a part.
fn write(path: &Path, readers: Readers, content: &[u8], existing: Existing) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { path: path.into(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".anchord-").tempfile_in(directory).map_err(unwritable)?;
    file.write_all(content).map_err(unwritable)?;
    share(file.as_file(), readers).map_err(unwritable)?;
    // After a power cut an empty file would be refused, and the daemon would not start.
    file.as_file().sync_all().map_err(unwritable)?;
    let persisted = match existing {
        Existing::Kept => file.persist_noclobber(path),
        Existing::Replaced => file.persist(path),
    };
    persisted.map(drop).map_err(|failed| unwritable(failed.error))
}

fn share(file: &std::fs::File, readers: Readers) -> io::Result<()> {
    let found = file.metadata()?;
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Group(group) => {
            if found.gid() != group {
                std::os::unix::fs::fchown(file, None, Some(group))?;
            }
            0o640
        }
    };
    if found.mode() & 0o777 == mode {
        return Ok(());
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests;
