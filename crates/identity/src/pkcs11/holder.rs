//! The process that holds a PKCS#11 module for a daemon: the daemon's own program, started again as `pkcs11-host MODULE`.
//!
//! It ends when the daemon does, whatever the module does. Two ways lead there: the connection ends, which a thread
//! reads that the module never runs in; and the kernel kills it when the thread that started it ends. The first holds
//! where a module changes its user, which makes the kernel forget; the second where a module stops all threads.
//!
//! What a module has forked is in the process's group and ends with it. A process that is killed ends nothing any more, so
//! a guard, which is this program too and never runs a module, waits for its end and then kills the group.

use std::ffi::OsString;
use std::io;
use std::io::Write as _;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
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
use anchord_core::process_limits;

/// The first argument of the processes that a program starts to hold modules.
pub(super) const VERB: &str = "pkcs11-host";
const GUARD: &str = "--guard";

/// Where this process was started to hold a PKCS#11 module, does so and never returns. Otherwise says that this program can
/// be started so: PKCS#11 tokens are refused in a program that has not called this.
///
/// Call it first in `main`, before any thread is started. `arguments` begin with the program's name. A module sees those of
/// `variables` that modules need, and those that `ANCHORD_PKCS11_ENVIRONMENT` names.
pub fn hold_modules(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    match arguments.as_slice() {
        [verb, guard] if verb == VERB && guard == GUARD => self::guard(),
        [verb, module] if verb == VERB => hold(Path::new(module)),
        _ => remote::this_program_holds_modules(variables),
    }
}

/// Serves the module to the daemon at the other end of stdin.
fn hold(module: &Path) -> ! {
    process_limits::no_core_files();
    let connection = prepare().unwrap_or_else(|error| {
        // Nothing of a module's is in the group yet, which may be that of a person's own processes.
        tell(&error);
        process::exit(BROKEN)
    });
    let served = connection.try_clone().and_then(|requests| host::serve(module, requests, connection));
    if let Err(error) = served {
        tell(&error);
    }
    // With what the module has started. Not an orderly exit, in which the module would run code once more and might
    // never come back.
    end()
}

/// What the program's own verbs end with after a bug.
const BROKEN: i32 = 70;

/// The daemon has led stderr nowhere; a person who starts this by hand sees it.
fn tell(error: &io::Error) {
    let _ = writeln!(io::stderr(), "cannot serve a PKCS#11 module: {error}");
}

/// All that must be done before the module may run.
fn prepare() -> io::Result<UnixStream> {
    close_inherited()?;
    let connection = take_connection()?;
    lead_a_group()?;
    // Without one, only what the module starts may stay.
    let _ = start_guard();
    outlive_signals()?;
    // A daemon that has ended by now has closed its end of the connection.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(connection)
}

/// What the daemon's caller left open came here through the daemon, and is no business of the module's. The standard
/// streams stay, of which stdin is the connection.
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

/// The daemon's socket, which is stdin; both standard streams lead nowhere afterwards, because a module may print.
fn take_connection() -> io::Result<UnixStream> {
    let connection = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    // What is no socket says so here.
    connection.peer_addr()?;
    let nowhere = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(connection)
}

/// The daemon drains at SIGTERM, for which it may need a signature: this process ends with its connection and not
/// with the signals that systemd or a terminal sends to both.
fn outlive_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
        // Once taken, a signal is never left to its default again, whether or not anybody still listens (tokio's
        // documentation of `Signal`).
        drop(signal(kind)?);
    }
    Ok(())
}

/// What the module starts is in the group too, and ends with it. The daemon makes the group; others may not.
fn lead_a_group() -> io::Result<()> {
    if rustix::process::getpgrp() != rustix::process::getpid() {
        rustix::process::setpgid(None, None)?;
    }
    Ok(())
}

/// It has none of the connection, which would not end with this process then.
fn start_guard() -> io::Result<()> {
    let mut command = process::Command::new("/proc/self/exe");
    command.arg0("anchord").args([VERB, GUARD]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It is never waited for here, because it ends after this process.
    command.spawn().map(drop)
}

/// Waits for the end of the process that leads the group, and ends the group.
fn guard() -> ! {
    let leader = rustix::process::getpgrp();
    if leader == rustix::process::getpid() {
        // Started by a person, whose processes are not to be ended.
        process::exit(2);
    }
    // Signals that systemd sends to all processes must not end this one before the leader.
    if outlive_signals().is_ok() {
        wait_for_the_end_of(leader);
    }
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    process::exit(0);
}

/// The number stays the leader's: the kernel gives it to no other process while a group has it.
fn wait_for_the_end_of(leader: Pid) {
    const SECOND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    match rustix::process::pidfd_open(leader, PidfdFlags::empty()) {
        Ok(ending) => while rustix::event::poll(&mut [PollFd::new(&ending, PollFlags::IN)], None).is_err() {},
        // Kernels before 5.3 have nothing to wait for.
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
    // A process may always kill itself, even where the module took it out of its group.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    process::abort();
}
