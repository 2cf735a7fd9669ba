//! A folder and a log for the tests of access keys.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use tempfile::TempDir;

pub(super) struct Folder(pub(super) TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::write(self.path(name), content).unwrap();
        fs_err::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        self.path(name)
    }
}

/// A second subscriber beside a test's own. With one alone, tracing asks a thread that has none whether a line that it meets
/// first is wanted, and keeps the answer for all threads.
static ANOTHER: std::sync::LazyLock<tracing::Dispatch> =
    std::sync::LazyLock::new(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));

/// All that this thread logs at `info` and above until the value is dropped, a line an event.
pub(super) struct Log {
    written: Written,
    _default: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(super) fn start() -> Self {
        let written = Written::default();
        let writer = written.clone();
        std::sync::LazyLock::force(&ANOTHER);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { written, _default: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines since this was last asked for.
    pub(super) fn news(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.written.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Whether `line` of a log is one of `event` at `level`.
pub(super) fn is_of(line: &str, level: &str, event: &str) -> bool {
    line.starts_with(level) && line.contains(&format!("event={event:?}"))
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
