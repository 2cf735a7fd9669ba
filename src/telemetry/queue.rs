//! A bounded queue of log lines, and a thread that writes them to stderr.
//!
//! stderr may be a pipe that its reader has stopped reading (a hung journal, docker's blocking log driver). A write
//! then blocks for as long as the reader hangs, and a thread that serves clients must not wait for it. So lines go into
//! memory, up to a limit. Lines beyond the limit are dropped and counted, and the log shows the count where the lines
//! are missing. `DEBUG` and `TRACE` lines, of which busy clients cause many, may fill only half of the queue, so that they
//! leave room for warnings.
//!
//! Not `tracing-appender`: it bounds lines and not bytes, its count of dropped lines appears in no log, and it would
//! bring two crates for less than this file holds.

use std::collections::VecDeque;
use std::io;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::thread::ThreadId;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use tracing::Level;
use tracing::Metadata;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use anchord_core::event;

/// Several thousand lines: enough for the start of a thousand sessions, and for a reader that pauses.
const MOST_BYTES: usize = 1 << 20;

/// How long the process waits at its end for queued lines.
const FLUSH: Duration = Duration::from_secs(1);

/// Owns the queue. Dropping it waits for a short time until all lines are written.
#[derive(Debug)]
pub(crate) struct Queue(Arc<Shared>);

/// Puts lines into the queue. Each call of `write` must have whole lines, because the queue drops whole calls.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    most_bytes: usize,
}

#[derive(Debug)]
struct Shared {
    most_bytes: usize,
    state: Mutex<State>,
    /// Signals that a line was queued.
    filled: Condvar,
    /// Signals that all queued lines are written.
    emptied: Condvar,
    thread: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Lines that the writing thread itself logs. They must not wait for lines that this thread has still to write.
    own: Vec<u8>,
    is_writing: bool,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// The number of lines that were dropped here.
    Dropped(u64),
}

impl Queue {
    /// A queue in front of stderr.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        Self::to(Stderr, MOST_BYTES, tell)
    }

    /// A queue in front of `sink`; `tell` logs the number of lost lines.
    fn to(
        sink: impl Write + Send + 'static,
        most_bytes: usize,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            most_bytes,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            thread: OnceLock::new(),
        });
        let writing = Arc::clone(&shared);
        std::thread::Builder::new().name("logs".into()).spawn(move || writing.write_to(sink, tell))?;
        Ok(Self(shared))
    }

    /// A writer for the subscriber.
    pub(crate) fn writer(&self) -> Writer {
        Writer { shared: Arc::clone(&self.0), most_bytes: self.0.most_bytes }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let is_busy = |state: &mut State| state.is_writing || !state.entries.is_empty();
        let waited = self.0.emptied.wait_timeout_while(self.0.lock(), FLUSH, is_busy);
        // The process ends even if lines are left.
        drop(waited);
    }
}

impl Shared {
    /// Queues `line`, unless it would fill more than `most_bytes` of the queue.
    fn push(&self, line: &[u8], most_bytes: usize) {
        let mut state = self.lock();
        if self.thread.get() == Some(&std::thread::current().id()) {
            state.own.extend_from_slice(line);
            return;
        }
        if state.bytes + line.len() <= most_bytes {
            state.bytes += line.len();
            state.entries.push_back(Entry::Line(line.into()));
        } else if let Some(Entry::Dropped(count)) = state.entries.back_mut() {
            *count += 1;
        } else {
            state.entries.push_back(Entry::Dropped(1));
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Writes for ever, also after errors: a full disk may have room again later.
    fn write_to(&self, mut sink: impl Write, tell: impl Fn(u64)) {
        self.thread.get_or_init(|| std::thread::current().id());
        let mut lost = 0;
        let mut is_writable = true;
        loop {
            match self.next() {
                Entry::Line(line) => {
                    is_writable = sink.write_all(&line).is_ok();
                    lost += u64::from(!is_writable);
                }
                Entry::Dropped(count) => lost += count,
            }
            if lost > 0 && is_writable {
                tell(lost);
                let told = std::mem::take(&mut self.lock().own);
                is_writable = sink.write_all(&told).is_ok();
                lost = if is_writable { 0 } else { lost };
            }
        }
    }

    /// Waits for the next entry. If the queue is empty, signals that all entries are written.
    fn next(&self) -> Entry {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.entries.pop_front() {
                if let Entry::Line(line) = &entry {
                    state.bytes -= line.len();
                }
                state.is_writing = true;
                return entry;
            }
            state.is_writing = false;
            self.emptied.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(lines: u64) {
    warn!(event = event::LOG_LOST, lines, "Log lines were lost, because stderr was blocked or full");
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line, self.most_bytes);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> Self {
        let is_detail = *event.level() > Level::INFO;
        let most_bytes = if is_detail { self.most_bytes / 2 } else { self.most_bytes };
        Self { shared: Arc::clone(&self.shared), most_bytes }
    }
}

/// Writes to the descriptor itself: a blocked write would hold std's lock on stderr and so block other threads.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = rustix::stdio::stderr();
        loop {
            match rustix::io::write(stderr, bytes) {
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                // Another process that shares the terminal or pipe may have made it non-blocking.
                Err(Errno::AGAIN) => {
                    let mut writable = [PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::OUT)];
                    match rustix::event::poll(&mut writable, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Takes a write only when the test lets it, with the outcome that the test wants.
    struct Gate {
        outcomes: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A test that has ended blocks for ever, as a reader that hangs does.
            let Ok(outcome) = self.outcomes.recv() else {
                loop {
                    std::thread::park();
                }
            };
            outcome?;
            let _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        queue: Queue,
        let_through: mpsc::Sender<io::Result<()>>,
        written: mpsc::Receiver<String>,
    }

    impl Bench {
        fn new(most_bytes: usize) -> Self {
            let (let_through, outcomes) = mpsc::channel::<io::Result<()>>();
            let (sent, written) = mpsc::channel::<String>();
            let logger = Arc::new(OnceLock::<Writer>::new());
            let own = Arc::clone(&logger);
            let tell = move |lines| own.wait().clone().write_all(format!("lost {lines}").as_bytes()).unwrap();
            let queue = Queue::to(Gate { outcomes, written: sent }, most_bytes, tell).unwrap();
            logger.set(queue.writer()).unwrap();
            Self { queue, let_through, written }
        }

        fn log(&self, line: &str) {
            self.queue.writer().write_all(line.as_bytes()).unwrap();
        }

        /// Waits until the writing thread has taken all but `left` entries, and is stuck with the one before these.
        fn until_taken(&self, left: usize) {
            while self.queue.0.lock().entries.len() > left {
                std::thread::yield_now();
            }
        }

        fn next(&self) -> String {
            self.let_through.send(Ok(())).unwrap();
            self.written.recv_timeout(Duration::from_secs(30)).unwrap()
        }
    }

    #[test]
    fn lines_arrive_in_their_order() {
        let bench = Bench::new(100);

        for line in ["one", "two", "three"] {
            bench.log(line);
        }

        assert_eq!([bench.next(), bench.next(), bench.next()], ["one", "two", "three"]);
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_its_number_stands_in_its_place() {
        let bench = Bench::new(8);
        bench.log("stuck");
        bench.until_taken(0);

        for line in ["1234", "5678", "dropped", "dropped too"] {
            bench.log(line);
        }
        assert_eq!([bench.next(), bench.next()], ["stuck", "1234"]);
        bench.until_taken(1);
        bench.log("next");

        assert_eq!([bench.next(), bench.next(), bench.next()], ["5678", "lost 2", "next"]);
    }

    #[test]
    fn a_flood_of_details_leaves_room_for_a_warning() {
        let bench = Bench::new(64);
        bench.log("stuck");
        bench.until_taken(0);
        let layer = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_target(false);
        let logs = tracing_subscriber::registry().with(layer.with_writer(bench.queue.writer()));

        tracing::subscriber::with_default(logs, || {
            for _ in 0..9 {
                tracing::debug!("detail");
            }
            warn!("told");
        });

        let seen = ["stuck", "DEBUG detail\n", "DEBUG detail\n", "lost 7", " WARN told\n"];
        assert_eq!(seen.map(|_| bench.next()), seen);
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_once_it_takes_some_again() {
        let bench = Bench::new(100);
        for line in ["first", "second"] {
            bench.let_through.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
            bench.log(line);
        }
        bench.log("third");

        assert_eq!([bench.next(), bench.next()], ["third", "lost 2"]);
    }

    #[test]
    fn the_end_waits_for_what_is_queued() {
        let bench = Bench::new(100);
        bench.log("last words");
        bench.let_through.send(Ok(())).unwrap();

        drop(bench.queue);

        assert_eq!(bench.written.try_recv().unwrap(), "last words");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_hangs() {
        let bench = Bench::new(100);
        bench.log("never read");

        drop(bench.queue);

        assert!(bench.written.try_recv().is_err());
    }
}
