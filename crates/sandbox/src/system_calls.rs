//! seccomp: which system calls the kernel accepts from the process.
//!
//! A refused call fails with EPERM and does not end the process, because a libc or a name service may try a call that it
//! can do without.

mod dangerous;
mod filter;
mod known;

use std::io;

use filter::Calls;
use filter::Verdict;
use rustix::io::Errno;

/// Allows only the calls that the daemon, its libraries and libc are known to make.
pub(crate) fn allow_known() -> io::Result<()> {
    hide_clone3()?;
    filter::install(&known::calls()?, Verdict::Allow)
}

/// Refuses only the calls that endanger the whole host.
pub(crate) fn deny_dangerous() -> io::Result<()> {
    hide_clone3()?;
    #[cfg(target_arch = "x86_64")]
    filter::refuse_x32()?;
    filter::install(&dangerous::calls()?, Verdict::Refuse(Errno::PERM))
}

/// The flags of clone3 are in memory, where no filter can look at them. glibc starts threads by clone3, and falls back to
/// clone only after ENOSYS.
fn hide_clone3() -> io::Result<()> {
    filter::install(&Calls::all_of(&[linux_raw_sys::general::__NR_clone3]), Verdict::Refuse(Errno::NOSYS))
}
