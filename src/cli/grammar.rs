//! The grammar of the command line, under both names of the program, and the error messages for lines that do not follow
//! it. It runs nothing.

pub(super) mod bedrock;
mod check;
mod command_line;
mod exec;
mod help;
pub(super) mod helper;
pub(super) mod misuse;

use clap::ArgMatches;
use clap::Command;
use clap::error::ErrorKind;

pub(super) use command_line::CommandLine;

use helper::ProgramName;

use anchord_core::failure::Failure;

/// The whole grammar under a name.
pub(super) fn of(name: ProgramName) -> Command {
    match name {
        ProgramName::Anchord => help::command(),
        ProgramName::Helper => helper::command(),
    }
}

/// Why there is nothing to run.
pub(super) enum Unparsed {
    /// This text is to be shown: help or a version that the user requested, or help because no argument was given.
    Shown { text: String, is_asked_for: bool },
    /// An argument is a key or a certificate instead of its path.
    HoldsPem(Failure),
    /// The line does not follow the grammar.
    Misused(Failure),
}

/// Parses a line.
pub(super) fn parse(line: &CommandLine, sessions: misuse::SessionNames<'_>) -> Result<ArgMatches, Unparsed> {
    if let Some(failure) = misuse::pem_in(line) {
        return Err(Unparsed::HoldsPem(failure));
    }
    line.parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Unparsed::Shown { text: error.render().to_string(), is_asked_for: !error.use_stderr() }
        }
        _ => Unparsed::Misused(misuse::answer(&error, line, sessions)),
    })
}
