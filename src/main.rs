//! The `anchord` program: arguments in, exit code out.

mod cli;
mod telemetry;

use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anchord_config::Environment;

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

/// Rust's runtime puts /dev/null in the place of a closed stdout before `main`: credentials that are printed there would be
/// lost, and the exit code would call it done.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[expect(unsafe_code, reason = "only what the loader calls comes before the runtime")]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_RUNTIME: extern "C" fn() = look_at_stdout;

extern "C" fn look_at_stdout() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()) == Err(rustix::io::Errno::BADF);
    STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Stdout that was closed.
struct Closed;

impl io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(rustix::io::Errno::BADF.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
