//! The process that starts hosts for a daemon: the daemon's own program, started as `pkcs11-host --spawner MODULE…` before
//! the daemon enters its sandbox.
//!
//! A daemon in its sandbox can start no program, and whatever it started would be in the same sandbox, in which modules
//! cannot work. The spawner runs no module and reads nothing but the daemon's requests. It starts only hosts, and only
//! for the modules that the daemon's settings named at its start.

use std::ffi::OsString;
use std::io;
use std::io::IoSliceMut;
use std::io::Read as _;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;

use super::remote;

/// The longest path (PATH_MAX).
const LONGEST: usize = 4096;

/// Starts hosts for the daemon at the other end of `connection` until the daemon ends.
pub(super) fn serve(
    connection: &OwnedFd,
    modules: Vec<PathBuf>,
    variables: Vec<(OsString, OsString)>,
) -> io::Result<()> {
    // What a module leaves behind belongs to this process, so that it can be waited for.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let (modules, variables) = (Arc::new(modules), Arc::new(variables));
    while let Some(request) = receive(connection)? {
        let (modules, variables) = (Arc::clone(&modules), Arc::clone(&variables));
        // The kernel kills a host together with the thread that started it, so each host has a thread. If none can be
        // started, the daemon finds the control connection closed.
        let _ = std::thread::Builder::new().spawn(move || keep(request, &modules, &variables));
    }
    Ok(())
}

/// A request for a host.
struct Request {
    module: PathBuf,
    stream: OwnedFd,
    control: UnixStream,
}

/// The next request; `None` if the daemon has ended.
fn receive(connection: &OwnedFd) -> io::Result<Option<Request>> {
    let mut path = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut path)];
    let length = loop {
        match rustix::net::recvmsg(connection, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    let [stream, control] = match <[OwnedFd; 2]>::try_from(descriptors) {
        Ok(both) => both,
        Err(_) if length == 0 => return Ok(None),
        Err(_) => return Err(io::ErrorKind::InvalidData.into()),
    };
    let module = Path::new(std::ffi::OsStr::from_bytes(&path[..length])).to_path_buf();
    Ok(Some(Request { module, stream, control: UnixStream::from(control) }))
}

/// Starts a host, and kills it when the daemon closes its half of the control connection.
fn keep(request: Request, modules: &[PathBuf], variables: &[(OsString, OsString)]) {
    let Request { module, stream, mut control } = request;
    let host = match modules.contains(&module) {
        true => remote::spawn(&module, stream, variables).map_err(|error| error.raw_os_error()),
        false => Err(Some(remote::UNKNOWN_MODULE)),
    };
    let answer = match &host {
        Ok(_) => remote::STARTED,
        Err(errno) => errno.unwrap_or(rustix::io::Errno::IO.raw_os_error()),
    };
    let told = control.write_all(&answer.to_be_bytes());
    let Ok(host) = host else { return };
    if told.is_ok() {
        // The daemon sends nothing; an error ends it too.
        let _ = control.read(&mut [0]);
    }
    let end = remote::reap(host);
    let _ = control.write_all(end.as_bytes());
}
