//! The command line: one file a verb; nobody names it.

mod bedrock;
mod certificate;
mod check;
mod command_line;
mod config_check;
mod credential_process;
mod exec;
mod exit;
mod help;
mod helper;
mod misuse;
#[cfg(feature = "pkcs11")]
mod pkcs11_host;
mod prompt;
mod read_certificate_data;
mod run;
mod serve;
mod sign_string;
mod status;
mod threads;
mod update;

use std::ffi::OsString;
use std::io::Write;

use clap::ArgMatches;

use command_line::CommandLine;
pub(crate) use exit::Exit;

use anchord_config::Environment;

/// What a verb may touch besides its arguments.
pub(crate) struct Surroundings<'a> {
    /// Variables, current folder and user.
    pub(crate) environment: &'a Environment,
    /// Data.
    pub(crate) stdout: &'a mut dyn Write,
    /// Everything else.
    pub(crate) stderr: &'a mut dyn Write,
    name: helper::Name,
}

impl<'a> Surroundings<'a> {
    /// Those of a process: what it is called, [`main`] sees from its arguments.
    pub(crate) fn new(
        environment: &'a Environment,
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
    ) -> Self {
        Self { environment, stdout, stderr, name: helper::Name::Anchord }
    }

    /// The same with another place for everything but data.
    fn with_stderr<'b>(&'b mut self, stderr: &'b mut dyn Write) -> Surroundings<'b> {
        Surroundings { environment: self.environment, stdout: &mut *self.stdout, stderr, name: self.name }
    }
}

/// Runs the verb that `arguments` (the program's name first) ask for.
pub(crate) fn main(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &mut Surroundings<'_>,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    surroundings.name = helper::Name::of(&arguments);
    let name = surroundings.name;
    let grammar = match name {
        helper::Name::Anchord => help::command(),
        helper::Name::Helper => helper::command(),
    };
    let line = CommandLine::of(grammar, arguments);
    let environment = surroundings.environment;
    let matches = match help::parse(&line, &|| help::sessions(&line, environment)) {
        Ok(matches) => matches,
        Err(unparsed) => return help::explain(unparsed, &line, surroundings),
    };
    match name {
        helper::Name::Anchord => obey(&matches, surroundings),
        helper::Name::Helper => helper::main(&matches, surroundings),
    }
}

fn obey(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    match matches.subcommand() {
        Some(("run", matches)) => run::run(matches, surroundings),
        Some((
            verb @ ("credential-process" | "serve" | "update" | "read-certificate-data" | "sign-string"),
            matches,
        )) => helper::run(verb, matches, helper::Name::Anchord, surroundings),
        Some(("status", matches)) => status::run(matches, surroundings),
        Some(("check", matches)) => check::run(matches, surroundings),
        Some(("exec", matches)) => exec::run(matches, surroundings),
        Some(("config", matches)) => match matches.subcommand() {
            Some(("check", matches)) => config_check::run(matches, surroundings),
            _ => Exit::Usage,
        },
        #[cfg(feature = "pkcs11")]
        Some((pkcs11_host::VERB, matches)) => pkcs11_host::run(matches, surroundings),
        Some(("bedrock", matches)) => bedrock::run(matches, surroundings),
        Some(("certificate", matches)) => match matches.subcommand() {
            Some(("show", matches)) => certificate::show(matches, surroundings),
            _ => Exit::Usage,
        },
        Some(("version", _)) => {
            exit::print(surroundings, concat!("anchord ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        _ => Exit::Usage,
    }
}
