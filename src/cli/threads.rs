//! Threads, which a limit of processes may refuse: `RLIMIT_NPROC`, or `pids.max` of a control group.
//!
//! tokio panics where it can have no thread at all, so it is asked for none before they are known to be there.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// What a person can do.
pub(super) const HINT: &str = "raise the limit of processes and threads: `ulimit -u`, `TasksMax=` of a systemd unit, \
                               or pids.max of the container";

/// The threads besides the workers that a runtime needs: one for calls that block.
pub(super) const SPARE: usize = 1;

/// How many threads there may be, and why there are no more.
pub(super) struct Obtained {
    pub(super) count: usize,
    refusal: Option<io::Error>,
}

impl Obtained {
    pub(super) fn reason(&self) -> String {
        self.refusal.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// How many threads this process may start now, up to `wanted`.
pub(super) fn obtainable(wanted: usize) -> Obtained {
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

/// Says that there may be one more thread, which calls that block need.
///
/// # Errors
/// When a limit is reached.
pub(super) fn one_more() -> Result<(), Failure> {
    let obtained = obtainable(1);
    if obtained.count == 1 { Ok(()) } else { Err(none(&obtained)) }
}

/// Says that there are too few threads to work with.
pub(super) fn none(obtained: &Obtained) -> Failure {
    refused(&obtained.reason())
}

/// Says that the system has refused a thread.
pub(super) fn refused(reason: &str) -> Failure {
    let message = format!("cannot start a thread: {reason}");
    Failure::of(Reason::Misconfigured, message, Some(HINT.into()))
}

/// Keeps one of tokio's threads for calls that block, which would end after 10 idle seconds. Where no other can be had
/// such calls wait for it, and tokio panics only where there is none.
pub(super) async fn keep_a_spare() {
    const SHORTER_THAN_A_THREAD_IDLES: Duration = Duration::from_secs(5);
    loop {
        let _ = tokio::task::spawn_blocking(|| ()).await;
        tokio::time::sleep(SHORTER_THAN_A_THREAD_IDLES).await;
    }
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

    #[test]
    fn without_a_limit_there_are_as_many_threads_as_wanted() {
        let obtained = obtainable(8);

        assert_eq!((obtained.count, obtained.reason().as_str()), (8, ""));
        assert!(one_more().is_ok());
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
