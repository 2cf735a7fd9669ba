//! Watches the files and the agent of an identity, so that a renewed certificate is used immediately. Also watches
//! other files that a session signs with.
//!
//! A SPIFFE agent reports new SVIDs itself, so it is asked without delay. The kernel reports changes of files
//! (inotify). A slow poll finds what inotify misses: network file systems, mounts, a directory replaced higher up, an
//! exhausted limit. Both only trigger a check: [`WatchSubject::look`] then loads the files.

mod inotify;
mod shared;
mod subject;
mod survey;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use self::inotify::WatchError;
use self::shared::Subscription;
pub use self::shared::Watches;
pub use self::subject::WatchSubject;
use self::survey::Stamp;
use self::survey::Survey;
use super::WatchOutcome;
use super::expiry::Reminders;
use super::reading;
use super::reading::PATIENCE;
use super::spiffe::SvidStream;
use anchord_core::clock::Clock;
use anchord_core::event;
use anchord_core::failure::ErrorChain;
use anchord_core::reported::Reported;

/// Watches the files that one session signs with, while [`Watcher::run`] is polled.
pub struct Watcher {
    subject: Arc<dyn WatchSubject>,
    clock: Clock,
    changed: Arc<Notify>,
    pace: Pace,
    watches: Watches,
}

/// The intervals between checks.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between polls.
    poll: Duration,
    /// How long files must stay unchanged first: certificate and key are two files, and writing takes time.
    quiet: Duration,
    /// How long to wait at most if they keep changing.
    restless: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(30),
            quiet: Duration::from_millis(250),
            restless: Duration::from_secs(2),
        }
    }
}

impl Watcher {
    /// Makes a watcher that notifies `changed` if the files hold something else than the session has signed with.
    pub fn new(subject: Arc<dyn WatchSubject>, clock: Clock, changed: Arc<Notify>, watches: Watches) -> Self {
        Self { subject, clock, changed, pace: Pace::default(), watches }
    }

    /// The session's name.
    pub fn session(&self) -> &str {
        self.subject.session()
    }

    /// Watches until dropped.
    pub async fn run(&self) -> Infallible {
        let looked = Notify::new();
        tokio::select! {
            never = self.watch_files(&looked) => never,
            never = self.remind(&looked) => never,
        }
    }

    async fn watch_files(&self, looked: &Notify) -> Infallible {
        let mut files = FileWatch::new(self);
        let agent = self.subject.agent();
        let mut agent = agent.map(|agent| SvidStream::new(agent.endpoint.clone(), self.session()));
        let (mut last, mut found) = (None, WatchOutcome::Unusable);
        // The session's own first attempt reads the files now, and reports what it finds.
        tokio::time::sleep(self.pace.quiet).await;
        loop {
            // Before the files are read: a later change causes an event, or another stamp at the next poll.
            let stamps = files.survey().await;
            if last != stamps
                || stamps.is_none()
                || found == WatchOutcome::Unusable
                || self.subject.is_silent()
            {
                found = self.subject.look(self.clock.now()).await;
                if found == WatchOutcome::Changed {
                    self.changed.notify_one();
                }
                looked.notify_one();
            }
            let woken = tokio::select! {
                woken = files.wait() => woken,
                () = changed(&mut agent) => Woken::ByEvent,
            };
            last = match woken {
                // Forget the stamps: some file systems have times in whole seconds only.
                Woken::ByEvent => None,
                Woken::ByTime => stamps,
            };
        }
    }

    /// Checks at each poll, because certificates expire by wall time and timers stand still during suspend.
    async fn remind(&self, looked: &Notify) -> Infallible {
        let mut reminders = Reminders::default();
        loop {
            reminders.tell(self.session(), &self.subject.links(), self.subject.judged_at(self.clock.now()));
            // Continue after a check or a time-out.
            let _ = tokio::time::timeout(self.pace.poll, looked.notified()).await;
        }
    }
}

/// Waits until the agent has sent something; forever if there is no agent. Cancel-safe.
async fn changed(agent: &mut Option<SvidStream>) {
    match agent {
        Some(stream) => stream.changed().await,
        None => std::future::pending().await,
    }
}

/// Why it is time for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ByEvent,
    ByTime,
}

/// The files, and the subscription to their events.
struct FileWatch {
    session: String,
    words: &'static str,
    paths: Vec<PathBuf>,
    reader: Arc<reading::BlockingReader>,
    pace: Pace,
    subscription: Arc<Subscription>,
    trouble: Reported,
}

impl FileWatch {
    fn new(watcher: &Watcher) -> Self {
        Self {
            session: watcher.session().into(),
            words: watcher.subject.words(),
            paths: watcher.subject.paths(),
            reader: Arc::clone(watcher.subject.reader()),
            pace: watcher.pace,
            subscription: watcher.watches.listen(),
            trouble: Reported::default(),
        }
    }

    /// Sets watches on the paths, and returns the stamps of the files.
    ///
    /// `None` if they cannot be read, for example because a file system hangs. The following check reports that.
    async fn survey(&mut self) -> Option<Vec<Stamp>> {
        if self.paths.is_empty() {
            return Some(Vec::new());
        }
        let (paths, subscription) = (self.paths.clone(), Arc::clone(&self.subscription));
        let surveyed = self.reader.read(PATIENCE, move || {
            let queue = subscription.begin();
            let Survey { stamps, watched, trouble } = Survey::take(&paths, queue.as_deref().ok());
            if let Ok(queue) = &queue {
                subscription.finish(queue, watched);
            }
            (stamps, trouble, queue.err())
        });
        let ((stamps, trouble, no_queue), _reading) = surveyed.await.ok()?;
        self.subscription.tell(no_queue.as_ref(), self.pace.poll);
        self.tell(trouble);
        Some(stamps)
    }

    /// Logs, once, why changes may be noticed late.
    fn tell(&mut self, trouble: Option<WatchError>) {
        let Some(trouble) = trouble else {
            self.trouble.clear();
            return;
        };
        let error = ErrorChain(&trouble).to_string();
        if self.trouble.is_new(error.clone()) {
            let (session, hint, every_seconds) = (&*self.session, trouble.hint(), self.pace.poll.as_secs());
            warn!(
                event = event::WATCH_UNAVAILABLE,
                session, error, hint, every_seconds, "Cannot watch {} for changes; polling them", self.words
            );
        }
    }

    async fn wait(&self) -> Woken {
        let pace = self.pace;
        if tokio::time::timeout(pace.poll, self.subscription.event()).await.is_err() {
            return Woken::ByTime;
        }
        let settled =
            async { while tokio::time::timeout(pace.quiet, self.subscription.event()).await.is_ok() {} };
        // After the time-out it is time for a check, even if files still change.
        let _ = tokio::time::timeout(pace.restless, settled).await;
        Woken::ByEvent
    }
}

#[cfg(test)]
mod tests;
