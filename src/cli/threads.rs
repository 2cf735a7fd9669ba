//! Creates tokio runtimes within the limit of threads (`RLIMIT_NPROC`, or `pids.max` of a control group).
//!
//! tokio panics if it cannot start a thread, so this module finds out first how many threads the process may have.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::process_limits;

/// The threads that a runtime needs besides its workers: one for blocking calls.
const SPARE: usize = 1;

/// The number of threads that could be started, and why not more.
struct Obtained {
    count: usize,
    refusal: Option<io::Error>,
}

impl Obtained {
    fn reason(&self) -> String {
        self.refusal.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Finds out how many threads this process may start now, up to `wanted`.
fn obtainable(wanted: usize) -> Obtained {
    let gate = Arc::new(Mutex::new(()));
    // All threads exist at the same time, because each waits for this lock.
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut started = Vec::new();
    let mut refusal = None;
    while started.len() < wanted && refusal.is_none() {
        let gate = Arc::clone(&gate);
        let waiting = move || drop(gate.lock());
        match thread::Builder::new().spawn(waiting) {
            Ok(thread) => started.push(thread),
            Err(error) => refusal = Some(error),
        }
    }
    drop(closed);
    let count = started.len();
    for thread in started {
        // The thread cannot panic.
        let _ = thread.join();
    }
    Obtained { count, refusal }
}

/// The failure if there are too few threads.
fn none(obtained: &Obtained) -> Failure {
    process_limits::thread_refused(&obtained.reason())
}

/// Keeps one of tokio's threads for blocking calls alive; it would end after 10 idle seconds. If no other thread can be
/// started, blocking calls wait for this one. Without any, tokio would panic.
async fn keep_a_spare() {
    const SHORTER_THAN_A_THREAD_IDLES: Duration = Duration::from_secs(5);
    loop {
        let _ = tokio::task::spawn_blocking(|| ()).await;
        tokio::time::sleep(SHORTER_THAN_A_THREAD_IDLES).await;
    }
}

/// A runtime for verbs that do one thing and end.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    built(&mut Builder::new_current_thread())
}

/// A runtime for verbs that keep running. It has several threads, so that a call to a file system that hangs does not keep
/// the verb from ending on a signal. It has fewer threads than usual if the limit requires that.
pub(super) fn runtime_with_threads() -> Result<Runtime, Failure> {
    /// For blocking calls: files, keys and name lookups. With tokio's default of 512, a thousand sessions that start together
    /// would start all of them, although a host has few processors.
    const MOST_BLOCKING: usize = 128;
    let usual = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let obtained = obtainable(usual + SPARE);
    let workers = match obtained.count.saturating_sub(SPARE) {
        0 => return Err(none(&obtained)),
        workers => workers,
    };
    let mut builder = Builder::new_multi_thread();
    builder.max_blocking_threads(MOST_BLOCKING);
    if workers < usual {
        let (error, hint) = (obtained.reason(), process_limits::RAISE_THREADS);
        tracing::warn!(
            event = event::DAEMON_FEW_THREADS,
            workers,
            usual,
            error,
            hint,
            "There are fewer threads than usual; serving more slowly"
        );
        builder.worker_threads(workers);
    }
    let runtime = built(&mut builder)?;
    // Started now, because a limit may be reached later.
    runtime.spawn(keep_a_spare());
    Ok(runtime)
}

fn built(builder: &mut Builder) -> Result<Runtime, Failure> {
    let broken = |error| Failure::of(Reason::Bug, format!("cannot start the runtime: {error}"), None);
    let runtime = builder.enable_all().build().map_err(broken)?;
    survive_size_limit(&runtime);
    Ok(runtime)
}

/// Makes a write beyond `RLIMIT_FSIZE` fail with an error. By default the signal would end the process before it could log
/// the reason. This is a handler and not `SIG_IGN`, which child processes would inherit.
fn survive_size_limit(runtime: &Runtime) {
    let _inside = runtime.enter();
    let size_limit = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays after the returned stream is dropped. If it cannot be set, everything else still works.
    let _ = signal(size_limit);
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

    #[test]
    fn without_a_limit_there_are_as_many_threads_as_wanted() {
        let obtained = obtainable(8);

        assert_eq!((obtained.count, obtained.reason().as_str()), (8, ""));
        assert!(process_limits::one_more_thread().is_ok());
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let refusal = io::Error::from_raw_os_error(rustix::io::Errno::AGAIN.raw_os_error());

        let failure = none(&Obtained { count: 0, refusal: Some(refusal) });

        assert_eq!(failure.class(), Class::Misconfigured);
        let text = failure.to_string();
        assert!(text.starts_with("cannot start a thread: Resource temporarily unavailable"), "{text}");
        assert!(text.contains("hint: raise the limit of processes and threads"), "{text}");
    }
}
