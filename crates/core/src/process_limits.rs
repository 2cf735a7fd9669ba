//! What the process asks of the kernel for itself: no core files, descriptors enough for its clients, and threads.

use std::thread;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use tracing::debug;
use tracing::warn;

use crate::event;
use crate::failure::Failure;
use crate::failure::Reason;

/// Forbids core files of this process, and with them that other processes of its user attach to it.
pub fn no_core_files() {
    let limit = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let dumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limit.and(dumpable) {
        warn!(
            event = event::DAEMON_CORE_FILES_ALLOWED,
            %error, "Core files could not be forbidden; a crash may leave secrets on disk"
        );
    }
}

/// Allows as many descriptors as the administrator lets us have; shells and systemd start programs with 1024.
pub fn raise_descriptor_limit() {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        debug!(%error, "The limit of open descriptors could not be raised");
    }
}

/// What a person can do where there are too few threads.
pub const RAISE_THREADS: &str = "raise the limit of processes and threads: `ulimit -u`, `TasksMax=` of a systemd unit, \
                                 or pids.max of the container";

/// Says that there may be one more thread. Calls that block need one, and tokio panics where it can have none.
///
/// # Errors
/// When a limit is reached.
pub fn one_more_thread() -> Result<(), Failure> {
    let started = thread::Builder::new().spawn(|| ()).map_err(|error| thread_refused(&error.to_string()))?;
    // It does nothing that could fail.
    let _ = started.join();
    Ok(())
}

/// Says that the system has refused a thread.
pub fn thread_refused(reason: &str) -> Failure {
    let message = format!("cannot start a thread: {reason}");
    Failure::of(Reason::Misconfigured, message, Some(RAISE_THREADS.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_files_of_this_process_are_forbidden() {
        no_core_files();

        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
    }

    #[test]
    fn descriptors_are_allowed_up_to_the_hard_limit() {
        raise_descriptor_limit();

        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
