//! What the process asks of the kernel for itself: no core files, and descriptors enough for its clients.

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use tracing::debug;
use tracing::warn;

use anchord_core::event;

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
