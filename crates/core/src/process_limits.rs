//! The limits of this process: no core files, no memory on the disk, as many file descriptors as allowed, and a check that
//! threads can start.

use std::thread;

use rustix::mm::MlockAllFlags;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use tracing::debug;
use tracing::warn;

use crate::event;
use crate::failure::Failure;
use crate::failure::Reason;

/// Forbids core files of this process. This also keeps other processes of the same user from attaching to it.
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

/// Keeps the memory of this process from being swapped out, if the limit on locked memory is `unlimited`.
///
/// All of it, because credentials are also in buffers of libraries and on stacks. Under a limit this would fail, or
/// threads could not start later: reserved memory counts against the limit, too.
pub fn lock_memory() {
    if rustix::process::getrlimit(Resource::Memlock).current.is_some() {
        debug!("Memory is not locked and may be swapped out: RLIMIT_MEMLOCK is not `unlimited`");
    } else if let Err(error) = lock_all() {
        debug!(%error, "Memory cannot be locked and may be swapped out");
    }
}

fn lock_all() -> rustix::io::Result<()> {
    // ONFAULT: a page is locked once it is used, so that whole stacks do not take up memory.
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
}

/// Raises the limit of file descriptors to the hard limit. Shells and systemd start programs with 1024.
pub fn raise_descriptor_limit() {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        debug!(%error, "The limit of open descriptors could not be raised");
    }
}

/// What a person can do about too few threads.
pub const RAISE_THREADS: &str = "raise the limit of processes and threads: `ulimit -u`, `TasksMax=` of a systemd unit, \
                                 or pids.max of the container";

/// Checks that one more thread can start. Calls that block need one, and tokio panics if it cannot start one.
///
/// # Errors
/// If a limit is reached.
pub fn one_more_thread() -> Result<(), Failure> {
    let started = thread::Builder::new().spawn(|| ()).map_err(|error| thread_refused(&error.to_string()))?;
    // The thread does nothing that could fail.
    let _ = started.join();
    Ok(())
}

/// The failure to report if the system has refused to start a thread.
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
    fn all_memory_is_locked_and_threads_start_all_the_same() {
        if let Err(error) = lock_all() {
            println!("not shown here: this user may not lock memory beyond its limit: {error}");
            return;
        }

        one_more_thread().unwrap();

        let status = fs_err::read_to_string("/proc/self/status").unwrap();
        let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        assert!(!locked.contains("\t       0 kB"), "{locked}");
    }

    #[test]
    fn descriptors_are_allowed_up_to_the_hard_limit() {
        raise_descriptor_limit();

        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
