//! Replaces the file atomically, under a lock.
//!
//! A program that opens the file reads the complete old or new text, even after a power failure. If the path is a
//! symbolic link, its target is replaced. No other user can choose which file is replaced ([`trusted_path`]): all that
//! is done with the file and its lock is relative to the descriptor of their directory. The new file has the owner,
//! permissions, access control list and extended attributes of the old one.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::fs::OFlags;

mod attributes;

use self::attributes::ExtendedAttributes;
use super::doubts;
use super::edit;
use anchord_core::content;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::failure::system_reason;
use anchord_core::notice::Notice;
use anchord_core::private_file;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Part::Set;
use anchord_core::text::Text;
use anchord_core::trusted_path;
use anchord_core::trusted_path::Directory;
use anchord_core::trusted_path::Unfinished;

/// Why the file was not changed.
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
    /// The file, its folder or its lock cannot be written.
    #[error("cannot write `{}`", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// The new file would belong to this user.
    #[error("`{}` belongs to user {owner}, not to this user", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
    /// Another user could choose the file that is written.
    #[error(transparent)]
    Path(trusted_path::Error),
    /// It has another encoding than UTF-8, in which no program would find the keys.
    #[error("`{}` is not text: it contains zero bytes, as UTF-16 does", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// The new file would belong to another group, which could perhaps read it.
    #[error("`{}` belongs to group {group}, and this user cannot give files to that group", path.display())]
    ForeignGroup {
        /// Which file.
        path: PathBuf,
        /// The owner.
        group: u32,
    },
    /// It is too large for a credentials file.
    #[error("`{}` is larger than 4 MiB, or would be", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The keys are a user's own access keys, which do not expire.
    #[error("long-term access keys are not written to files")]
    LongTerm,
    /// Another process did not release the lock in time.
    #[error("`{}` has been locked for {} s", path.display(), LOCK_PATIENCE.as_secs())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// A program that does not take the lock wrote during each attempt.
    #[error("another program keeps changing `{}`", path.display())]
    Restless {
        /// Which file.
        path: PathBuf,
    },
    /// The code that writes it panicked.
    #[error("writing the credentials file panicked; this is a bug")]
    Broken,
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Locked { .. } | Self::Restless { .. } => Reason::Busy,
            Self::Unreadable { .. } => Reason::FileUnreadable,
            Self::Unwritable { .. } => Reason::FileUnwritable,
            Self::Foreign { .. } | Self::ForeignGroup { .. } => Reason::FileInsecure,
            Self::Path(error) => error.reason(),
            Self::NotAFile { .. } | Self::NotText { .. } | Self::TooLarge { .. } => Reason::FileUnusable,
            Self::LongTerm => Reason::InvalidSetting,
            Self::Broken => Reason::Bug,
        }
    }

    fn hint(&self) -> Option<Text> {
        use io::ErrorKind as Kind;
        match self {
            Self::Unwritable { path, source } => Some(match source.kind() {
                Kind::StorageFull | Kind::QuotaExceeded => {
                    format!("make room on the file system of `{}`", path.display()).into()
                }
                Kind::FileTooLarge => {
                    "raise the limit on the size of files (ulimit -f; LimitFSIZE= under systemd)".into()
                }
                // A mount point, as containers get single files.
                Kind::ResourceBusy => {
                    format!(
                        "mount the directory `{}`, not only the file: anchord replaces the whole file",
                        folder(path).display()
                    ).into()
                }
                Kind::ReadOnlyFilesystem => {
                    format!(
                        "make the file system writable; under systemd name `{}` in ReadWritePaths=",
                        folder(path).display()
                    ).into()
                }
                _ => format!(
                    "let this user write to the directory `{}`: anchord replaces the whole file; under systemd check User=, \
                     ProtectHome= and ReadWritePaths=; {}",
                    folder(path).display(),
                    private_file::SANDBOX
                ).into(),
            }),
            Self::Unreadable { .. } => Some("let this user read it".into()),
            Self::NotAFile { .. } | Self::TooLarge { .. } => Some("choose another path".into()),
            Self::Foreign { owner, .. } => Some(format!("run as user {owner}, or choose another path").into()),
            Self::Path(error) => error.hint(),
            Self::NotText { .. } => Some("save it as UTF-8, or choose another path".into()),
            Self::ForeignGroup { group, .. } => Some(format!(
                "make this user a member of group {group} (SupplementaryGroups= under systemd), or change the file's group"
            ).into()),
            Self::Locked { path } => Some(format!("find the process that holds it: fuser `{}`", path.display()).into()),
            Self::LongTerm => Some(Text::of(&[
                Say("set "),
                Set("get_session_token", "true"),
                Say(" or "),
                Key("assume_role"),
                Say(" for the session: only keys that expire may be written"),
            ])),
            Self::Restless { .. } | Self::Broken => None,
        }
    }
}

/// How long a writer waits for the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);
const MAX_BYTES: u64 = 4 << 20;

/// Writes `credentials` into a profile of the file at `path`, and creates the file if it does not exist. Returns
/// `false` if the file had them already.
///
/// # Errors
/// The reason for which the file was not changed.
pub async fn write(path: &Path, profile: &Profile, credentials: &Credentials) -> Result<bool, Error> {
    if credentials.session_token().is_none() {
        return Err(Error::LongTerm);
    }
    // On threads for blocking work, so that a file system that hangs delays nothing but this file.
    let path = path.to_path_buf();
    let (target, lock) = blocking(move || open_lock(&path)).await?;
    let lock = take_lock(lock, &target.lock_path()).await?;
    let (profile, credentials) = (profile.clone(), credentials.clone());
    blocking(move || {
        let _lock = lock;
        replace(&target, |text| edit(text, &profile, &credentials))
    })
    .await
}

/// Who cannot read the file at `path` as it is now, if there is anything to say.
pub async fn doubt(path: &Path) -> Option<Notice> {
    let path = path.to_path_buf();
    let told = blocking(move || {
        let text = content::read(&path, MAX_BYTES).ok();
        let why = text.and_then(|text| doubts::doubt(text.bytes.expose()));
        Ok(why.map(|why| {
            let what = format!("boto3 and the AWS CLI cannot read `{}`: {}", path.display(), why.what);
            Notice { what: what.into(), ..why }
        }))
    });
    told.await.ok().flatten()
}

/// Runs `work` on a thread for blocking work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Broken))
}

/// The file to write, by its directory and its name.
#[derive(Debug)]
struct Target {
    folder: Directory,
    name: OsString,
    /// The path, for messages.
    path: PathBuf,
}

impl Target {
    /// Follows `path`, and makes missing directories. The file need not exist.
    fn find(path: &Path) -> Result<Self, Error> {
        let (folder, name) = trusted_path::file_for_its_user(path).map_err(|error| match error {
            trusted_path::Error::System { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                Error::NotAFile { path: path.into() }
            }
            trusted_path::Error::System { path, source } => Error::Unwritable { path, source },
            error => Error::Path(error),
        })?;
        Ok(Self { path: folder.path_of(&name), folder, name })
    }

    /// A name beside the file.
    fn beside(&self, suffix: &str) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(suffix);
        name
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.path_of(&self.beside(LOCK))
    }

    fn unwritable(&self, source: io::Error) -> Error {
        Error::Unwritable { path: self.path.clone(), source }
    }

    /// Refuses a file that another user may have made to get what is written to it, and whatever is no file. Checked
    /// before a lock file is created beside it.
    fn check(&self) -> Result<(), Error> {
        let Ok(found) = self.folder.find(&self.name) else { return Ok(()) };
        let path = self.path.clone();
        if content::FileKind::of_type(rustix::fs::FileType::from_raw_mode(found.st_mode)).is_some() {
            return Err(Error::NotAFile { path });
        }
        if !self.folder.may_have_file_of(found.st_uid) {
            return Err(Error::Foreign { path, owner: found.st_uid });
        }
        Ok(())
    }
}

const LOCK: &str = ".lock";
const UNFINISHED: &str = ".anchord-";

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the directory in which [`write`] writes for `path`, and returns it. May block.
///
/// # Errors
/// As [`write`].
pub fn make_folder_of(path: &Path) -> Result<PathBuf, Error> {
    let target = Target::find(path)?;
    target.check()?;
    Ok(target.folder.path().to_owned())
}

/// Finds the file of `path` and opens its lock file, without taking the lock. The lock file is never removed: otherwise
/// one process could hold the lock of the removed file, and another the lock of a new one.
fn open_lock(path: &Path) -> Result<(Target, File), Error> {
    let target = Target::find(path)?;
    target.check()?;
    let name = target.beside(LOCK);
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let lock = match target.folder.open(&name, flags | OFlags::CREATE | OFlags::EXCL, 0o600) {
        Ok(made) => {
            target.folder.give_to_owner(&made);
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => target.folder.open(&name, flags, 0),
        Err(error) => Err(error),
    };
    match lock {
        Ok(lock) => Ok((target, lock)),
        Err(source) => Err(Error::Unwritable { path: target.lock_path(), source }),
    }
}

/// Waits for the lock. The kernel releases it when the process ends, also if it is killed.
async fn take_lock(mut lock: File, path: &Path) -> Result<File, Error> {
    let gives_up_at = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        let (back, taken) = blocking(move || {
            let taken = rustix::fs::flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive);
            Ok((lock, taken))
        })
        .await?;
        lock = back;
        match taken {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Unwritable { path: path.into(), source: error.into() }),
        }
        if tokio::time::Instant::now() >= gives_up_at {
            return Err(Error::Locked { path: path.into() });
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// The file before the change, and what is needed to see if it has changed since.
struct OldFile {
    text: Secret<Vec<u8>>,
    metadata: Option<std::fs::Metadata>,
    attributes: ExtendedAttributes,
}

impl OldFile {
    /// Whether the file that has its name by now is the same one, with the same content.
    fn is_unchanged(&self, now: Option<rustix::fs::Stat>) -> bool {
        let old = self.metadata.as_ref();
        let old = old.map(|old| (old.dev(), old.ino(), old.size(), old.mtime(), old.mtime_nsec()));
        let number = |value: i64| u64::try_from(value).unwrap_or_default();
        let now = now.map(|now| {
            let nanoseconds = i64::try_from(now.st_mtime_nsec).unwrap_or_default();
            (now.st_dev, now.st_ino, number(now.st_size), now.st_mtime, nanoseconds)
        });
        old == now
    }
}

fn read(target: &Target) -> Result<OldFile, Error> {
    let path = &target.path;
    let unreadable =
        |error: io::Error| Error::Unreadable { path: path.clone(), source: system_reason(&error) };
    let (mut file, metadata) = match target.folder.open_file(&target.name) {
        Ok(opened) => opened,
        Err(content::ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
            let text = Secret::new(Vec::new());
            return Ok(OldFile { text, metadata: None, attributes: ExtendedAttributes::default() });
        }
        Err(content::ReadError::System(error)) => return Err(unreadable(error)),
        Err(_) => return Err(Error::NotAFile { path: path.clone() }),
    };
    if !target.folder.may_have_file_of(metadata.uid()) {
        return Err(Error::Foreign { path: path.clone(), owner: metadata.uid() });
    }
    if metadata.len() > MAX_BYTES {
        return Err(Error::TooLarge { path: path.clone() });
    }
    let attributes = ExtendedAttributes::of(&file);
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    (&mut file).take(MAX_BYTES).read_to_end(&mut text).map_err(unreadable)?;
    Ok(OldFile { text: Secret::new(text), metadata: Some(metadata), attributes })
}

/// Replaces the file by the text that `change` makes of its text; `false` if that is the same.
///
/// Our own processes take the lock, but the AWS CLI and editors do not, and their changes must not be lost. So the new
/// text is written to a temporary file in the same folder, then the file is compared with what was read, and only if it
/// has not changed, it is replaced by a rename. Otherwise its new text is read and edited. What remains is the moment
/// between the comparison and the rename: Linux has no rename that depends on the content of its target.
fn replace(target: &Target, change: impl Fn(&[u8]) -> Option<Secret<Vec<u8>>>) -> Result<bool, Error> {
    const ATTEMPTS: usize = 5;
    sweep(target);
    for _ in 0..ATTEMPTS {
        let found = read(target)?;
        if found.text.expose().contains(&0) {
            return Err(Error::NotText { path: target.path.clone() });
        }
        // A text over the limit could not be read the next time, so it is not written.
        let new = change(found.text.expose()).filter(|new| new.expose().len() as u64 <= MAX_BYTES);
        let new = new.ok_or_else(|| Error::TooLarge { path: target.path.clone() })?;
        if new == found.text {
            return Ok(false);
        }
        let file = write_beside(target, &new, &found)?;
        if !found.is_unchanged(target.folder.find(&target.name).ok()) {
            continue;
        }
        file.replace(&target.name).map_err(|error| target.unwritable(error))?;
        // Makes the rename durable. Some file systems cannot do this; the file is complete without it.
        let _ = target.folder.sync();
        return Ok(true);
    }
    Err(Error::Restless { path: target.path.clone() })
}

/// Writes the text to a temporary file in the same folder, with the owner, permissions and attributes of the old file,
/// and flushes it to disk.
fn write_beside<'a>(
    target: &'a Target,
    content: &Secret<Vec<u8>>,
    old: &OldFile,
) -> Result<Unfinished<'a>, Error> {
    let unwritable = |source: io::Error| target.unwritable(source);
    private_file::check_size_limit(content.expose().len()).map_err(unwritable)?;
    let mut new = target.folder.make_unfinished(&target.beside(UNFINISHED)).map_err(unwritable)?;
    match old {
        OldFile { metadata: Some(metadata), attributes, .. } => {
            attributes.give_to(&new.file);
            keep_owner(&target.path, &new.file, metadata)?;
            attributes.set_rights(&new.file, metadata.mode() & 0o7777).map_err(unwritable)?;
        }
        OldFile { metadata: None, .. } => target.folder.give_to_owner(&new.file),
    }
    new.file.write_all(content.expose()).map_err(unwritable)?;
    new.file.sync_all().map_err(unwritable)?;
    Ok(new)
}

fn keep_owner(path: &Path, file: &File, old: &std::fs::Metadata) -> Result<(), Error> {
    let unwritable = |source: io::Error| Error::Unwritable { path: path.into(), source };
    let new = file.metadata().map_err(unwritable)?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    match std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(_) if new.uid() != old.uid() => Err(Error::Foreign { path: path.into(), owner: old.uid() }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::ForeignGroup { path: path.into(), group: old.gid() })
        }
        outcome => outcome.map_err(unwritable),
    }
}

/// Removes temporary files of a writer that was killed. We hold the lock, so no other writer uses them.
fn sweep(target: &Target) {
    let prefix = target.beside(UNFINISHED);
    for name in target.folder.names() {
        if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            let _ = target.folder.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
