//! A process that holds a module, and the socket to it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;

use super::apart;
use super::apart::Apart;
#[cfg(feature = "pkcs11")]
use super::variables;
use crate::pkcs11::pins::lock;
use crate::pkcs11::protocol;
use crate::pkcs11::protocol::HostReply;
use crate::pkcs11::protocol::HostRequest;
use crate::pkcs11::protocol::TokenOperation;
use anchord_core::secret::Secret;

/// Less than the 5 s after which an identity counts as hanging, because this error says more.
const PATIENCE: Duration = Duration::from_secs(4);

/// A module that takes this many times longer hangs, and is killed. Until then it may only be slow, as old cards are at
/// first, and may be ready for the next caller.
const HANGING: u32 = 3;

/// How to start the process that holds a module.
#[derive(Clone)]
pub struct Launcher {
    start: Arc<StartProcess>,
    patience: Duration,
}

type StartProcess = dyn Fn(&Path) -> io::Result<StartedProcess> + Send + Sync;

/// The daemon's end of the socket, and the process at the other end.
pub(super) struct StartedProcess {
    pub(super) stream: UnixStream,
    pub(super) process: HostProcess,
}

/// The process of a host, by its parent.
pub(super) enum HostProcess {
    /// This process's.
    Own(Child),
    /// The spawner's.
    Apart(Apart),
    /// There is none, in a test.
    #[cfg(all(test, feature = "pkcs11"))]
    Scripted,
}

/// The variables that modules get; unset if this program cannot hold modules.
static VARIABLES: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();

/// Notes that this program holds a module if its first argument is `pkcs11-host`, as [`hold_modules`] does. Another
/// program would start its own work a second time, so a program that has not noted this cannot use tokens.
///
/// [`hold_modules`]: crate::pkcs11::hold_modules
#[cfg(feature = "pkcs11")]
pub(in crate::pkcs11) fn this_program_holds_modules(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) {
    // Later calls change nothing.
    let _ = VARIABLES.set(variables::for_modules(variables));
}

/// Sets a process apart that starts the hosts of `modules`, for a daemon that is about to enter its sandbox.
///
/// # Errors
/// If it cannot be started.
pub fn set_spawner_apart(modules: &[PathBuf]) -> io::Result<()> {
    let variables = VARIABLES.get().ok_or_else(loads_no_modules)?;
    apart::start(modules, program().env_clear().envs(variables.iter().cloned()))
}

/// Starts this program again, even if an upgrade has replaced its file.
impl Default for Launcher {
    fn default() -> Self {
        let start = |module: &Path| match (apart::host(module), VARIABLES.get()) {
            (Some(started), _) => {
                started.map(|(stream, host)| StartedProcess { stream, process: HostProcess::Apart(host) })
            }
            (None, Some(variables)) => run(module, variables),
            (None, None) => Err(loads_no_modules()),
        };
        Self { start: Arc::new(start), patience: PATIENCE }
    }
}

fn loads_no_modules() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this program loads no PKCS#11 modules")
}

fn program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("anchord");
    command
}

impl Launcher {
    /// Sets how long to wait for an answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(in crate::pkcs11) fn patience(&self) -> Duration {
        self.patience
    }

    /// The time without an answer after which a process is killed.
    pub(super) fn hanging(&self) -> Duration {
        self.patience * HANGING
    }

    #[cfg(all(test, feature = "pkcs11"))]
    pub(in crate::pkcs11) fn script(start: impl Fn() -> UnixStream + Send + Sync + 'static) -> Self {
        let start = move |_: &Path| Ok(StartedProcess { stream: start(), process: HostProcess::Scripted });
        Self { start: Arc::new(start), patience: PATIENCE }
    }
}

impl fmt::Debug for Launcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Launcher").field("patience", &self.patience).finish_non_exhaustive()
    }
}

fn run(module: &Path, variables: &[(OsString, OsString)]) -> io::Result<StartedProcess> {
    let (ours, theirs) = UnixStream::pair()?;
    let host = spawn(module, theirs.into(), variables)?;
    Ok(StartedProcess { stream: ours, process: HostProcess::Own(host) })
}

/// Starts a host at the other end of `stream`. It gets its own group, so that Ctrl-C in a terminal does not end it before
/// the daemon has drained. Its stderr is discarded: a module may print secrets there.
pub(in crate::pkcs11) fn spawn(
    module: &Path,
    stream: OwnedFd,
    variables: &[(OsString, OsString)],
) -> io::Result<Child> {
    let mut command = program();
    command.arg("pkcs11-host").arg(module).process_group(0);
    command.stdin(stream.try_clone()?).stdout(stream).stderr(Stdio::null());
    command.env_clear().envs(variables.iter().cloned()).spawn()
}

/// A running process; dropping it kills the process.
pub(super) struct Process {
    stream: UnixStream,
    /// Held while a request is written.
    writing: Mutex<()>,
    pending: Arc<Mutex<PendingReplies>>,
    next: AtomicU64,
}

/// The requests without a reply, and the end of the process.
///
/// A request and the end of the process race. [`Process::ask`] therefore checks `end` and registers its sender under one
/// lock, and [`read`] sets `end` and drops all senders under the same lock. So each request either sees the end when it
/// registers, or its sender is dropped later and wakes it: no request waits out its time for a process that is gone.
#[derive(Default)]
struct PendingReplies {
    expected: HashMap<u64, mpsc::SyncSender<HostReply>>,
    answered: u64,
    /// How the process ended; `None` while it runs.
    end: Option<String>,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum NoReply {
    /// The process has ended.
    Ended(String),
    /// The process runs, but did not answer in time.
    Silent,
}

impl Process {
    pub(super) fn start(launcher: &Launcher, module: &Path) -> io::Result<Self> {
        let pending = Arc::new(Mutex::new(PendingReplies::default()));
        let (start, module, for_thread) =
            (Arc::clone(&launcher.start), module.to_owned(), Arc::clone(&pending));
        let (starting, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("pkcs11".into());
        thread.spawn(move || hold(&*start, &module, &starting, &for_thread))?;
        let stream =
            started.recv().map_err(|_| io::Error::other("the thread that starts it has ended"))??;
        stream.set_write_timeout(Some(launcher.patience))?;
        Ok(Self { stream, writing: Mutex::default(), pending, next: AtomicU64::new(1) })
    }

    pub(super) fn ask(
        &self,
        task: &TokenOperation,
        pin: Option<&Secret<Vec<u8>>>,
        careful: bool,
        patience: Duration,
    ) -> Result<HostReply, NoReply> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = mpsc::sync_channel(1);
        {
            let mut pending = lock(&self.pending);
            if let Some(how) = &pending.end {
                return Err(NoReply::Ended(how.clone()));
            }
            pending.expected.insert(number, sender);
        }
        let request = HostRequest { number, task: task.clone(), careful };
        let writing = lock(&self.writing);
        if protocol::write(&mut &self.stream, &request, pin).is_err() {
            // Part of a request may have been written, so nothing after it would be understood.
            self.end();
        }
        drop(writing);
        match reply.recv_timeout(patience) {
            Ok(reply) => Ok(reply),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(NoReply::Silent),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(NoReply::Ended(lock(&self.pending).end.clone().unwrap_or_default()))
            }
        }
    }

    /// The number of requests it has answered.
    pub(super) fn answered(&self) -> u64 {
        lock(&self.pending).answered
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.pending).end.is_some()
    }

    /// Kills it, even if callers still wait.
    pub(super) fn end(&self) {
        // The reading thread then kills the process. An error means that the connection is closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts the process and runs until it has ended. The kernel kills the process together with the thread that started
/// it (PR_SET_PDEATHSIG in prctl(2)), so that thread must not end earlier.
fn hold(
    start: &StartProcess,
    module: &Path,
    starting: &mpsc::SyncSender<io::Result<UnixStream>>,
    pending: &Mutex<PendingReplies>,
) {
    match start(module) {
        Ok(StartedProcess { stream, process }) => {
            let writer = stream.try_clone();
            if writer.is_err() {
                // Then `read` gets nothing, and kills the process.
                let _ = stream.shutdown(Shutdown::Both);
            }
            // `start` waits for this.
            let _ = starting.send(writer);
            read(stream, process, pending);
        }
        Err(error) => _ = starting.send(Err(error)),
    }
}

/// Delivers replies until the process ends or sends an unexpected one.
fn read(mut stream: UnixStream, process: HostProcess, pending: &Mutex<PendingReplies>) {
    while let Ok(Some((reply, _))) = protocol::read::<HostReply>(&mut stream) {
        let mut pending = lock(pending);
        let Some(waiting) = pending.expected.remove(&reply.number) else { break };
        pending.answered += 1;
        // The caller may have given up.
        let _ = waiting.send(reply);
    }
    let _ = stream.shutdown(Shutdown::Both);
    let end = match process {
        HostProcess::Own(child) => reap(child),
        HostProcess::Apart(host) => host.end(),
        #[cfg(all(test, feature = "pkcs11"))]
        HostProcess::Scripted => "its connection was closed".into(),
    };
    let mut pending = lock(pending);
    pending.end = Some(end);
    // Dropping the senders wakes all waiting callers.
    pending.expected.clear();
}

/// Kills the process and everything the module has started: it is in the group that
/// [`spawn`] made. The group's number is still valid, because nothing has waited for the process yet.
pub(in crate::pkcs11) fn reap(mut child: Child) -> String {
    let group = Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.kill();
    let end = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    // As the first process of a container, or as the spawner, this program is now the parent of the rest and must reap
    // them.
    let is_subreaper = rustix::process::child_subreaper().is_ok_and(|subreaper| subreaper.is_some());
    if is_subreaper || rustix::process::getpid().is_init() {
        while rustix::process::waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
    end
}

#[cfg(all(test, feature = "pkcs11"))]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Tells of the end of the thread that has it.
    struct Ends(mpsc::Sender<()>);

    impl Drop for Ends {
        fn drop(&mut self) {
            // The test may be over.
            let _ = self.0.send(());
        }
    }

    thread_local! {
        static ENDS: RefCell<Option<Ends>> = const { RefCell::new(None) };
    }

    /// The kernel ends the process with the thread that started it.
    #[test]
    fn the_thread_that_starts_a_process_stays_as_long_as_the_process_is_used() {
        let (end, ended) = mpsc::channel();
        let others = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&others);
        let launcher = Launcher::script(move || {
            ENDS.set(Some(Ends(end.clone())));
            let (ours, theirs) = UnixStream::pair().unwrap();
            lock(&kept).push(theirs);
            ours
        });

        let starting = std::thread::spawn(move || Process::start(&launcher, Path::new("module.so")).unwrap());
        let process = starting.join().unwrap();
        assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(process);

        ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
