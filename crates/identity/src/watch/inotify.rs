//! inotify: events for changed entries of directories.

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
use rustix::fs::inotify::ReadFlags;
use rustix::fs::inotify::Reader;
use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The entries that matter in each watched directory, by its watch descriptor.
pub(super) type WatchedEntries = HashMap<i32, HashSet<OsString>>;

/// An event of an entry of a directory, or of the directory itself.
#[derive(Clone, Debug)]
pub(super) struct FileEvent {
    pub(super) number: i32,
    pub(super) name: Option<OsString>,
    /// Whether the watch has ended.
    pub(super) is_last: bool,
}

impl FileEvent {
    /// Replaces events that were lost.
    pub(super) const LOST: Self = Self { number: -1, name: None, is_last: false };

    /// Without a name it concerns the directory itself.
    pub(super) fn concerns(&self, watched: &WatchedEntries) -> bool {
        let is_in =
            |entries: &HashSet<OsString>| self.name.as_ref().is_none_or(|name| entries.contains(name));
        self.number == Self::LOST.number || watched.get(&self.number).is_some_and(is_in)
    }
}

/// A queue of events.
pub(super) struct InotifyQueue(AsyncFd<Arc<OwnedFd>>);

/// Why changes cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("the system has no inotify instance left")]
    Queue(#[source] io::Error),
    #[error("cannot watch `{}`", path.display())]
    Directory { path: PathBuf, source: io::Error },
}

impl WatchError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        let (Self::Queue(source) | Self::Directory { source, .. }) = self;
        match Errno::from_io_error(source) {
            Some(Errno::NOSPC) => "raise the limit of watches, `sysctl fs.inotify.max_user_watches`",
            Some(Errno::MFILE | Errno::NFILE) => {
                "raise the limit of watchers, `sysctl fs.inotify.max_user_instances`, or that of open files"
            }
            Some(Errno::ACCESS) => "let the daemon's user list the directory",
            _ => "anchord still notices a renewed certificate, only later",
        }
    }
}

/// Opens a queue of events.
pub(super) fn open() -> io::Result<OwnedFd> {
    Ok(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)
}

/// Watches a directory, or keeps watching it, and returns the watch descriptor.
pub(super) fn watch(queue: &OwnedFd, directory: &Path) -> Result<i32, Errno> {
    // Not MODIFY: a file is read only when its writer has closed it. Not DELETE_SELF: the kernel reports the end of a
    // watch anyway.
    let changes = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::MOVE
        | WatchFlags::DELETE
        | WatchFlags::MOVE_SELF;
    inotify::add_watch(queue, directory, changes | WatchFlags::ONLYDIR)
}

/// Ends a watch. It fails if the kernel has ended the watch already, because the directory is gone.
pub(super) fn forget(queue: &OwnedFd, number: i32) {
    let _ = inotify::remove_watch(queue, number);
}

impl InotifyQueue {
    #[expect(unsafe_code, reason = "tokio's only door for descriptors that are neither sockets nor pipes")]
    pub(super) fn new(queue: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` in an `Arc` is neither closed nor replaced as long as the `Arc` exists.
        let queue = unsafe { AsyncFd::register_with_interest(Arc::new(queue), Interest::READABLE) }?;
        Ok(Self(queue))
    }

    /// For adding watches on a thread that may block.
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(self.0.get_ref())
    }

    /// Waits for events and reads them.
    pub(super) async fn read(&self) -> io::Result<Vec<FileEvent>> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut events = Vec::new();
            match read(self.0.get_ref(), &mut events) {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// Returns `Ok` even if there may be more events: a busy directory must not fill the memory.
fn read(queue: &OwnedFd, events: &mut Vec<FileEvent>) -> Result<(), Errno> {
    const MANY: usize = 1000;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(queue, &mut buffer);
    while events.len() < MANY || !reader.is_buffer_empty() {
        let event = reader.next()?;
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        let is_last = event.events().contains(ReadFlags::IGNORED);
        events.push(FileEvent { number: event.wd(), name, is_last });
    }
    Ok(())
}
