//! Runtimes, and their threads, which a limit of processes may refuse: `RLIMIT_NPROC`, or `pids.max` of a control group.
//!
//! tokio panics where it can have no thread at all, so it is asked for none before they are known to be there.

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

/// The threads besides the workers that a runtime needs: one for calls that block.
const SPARE: usize = 1;

/// How many threads there may be, and why there are no more.
struct Obtained {
    count: usize,
    refusal: Option<io::Error>,
}

impl Obtained {
    fn reason(&self) -> String {
        self.refusal.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// How many threads this process may start now, up to `wanted`.
fn obtainable(wanted: usize) -> Obtained {
    let gate = Arc::new(Mutex::new(()));
    // They are there at once, for each waits until this is let go.
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
        // It does nothing that could fail.
        let _ = thread.join();
    }
    Obtained { count, refusal }
}

/// Says that there are too few threads to work with.
fn none(obtained: &Obtained) -> Failure {
    process_limits::thread_refused(&obtained.reason())
}

/// Keeps one of tokio's threads for calls that block, which would end after 10 idle seconds. Where no other can be had
/// such calls wait for it, and tokio panics only where there is none.
async fn keep_a_spare() {
    const SHORTER_THAN_A_THREAD_IDLES: Duration = Duration::from_secs(5);
    loop {
        let _ = tokio::task::spawn_blocking(|| ()).await;
        tokio::time::sleep(SHORTER_THAN_A_THREAD_IDLES).await;
    }
}

/// A runtime for verbs that ask a question and end.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    built(&mut Builder::new_current_thread())
}

/// One for verbs that go on: a call to a file system that hangs must not keep them from ending when they are told to.
/// Where a limit allows fewer threads it has fewer.
pub(super) fn runtime_with_threads() -> Result<Runtime, Failure> {
    /// For what blocks: files, keys and name lookups. Tokio's 512 would all be started by a thousand sessions that begin at
    /// once, and wait for two processors.
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
    // From the start, for a limit may be reached later.
    runtime.spawn(keep_a_spare());
    Ok(runtime)
}

fn built(builder: &mut Builder) -> Result<Runtime, Failure> {
    let broken = |error| Failure::of(Reason::Bug, format!("cannot start the runtime: {error}"), None);
    let runtime = builder.enable_all().build().map_err(broken)?;
    survive_size_limit(&runtime);
    Ok(runtime)
}

/// Has a write beyond `RLIMIT_FSIZE` fail, where the signal would end the process before it could say why. A handler, not
/// `SIG_IGN`, which commands that are run here would inherit.
fn survive_size_limit(runtime: &Runtime) {
    let _inside = runtime.enter();
    let size_limit = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when what is returned is dropped. Without one all else works as before.
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
