//! The kernel's word that an entry of a directory has changed.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::inotify;
use rustix::fs::inotify::CreateFlags;
use rustix::fs::inotify::Reader;
use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The entries that matter in each watched directory, by the kernel's number for it.
pub(super) type Watched = HashMap<i32, HashSet<OsString>>;

/// Hears of changes in directories, and tells only of entries that matter: certificates may lie in a busy place.
pub(super) struct Inotify {
    queue: AsyncFd<Arc<OwnedFd>>,
    watched: Watched,
}

/// Why changes are not heard of.
#[derive(Debug, thiserror::Error)]
pub(super) enum Deaf {
    #[error("the system gives no queue of file events")]
    Queue(#[source] io::Error),
    #[error("cannot watch `{}`", path.display())]
    Directory { path: PathBuf, source: io::Error },
}

impl Deaf {
    /// What a person can do.
    pub(super) fn hint(&self) -> &'static str {
        let (Self::Queue(source) | Self::Directory { source, .. }) = self;
        match Errno::from_io_error(source) {
            Some(Errno::NOSPC) => "raise the limit of watches, `sysctl fs.inotify.max_user_watches`",
            Some(Errno::MFILE | Errno::NFILE) => {
                "raise the limit of watchers, `sysctl fs.inotify.max_user_instances`, or that of open files"
            }
            Some(Errno::ACCESS) => "let the daemon's user list the directory",
            _ => "a renewed certificate is used all the same, only later",
        }
    }
}

/// Opens a queue of events.
pub(super) fn open() -> io::Result<OwnedFd> {
    Ok(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)
}

/// Watches a directory, or goes on watching it; the kernel's number for it.
pub(super) fn watch(queue: &OwnedFd, directory: &Path) -> Result<i32, Errno> {
    // Not MODIFY: a file that is open for writing is not worth a look before it is closed. Not DELETE_SELF: that a watch
    // has ended is told in any case.
    let changes = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::MOVE
        | WatchFlags::DELETE
        | WatchFlags::MOVE_SELF;
    inotify::add_watch(queue, directory, changes | WatchFlags::ONLYDIR)
}

impl Inotify {
    #[expect(unsafe_code, reason = "tokio's only door for descriptors that are neither sockets nor pipes")]
    pub(super) fn new(queue: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` that is shared is neither closed nor exchanged as long as somebody holds it.
        let queue = unsafe { AsyncFd::register_with_interest(Arc::new(queue), Interest::READABLE) }?;
        Ok(Self { queue, watched: Watched::new() })
    }

    /// For adding watches where blocking is allowed.
    pub(super) fn queue(&self) -> Arc<OwnedFd> {
        Arc::clone(self.queue.get_ref())
    }

    /// Forgets directories that do not matter any more.
    pub(super) fn watch_only(&mut self, watched: Watched) {
        for stale in self.watched.keys().filter(|number| !watched.contains_key(number)) {
            // It fails where the kernel was first, because the directory is gone.
            let _ = inotify::remove_watch(self.queue.get_ref(), *stale);
        }
        self.watched = watched;
    }

    /// Waits for a change that matters. Cancel-safe: what was read until then did not matter.
    pub(super) async fn event(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.queue.readable().await?;
            match read(self.queue.get_ref(), &self.watched) {
                Ok(true) => return Ok(()),
                Ok(false) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads all there is; whether any of it matters.
fn read(queue: &OwnedFd, watched: &Watched) -> Result<bool, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(queue, &mut buffer);
    let mut matters = false;
    loop {
        match events.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                matters |= concerns(watched, event.wd(), name);
            }
            Err(Errno::AGAIN) => return Ok(matters),
            Err(error) => return Err(error),
        }
    }
}

/// Without a name it is about the directory itself; without a directory, events were lost.
fn concerns(watched: &Watched, number: i32, name: Option<&OsStr>) -> bool {
    const EVENTS_WERE_LOST: i32 = -1;
    let is_ours = |entries: &HashSet<OsString>| name.is_none_or(|name| entries.contains(name));
    number == EVENTS_WERE_LOST || watched.get(&number).is_some_and(is_ours)
}
