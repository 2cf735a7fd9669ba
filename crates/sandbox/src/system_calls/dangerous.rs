//! System calls that code of others does not get. They reach into other processes or change the whole host. Container
//! engines refuse nearly the same ones by default, so modules are used to it.

use std::io;

use linux_raw_sys::general as raw;

use super::filter::ALL;
use super::filter::Calls;

/// The calls to refuse.
pub(super) fn calls() -> io::Result<Calls> {
    let mut calls = Calls::all_of(&[
        // Other processes.
        raw::__NR_ptrace,
        raw::__NR_process_vm_readv,
        raw::__NR_process_vm_writev,
        raw::__NR_process_madvise,
        raw::__NR_pidfd_getfd,
        raw::__NR_kcmp,
        // The kernel.
        raw::__NR_init_module,
        raw::__NR_finit_module,
        raw::__NR_delete_module,
        raw::__NR_kexec_load,
        raw::__NR_kexec_file_load,
        raw::__NR_bpf,
        raw::__NR_perf_event_open,
        raw::__NR_userfaultfd,
        raw::__NR_io_uring_setup,
        raw::__NR_io_uring_enter,
        raw::__NR_io_uring_register,
        raw::__NR_add_key,
        raw::__NR_request_key,
        raw::__NR_keyctl,
        raw::__NR_syslog,
        raw::__NR_lookup_dcookie,
        // File systems and namespaces.
        raw::__NR_mount,
        raw::__NR_umount2,
        raw::__NR_pivot_root,
        raw::__NR_chroot,
        raw::__NR_open_tree,
        raw::__NR_move_mount,
        raw::__NR_fsopen,
        raw::__NR_fsconfig,
        raw::__NR_fsmount,
        raw::__NR_fspick,
        raw::__NR_mount_setattr,
        raw::__NR_open_by_handle_at,
        raw::__NR_fanotify_init,
        raw::__NR_unshare,
        raw::__NR_setns,
        // The host.
        raw::__NR_reboot,
        raw::__NR_swapon,
        raw::__NR_swapoff,
        raw::__NR_acct,
        raw::__NR_quotactl,
        raw::__NR_settimeofday,
        raw::__NR_clock_settime,
        raw::__NR_clock_adjtime,
        raw::__NR_adjtimex,
        raw::__NR_sethostname,
        raw::__NR_setdomainname,
        raw::__NR_vhangup,
    ]);
    // Puts input into a terminal, as if a person had typed it.
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541c;
    for command in [TIOCSTI, TIOCLINUX] {
        calls.add_if(raw::__NR_ioctl, &[(1, ALL, command)])?;
    }
    for namespace in NAMESPACES {
        calls.add_if(raw::__NR_clone, &[(0, *namespace, *namespace)])?;
    }
    Ok(calls)
}

/// The flags of `clone` that make a namespace.
pub(super) const NAMESPACES: &[u32] = &[
    raw::CLONE_NEWNS,
    raw::CLONE_NEWCGROUP,
    raw::CLONE_NEWUTS,
    raw::CLONE_NEWIPC,
    raw::CLONE_NEWUSER,
    raw::CLONE_NEWPID,
    raw::CLONE_NEWNET,
];
