//! Files for secrets that outlive a process: only this user can read and write them.
//!
//! A file that other users could have read or written is refused, not repaired: they may have copied or changed it. So
//! is a path that they could lead elsewhere ([`trusted_path`]). A file is written whole or not at all.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use time::OffsetDateTime;

use crate::content;
use crate::failure::Classify;
use crate::failure::Reason;
use crate::failure::system_reason;
use crate::secret::Secret;
use crate::text::Text;
use crate::trusted_path;
use crate::trusted_path::Directory;
use crate::trusted_path::Unfinished;

/// Why a private file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a symbolic link, a directory, a device or the like.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// It belongs to another user.
    #[error("`{}` belongs to user {owner}, not to this user", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// Other users may read or write it.
    #[error("`{}` is accessible to other users (mode {mode:03o})", path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Other users can lead its path elsewhere.
    #[error(transparent)]
    Path(trusted_path::Error),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable { .. } => Reason::FileUnreadable,
            Self::Unwritable { .. } => Reason::FileUnwritable,
            Self::NotAFile { .. } => Reason::FileUnusable,
            Self::Foreign { .. } | Self::TooOpen { .. } => Reason::FileInsecure,
            Self::Path(error) => error.reason(),
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Path(error) => error.hint(),
            Self::Unwritable { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                Some(SIZE_LIMIT.into())
            }
            Self::Unwritable { path, source } if is_full(source) => {
                Some(format!("make room on the file system of `{}`", path.display()).into())
            }
            Self::Unwritable { path, .. } => Some(
                format!("let the daemon's user write to the directory of `{}`; {SANDBOX}", path.display())
                    .into(),
            ),
            Self::TooOpen { path, .. } => {
                let path = path.display();
                Some(
                    format!(
                        "remove `{path}` to get a new one, or `chmod 600 {path}` if no one else has read it"
                    )
                    .into(),
                )
            }
            Self::NotAFile { path } | Self::Foreign { path, .. } => {
                Some(format!("remove `{}` to get a new one, or choose another path", path.display()).into())
            }
        }
    }
}

/// What to do if the permissions of a directory are right and it cannot be written all the same.
pub const SANDBOX: &str = "if the directory was replaced or deleted while the daemon ran, restart the daemon: its sandbox \
                           admits only the directory of before";

const SIZE_LIMIT: &str = "raise the limit on the size of files (ulimit -f; LimitFSIZE= under systemd)";

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded)
}

/// Reads the first `limit` bytes of a private file; `None` if it does not exist.
///
/// # Errors
/// If it cannot be read, is not a regular file, belongs to another user, or is accessible to other users.
pub fn read(path: &Path, limit: usize) -> Result<Option<Secret<Vec<u8>>>, Error> {
    read_of(path, limit, rustix::process::geteuid().as_raw())
}

fn read_of(path: &Path, limit: usize, owner: u32) -> Result<Option<Secret<Vec<u8>>>, Error> {
    let (folder, name) = match trusted_path::file(path) {
        Ok(place) => place,
        Err(error) if error.is_absence() => return Ok(None),
        Err(error) => return Err(misled(path, error, Access::Read)),
    };
    let (file, found) = match folder.open_file(&name) {
        Ok(opened) => opened,
        Err(content::ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(content::ReadError::System(error)) => return Err(unreadable(path, &error)),
        Err(_) => return Err(Error::NotAFile { path: path.into() }),
    };
    if found.uid() != owner {
        return Err(Error::Foreign { path: path.into(), owner: found.uid() });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::TooOpen { path: path.into(), mode });
    }
    // Allocated at full length: a buffer that grows leaves copies in memory.
    let length = usize::try_from(found.len()).unwrap_or(limit).min(limit);
    let mut content = Vec::with_capacity(length + 1);
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut content).map_err(|error| unreadable(path, &error))?;
    Ok(Some(Secret::new(content)))
}

/// What was tried with a file whose path cannot be followed.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// The error for a file whose directory cannot be reached.
fn misled(path: &Path, error: trusted_path::Error, access: Access) -> Error {
    match (error, access) {
        (trusted_path::Error::System { source, .. }, Access::Read) => {
            Error::Unreadable { path: path.into(), source }
        }
        (trusted_path::Error::System { source, .. }, Access::Write) => unwritable(path, source),
        (error, _) => Error::Path(error),
    }
}

/// Writes a new file, mode 0600. Readers see all of it or nothing.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn create(path: &Path, content: &[u8]) -> Result<(), Error> {
    let (folder, name) = place_to_write(path)?;
    let written = write_beside(&folder, content).and_then(|written| {
        // A power cut could leave an empty file. It would be refused, and the daemon would not start.
        written.file.sync_all()?;
        written.create(&name)
    });
    written.map_err(|error| unwritable(path, error))
}

/// Writes a file, mode 0600, and replaces an existing one. Readers see the old or the new file.
///
/// # Errors
/// If the file cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let (folder, name) = place_to_write(path)?;
    let written = write_beside(&folder, content).and_then(|written| written.replace(&name));
    written.map_err(|error| unwritable(path, error))
}

fn place_to_write(path: &Path) -> Result<(Directory, OsString), Error> {
    trusted_path::file(path).map_err(|error| misled(path, error, Access::Write))
}

fn write_beside<'a>(folder: &'a Directory, content: &[u8]) -> io::Result<Unfinished<'a>> {
    check_size_limit(content.len())?;
    let mut unfinished = folder.make_unfinished(OsStr::new(PREFIX))?;
    unfinished.file.write_all(content)?;
    Ok(unfinished)
}

/// Removes the file at `path`.
///
/// # Errors
/// If it cannot be removed, or other users can lead the path elsewhere.
pub fn remove(path: &Path) -> Result<(), Error> {
    let (folder, name) = place_to_write(path)?;
    folder.remove(&name).map_err(|error| unwritable(path, error))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Unreadable { path: path.into(), source: system_reason(error) }
}

fn unwritable(path: &Path, source: io::Error) -> Error {
    Error::Unwritable { path: path.into(), source }
}

/// A lock on a file. It is released when this value is dropped, and when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Locks the file at `path`, which is created if it does not exist; `None` while another process holds the lock.
///
/// # Errors
/// If the file cannot be created, opened or locked, is not a regular file, or other users can lead the path elsewhere.
pub fn lock(path: &Path) -> Result<Option<Lock>, LockError> {
    let (folder, name) = trusted_path::file(path)?;
    let file = open_lock(&folder, &name)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { file })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(LockError::System(error.into())),
    }
}

/// Why a file cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Other users can lead its path elsewhere.
    #[error(transparent)]
    Path(trusted_path::Error),
    /// The file cannot be opened or locked, or is not a regular file.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<trusted_path::Error> for LockError {
    fn from(error: trusted_path::Error) -> Self {
        match error {
            trusted_path::Error::System { source, .. } => Self::System(source),
            error => Self::Path(error),
        }
    }
}

/// Opens a regular file and nothing else: opening a pipe for writing waits for a reader, and a device may do anything.
fn open_lock(folder: &Directory, name: &OsStr) -> io::Result<File> {
    if let Ok(found) = folder.find(name) {
        refuse_others(content::FileKind::of_type(rustix::fs::FileType::from_raw_mode(found.st_mode)))?;
    }
    // Mode 0600, or another user could hold the lock.
    let file = folder.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK, 0o600)?;
    // Another file may be there by now.
    refuse_others(content::FileKind::of(file.metadata()?.file_type()))?;
    Ok(file)
}

fn refuse_others(kind: Option<content::FileKind>) -> io::Result<()> {
    match kind {
        Some(kind) => Err(io::Error::other(content::ReadError::NotAFile(kind).to_string())),
        None => Ok(()),
    }
}

impl Lock {
    /// Whether the locked file is still the one at `path`, which other processes try to lock.
    pub fn is_at(&self, path: &Path) -> bool {
        let held = self.file.metadata().map(|held| (held.dev(), held.ino()));
        matches!((held, identity(path)), (Ok(held), Ok(there)) if held == there)
    }
}

/// Device and inode of the file at `path`. Does not follow a link there.
///
/// # Errors
/// If there is none, or other users can lead the path elsewhere.
pub fn identity(path: &Path) -> Result<(u64, u64), LockError> {
    let (folder, name) = trusted_path::file(path)?;
    let found = folder.find(&name)?;
    Ok((found.st_dev, found.st_ino))
}

/// Removes the unfinished files that a killed process left in `directory`. No other process may be writing there.
pub fn sweep(directory: &Path) {
    remove_unfinished(directory, |_| true);
}

/// The same while other processes may be writing: removes only files that have not changed for `age`, which must be
/// longer than any writer takes.
pub fn sweep_older(directory: &Path, age: time::Duration, now: OffsetDateTime) {
    remove_unfinished(directory, |found| {
        OffsetDateTime::from_unix_timestamp(found.st_mtime).is_ok_and(|changed_at| now - changed_at > age)
    });
}

fn remove_unfinished(directory: &Path, may_go: impl Fn(&Stat) -> bool) {
    let Ok(folder) = trusted_path::directory(directory) else { return };
    for name in unfinished(&folder) {
        if folder.find(&name).is_ok_and(|found| may_go(&found)) {
            // A file that cannot be removed only takes up space.
            let _ = folder.remove(&name);
        }
    }
}

fn unfinished(folder: &Directory) -> impl Iterator<Item = OsString> {
    let names = folder.names().into_iter();
    names.filter(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
}

const PREFIX: &str = ".anchord-";

/// Fails if a file of this size would exceed RLIMIT_FSIZE. A process that writes beyond that limit is killed by SIGXFSZ
/// before it can report why.
pub fn check_size_limit(bytes: usize) -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| u64::try_from(bytes).is_ok_and(|bytes| bytes > limit)) {
        return Err(rustix::io::Errno::FBIG.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        (folder, path)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn content(path: &Path) -> Vec<u8> {
        read(path, 64).unwrap().unwrap().expose().clone()
    }

    #[test]
    fn what_was_written_is_read_and_is_open_to_nobody_else() {
        let (folder, path) = folder();

        assert!(read(&path, 64).unwrap().is_none());
        create(&path, b"first").unwrap();
        assert_eq!(content(&path), b"first");
        replace(&path, b"second").unwrap();

        assert_eq!(content(&path), b"second");
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_file_that_exists_is_not_created_over() {
        let (_folder, path) = folder();
        create(&path, b"first").unwrap();

        let refused = create(&path, b"second").unwrap_err();

        let exists = |source: &io::Error| source.kind() == io::ErrorKind::AlreadyExists;
        assert!(matches!(&refused, Error::Unwritable { source, .. } if exists(source)), "{refused}");
        assert_eq!(content(&path), b"first");
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_away() {
        let (folder, path) = folder();
        create(&path, b"first").unwrap();
        fs_err::write(folder.path().join(".anchord-x7Tq2c"), b"half").unwrap();

        sweep(folder.path());

        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(content(&path), b"first");
    }

    #[test]
    fn a_lock_is_held_once_and_ends_with_its_value() {
        let (folder, path) = folder();
        let held = lock(&path).unwrap().unwrap();

        assert!(lock(&path).unwrap().is_none());
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o777, 0o600, "nobody else may hold it");
        drop(held);
        assert!(lock(&path).unwrap().is_some());

        let target = folder.path().join("target");
        fs_err::os::unix::fs::symlink(&target, folder.path().join("link")).unwrap();
        assert!(lock(&folder.path().join("link")).is_err() && !target.exists(), "no link is followed");
    }

    #[test]
    fn a_lock_on_what_is_no_file_is_refused_at_once() {
        let (folder, path) = folder();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let link = folder.path().join("link");
        fs_err::os::unix::fs::symlink(folder.path().join("target"), &link).unwrap();

        let refused = |path: &Path| lock(path).unwrap_err().to_string();

        assert_eq!(refused(&path), "it is a pipe, not a regular file");
        assert_eq!(refused(&link), "it is a symbolic link, not a regular file");
        assert_eq!(refused(folder.path()), "it is a directory, not a regular file");
        // A pipe that has a reader could be opened.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let _reader = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        assert_eq!(refused(&path), "it is a pipe, not a regular file");
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_is_not_where_others_look() {
        let (_folder, path) = folder();
        let held = lock(&path).unwrap().unwrap();
        assert!(held.is_at(&path));

        fs_err::remove_file(&path).unwrap();
        assert!(!held.is_at(&path));
        let _others = lock(&path).unwrap().unwrap();

        assert!(!held.is_at(&path));
    }

    #[test]
    fn a_file_in_a_directory_that_others_can_write_to_is_neither_read_nor_written() {
        let (folder, _) = folder();
        let open = folder.path().join("open");
        fs_err::create_dir(&open).unwrap();
        let path = open.join("secret");
        create(&path, b"secret").unwrap();
        set_mode(&open, 0o777);

        let refused = [read(&path, 64).map(drop), create(&path, b""), replace(&path, b""), remove(&path)];

        assert!(refused.iter().all(|refused| matches!(refused, Err(Error::Path(_)))), "{refused:?}");
        assert!(matches!(lock(&path), Err(LockError::Path(_))));
        set_mode(&open, 0o1777);
        assert_eq!(content(&path), b"secret", "with the sticky bit nobody else can exchange it");
    }

    #[test]
    fn no_more_is_read_than_was_allowed() {
        let (_folder, path) = folder();
        create(&path, &[7; 100]).unwrap();

        assert_eq!(content(&path), [7; 64]);
    }

    #[test]
    fn a_link_is_neither_read_nor_written_through() {
        let (folder, path) = folder();
        let target = folder.path().join("target");
        create(&target, b"other").unwrap();
        fs_err::os::unix::fs::symlink(&target, &path).unwrap();

        assert!(matches!(read(&path, 64).unwrap_err(), Error::NotAFile { .. }));
        assert!(create(&path, b"ours").is_err());
        replace(&path, b"ours").unwrap();

        assert_eq!((content(&path), content(&target)), (b"ours".to_vec(), b"other".to_vec()));
    }

    #[test]
    fn a_pipe_in_place_of_a_file_hangs_nobody() {
        let (_folder, path) = folder();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

        assert!(matches!(read(&path, 64).unwrap_err(), Error::NotAFile { .. }));
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        let (_folder, path) = folder();
        create(&path, b"secret").unwrap();

        for open in [0o640, 0o620, 0o604, 0o602, 0o666] {
            set_mode(&path, open);
            let refused = read(&path, 64).unwrap_err();
            assert!(matches!(refused, Error::TooOpen { mode, .. } if mode == open), "{refused}");
            assert!(refused.hint().unwrap().contains("chmod 600"), "{refused}");
        }
        set_mode(&path, 0o600);
        assert_eq!(content(&path), b"secret");
    }

    #[test]
    fn another_users_file_is_refused() {
        let (_folder, path) = folder();
        create(&path, b"secret").unwrap();
        let us = rustix::process::geteuid().as_raw();

        let refused = read_of(&path, 64, us + 1).unwrap_err();

        assert!(matches!(refused, Error::Foreign { owner, .. } if owner == us), "{refused}");
    }

    #[test]
    fn a_missing_folder_is_named_in_the_error() {
        let (folder, _) = folder();
        let path = folder.path().join("none/secret");

        let text = replace(&path, b"secret").unwrap_err().to_string();

        assert!(text.contains("none/secret"), "{text}");
    }
}
