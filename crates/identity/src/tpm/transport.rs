//! Connections to a TPM.
//!
//! A resource manager's device and `swtpm socket --server` work the same: a whole command, then its whole response.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::ToSocketAddrs as _;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::fs::OFlags;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt::Timeout;
use rustix::net::sockopt::set_socket_timeout;
use tokio::time::Instant;

use super::Device;
use super::Error;
use super::operation::Limit;
use super::wire::HEADER;
use super::wire::MAX_SIZE;
use super::wire::announced_size;
use anchord_core::failure::system_reason;

/// An open connection to a TPM.
pub(super) trait TpmTransport: Send {
    /// Sends one command and waits for its response. After an error the connection cannot be used any more.
    fn exchange(&mut self, command: &[u8], deadline: Instant) -> io::Result<Vec<u8>>;
}

impl Device {
    pub(super) fn connect(&self, limit: Limit) -> Result<Box<dyn TpmTransport>, Error> {
        let unreachable = |source: io::Error| match source.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => limit.passed(self),
            _ => Error::Unreachable { device: self.clone(), source: system_reason(&source) },
        };
        match self {
            Self::Character(path) => self.open(path, unreachable),
            Self::Tcp { host, port } => {
                let stream = tcp(host, *port, limit.deadline).map_err(unreachable)?;
                Ok(Box::new(SocketTransport(stream)))
            }
            Self::Unix(path) => {
                let stream = unix(path, limit.deadline).map_err(unreachable)?;
                Ok(Box::new(SocketTransport(stream)))
            }
        }
    }

    fn open(
        &self,
        path: &Path,
        unreachable: impl Fn(io::Error) -> Error,
    ) -> Result<Box<dyn TpmTransport>, Error> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) fits into its argument");
        // Checks the kind first: opening a FIFO or a file could have side effects.
        let metadata = fs_err::metadata(path).map_err(&unreachable)?;
        if !metadata.file_type().is_char_device() {
            return Err(Error::NotADevice { device: self.clone() });
        }
        let file = fs_err::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        Ok(Box::new(DeviceTransport(file.map_err(unreachable)?)))
    }
}

struct DeviceTransport(fs_err::File);

/// A TPM's driver takes a command in one write and returns its response in one read (Linux, `tpm-dev-common.c`).
impl TpmTransport for DeviceTransport {
    fn exchange(&mut self, command: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
        if self.0.write(command)? != command.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        wait_readable(&self.0, deadline)?;
        let mut response = vec![0; MAX_SIZE];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}

/// A socket's time-outs apply to each read and write, so they are set again to the time that is left.
trait SocketStream: Read + Write + Send + AsFd {}

impl SocketStream for TcpStream {}
impl SocketStream for UnixStream {}

struct SocketTransport<S>(S);

impl<S: SocketStream> TpmTransport for SocketTransport<S> {
    fn exchange(&mut self, command: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
        limit(&self.0, deadline)?;
        self.0.write_all(command)?;
        let mut response = vec![0; HEADER];
        self.fill(&mut response, deadline)?;
        let Some(size) = announced_size(&response) else { return Ok(response) };
        response.resize(size, 0);
        self.fill(&mut response[HEADER..], deadline)?;
        Ok(response)
    }
}

impl<S: SocketStream> SocketTransport<S> {
    fn fill(&mut self, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            limit(&self.0, deadline)?;
            match self.0.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => buffer = &mut buffer[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
}

fn limit(socket: &impl AsFd, deadline: Instant) -> io::Result<()> {
    // The kernel counts in microseconds, and zero would mean no limit.
    let remaining = remaining(deadline)?.max(Duration::from_millis(1));
    set_socket_timeout(socket, Timeout::Recv, Some(remaining))?;
    Ok(set_socket_timeout(socket, Timeout::Send, Some(remaining))?)
}

fn tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in (host, port).to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, remaining(deadline)?);
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Not `UnixStream::connect`, which waits forever while the listener's queue is full.
fn unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    limit(&socket, deadline)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

fn wait_readable(file: &impl AsFd, deadline: Instant) -> io::Result<()> {
    let mut waited_for = [PollFd::new(file, PollFlags::IN)];
    loop {
        match poll(&mut waited_for, Some(&timespec(remaining(deadline)?))) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sleeps: a TPM that asks to retry gives no event when it is ready.
pub(super) fn pause(length: Duration) {
    // If a signal ends it early, that costs one more retry.
    let _ = poll(&mut [], Some(&timespec(length)));
}

fn timespec(length: Duration) -> Timespec {
    Timespec::try_from(length).expect("pauses and deadlines are seconds, which fit")
}
