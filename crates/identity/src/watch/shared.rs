//! The process's inotify queue, and which subscription gets which events.
//!
//! The kernel allows a user 128 queues (`fs.inotify.max_user_instances`) for all programs together, so a thousand
//! sessions must share one. Each watched directory has one watch descriptor, even if two sessions watch it. It is
//! watched as long as one of them needs it.
//!
//! One task reads the queue. Directories are added by surveys, on threads that may block. So the task may read an event
//! of a directory before the survey has registered its watch descriptor, and would drop it. Therefore a survey has a
//! beginning and an end: the task keeps the events in between, and the survey checks them at its end. The kernel may
//! also return the descriptor of a directory that another session is about to remove. Therefore no watch is removed
//! while a survey is in progress that may just have added it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::inotify;
use super::inotify::FileEvent;
use super::inotify::InotifyQueue;
use super::inotify::WatchError;
use super::inotify::WatchedEntries;
use crate::reading::PATIENCE;
use anchord_core::event;
use anchord_core::failure::ErrorChain;
use anchord_core::reported::Reported;

/// The process's queue of file events, shared by its clones. It is opened at the first use.
#[derive(Clone)]
pub struct Watches(Arc<SharedQueue>);

struct SharedQueue {
    open: fn() -> io::Result<OwnedFd>,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    reader: Option<QueueReader>,
    listeners: HashMap<ListenerId, EventListener>,
    surveys: HashMap<ListenerId, OngoingSurvey>,
    /// The subscriptions of each directory.
    heard_by: HashMap<i32, HashSet<ListenerId>>,
    /// Directories without a subscription, to be removed when no survey in progress may just have added them.
    idle: Vec<i32>,
    next_id: ListenerId,
    trouble: Reported,
}

type ListenerId = u64;

/// A survey in progress.
struct OngoingSurvey {
    began: Instant,
    /// The events that were read since it began.
    missed: Vec<FileEvent>,
}

struct QueueReader {
    queue: Arc<OwnedFd>,
    /// Aborted when dropped.
    task: JoinSet<()>,
}

struct EventListener {
    woken: Arc<Notify>,
    watched: WatchedEntries,
}

impl Default for Watches {
    fn default() -> Self {
        Self::opened_by(inotify::open)
    }
}

impl Watches {
    /// The same, with the queue that `open` returns.
    pub(super) fn opened_by(open: fn() -> io::Result<OwnedFd>) -> Self {
        Self(Arc::new(SharedQueue { open, state: Mutex::default() }))
    }

    /// A new subscription without directories.
    pub(super) fn listen(&self) -> Arc<Subscription> {
        let woken = Arc::new(Notify::new());
        let mut state = self.0.lock();
        let id = state.next_id;
        state.next_id += 1;
        state
            .listeners
            .insert(id, EventListener { woken: Arc::clone(&woken), watched: WatchedEntries::new() });
        Arc::new(Subscription { shared: Arc::clone(&self.0), id, woken })
    }
}

/// Receives events of some directories. Dropping it removes the watches that only it needed.
pub(super) struct Subscription {
    shared: Arc<SharedQueue>,
    id: ListenerId,
    woken: Arc<Notify>,
}

impl Subscription {
    /// Begins a survey and returns the queue to add directories to, until [`Subscription::finish`].
    pub(super) fn begin(&self) -> Result<Arc<OwnedFd>, WatchError> {
        let queue = self.shared.queue().map_err(WatchError::Queue)?;
        let survey = OngoingSurvey { began: Instant::now(), missed: Vec::new() };
        self.shared.lock().surveys.insert(self.id, survey);
        Ok(queue)
    }

    /// Logs, once for all subscriptions, that there is no queue, and that files are polled every `every` instead.
    pub(super) fn tell(&self, trouble: Option<&WatchError>, every: Duration) {
        let Some(trouble) = trouble else {
            self.shared.lock().trouble.clear();
            return;
        };
        let error = ErrorChain(trouble).to_string();
        if self.shared.lock().trouble.is_new(error.clone()) {
            let every_seconds = every.as_secs();
            warn!(
                event = event::WATCH_UNAVAILABLE,
                error,
                hint = trouble.hint(),
                every_seconds,
                "Cannot watch files for changes; polling them"
            );
        }
    }

    /// Ends the survey: subscribes to `watched`, which was added to `queue`, and to nothing else.
    pub(super) fn finish(&self, queue: &Arc<OwnedFd>, watched: WatchedEntries) {
        let mut state = self.shared.lock();
        let missed = state.surveys.remove(&self.id).map(|survey| survey.missed).unwrap_or_default();
        if !state.reader.as_ref().is_some_and(|reader| Arc::ptr_eq(&reader.queue, queue)) {
            // The queue was replaced, and the new one does not have these watches: survey again.
            self.woken.notify_one();
            return;
        }
        if missed.iter().any(|event| event.concerns(&watched)) {
            self.woken.notify_one();
        }
        state.listen_to(self.id, watched);
        state.sweep();
    }

    /// Waits for a relevant change. Cancel-safe: a change between two calls is kept.
    pub(super) async fn event(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.listen_to(self.id, WatchedEntries::new());
        state.listeners.remove(&self.id);
        state.surveys.remove(&self.id);
        state.sweep();
    }
}

impl SharedQueue {
    /// Returns the queue, and opens it if there is none.
    fn queue(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        let mut state = self.lock();
        if let Some(reader) = &state.reader {
            return Ok(Arc::clone(&reader.queue));
        }
        let queue = InotifyQueue::new((self.open)()?)?;
        let descriptor = queue.descriptor();
        state.reader = Some(QueueReader { queue: Arc::clone(&descriptor), task: JoinSet::new() });
        drop(state);
        // Without the lock: a runtime that is shutting down drops the task immediately, and `drop` takes the lock.
        let reading = QueueTask { shared: Arc::downgrade(self), queue: Arc::clone(&descriptor) };
        let mut task = JoinSet::new();
        task.spawn(reading.run(queue));
        if let Some(reader) = self.lock().reader.as_mut()
            && Arc::ptr_eq(&reader.queue, &descriptor)
        {
            reader.task = task;
        }
        Ok(descriptor)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn listen_to(&mut self, id: ListenerId, watched: WatchedEntries) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        for number in watched.keys() {
            self.heard_by.entry(*number).or_default().insert(id);
        }
        for number in listener.watched.keys().filter(|number| !watched.contains_key(number)) {
            let Some(others) = self.heard_by.get_mut(number) else { continue };
            others.remove(&id);
            if others.is_empty() {
                self.heard_by.remove(number);
                self.idle.push(*number);
            }
        }
        listener.watched = watched;
    }

    /// Removes unused watches, unless a survey in progress may just have added them. A survey that hangs does not block
    /// this. If it ends later and its directory was removed, the kernel's event for the removal wakes its subscription.
    fn sweep(&mut self) {
        let may_just_have_added = |survey: &OngoingSurvey| survey.began.elapsed() < PATIENCE;
        if self.surveys.values().any(may_just_have_added) {
            return;
        }
        let Some(reader) = &self.reader else { return };
        for number in self.idle.drain(..).filter(|number| !self.heard_by.contains_key(number)) {
            inotify::forget(&reader.queue, number);
        }
    }

    fn dispatch(&mut self, event: &FileEvent) {
        /// More events than one survey usually misses. Beyond that the survey is simply repeated.
        const MOST_MISSED: usize = 1000;
        for OngoingSurvey { missed, .. } in self.surveys.values_mut() {
            match missed.len() {
                MOST_MISSED => *missed = vec![FileEvent::LOST],
                _ => missed.push(event.clone()),
            }
        }
        if event.number == FileEvent::LOST.number {
            self.wake_all();
            return;
        }
        let ids = self.heard_by.get(&event.number).into_iter().flatten();
        for listener in ids.filter_map(|id| self.listeners.get(id)) {
            if event.concerns(&listener.watched) {
                listener.woken.notify_one();
            }
        }
        if event.is_last {
            self.heard_by.remove(&event.number);
        }
    }

    fn wake_all(&self) {
        for listener in self.listeners.values() {
            listener.woken.notify_one();
        }
    }
}

/// The task that reads the queue. However it ends, the next survey opens another queue.
struct QueueTask {
    shared: Weak<SharedQueue>,
    queue: Arc<OwnedFd>,
}

impl QueueTask {
    async fn run(self, queue: InotifyQueue) {
        loop {
            let events = queue.read().await;
            let Some(shared) = self.shared.upgrade() else { return };
            match events {
                Ok(events) => events.iter().for_each(|event| shared.lock().dispatch(event)),
                Err(error) => {
                    let (error, hint) = (error.to_string(), "anchord opens another one");
                    warn!(
                        event = event::WATCH_QUEUE_FAILED,
                        error, hint, "The system's queue of file events has failed"
                    );
                    return;
                }
            }
        }
    }
}

impl Drop for QueueTask {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.lock();
        if state.reader.as_ref().is_some_and(|reader| Arc::ptr_eq(&reader.queue, &self.queue)) {
            state.heard_by.clear();
            state.idle.clear();
            state.listeners.values_mut().for_each(|listener| listener.watched.clear());
            state.wake_all();
            let reader = state.reader.take();
            drop(state);
            drop(reader);
        }
    }
}

#[cfg(test)]
mod tests;
