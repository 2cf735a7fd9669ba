//! The daemon's side of the spawner: a process that starts hosts for a daemon, which can start nothing in its sandbox.

use std::io;
use std::io::IoSlice;
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;

use rustix::net::AddressFamily;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// The arguments of the spawner, before the modules that it may have loaded.
pub(in crate::pkcs11) const ARGUMENTS: [&str; 2] = ["pkcs11-host", "--spawner"];

/// The spawner's answers; any other is the number of the system's error.
pub(in crate::pkcs11) const STARTED: i32 = 0;
pub(in crate::pkcs11) const UNKNOWN_MODULE: i32 = -1;

/// This process's spawner, if it has one.
static SPAWNER: OnceLock<OwnedFd> = OnceLock::new();

/// Starts this process's spawner, with the variables that modules get. It ends with this process.
pub(super) fn start(modules: &[PathBuf], command: &mut Command) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // Keeps messages apart, and tells the end of the other side.
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    command.args(ARGUMENTS).args(modules).process_group(0);
    command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // It is never waited for, because it ends after this process.
    let _ = SPAWNER.set(ours);
    Ok(())
}

/// A host that the spawner has started.
pub(super) struct Apart {
    /// Closing our half makes the spawner kill the host, and then tell how it ended.
    control: UnixStream,
}

/// Lets the spawner start a host for `module`; `None` if there is no spawner.
pub(super) fn host(module: &Path) -> Option<io::Result<(UnixStream, Apart)>> {
    SPAWNER.get().map(|spawner| ask(spawner, module))
}

fn ask(spawner: &OwnedFd, module: &Path) -> io::Result<(UnixStream, Apart)> {
    let (ours, its_stream) = UnixStream::pair()?;
    let (mut control, its_control) = UnixStream::pair()?;
    let descriptors = [its_stream.as_fd(), its_control.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("two descriptors do not fit"));
    }
    let path = [IoSlice::new(module.as_os_str().as_bytes())];
    rustix::net::sendmsg(spawner, &path, &mut ancillary, SendFlags::NOSIGNAL).map_err(|_| ended())?;
    // Its copies alone keep the other ends open now.
    drop((its_stream, its_control));
    let mut answer = [0; 4];
    control.read_exact(&mut answer).map_err(|_| ended())?;
    match i32::from_be_bytes(answer) {
        STARTED => Ok((ours, Apart { control })),
        UNKNOWN_MODULE => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the daemon's sandbox admits only the modules that its settings named at its start; restart the daemon",
        )),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn ended() -> io::Error {
    io::Error::other("the process that starts modules for the daemon has ended; restart the daemon")
}

impl Apart {
    /// Kills the host with everything that the module has started, and tells how it ended.
    pub(super) fn end(mut self) -> String {
        let _ = self.control.shutdown(Shutdown::Write);
        let mut end = String::new();
        match self.control.read_to_string(&mut end) {
            Ok(_) => end,
            Err(error) => error.to_string(),
        }
    }
}
