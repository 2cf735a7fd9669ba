//! Takes away from a process what its work does not need.
//!
//! A program that serves other users' requests should not be able to do more than that, even if a bug lets a caller
//! choose what it does. Nothing here can be undone, and child processes inherit all of it.
//!
//! [`enter`] is for the daemon: its system calls are known. [`contain_foreign_code`] is for a process that runs code
//! of others, which may do anything except for what endangers the whole host. Each part works without the others: an
//! old kernel or a container may lack some of them.

mod capabilities;
mod domain;
mod needs;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod system_calls;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "system_calls/absent.rs"]
mod system_calls;

use std::io;

pub use needs::Needs;
pub use needs::Shortage;
pub use needs::WriteRule;
pub use rustix::thread::CapabilitySet;

/// What is in force after the process has entered its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The parts in force, as a person reads them.
    pub parts: Vec<&'static str>,
    /// The parts that this kernel or container does not have, with the reason.
    pub missing: Vec<String>,
    /// The parts that failed although the kernel has them, with the reason.
    pub failed: Vec<String>,
    /// Whether only the directories of [`Needs::writable`] can be written.
    pub limits_writes: bool,
    /// Whether only the ports of [`Needs`] can be bound and connected to.
    pub limits_ports: bool,
}

impl InForce {
    fn note(&mut self, part: &'static str, outcome: Result<(), io::Error>) -> bool {
        match outcome {
            Ok(()) => {
                self.parts.push(part);
                return true;
            }
            Err(error) if is_absent(&error) => self.missing.push(format!("{part}: {error}")),
            Err(error) => self.failed.push(format!("{part}: {error}")),
        }
        false
    }
}

/// Whether the kernel's error says that it does not know what was asked for.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL];
    error.kind() == io::ErrorKind::Unsupported
        || absent.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const NO_NEW_PRIVILEGES: &str = "no_new_privs";
const CAPABILITIES: &str = "capabilities";
const SYSTEM_CALLS: &str = "seccomp";

/// Restricts this process to `needs` for the rest of its life.
///
/// Call it before the first thread starts: Landlock and capabilities belong to a thread, and only threads that start
/// later inherit them.
pub fn enter(needs: &Needs) -> InForce {
    let mut in_force = InForce::default();
    // Without it, an unprivileged process may use neither Landlock nor seccomp.
    in_force.note(NO_NEW_PRIVILEGES, rustix::thread::set_no_new_privs(true).map_err(io::Error::from));
    // Before the capabilities are dropped, because opening the directories of the rules may need them.
    domain::enter(needs, &mut in_force);
    in_force.note(CAPABILITIES, capabilities::keep_only(needs.capabilities));
    // Last, because it forbids the calls of the other parts.
    in_force.note(SYSTEM_CALLS, system_calls::allow_known());
    in_force
}

/// Restricts a process that is about to run code of others, such as a PKCS#11 module of a vendor.
///
/// Such code may start processes, use devices and networks, and change its user. It cannot attach to other processes,
/// load kernel code, mount file systems or make namespaces.
pub fn contain_foreign_code() -> InForce {
    let mut in_force = InForce::default();
    in_force.note(NO_NEW_PRIVILEGES, rustix::thread::set_no_new_privs(true).map_err(io::Error::from));
    in_force.note(CAPABILITIES, capabilities::keep_only(capabilities::OF_FOREIGN_CODE));
    in_force.note(SYSTEM_CALLS, system_calls::deny_dangerous());
    in_force
}
