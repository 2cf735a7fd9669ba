//! The verbs, a file or a directory for each. `dispatch` chooses the verb under both names of the program.

mod bedrock;
mod certificate;
mod check;
mod config_check;
mod credential_process;
mod exec;
mod read_certificate_data;
mod run;
mod serve;
mod sign_string;
mod status;
mod update;

use clap::ArgMatches;

use super::Exit;
use super::Surroundings;
use super::grammar;
use super::grammar::helper;
use super::grammar::helper::ProgramName;
use super::output;

/// Runs the verb. The grammar of the program's name accepts no others.
pub(super) fn dispatch(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let name = surroundings.name;
    let Some((verb, matches)) = matches.subcommand() else {
        // AWS's tool prints its help. anchord's own grammar requires a verb.
        return output::print(surroundings, &grammar::of(name).render_help().to_string());
    };
    if let (ProgramName::Helper, "credential-process" | "serve" | "update", Some(mistake)) =
        (name, verb, helper::missing(matches))
    {
        return output::report_mistakes(&vec![mistake], surroundings);
    }
    match verb {
        "run" => run::run(matches, surroundings),
        "credential-process" => credential_process::run(matches, name, surroundings),
        "serve" => serve::run(matches, name, surroundings),
        "update" => update::run(matches, name, surroundings),
        "read-certificate-data" => read_certificate_data::run(matches, name, surroundings),
        "sign-string" => sign_string::run(matches, name, surroundings),
        "status" => status::run(matches, surroundings),
        "check" => check::run(matches, surroundings),
        "exec" => exec::run(matches, surroundings),
        "bedrock" => bedrock::run(matches, surroundings),
        "config" => match matches.subcommand() {
            Some(("check", matches)) => config_check::run(matches, surroundings),
            _ => Exit::Usage,
        },
        "certificate" => match matches.subcommand() {
            Some(("show", matches)) => certificate::show(matches, surroundings),
            _ => Exit::Usage,
        },
        "version" => output::print(surroundings, version(name)),
        _ => Exit::Usage,
    }
}

fn version(name: ProgramName) -> &'static str {
    match name {
        ProgramName::Anchord => concat!("anchord ", env!("CARGO_PKG_VERSION"), "\n"),
        ProgramName::Helper => concat!(env!("CARGO_PKG_VERSION"), "\n"),
    }
}
