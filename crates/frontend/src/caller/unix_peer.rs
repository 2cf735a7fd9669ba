//! What the kernel tells of the process at the other end of a Unix socket, beyond `SO_PEERCRED` (unix(7)).

use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::process::Pid;
use rustix::process::PidfdFlags;

use super::units;

/// The supplementary groups that the process had when it connected (`SO_PEERGROUPS`, Linux 4.13).
pub(super) fn groups(stream: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // Most users are in a few groups; the kernel says how many if there are more.
    let mut groups = vec![0_u32; 64];
    loop {
        match socket_option(stream, libc::SO_PEERGROUPS, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err((error, needed)) if error.raw_os_error() == Some(libc::ERANGE) && needed > groups.len() => {
                groups.resize(needed, 0);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// The control group of the process. `None` if it has ended, or if the kernel does not tell.
pub(super) fn cgroup(stream: BorrowedFd<'_>, pid: Option<i32>) -> Option<u64> {
    match process(stream) {
        Some(process) => cgroup_of(process.as_fd()).or_else(|| cgroup_by_proc(process.as_fd(), pid?)),
        // Before Linux 6.5. Another process may have the number by now, if this one has ended.
        None => {
            let process = rustix::process::pidfd_open(Pid::from_raw(pid?)?, PidfdFlags::empty()).ok()?;
            cgroup_by_proc(process.as_fd(), pid?)
        }
    }
}

/// A descriptor of the process (`SO_PEERPIDFD`, Linux 6.5).
fn process(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut descriptor = [u32::MAX];
    socket_option(stream, SO_PEERPIDFD, &mut descriptor).ok()?;
    let descriptor = i32::try_from(descriptor[0]).ok()?;
    #[expect(unsafe_code, reason = "the kernel returns a new descriptor as a number")]
    // SAFETY: the kernel made the descriptor for this call, and nothing else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Some(descriptor)
}

/// `struct pidfd_info` of Linux 6.13, whose fields after these are not needed.
#[repr(C)]
#[derive(Default)]
struct ProcessInfo {
    mask: u64,
    cgroup: u64,
    others: [u32; 12],
}

/// The control group by `PIDFD_GET_INFO` (Linux 6.13). Works for processes that `/proc` hides.
fn cgroup_of(process: BorrowedFd<'_>) -> Option<u64> {
    /// `_IOWR(0xff, 11, struct pidfd_info)`.
    const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
    const PIDFD_INFO_CGROUPID: u64 = 4;
    let mut info = ProcessInfo { mask: PIDFD_INFO_CGROUPID, ..ProcessInfo::default() };
    #[expect(unsafe_code, reason = "rustix has no such call")]
    // SAFETY: the call writes at most the size in its number, which is that of `info`.
    let outcome = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    (outcome == 0 && info.mask & PIDFD_INFO_CGROUPID != 0).then_some(info.cgroup)
}

/// The control group by `/proc/PID/cgroup`, if `process` still runs afterwards: then no other process has its number.
fn cgroup_by_proc(process: BorrowedFd<'_>, pid: i32) -> Option<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mut ended = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    if rustix::event::poll(&mut ended, Some(&Timespec::default())).ok()? > 0 {
        return None;
    }
    units::id_of(text.lines().find_map(|line| line.strip_prefix("0::"))?)
}

/// Reads a socket option into `values`. Returns how many there are, also beside an error.
fn socket_option(
    stream: BorrowedFd<'_>,
    option: libc::c_int,
    values: &mut [u32],
) -> Result<usize, (io::Error, usize)> {
    const SIZE: usize = size_of::<u32>();
    let mut length = libc::socklen_t::try_from(size_of_val(values)).unwrap_or(0);
    #[expect(unsafe_code, reason = "rustix has no such options")]
    // SAFETY: `values` has `length` bytes, all of which may be written with any value.
    let outcome = unsafe {
        let values = values.as_mut_ptr().cast();
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, option, values, &raw mut length)
    };
    let count = usize::try_from(length).unwrap_or(0) / SIZE;
    if outcome == 0 { Ok(count) } else { Err((io::Error::last_os_error(), count)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_groups_of_a_process_are_those_that_it_has() {
        let (ours, _theirs) = UnixStream::pair().unwrap();

        let mut groups = groups(ours.as_fd()).unwrap();

        let mut own: Vec<_> =
            rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
    }

    /// Both ways are right here: a container may show only its own part of the tree.
    #[test]
    fn the_control_group_is_found_by_the_descriptor_and_by_proc_alike() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let Some(process) = process(ours.as_fd()) else { return };

        let (by_descriptor, by_proc) = (cgroup_of(process.as_fd()), cgroup_by_proc(process.as_fd(), pid));

        if let (Some(by_descriptor), Some(by_proc)) = (by_descriptor, by_proc) {
            assert_eq!(by_descriptor, by_proc);
        }
        assert_eq!(cgroup(ours.as_fd(), Some(pid)), by_descriptor.or(by_proc));
    }
}
