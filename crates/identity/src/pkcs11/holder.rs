//! The process that holds a PKCS#11 module for a daemon: the daemon's own program, started again as `pkcs11-host MODULE`.
//!
//! It ends with the daemon, whatever the module does. There are two ways, because each fails with some modules. First,
//! a thread that never runs the module reads the connection, which ends with the daemon; that fails if the module stops
//! all threads. Second, the kernel kills the process when the thread that started it ends; that fails if the module
//! changes its user, because the kernel then drops the setting.
//!
//! Processes that a module forks are in the group of this process and must end with it. A process that is killed cannot
//! do that, so a guard waits for its end and then kills the group. The guard is this program too, and never runs a
//! module.

use std::ffi::OsString;
use std::io;
use std::io::Write as _;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Stdio;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::host;
use super::remote;
use super::spawner;
use anchord_core::process_limits;

/// The first argument of the processes that a program starts to hold modules.
pub(super) const VERB: &str = "pkcs11-host";
const GUARD: &str = "--guard";
const SPAWNER: &str = "--spawner";

/// If this process was started to hold a PKCS#11 module, does that and never returns. Otherwise it notes that this
/// program can be started this way. A program that has not called this function cannot use PKCS#11 tokens.
///
/// Call it first in `main`, before any thread starts. `arguments` begin with the program's name. A module gets those of
/// `variables` that modules need, and those that `ANCHORD_PKCS11_ENVIRONMENT` names.
pub fn hold_modules(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    match arguments.as_slice() {
        [verb, guard] if verb == VERB && guard == GUARD => self::guard(),
        [verb, spawner, modules @ ..] if verb == VERB && spawner == SPAWNER => {
            spawn_hosts(modules, variables.into_iter().collect())
        }
        [verb, module] if verb == VERB => hold(Path::new(module)),
        _ => remote::this_program_holds_modules(variables),
    }
}

/// Serves the module to the daemon at the other end of stdin.
fn hold(module: &Path) -> ! {
    process_limits::no_core_files();
    let connection = prepare().unwrap_or_else(|error| {
        // No process of a module is in the group yet, and the group may be that of a user's shell: do not kill it.
        tell(&error);
        process::exit(BROKEN)
    });
    // After the guard has started. Whatever is missing is no reason to refuse the module: the daemon's own sandbox does
    // not depend on it.
    let _ = anchord_sandbox::contain_foreign_code();
    let served = connection.try_clone().and_then(|requests| host::serve(module, requests, connection));
    if let Err(error) = served {
        tell(&error);
    }
    // Kills what the module has started as well. An orderly exit would run the module's code again, which might hang.
    end()
}

/// Starts hosts for the daemon at the other end of stdin.
fn spawn_hosts(modules: &[OsString], variables: Vec<(OsString, OsString)>) -> ! {
    process_limits::no_core_files();
    let served = close_inherited().and_then(|()| take_connection()).and_then(|connection| {
        outlive_signals()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let modules = modules.iter().map(PathBuf::from).collect();
        spawner::serve(&connection.into(), modules, variables)
    });
    match served {
        Ok(()) => process::exit(0),
        Err(error) => {
            tell(&error);
            process::exit(BROKEN)
        }
    }
}

/// The exit code for bugs, as the program's own verbs use it.
const BROKEN: i32 = 70;

/// The daemon sends stderr to /dev/null. A person who starts this by hand sees the message.
fn tell(error: &io::Error) {
    let _ = writeln!(io::stderr(), "cannot serve a PKCS#11 module: {error}");
}

/// Does everything that must come before the module runs.
fn prepare() -> io::Result<UnixStream> {
    close_inherited()?;
    let connection = take_connection()?;
    lead_a_group()?;
    // Without a guard, processes that the module starts may remain, and nothing worse.
    let _ = start_guard();
    outlive_signals()?;
    // If the daemon has ended already, its end of the connection is closed.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(connection)
}

/// Closes descriptors that the daemon inherited and passed on: the module must not have them. The standard streams
/// stay; stdin is the connection.
#[expect(unsafe_code, reason = "what a process was started with has no owner in it")]
fn close_inherited() -> io::Result<()> {
    let mut numbers: Vec<RawFd> = Vec::new();
    for entry in fs_err::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > 2 && is_open(*number)) {
        // SAFETY: this comes first in a process that does nothing else and has one thread, so nothing in it owns a
        // descriptor yet. The folder's own is closed by now, which `is_open` tells.
        unsafe { rustix::io::close(number) };
    }
    Ok(())
}

fn is_open(number: RawFd) -> bool {
    fs_err::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

/// Takes the daemon's socket from stdin. Then stdin and stdout become /dev/null, because a module may print.
fn take_connection() -> io::Result<UnixStream> {
    let connection = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    // Fails if it is not a socket.
    connection.peer_addr()?;
    let nowhere = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(connection)
}

/// The daemon drains at SIGTERM and may need a signature for that. So this process ignores the signals that systemd or
/// a terminal sends to both, and ends with its connection.
fn outlive_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
        // tokio never restores the default action, even after the `Signal` is dropped (see its documentation).
        drop(signal(kind)?);
    }
    Ok(())
}

/// Processes of the module belong to the group and end with it. The daemon makes the group; other callers may not.
fn lead_a_group() -> io::Result<()> {
    if rustix::process::getpgrp() != rustix::process::getpid() {
        rustix::process::setpgid(None, None)?;
    }
    Ok(())
}

/// Starts the guard without the connection, which would otherwise outlive this process.
fn start_guard() -> io::Result<()> {
    let mut command = process::Command::new("/proc/self/exe");
    command.arg0("anchord").args([VERB, GUARD]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Never waited for, because it ends after this process.
    command.spawn().map(drop)
}

/// Waits for the end of the group's leader, then kills the group.
fn guard() -> ! {
    let leader = rustix::process::getpgrp();
    if leader == rustix::process::getpid() {
        // A person started this by hand: do not kill the group of the shell.
        process::exit(2);
    }
    // Signals that systemd sends to all processes must not end this one before the leader.
    if outlive_signals().is_ok() {
        wait_for_the_end_of(leader);
    }
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    process::exit(0);
}

/// The process number stays valid: the kernel does not reuse it while a group has it.
fn wait_for_the_end_of(leader: Pid) {
    const SECOND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    match rustix::process::pidfd_open(leader, PidfdFlags::empty()) {
        Ok(ending) => while rustix::event::poll(&mut [PollFd::new(&ending, PollFlags::IN)], None).is_err() {},
        // Kernels before 5.3 have no pidfd, so poll.
        Err(Errno::NOSYS) => {
            while rustix::process::test_kill_process(leader).is_ok() {
                let _ = rustix::event::poll(&mut [], Some(&SECOND));
            }
        }
        Err(_) => {}
    }
}

fn end() -> ! {
    let _ = rustix::process::kill_process_group(rustix::process::getpid(), Signal::KILL);
    // The module may have moved this process out of its group.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    process::abort();
}
