//! What passes between the daemon and systemd: sockets in, states out.
//!
//! Everything here does nothing when systemd is not there.

use std::io;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::net::AddressFamily;
use sd_notify::NotifyState;
use tracing::debug;

/// Listeners that systemd holds and has handed over (socket activation, sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Passed {
    /// Listening TCP sockets.
    pub tcp: Vec<std::net::TcpListener>,
    /// Listening Unix sockets.
    pub unix: Vec<UnixListener>,
}

/// Takes the listeners of `LISTEN_FDS`. Call it once, before other descriptors are opened.
#[expect(
    unsafe_code,
    reason = "the descriptors' numbers come from the environment, as sd_listen_fds(3) defines"
)]
pub fn passed_listeners() -> io::Result<Passed> {
    let mut passed = Passed::default();
    for number in sd_notify::listen_fds()? {
        // SAFETY: systemd passes these descriptors to this process alone (LISTEN_PID was compared) and nobody
        // else in it owns them, since this runs once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        let family = rustix::net::getsockname(&descriptor)?.address_family();
        match family {
            AddressFamily::INET | AddressFamily::INET6 => passed.tcp.push(descriptor.into()),
            AddressFamily::UNIX => passed.unix.push(descriptor.into()),
            other => debug!(?other, "A socket of an unknown family was passed; closing it"),
        }
    }
    Ok(passed)
}

/// Tells systemd that the daemon serves.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that the daemon is ending on purpose.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Tells systemd that the runtime is alive.
pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often to call [`watchdog`], if systemd watches: half of what it allows, as sd_watchdog_enabled(3) advises.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd was not notified");
    }
}
