//! Drops the capabilities that root has and the process does not need.

use std::io;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;

/// What code of others keeps, if its process has it: access to files and devices, its memory, and another user to
/// change to. Smart cards and HSMs need no more.
pub(crate) const OF_FOREIGN_CODE: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::IPC_OWNER)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Drops all capabilities except for `kept`, of those that the thread has. A program that it starts gets none back.
pub(crate) fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    // The bounding set first, because that needs a capability itself.
    let bounded = limit_bounding_set(kept, held.effective.contains(CapabilitySet::SETPCAP));
    match rustix::thread::clear_ambient_capability_set() {
        // Linux has it since 4.3.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let permitted = held.permitted & kept;
    let sets = CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() };
    // A service manager's filter may refuse the call, where it has left nothing to drop.
    if sets != held {
        rustix::thread::set_capabilities(None, sets)?;
    }
    bounded
}

/// Without the capability for it, the bounding set stays. It matters only if a program is started that gains privileges,
/// which no_new_privs rules out.
fn limit_bounding_set(kept: CapabilitySet, may_limit: bool) -> io::Result<()> {
    if !may_limit {
        return Ok(());
    }
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel's last capability was before this one.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread that ends with the test. As a user without capabilities there is nothing to drop.
    #[test]
    fn only_the_kept_capabilities_remain_in_each_set() {
        let thread = std::thread::spawn(|| {
            let before = rustix::thread::capabilities(None).unwrap();
            keep_only(CapabilitySet::CHOWN).unwrap();
            let after = rustix::thread::capabilities(None).unwrap();
            let bound = [CapabilitySet::CHOWN, CapabilitySet::SYS_ADMIN];
            (before, after, bound.map(|one| rustix::thread::capability_is_in_bounding_set(one).unwrap()))
        });
        let (before, after, [chown, admin]) = thread.join().unwrap();

        assert_eq!(after.permitted, before.permitted & CapabilitySet::CHOWN);
        assert_eq!((after.effective, after.inheritable), (after.permitted, CapabilitySet::empty()));
        if before.effective.contains(CapabilitySet::SETPCAP | CapabilitySet::SYS_ADMIN) {
            assert!(chown && !admin);
        }
    }
}
