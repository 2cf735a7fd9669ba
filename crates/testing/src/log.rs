//! A log that a test reads.
//!
//! tracing asks once for each line of code that logs whether a subscriber wants it, and keeps the answer for all threads.
//! If each test had a subscriber of its own, the thread of another test, which has none, could be the one to answer, and
//! the line would be lost for all. So one subscriber serves the process. It wants to be asked about each line each time,
//! and writes it to the [`Log`] that the thread holds.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Once;

use tracing::Level;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::OptionalWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

thread_local! {
    static HELD: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// What this thread logs, a line an event, until the value is dropped.
pub struct Log {
    lines: Lines,
    before: Option<Lines>,
}

impl Log {
    /// Captures `info` and above.
    pub fn start() -> Self {
        Self::down_to(Level::INFO)
    }

    /// Captures every level.
    pub fn verbose() -> Self {
        Self::down_to(Level::TRACE)
    }

    fn down_to(level: Level) -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(subscribe);
        let lines = Lines { level, written: Rc::default() };
        let before = HELD.replace(Some(lines.clone()));
        Self { lines, before }
    }

    /// All that was logged, as it was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.lines.written.borrow().clone()).unwrap()
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(|line| line.trim().to_owned()).collect()
    }

    /// All lines, which are taken out of the log.
    pub fn news(&self) -> Vec<String> {
        let lines = self.lines();
        self.lines.written.borrow_mut().clear();
        lines
    }

    /// How many lines there are of `event` at `level`.
    pub fn count(&self, level: &str, event: &str) -> usize {
        self.lines().iter().filter(|line| is_of(line, level, event)).count()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        HELD.set(self.before.take());
    }
}

/// Whether `line` of a log is one of `event` at `level`.
pub fn is_of(line: &str, level: &str, event: &str) -> bool {
    line.starts_with(level) && line.contains(&format!("event={event:?}"))
}

/// Sets the subscriber of all threads.
///
/// It begins with no level at all. While it does, threads pass over their lines without asking; they ask once it is theirs.
fn subscribe() {
    let (level, handle) = reload::Layer::new(LevelFilter::OFF);
    let captured = filter::dynamic_filter_fn(|line, _| is_captured(line));
    let lines = fmt::layer().with_ansi(false).without_time().with_target(false).with_writer(LogOfThread);
    let subscriber = tracing_subscriber::registry().with(level).with(captured).with(lines);
    tracing::subscriber::set_global_default(subscriber).expect("no test sets another");
    handle
        .modify(|level| *level = LevelFilter::TRACE)
        .expect("the subscriber of all threads is never dropped");
}

#[derive(Clone)]
struct Lines {
    level: Level,
    written: Rc<RefCell<Vec<u8>>>,
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of this thread; none when the thread is ending, which may still say something.
fn held() -> Option<Lines> {
    HELD.try_with(|held| held.borrow().clone()).ok().flatten()
}

fn is_captured(line: &Metadata<'_>) -> bool {
    held().is_some_and(|log| *line.level() <= log.level)
}

struct LogOfThread;

impl MakeWriter<'_> for LogOfThread {
    type Writer = OptionalWriter<Lines>;

    fn make_writer(&self) -> Self::Writer {
        held().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_thread_without_a_log_met_first_is_heard() {
        fn say() {
            tracing::info!("heard");
        }
        let log = Log::start();
        std::thread::spawn(say).join().unwrap();
        assert_eq!(log.lines(), [""; 0], "another thread's");

        say();

        assert_eq!(log.lines(), ["INFO heard"]);
    }

    #[test]
    fn the_innermost_log_hears_a_line_of_its_level() {
        let outer = Log::verbose();
        let inner = Log::start();
        tracing::warn!(event = "bell", "rings");
        tracing::debug!("too low");
        assert_eq!((inner.count("WARN", "bell"), inner.count("INFO", "bell")), (1, 0));
        assert_eq!(inner.news().len(), 1);
        assert_eq!(inner.text(), "");
        drop(inner);

        tracing::debug!("low enough");

        assert_eq!(outer.lines(), ["DEBUG low enough"]);
    }
}
