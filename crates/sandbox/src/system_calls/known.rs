//! The system calls of the daemon, of its libraries and of libc.
//!
//! The list began with what was observed with every front end, key source and kind of reload. It also has calls that
//! older and newer versions of libc use for the same, and calls that can do no harm. What starts programs, makes
//! namespaces, reaches into other processes or changes the host is not in it.

use std::io;

use linux_raw_sys::general as raw;

use super::dangerous::NAMESPACES;
use super::filter::ALL;
use super::filter::Argument;
use super::filter::Calls;

/// The calls to allow.
pub(super) fn calls() -> io::Result<Calls> {
    let mut calls = Calls::default();
    for group in [FILES, MEMORY, THREADS_AND_TIME, EVENTS, SOCKETS, ITSELF, BY_ARCHITECTURE] {
        calls.add(group);
    }
    sockets(&mut calls)?;
    devices(&mut calls)?;
    itself(&mut calls)?;
    Ok(calls)
}

const FILES: &[u32] = &[
    raw::__NR_read,
    raw::__NR_write,
    raw::__NR_readv,
    raw::__NR_writev,
    raw::__NR_pread64,
    raw::__NR_pwrite64,
    raw::__NR_preadv,
    raw::__NR_pwritev,
    raw::__NR_preadv2,
    raw::__NR_pwritev2,
    raw::__NR_close,
    raw::__NR_close_range,
    raw::__NR_dup,
    raw::__NR_dup3,
    raw::__NR_lseek,
    raw::__NR_fcntl,
    raw::__NR_flock,
    raw::__NR_openat,
    raw::__NR_openat2,
    raw::__NR_fstat,
    raw::__NR_newfstatat,
    raw::__NR_statx,
    raw::__NR_statfs,
    raw::__NR_fstatfs,
    raw::__NR_faccessat,
    raw::__NR_faccessat2,
    raw::__NR_readlinkat,
    raw::__NR_getdents64,
    raw::__NR_getcwd,
    raw::__NR_name_to_handle_at,
    raw::__NR_mkdirat,
    raw::__NR_unlinkat,
    raw::__NR_renameat,
    raw::__NR_renameat2,
    raw::__NR_linkat,
    raw::__NR_fchmod,
    raw::__NR_fchmodat,
    raw::__NR_fchmodat2,
    raw::__NR_fchown,
    raw::__NR_fchownat,
    raw::__NR_utimensat,
    raw::__NR_umask,
    raw::__NR_truncate,
    raw::__NR_ftruncate,
    raw::__NR_fallocate,
    raw::__NR_fsync,
    raw::__NR_fdatasync,
    raw::__NR_fadvise64,
    raw::__NR_copy_file_range,
    raw::__NR_getxattr,
    raw::__NR_lgetxattr,
    raw::__NR_fgetxattr,
    raw::__NR_listxattr,
    raw::__NR_llistxattr,
    raw::__NR_flistxattr,
    raw::__NR_fsetxattr,
    raw::__NR_fremovexattr,
    raw::__NR_memfd_create,
    raw::__NR_pipe2,
];

const MEMORY: &[u32] = &[
    raw::__NR_brk,
    raw::__NR_mmap,
    raw::__NR_munmap,
    raw::__NR_mprotect,
    raw::__NR_mremap,
    raw::__NR_madvise,
    raw::__NR_mincore,
    raw::__NR_msync,
    raw::__NR_mlockall,
    raw::__NR_mlock,
    raw::__NR_mlock2,
    raw::__NR_munlock,
    raw::__NR_memfd_secret,
    raw::__NR_map_shadow_stack,
    raw::__NR_mseal,
];

const THREADS_AND_TIME: &[u32] = &[
    raw::__NR_futex,
    raw::__NR_futex_waitv,
    raw::__NR_futex_wake,
    raw::__NR_futex_wait,
    raw::__NR_futex_requeue,
    raw::__NR_set_robust_list,
    raw::__NR_get_robust_list,
    raw::__NR_set_tid_address,
    raw::__NR_rseq,
    raw::__NR_membarrier,
    raw::__NR_sched_yield,
    raw::__NR_sched_getaffinity,
    raw::__NR_sched_getparam,
    raw::__NR_sched_getscheduler,
    raw::__NR_getcpu,
    raw::__NR_gettid,
    raw::__NR_exit,
    raw::__NR_exit_group,
    raw::__NR_restart_syscall,
    raw::__NR_nanosleep,
    raw::__NR_clock_nanosleep,
    raw::__NR_clock_gettime,
    raw::__NR_clock_getres,
    raw::__NR_gettimeofday,
    raw::__NR_timerfd_create,
    raw::__NR_timerfd_settime,
    raw::__NR_timerfd_gettime,
    raw::__NR_times,
    raw::__NR_rt_sigaction,
    raw::__NR_rt_sigprocmask,
    raw::__NR_rt_sigreturn,
    raw::__NR_rt_sigtimedwait,
    raw::__NR_rt_sigsuspend,
    raw::__NR_rt_sigpending,
    raw::__NR_sigaltstack,
];

const EVENTS: &[u32] = &[
    raw::__NR_epoll_create1,
    raw::__NR_epoll_ctl,
    raw::__NR_epoll_pwait,
    raw::__NR_epoll_pwait2,
    raw::__NR_ppoll,
    raw::__NR_pselect6,
    raw::__NR_eventfd2,
    raw::__NR_signalfd4,
    raw::__NR_inotify_init1,
    raw::__NR_inotify_add_watch,
    raw::__NR_inotify_rm_watch,
    raw::__NR_pidfd_open,
    raw::__NR_wait4,
    raw::__NR_waitid,
];

/// On sockets that exist; [`sockets`] has those that could reach around Landlock.
const SOCKETS: &[u32] = &[
    raw::__NR_bind,
    raw::__NR_listen,
    raw::__NR_accept,
    raw::__NR_accept4,
    raw::__NR_connect,
    raw::__NR_getsockname,
    raw::__NR_getpeername,
    raw::__NR_getsockopt,
    raw::__NR_shutdown,
    raw::__NR_recvfrom,
    raw::__NR_recvmsg,
    raw::__NR_recvmmsg,
];

const ITSELF: &[u32] = &[
    raw::__NR_getpid,
    raw::__NR_getppid,
    raw::__NR_getpgid,
    raw::__NR_getsid,
    raw::__NR_getuid,
    raw::__NR_geteuid,
    raw::__NR_getgid,
    raw::__NR_getegid,
    raw::__NR_getresuid,
    raw::__NR_getresgid,
    raw::__NR_getgroups,
    raw::__NR_capget,
    raw::__NR_getrusage,
    raw::__NR_getrlimit,
    raw::__NR_getpriority,
    raw::__NR_getrandom,
    raw::__NR_uname,
    raw::__NR_sysinfo,
];

/// Calls that newer architectures do without.
#[cfg(target_arch = "x86_64")]
const BY_ARCHITECTURE: &[u32] = &[
    raw::__NR_open,
    raw::__NR_stat,
    raw::__NR_lstat,
    raw::__NR_access,
    raw::__NR_readlink,
    raw::__NR_mkdir,
    raw::__NR_rmdir,
    raw::__NR_unlink,
    raw::__NR_rename,
    raw::__NR_link,
    raw::__NR_chmod,
    raw::__NR_chown,
    raw::__NR_lchown,
    raw::__NR_getdents,
    raw::__NR_dup2,
    raw::__NR_pipe,
    raw::__NR_poll,
    raw::__NR_select,
    raw::__NR_epoll_create,
    raw::__NR_epoll_wait,
    raw::__NR_eventfd,
    raw::__NR_inotify_init,
    raw::__NR_time,
    raw::__NR_getpgrp,
    raw::__NR_arch_prctl,
];

#[cfg(target_arch = "aarch64")]
const BY_ARCHITECTURE: &[u32] = &[];

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
/// The type without the flags beside it.
const TYPE: u32 = 0xf;
const ANY_PROTOCOL: u32 = 0;
const TCP: u32 = 6;
const UDP: u32 = 17;
const NETLINK_ROUTE: u32 = 0;
const NETLINK_SOCK_DIAG: u32 = 4;
/// Connects while it sends.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// Landlock's rules about ports miss MPTCP and TCP Fast Open, so neither can be used.
fn sockets(calls: &mut Calls) -> io::Result<()> {
    calls.add_if(raw::__NR_socket, &[(0, ALL, AF_UNIX)])?;
    calls.add_if(raw::__NR_socketpair, &[(0, ALL, AF_UNIX)])?;
    for family in [AF_INET, AF_INET6] {
        for (kind, protocol) in
            [(SOCK_STREAM, ANY_PROTOCOL), (SOCK_STREAM, TCP), (SOCK_DGRAM, ANY_PROTOCOL), (SOCK_DGRAM, UDP)]
        {
            calls.add_if(raw::__NR_socket, &[(0, ALL, family), (1, TYPE, kind), (2, ALL, protocol)])?;
        }
    }
    // glibc asks for addresses before it looks up names.
    for protocol in [NETLINK_ROUTE, NETLINK_SOCK_DIAG] {
        calls.add_if(raw::__NR_socket, &[(0, ALL, AF_NETLINK), (2, ALL, protocol)])?;
    }
    for (call, flags) in [(raw::__NR_sendto, 3), (raw::__NR_sendmsg, 2), (raw::__NR_sendmmsg, 3)] {
        calls.add_if(call, &[(flags, MSG_FASTOPEN, 0)])?;
    }
    // With this option, `connect` opens the connection only when the first data is sent.
    const TCP_FASTOPEN_CONNECT: u32 = 30;
    calls.add_unless(raw::__NR_setsockopt, &[(1, TCP), (2, TCP_FASTOPEN_CONNECT)])
}

/// The commands that ask, and those of sockets and descriptors. Others act on devices, such as terminals.
fn devices(calls: &mut Calls) -> io::Result<()> {
    const FIONBIO: u32 = 0x5421;
    const FIONREAD: u32 = 0x541b;
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    const TCGETS: u32 = 0x5401;
    const TIOCGWINSZ: u32 = 0x5413;
    const TIOCOUTQ: u32 = 0x5411;
    const SIOCGIFNAME: u32 = 0x8910;
    const SIOCGIFCONF: u32 = 0x8912;
    const SIOCGIFFLAGS: u32 = 0x8913;
    const SIOCGIFADDR: u32 = 0x8915;
    const SIOCGIFINDEX: u32 = 0x8933;
    for command in [
        FIONBIO,
        FIONREAD,
        FIOCLEX,
        FIONCLEX,
        TCGETS,
        TIOCGWINSZ,
        TIOCOUTQ,
        SIOCGIFNAME,
        SIOCGIFCONF,
        SIOCGIFFLAGS,
        SIOCGIFADDR,
        SIOCGIFINDEX,
    ] {
        calls.add_if(raw::__NR_ioctl, &[(1, ALL, command)])?;
    }
    // PIDFD_GET_INFO: its size, which grows with the kernel, is in the upper half.
    calls.add_if(raw::__NR_ioctl, &[(1, 0xffff, 0xff0b)])
}

/// Calls that act on other processes too, limited to this one.
fn itself(calls: &mut Calls) -> io::Result<()> {
    let own = u32::try_from(rustix::process::getpid().as_raw_pid()).map_err(io::Error::other)?;
    // A person's Ctrl-C and a failed assertion end the process by a signal.
    for call in [raw::__NR_kill, raw::__NR_tgkill] {
        calls.add_if(call, &[(0, ALL, own)])?;
    }
    for process in [0, own] {
        calls.add_if(raw::__NR_prlimit64, &[(0, ALL, process)])?;
    }
    calls.add_if(raw::__NR_clone, &[thread()])?;
    // Another filter refuses it. Of two errors, the kernel returns that of the newer filter, which is this one.
    calls.add(&[raw::__NR_clone3]);
    prctl(calls)
}

/// The flags of a thread: no process, and no namespace.
fn thread() -> Argument {
    let mask = NAMESPACES.iter().fold(raw::CLONE_THREAD, |mask, flag| mask | flag);
    (0, mask, raw::CLONE_THREAD)
}

fn prctl(calls: &mut Calls) -> io::Result<()> {
    const PR_GET_DUMPABLE: u32 = 3;
    const PR_SET_DUMPABLE: u32 = 4;
    const PR_SET_NAME: u32 = 15;
    const PR_GET_NAME: u32 = 16;
    const PR_GET_SECCOMP: u32 = 21;
    const PR_CAPBSET_READ: u32 = 23;
    const PR_SET_TIMERSLACK: u32 = 29;
    const PR_GET_TIMERSLACK: u32 = 30;
    /// glibc and rustix ask for what the kernel passed at the start.
    const PR_GET_AUXV: u32 = 0x4155_5856;
    const PR_SET_NO_NEW_PRIVS: u32 = 38;
    const PR_GET_NO_NEW_PRIVS: u32 = 39;
    /// Names memory, for those who look at the process's maps.
    const PR_SET_VMA: u32 = 0x5356_4d41;
    for option in [
        PR_GET_DUMPABLE,
        PR_SET_NAME,
        PR_GET_NAME,
        PR_GET_SECCOMP,
        PR_CAPBSET_READ,
        PR_SET_TIMERSLACK,
        PR_GET_TIMERSLACK,
        PR_GET_AUXV,
        PR_SET_NO_NEW_PRIVS,
        PR_GET_NO_NEW_PRIVS,
        PR_SET_VMA,
    ] {
        calls.add_if(raw::__NR_prctl, &[(0, ALL, option)])?;
    }
    // It may become private to root, and never open again.
    calls.add_if(raw::__NR_prctl, &[(0, ALL, PR_SET_DUMPABLE), (1, ALL, 0)])
}
