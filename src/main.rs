//! The `anchord` program: arguments in, exit code out.

mod cli;
mod telemetry;

use std::alloc::System;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anchord_config::Environment;
use zeroizing_alloc::ZeroAlloc;

/// Overwrites each block of memory when it is freed. `Secret` does so for anchord's own values; the buffers of the HTTP
/// and TLS libraries and of the JSON decoder held the credentials before.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    #[cfg(feature = "pkcs11")]
    anchord_identity::pkcs11::hold_modules(std::env::args_os(), Environment::inherited());
    let environment = Environment::capture();
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let mut closed = Closed;
    let stdout: &mut dyn io::Write =
        if STDOUT_WAS_CLOSED.load(Ordering::Relaxed) { &mut closed } else { &mut stdout };
    let mut surroundings = cli::Surroundings::new(&environment, stdout, &mut stderr);
    ExitCode::from(cli::main(std::env::args_os(), &mut surroundings).code())
}

/// Before `main`, Rust's runtime replaces a closed stdout with /dev/null. Printed credentials would then be lost, and the
/// exit code would still be 0. So this remembers whether stdout was closed before.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[expect(unsafe_code, reason = "only functions that the loader calls run before Rust's runtime")]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_RUNTIME: extern "C" fn() = look_at_stdout;

extern "C" fn look_at_stdout() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()) == Err(rustix::io::Errno::BADF);
    STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// A closed stdout: each write fails.
struct Closed;

impl io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(rustix::io::Errno::BADF.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
