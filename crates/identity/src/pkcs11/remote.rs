//! The daemon's side of the process that holds a module: starts it when needed, kills it if it does not answer.
//!
//! Each token gets one request at a time. So the time it spends on other requests is not mistaken for a module that
//! hangs. Each caller gets an answer or an error within the launcher's patience.

mod apart;
mod process;
#[cfg(feature = "pkcs11")]
mod variables;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::Weak;
use std::sync::mpsc;
use std::time::Duration;

#[cfg(feature = "pkcs11")]
pub(super) use apart::STARTED;
#[cfg(feature = "pkcs11")]
pub(super) use apart::UNKNOWN_MODULE;
pub use process::Launcher;
use process::NoReply;
use process::Process;
#[cfg(feature = "pkcs11")]
pub(super) use process::reap;
pub use process::set_spawner_apart;
#[cfg(feature = "pkcs11")]
pub(super) use process::spawn;
#[cfg(feature = "pkcs11")]
pub(super) use process::this_program_holds_modules;

use super::pins;
use super::pins::Permission;
use super::pins::lock;
use super::protocol::HostReply;
use super::protocol::ModuleFault;
use super::protocol::PinOutcome;
use super::protocol::TokenOperation;
use super::protocol::TokenResponse;
use anchord_core::secret::Secret;

/// The queues for a module's slots. A module may report any number of slots, and must not cause a thread for each in
/// the daemon.
const MAX_QUEUES: usize = 8;

/// How long an unused process is kept. It is longer than any pause between two attempts, because modules are slow to
/// start.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// The modules in use. All users of a module share its process, which ends some time after the last of them.
static MODULES: LazyLock<Mutex<HashMap<PathBuf, Weak<RemoteModule>>>> = LazyLock::new(Mutex::default);

/// A module in a process of its own.
pub(super) struct RemoteModule {
    inner: Arc<Inner>,
    queues: Mutex<HashMap<usize, mpsc::Sender<QueuedCall>>>,
    this: Weak<Self>,
}

struct Inner {
    module: PathBuf,
    launcher: Launcher,
    process: Mutex<Option<Arc<Process>>>,
}

struct QueuedCall {
    task: TokenOperation,
    pin: Option<Secret<Vec<u8>>>,
    result: mpsc::SyncSender<Result<TokenResponse, CallFailure>>,
    /// Gone when the caller has given up.
    waiting: Weak<()>,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// The module or token returned this error.
    Fault(ModuleFault),
    /// The token refused this PIN before, so it was not sent.
    PinRefusedBefore,
    /// The process cannot be started.
    Start(io::Error),
    /// The process ended.
    Crashed(String),
    /// No answer came in time.
    Silent,
}

impl RemoteModule {
    /// The module at `path`. The first caller's launcher is used for all.
    pub(super) fn of(path: &Path, launcher: &Launcher) -> Arc<Self> {
        let mut modules = lock(&MODULES);
        modules.retain(|_, remote| remote.strong_count() > 0);
        if let Some(remote) = modules.get(path).and_then(Weak::upgrade) {
            return remote;
        }
        let inner = Inner { module: path.into(), launcher: launcher.clone(), process: Mutex::default() };
        let inner = Arc::new(inner);
        let remote = Arc::new_cyclic(|this| Self { inner, queues: Mutex::default(), this: this.clone() });
        modules.insert(path.into(), Arc::downgrade(&remote));
        remote
    }

    pub(super) fn module(&self) -> &Path {
        &self.inner.module
    }

    pub(super) fn launcher(&self) -> &Launcher {
        &self.inner.launcher
    }

    /// Performs `task` and returns within the launcher's patience.
    pub(super) fn call(
        &self,
        task: TokenOperation,
        pin: Option<&Secret<Vec<u8>>>,
    ) -> Result<TokenResponse, CallFailure> {
        let (result, answer) = mpsc::sync_channel(1);
        let waiting = Arc::new(());
        // Slots are numbered in sequence or at random; the remainder spreads both.
        let queue = task.place().map_or(0, |place| 1 + (place.slot % MAX_QUEUES as u64) as usize);
        let job = QueuedCall { task, pin: pin.cloned(), result, waiting: Arc::downgrade(&waiting) };
        let queue_ended = || CallFailure::Crashed("its queue has ended".into());
        if let Err(mpsc::SendError(job)) = self.queue(queue)?.send(job) {
            // The queue's thread has panicked, which must cost only the call it was working on. Start another.
            lock(&self.queues).remove(&queue);
            self.queue(queue)?.send(job).map_err(|_| queue_ended())?;
        }
        match answer.recv_timeout(self.inner.launcher.patience()) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(CallFailure::Silent),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(queue_ended()),
        }
    }

    /// Makes the next call start the module again, because many modules notice new tokens only at their start. `false`
    /// if it has just been started, because it would see the same tokens.
    pub(super) fn refresh(&self) -> bool {
        let mut process = lock(&self.inner.process);
        match &*process {
            Some(running) if running.answered() <= 1 => false,
            // Callers that still wait keep the process alive until they have their answer.
            running => running.is_some() && process.take().is_some(),
        }
    }

    fn queue(&self, number: usize) -> Result<mpsc::Sender<QueuedCall>, CallFailure> {
        let mut queues = lock(&self.queues);
        if let Some(queue) = queues.get(&number) {
            return Ok(queue.clone());
        }
        let (sender, jobs) = mpsc::channel();
        let (inner, remote) = (Arc::clone(&self.inner), Weak::clone(&self.this));
        let thread = std::thread::Builder::new().name("pkcs11".into());
        thread.spawn(move || inner.work(&jobs, &remote)).map_err(CallFailure::Start)?;
        queues.insert(number, sender.clone());
        Ok(sender)
    }
}

impl Inner {
    /// Works on calls until `remote` is dropped. It keeps `remote` alive for [`IDLE_TIMEOUT`] after the last call.
    fn work(&self, jobs: &mpsc::Receiver<QueuedCall>, remote: &Weak<RemoteModule>) {
        let mut kept_alive = None;
        loop {
            let job = match jobs.recv_timeout(IDLE_TIMEOUT) {
                Ok(job) => job,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    kept_alive = None;
                    match jobs.recv() {
                        Ok(job) => job,
                        Err(_) => return,
                    }
                }
            };
            // Skip calls without a waiting caller: the token may have a long queue.
            if job.waiting.strong_count() > 0 {
                // The caller may have given up meanwhile.
                let _ = job.result.send(self.perform(&job.task, job.pin.as_ref()));
            }
            if kept_alive.is_none() {
                kept_alive = remote.upgrade();
            }
        }
    }

    fn perform(
        &self,
        task: &TokenOperation,
        pin: Option<&Secret<Vec<u8>>>,
    ) -> Result<TokenResponse, CallFailure> {
        let Some(place) = task.place() else { return self.ask(task, None, false).1 };
        // Without a PIN from us the token may use its own (a PIN pad, a setting of its software), which counts as well.
        let none = Secret::new(Vec::new());
        let given = pin;
        let pin = pin.unwrap_or(&none);
        let record = pins::record(&place.token);
        // Keep the record locked until the outcome is noted.
        let mut record = lock(&record);
        let careful = match record.permission(pin) {
            Permission::Denied => return Err(CallFailure::PinRefusedBefore),
            Permission::Careful => true,
            Permission::Granted => false,
        };
        let (outcome, result) = self.ask(task, given, careful);
        record.note(pin, outcome);
        result
    }

    /// Sends the task to the process. If a process that has answered before crashes, retries once with a new one.
    fn ask(
        &self,
        task: &TokenOperation,
        pin: Option<&Secret<Vec<u8>>>,
        careful: bool,
    ) -> (PinOutcome, Result<TokenResponse, CallFailure>) {
        let mut outcome = PinOutcome::Untried;
        for is_last in [false, true] {
            let process = match self.process() {
                Ok(process) => process,
                Err(error) => return (outcome, Err(CallFailure::Start(error))),
            };
            let careful = careful || outcome == PinOutcome::Unknown;
            match process.ask(task, pin, careful, self.launcher.hanging()) {
                Ok(reply) => return self.take(&process, reply, outcome),
                Err(NoReply::Silent) => {
                    self.retire(&process);
                    process.end();
                    return (PinOutcome::Unknown, Err(CallFailure::Silent));
                }
                Err(NoReply::Ended(how)) => {
                    self.retire(&process);
                    // The token may have counted the PIN before the crash. So the next process gets it with `careful`.
                    outcome = PinOutcome::Unknown;
                    if is_last || process.answered() == 0 {
                        return (outcome, Err(CallFailure::Crashed(how)));
                    }
                }
            }
        }
        (outcome, Err(CallFailure::Crashed("it ended twice".into())))
    }

    fn take(
        &self,
        process: &Arc<Process>,
        reply: HostReply,
        before: PinOutcome,
    ) -> (PinOutcome, Result<TokenResponse, CallFailure>) {
        if let Err(ModuleFault::NotAModule(_) | ModuleFault::Initialize(_)) = reply.result {
            // The file may have been replaced by the next call, so start again then.
            self.retire(process);
        }
        let outcome = match reply.pin {
            PinOutcome::Untried => before,
            known => known,
        };
        (outcome, reply.result.map_err(CallFailure::Fault))
    }

    fn process(&self) -> io::Result<Arc<Process>> {
        let mut process = lock(&self.process);
        match &*process {
            Some(running) if !running.has_ended() => Ok(Arc::clone(running)),
            _ => {
                let started = Arc::new(Process::start(&self.launcher, &self.module)?);
                *process = Some(Arc::clone(&started));
                Ok(started)
            }
        }
    }

    /// Takes `process` out of use, unless it was replaced already.
    fn retire(&self, process: &Arc<Process>) {
        let mut current = lock(&self.process);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, process)) {
            *current = None;
        }
    }
}
