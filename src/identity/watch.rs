//! Watches the places of an identity, so that a renewed certificate is used at once; the file of access keys likewise.
//!
//! A SPIFFE agent says itself when it has something new, and what it has is whole: it is asked at once. Of files
//! the kernel tells of changes (inotify), and a slow look at the files finds what it cannot tell of: network file
//! systems, mounts, a directory that was replaced far up, a limit that was reached. Neither is trusted with more than
//! to say that it is time to look; what the files hold, [`Current`] finds out by loading them.

mod inotify;
mod subject;
mod survey;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use self::inotify::Deaf;
use self::inotify::Inotify;
use self::subject::Subject;
use self::survey::Stamp;
use self::survey::Survey;
use super::AccessKeys;
use super::Current;
use super::Found;
use super::expiry::Reminders;
use super::spiffe::Stream;
use crate::clock::Clock;
use crate::failure::Chain;

/// Looks after the files of what one session signs with while [`Watcher::run`] is polled.
pub struct Watcher {
    subject: Subject,
    clock: Clock,
    changed: Arc<Notify>,
    pace: Pace,
    open: fn() -> io::Result<OwnedFd>,
}

/// How long to wait between looks.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between looks that nothing has asked for.
    poll: Duration,
    /// How long the files must have been left alone: certificate and key are two files, and writing takes time.
    quiet: Duration,
    /// How long they may go on changing before they are looked at all the same.
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
    /// A watcher that notifies `changed` when there is another identity than the session has signed with.
    pub fn new(current: Arc<Current>, clock: Clock, changed: Arc<Notify>) -> Self {
        Self::of(Subject::Identity(current), clock, changed)
    }

    /// The same for the file of access keys of which the session's issuer has a clone.
    pub fn of_access_keys(session: &str, keys: AccessKeys, clock: Clock, changed: Arc<Notify>) -> Self {
        Self::of(Subject::AccessKeys { session: session.into(), keys }, clock, changed)
    }

    fn of(subject: Subject, clock: Clock, changed: Arc<Notify>) -> Self {
        Self { subject, clock, changed, pace: Pace::default(), open: inotify::open }
    }

    /// The session's name.
    pub fn session(&self) -> &str {
        self.subject.session()
    }

    /// Watches until dropped.
    pub async fn run(&self) -> Infallible {
        let looked = Notify::new();
        tokio::select! {
            never = self.look_out(&looked) => never,
            never = self.remind(&looked) => never,
        }
    }

    async fn look_out(&self, looked: &Notify) -> Infallible {
        let mut lookout = Lookout::new(self);
        let agent = self.subject.agent();
        let mut agent = agent.map(|agent| Stream::new(agent.endpoint.clone(), self.session()));
        let (mut last, mut found) = (None, Found::Fault);
        // The session's own first attempt reads the files now, and tells what it finds.
        tokio::time::sleep(self.pace.quiet).await;
        loop {
            // Before the files are read: what changes later is an event, or another stamp at the next look.
            let stamps = Some(lookout.survey().await);
            if last != stamps || found == Found::Fault || self.subject.is_silent() {
                found = self.subject.look(self.clock.now()).await;
                if found == Found::News {
                    self.changed.notify_one();
                }
                looked.notify_one();
            }
            let woken = tokio::select! {
                woken = lookout.wait() => woken,
                () = changed(&mut agent) => Woken::ByEvent,
            };
            last = match woken {
                // Whatever the stamps say: some file systems count in whole seconds.
                Woken::ByEvent => None,
                Woken::ByTime => stamps,
            };
        }
    }

    /// Certificates end by wall time, and timers stand still while a host is suspended: hence the look at each poll.
    async fn remind(&self, looked: &Notify) -> Infallible {
        let mut reminders = Reminders::default();
        loop {
            reminders.tell(self.session(), &self.subject.links(), self.subject.judged_at(self.clock.now()));
            // A time-out is as good a reason as a look.
            let _ = tokio::time::timeout(self.pace.poll, looked.notified()).await;
        }
    }
}

/// Waits until the agent has sent something; for ever where there is none. Cancel-safe.
async fn changed(agent: &mut Option<Stream>) {
    match agent {
        Some(stream) => stream.changed().await,
        None => std::future::pending().await,
    }
}

/// Why it is time to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ByEvent,
    ByTime,
}

/// Where the files are, and the kernel's watch on them where there is one.
struct Lookout {
    session: String,
    words: &'static str,
    paths: Vec<PathBuf>,
    pace: Pace,
    open: fn() -> io::Result<OwnedFd>,
    inotify: Option<Inotify>,
    told_trouble: Option<String>,
}

impl Lookout {
    fn new(watcher: &Watcher) -> Self {
        Self {
            session: watcher.session().into(),
            words: watcher.subject.words(),
            paths: watcher.subject.paths(),
            pace: watcher.pace,
            open: watcher.open,
            inotify: None,
            told_trouble: None,
        }
    }

    /// Puts the watches where the paths lead now, and says what is there.
    ///
    /// Waits as long as a file system hangs: there is nothing to see until it answers, and attempts tell of it.
    async fn survey(&mut self) -> Vec<Stamp> {
        let opened = self.open_inotify();
        let queue = self.inotify.as_ref().map(Inotify::queue);
        let paths = self.paths.clone();
        let surveyed = tokio::task::spawn_blocking(move || Survey::take(&paths, queue.as_deref())).await;
        // A panic in it leaves no stamps, which makes for a look.
        let Survey { stamps, watched, trouble } = surveyed.unwrap_or_default();
        if let Some(inotify) = &mut self.inotify {
            inotify.watch_only(watched);
        }
        self.tell(opened.err().map(Deaf::Queue).or(trouble));
        stamps
    }

    fn open_inotify(&mut self) -> io::Result<()> {
        if self.inotify.is_none() {
            self.inotify = Some(Inotify::new((self.open)()?)?);
        }
        Ok(())
    }

    /// Tells once why changes may be noticed late.
    fn tell(&mut self, trouble: Option<Deaf>) {
        let text = trouble.as_ref().map(|trouble| Chain(trouble).to_string());
        if let (Some(trouble), Some(error)) = (&trouble, &text)
            && self.told_trouble != text
        {
            let (session, hint, every) = (&*self.session, trouble.hint(), self.pace.poll);
            warn!(session, error, hint, ?every, "Cannot watch {}; looking at intervals", self.words);
        }
        self.told_trouble = text;
    }

    async fn wait(&mut self) -> Woken {
        let pace = self.pace;
        if tokio::time::timeout(pace.poll, self.event()).await.is_err() {
            return Woken::ByTime;
        }
        let settled = async { while tokio::time::timeout(pace.quiet, self.event()).await.is_ok() {} };
        // Settled or not, it is time.
        let _ = tokio::time::timeout(pace.restless, settled).await;
        Woken::ByEvent
    }

    /// The kernel's next word on any of the files; none comes where there is no watch.
    async fn event(&mut self) {
        if let Some(inotify) = &mut self.inotify {
            match inotify.event().await {
                Ok(()) => return,
                Err(error) => self.tell(Some(Deaf::Queue(error))),
            }
            // The next look opens another.
            self.inotify = None;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
