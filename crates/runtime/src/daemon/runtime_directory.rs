//! The runtime directory: private, and locked by one daemon at a time.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::info;
use tracing::warn;

use super::Error;
use super::secrets::Secrets;
use anchord_core::event;
use anchord_core::private_file;
use anchord_core::private_file::Lock;
use anchord_core::private_file::LockError;
use anchord_core::reported::Reported;
use anchord_core::trusted_path;

/// Makes the runtime directory, unless systemd has made it already, without access for other users. A user who can
/// write to it, or lead its path elsewhere, could replace the daemon's socket.
///
/// # Errors
/// If it cannot be made, or other users can write to it or to a directory of its path.
pub fn make_runtime_directory(path: &Path) -> Result<(), Error> {
    let made = trusted_path::make_directory(path).map_err(|error| match error {
        trusted_path::Error::System { source, .. } => Error::RuntimeDirectory { path: path.into(), source },
        trusted_path::Error::Writable { path: part, owner, mode } if part == path => {
            Error::OpenDirectory { path: part, owner, mode }
        }
        error => Error::Path(error),
    })?;
    // Stricter than its path: neither a sticky bit nor a private group is enough here.
    if made.mode() & 0o022 != 0 {
        return Err(Error::OpenDirectory { path: path.into(), owner: made.owner(), mode: made.mode() });
    }
    Ok(())
}

/// A runtime directory that no other daemon uses.
#[derive(Debug)]
pub(super) struct RuntimeDirectory {
    /// `None` for a daemon that needs no files and can write none.
    path: Option<PathBuf>,
    /// Held until the daemon ends; `None` if the file system has no locks.
    lock: Mutex<Option<Lock>>,
    made_anew: Arc<Notify>,
}

impl RuntimeDirectory {
    /// Locks the directory at `path`. Waits a few seconds for a daemon that is stopping.
    ///
    /// # Errors
    /// If another daemon uses it.
    pub(super) async fn take(path: &Path) -> Result<Self, Error> {
        let gives_up_at = Instant::now() + PATIENCE;
        let mut waiting = Reported::default();
        loop {
            match lock(path) {
                Ok(lock) => {
                    let (path, lock) = (Some(path.into()), Mutex::new(lock));
                    return Ok(Self { path, lock, made_anew: Arc::default() });
                }
                Err(error) if Instant::now() >= gives_up_at => return Err(error),
                Err(_) => {}
            }
            if waiting.is_new(()) {
                info!(
                    event = event::RUNTIME_DIRECTORY_IN_USE,
                    path = %path.display(), "Another daemon uses the runtime directory; waiting for it to end"
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// No directory: nothing is written or checked.
    pub(super) fn none() -> Self {
        Self { path: None, lock: Mutex::new(None), made_anew: Arc::default() }
    }

    /// Whether there is a directory.
    pub(super) fn is_there(&self) -> bool {
        self.path.is_some()
    }

    /// Its path.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Recreates and locks the directory if it was deleted, writes the current `secrets`, and notifies `made_anew`. May
    /// block.
    ///
    /// The lock shows whether this is needed: its file is gone with the directory, even if a new directory exists. If
    /// only the file of a secret was removed, it is not written again, because operators change a secret by removing
    /// its file.
    ///
    /// # Errors
    /// As [`make_runtime_directory`], or if another daemon has locked the directory meanwhile, or a file cannot be
    /// written. The next call retries.
    pub(super) fn restore(&self, secrets: &Secrets) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        // Held to the end, because the periodic check and a reload may run at the same time. The second must see the
        // first's files.
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gone = match held.as_ref() {
            Some(lock) => !lock.is_at(&lock_path(path)),
            None => !path.exists(),
        };
        make_runtime_directory(path)?;
        if !is_gone {
            return Ok(());
        }
        let locked = lock(path)?;
        secrets.restore()?;
        *held = locked;
        let path = path.display();
        warn!(
            event = event::RUNTIME_DIRECTORY_RESTORED,
            %path, "The runtime directory was deleted or emptied; wrote its files again"
        );
        self.made_anew.notify_one();
        Ok(())
    }

    /// Notified each time the directory was recreated, so that others write their files again.
    pub(super) fn made_anew(&self) -> Arc<Notify> {
        Arc::clone(&self.made_anew)
    }
}

/// Locks the directory. Without a lock the daemon works, but would not notice another daemon.
fn lock(path: &Path) -> Result<Option<Lock>, Error> {
    match private_file::lock(&lock_path(path)) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Error::InUse { path: path.into() }),
        Err(LockError::Path(error)) => Err(Error::Path(error)),
        Err(LockError::System(error)) => {
            let path = path.display();
            warn!(
                event = event::RUNTIME_DIRECTORY_NOT_LOCKED,
                %path, %error, "The runtime directory cannot be locked; another daemon there would go unnoticed"
            );
            Ok(None)
        }
    }
}

fn lock_path(directory: &Path) -> PathBuf {
    directory.join("daemon.lock")
}

/// A little longer than a daemon needs to finish open requests.
const PATIENCE: Duration = Duration::from_secs(7);
const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use anchord_core::failure::Failure;

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_another_daemon_uses_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let _first = RuntimeDirectory::take(folder.path()).await.unwrap();

        let refused = RuntimeDirectory::take(folder.path()).await.unwrap_err();

        let text = Failure::from(refused).to_string();
        let path = folder.path().display();
        assert!(text.starts_with(&format!("another daemon uses the runtime directory `{path}`")), "{text}");
        assert!(text.contains("hint: stop it first") && text.contains("`runtime_directory`"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_about_to_end_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = RuntimeDirectory::take(folder.path()).await.unwrap();
        let ending = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            drop(first);
        };

        let (second, ()) = tokio::join!(RuntimeDirectory::take(folder.path()), ending);

        assert!(second.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_was_deleted_is_made_and_locked_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        make_runtime_directory(&path).unwrap();
        let directory = RuntimeDirectory::take(&path).await.unwrap();
        fs_err::remove_dir_all(&path).unwrap();

        directory.restore(&Secrets::default()).unwrap();

        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(RuntimeDirectory::take(&path).await.is_err(), "it is still this one's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_another_daemon_has_made_meanwhile_is_not_taken_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        make_runtime_directory(&path).unwrap();
        let first = RuntimeDirectory::take(&path).await.unwrap();
        fs_err::remove_dir_all(&path).unwrap();
        make_runtime_directory(&path).unwrap();
        let _second = RuntimeDirectory::take(&path).await.unwrap();

        assert!(matches!(first.restore(&Secrets::default()), Err(Error::InUse { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_cannot_be_locked_is_used_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(lock_path(folder.path())).unwrap();

        assert!(RuntimeDirectory::take(folder.path()).await.is_ok());
    }
}
