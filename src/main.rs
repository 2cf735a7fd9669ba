//! The `anchord` program: arguments in, exit code out.

use std::process::ExitCode;

use anchord::cli;
use anchord::config::Environment;

fn main() -> ExitCode {
    let environment = Environment::capture();
    let mut surroundings = cli::Surroundings {
        environment: &environment,
        stdout: &mut std::io::stdout(),
        stderr: &mut std::io::stderr(),
    };
    ExitCode::from(cli::main(std::env::args_os(), &mut surroundings).code())
}
