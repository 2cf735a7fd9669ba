//! Replaces the file atomically, under a lock.
//!
//! A program that opens the file reads the complete old or new text, even after a power failure. If the path is a
//! symbolic link, its target is replaced, unless another user created a link on the way. The new file has the owner,
//! permissions, access control list and extended attributes of the old one.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::FlockOperation;

mod attributes;
mod owner;

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
    /// Another user's link would decide which file is written.
    #[error("`{}` is a symbolic link of user {owner}, which may lead to any file", path.display())]
    ForeignLink {
        /// Which link.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
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
            Self::Foreign { .. } | Self::ForeignLink { .. } | Self::ForeignGroup { .. } => {
                Reason::FileInsecure
            }
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
            Self::ForeignLink { owner, .. } => {
                Some(format!("run as user {owner}, or name the file by a path without this link").into())
            }
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
const ROOT: u32 = 0;

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
    let lock = take_lock(lock, &target).await?;
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

/// Resolves the symbolic links of `path`; the file need not exist. Refuses links of users that are not `trusted`, also
/// those on the way to the file's folder. Such a link would decide which of our files is replaced, and if we are root,
/// that can be any file of the host. This is also why the kernel cannot resolve the path for us.
fn resolve(path: &Path, trusted: &[u32]) -> Result<PathBuf, Error> {
    const MOST_LINKS: usize = 40;
    let mut links = 0;
    let mut resolved = PathBuf::new();
    // The parts that are not resolved yet, the last one first.
    let mut ahead: Vec<PathBuf> = parts(path);
    while let Some(part) = ahead.pop() {
        if part == Path::new("..") {
            step_up(&mut resolved);
            continue;
        }
        let at = resolved.join(part);
        let Ok(target) = fs_err::read_link(&at) else {
            resolved = at;
            continue;
        };
        let owner = fs_err::symlink_metadata(&at).map(|link| link.uid());
        if let Some(owner) = owner.ok().filter(|owner| !trusted.contains(owner)) {
            return Err(Error::ForeignLink { path: at, owner });
        }
        // Links of /proc, such as /proc/7/root, do not lead to the path that they show. Only the kernel can follow
        // them.
        if !ahead.is_empty() && is_of_processes(&resolved) {
            resolved = at;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            let source = io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
            return Err(Error::Unreadable { path: at, source });
        }
        if ahead.is_empty() && is_called_a_folder(&target) {
            return Err(Error::NotAFile { path: at });
        }
        ahead.extend(parts(&target));
    }
    Ok(resolved)
}

/// The parts of a path, the last one first. The root directory is a part too: joined to another path, it replaces it.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .map(|part| PathBuf::from(part.as_os_str()))
        .filter(|part| part != Path::new("."))
        .collect()
}

/// Changes to the folder above. `resolved` has no links.
fn step_up(resolved: &mut PathBuf) {
    if resolved.as_os_str().is_empty() || resolved.ends_with("..") {
        resolved.push("..");
    } else {
        // The root is above itself.
        resolved.pop();
    }
}

fn is_of_processes(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

fn is_called_a_folder(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    path.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.")
}

/// Checks this before a lock file is created beside it.
fn refuse_what_is_no_file(path: &Path) -> Result<(), Error> {
    if fs_err::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::NotAFile { path: path.into() });
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, prefix: &str, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(prefix);
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    folder(path).join(name)
}

/// Makes the folder in which [`write`] writes for `path`, and returns it. May block.
///
/// # Errors
/// As [`write`].
pub fn make_folder_of(path: &Path) -> Result<PathBuf, Error> {
    target_of(path).map(|target| folder(&target).to_owned())
}

/// Resolves `path`, and makes the folder of its target.
fn target_of(path: &Path) -> Result<PathBuf, Error> {
    if is_called_a_folder(path) {
        return Err(Error::NotAFile { path: path.into() });
    }
    let target = resolve(path, &[rustix::process::geteuid().as_raw(), ROOT])?;
    refuse_what_is_no_file(&target)?;
    let folder = folder(&target);
    owner::make_folder(folder).map_err(|source| Error::Unwritable { path: folder.into(), source })?;
    Ok(target)
}

/// Resolves `path` and opens the lock file of its target, without taking the lock. The lock file is never removed:
/// otherwise one process could hold the lock of the removed file, and another the lock of a new one.
fn open_lock(path: &Path) -> Result<(PathBuf, fs_err::File), Error> {
    let target = target_of(path)?;
    let folder = folder(&target);
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let mut options = fs_err::OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(flags);
    let path = lock_path(&target);
    let lock = match options.clone().create_new(true).open(&path) {
        Ok(made) => {
            owner::give_to_owner_of(folder, made.file());
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&path),
        Err(error) => Err(error),
    };
    lock.map_err(|error| unlockable(&target, &error)).map(|lock| (target, lock))
}

/// Waits for the lock. The kernel releases it when the process ends, also if it is killed.
async fn take_lock(mut lock: fs_err::File, target: &Path) -> Result<fs_err::File, Error> {
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
            Err(error) => return Err(unlockable(target, &error.into())),
        }
        if tokio::time::Instant::now() >= gives_up_at {
            return Err(Error::Locked { path: lock_path(target) });
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

fn lock_path(target: &Path) -> PathBuf {
    beside(target, ".", ".lock")
}

fn unlockable(target: &Path, error: &io::Error) -> Error {
    Error::Unwritable { path: lock_path(target), source: system_reason(error) }
}

/// The file before the change, and what is needed to see if it has changed since.
struct OldFile {
    text: Secret<Vec<u8>>,
    metadata: Option<std::fs::Metadata>,
    attributes: ExtendedAttributes,
}

impl OldFile {
    fn is_unchanged(&self, now: Option<&std::fs::Metadata>) -> bool {
        let version = |metadata: &std::fs::Metadata| {
            (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
        };
        self.metadata.as_ref().map(version) == now.map(version)
    }
}

fn read(path: &Path) -> Result<OldFile, Error> {
    let unreadable =
        |error: io::Error| Error::Unreadable { path: path.into(), source: system_reason(&error) };
    // The path was resolved before. A link that was created since then is not followed.
    let (file, metadata) = match content::open(path, rustix::fs::OFlags::NOFOLLOW) {
        Ok(opened) => opened,
        Err(content::ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
            let text = Secret::new(Vec::new());
            return Ok(OldFile { text, metadata: None, attributes: ExtendedAttributes::default() });
        }
        Err(content::ReadError::System(error)) => return Err(unreadable(error)),
        Err(_) => return Err(Error::NotAFile { path: path.into() }),
    };
    if metadata.len() > MAX_BYTES {
        return Err(Error::TooLarge { path: path.into() });
    }
    let attributes = ExtendedAttributes::of(file.file());
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(unreadable)?;
    Ok(OldFile { text: Secret::new(text), metadata: Some(metadata), attributes })
}

/// Replaces the file by the text that `change` makes of its text; `false` if that is the same.
///
/// Our own processes take the lock, but the AWS CLI and editors do not, and their changes must not be lost. So the new
/// text is written to a temporary file in the same folder, then the file is compared with what was read, and only if it
/// has not changed, it is replaced by a rename. Otherwise its new text is read and edited. What remains is the moment
/// between the comparison and the rename: Linux has no rename that depends on the content of its target.
fn replace(path: &Path, change: impl Fn(&[u8]) -> Option<Secret<Vec<u8>>>) -> Result<bool, Error> {
    const ATTEMPTS: usize = 5;
    sweep(path);
    for _ in 0..ATTEMPTS {
        let found = read(path)?;
        if found.text.expose().contains(&0) {
            return Err(Error::NotText { path: path.into() });
        }
        // A text over the limit could not be read the next time, so it is not written.
        let new = change(found.text.expose()).filter(|new| new.expose().len() as u64 <= MAX_BYTES);
        let new = new.ok_or_else(|| Error::TooLarge { path: path.into() })?;
        if new == found.text {
            return Ok(false);
        }
        let file = write_beside(path, &new, &found)?;
        if !found.is_unchanged(std::fs::metadata(path).ok().as_ref()) {
            continue;
        }
        file.persist(path).map_err(|failed| unwritable(path, failed.error))?;
        // Makes the rename durable. Some file systems cannot do this; the file is complete without it.
        let _ = fs_err::File::open(folder(path)).and_then(|folder| folder.sync_all());
        return Ok(true);
    }
    Err(Error::Restless { path: path.into() })
}

fn unwritable(path: &Path, source: io::Error) -> Error {
    Error::Unwritable { path: path.into(), source }
}

/// Writes the text to a temporary file in the same folder, with the owner, permissions and attributes of the old file,
/// and flushes it to disk.
fn write_beside(
    path: &Path,
    content: &Secret<Vec<u8>>,
    old: &OldFile,
) -> Result<tempfile::NamedTempFile, Error> {
    let unwritable = |source: io::Error| unwritable(path, source);
    private_file::check_size_limit(content.expose().len()).map_err(unwritable)?;
    let prefix = beside(path, ".", ".anchord-");
    let prefix = prefix.file_name().unwrap_or_default();
    let mut file = tempfile::Builder::new().prefix(prefix).tempfile_in(folder(path)).map_err(|error| {
        // tempfile adds its own path to the error; the number of the system's error does without.
        unwritable(error.raw_os_error().map_or(error, io::Error::from_raw_os_error))
    })?;
    match old {
        OldFile { metadata: Some(metadata), attributes, .. } => {
            attributes.give_to(file.as_file());
            keep_owner(path, file.as_file(), metadata)?;
            attributes.set_rights(file.as_file(), metadata.mode() & 0o7777).map_err(unwritable)?;
        }
        OldFile { metadata: None, .. } => owner::give_to_owner_of(folder(path), file.as_file()),
    }
    // Not through tempfile, which would add the random name of its file to errors.
    file.as_file_mut().write_all(content.expose()).map_err(unwritable)?;
    file.as_file().sync_all().map_err(unwritable)?;
    Ok(file)
}

fn keep_owner(path: &Path, file: &std::fs::File, old: &std::fs::Metadata) -> Result<(), Error> {
    let unwritable = |source: io::Error| unwritable(path, source);
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
fn sweep(path: &Path) {
    let prefix = beside(path, ".", ".anchord-");
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    let entries = fs_err::read_dir(folder(path)).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix)) {
        let _ = fs_err::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests;
