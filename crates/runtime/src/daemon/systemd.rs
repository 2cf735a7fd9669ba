//! Exchanges descriptors with systemd and notifies it of the daemon's state. Does nothing without systemd.

use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::net::AddressFamily;
use sd_notify::NotifyState;
use tracing::debug;

/// The descriptors that systemd passed (sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Passed {
    /// Listening TCP sockets (socket activation).
    pub tcp: Vec<std::net::TcpListener>,
    /// Listening TCP sockets of the program itself, whose options stay as they are.
    pub own: Vec<std::net::TcpListener>,
    /// Listening Unix sockets.
    pub unix: Vec<UnixListener>,
    /// Descriptors that an earlier run asked systemd to keep, by name.
    pub kept: Vec<(String, OwnedFd)>,
    /// Whether systemd keeps descriptors for this service.
    pub keeps_descriptors: bool,
}

/// Takes the descriptors of `LISTEN_FDS`. Call this once, before the process opens other descriptors.
///
/// `store` is the variable `FDSTORE`: the number of descriptors that systemd keeps (since version 254).
///
/// # Errors
/// If the variables are invalid, or a descriptor cannot be examined.
#[expect(
    unsafe_code,
    reason = "the descriptors' numbers come from the environment, as sd_listen_fds(3) defines"
)]
pub fn passed_descriptors(store: Option<&str>) -> io::Result<Passed> {
    let keeps_descriptors = store.and_then(|count| count.parse().ok()).is_some_and(|count: u32| count > 1);
    let mut passed = Passed { keeps_descriptors, ..Passed::default() };
    for (number, name) in sd_notify::listen_fds_with_names()? {
        // SAFETY: systemd passes these descriptors to this process alone (LISTEN_PID was compared), and
        // nothing else in the process owns them, because this runs once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        match rustix::net::getsockname(&descriptor).map(|address| address.address_family()) {
            Ok(AddressFamily::INET | AddressFamily::INET6) => passed.tcp.push(descriptor.into()),
            Ok(AddressFamily::UNIX) => passed.unix.push(descriptor.into()),
            Ok(other) => debug!(?other, "A socket of an unknown family was passed; closing it"),
            Err(rustix::io::Errno::NOTSOCK) => passed.kept.push((name, descriptor)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(passed)
}

/// Asks systemd to keep `descriptor` and to pass it to the next run.
pub(super) fn keep_descriptor(name: &str, descriptor: &OwnedFd) -> io::Result<()> {
    let states = [NotifyState::FdStore, NotifyState::FdName(name)];
    sd_notify::notify_with_fds(&states, &[descriptor.as_fd()])
}

/// Asks systemd to drop the descriptor `name`.
pub(super) fn forget_descriptor(name: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
}

/// Notifies systemd of the start of a reload (`Type=notify-reload`). [`ready`] ends the reload.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "Could not notify systemd of the reload"),
    }
}

/// Notifies systemd that the daemon is ready.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Notifies systemd that the daemon is stopping.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Pings systemd's watchdog.
pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// The interval for [`watchdog`], if systemd's watchdog is on: half of its limit, as sd_watchdog_enabled(3) advises.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "Could not notify systemd");
    }
}
