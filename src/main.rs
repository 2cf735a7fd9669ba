//! The `anchord` program: arguments in, exit code out.

use std::process::ExitCode;

use anchord::cli;
use anchord::config::Environment;

fn main() -> ExitCode {
    #[cfg(feature = "pkcs11")]
    anchord::identity::pkcs11::this_program_holds_modules();
    let environment = Environment::capture();
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    let mut surroundings = cli::Surroundings::new(&environment, &mut stdout, &mut stderr);
    ExitCode::from(cli::main(std::env::args_os(), &mut surroundings).code())
}
