//! The command line's grammar. Options come from `config`, where each is declared once.

use clap::Arg;
use clap::ArgAction;
use clap::Command;
use clap::error::ContextKind;
use clap::error::ErrorKind;

use super::Exit;
use super::Surroundings;
use super::exit;
use super::helper;
use super::helper::Name;
use crate::config;

/// The whole grammar.
pub(super) fn command() -> Command {
    let command = for_people();
    #[cfg(feature = "pkcs11")]
    let command = command.subcommand(super::pkcs11_host::command());
    command
}

fn for_people() -> Command {
    Command::new("anchord")
        .about("Turns an X.509 certificate into AWS credentials every SDK can use (IAM Roles Anywhere)")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .subcommand(
            Command::new("run")
                .about("Keep sessions renewed and serve their credentials until told to stop")
                .args(config::arguments::all()),
        )
        .subcommand(credential_process())
        .subcommand(helper::subcommand("serve", Name::Anchord))
        .subcommand(helper::subcommand("update", Name::Anchord))
        .subcommand(helper::subcommand("read-certificate-data", Name::Anchord))
        .subcommand(helper::subcommand("sign-string", Name::Anchord))
        .subcommand(
            Command::new("status")
                .about("Show what a running daemon holds and what ails it")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print the daemon's answer as it is"),
                )
                .args(config::arguments::all()),
        )
        .subcommand(super::check::command())
        .subcommand(super::exec::command())
        .subcommand(
            Command::new("config").about("Look at the configuration").subcommand_required(true).subcommand(
                Command::new("check")
                    .about("Report every mistake in the configuration, or each setting and its origin")
                    .args(config::arguments::all()),
            ),
        )
        .subcommand(
            Command::new("certificate").about("Look at certificates").subcommand_required(true).subcommand(
                Command::new("show")
                    .about(
                        "Show what a file, token or agent holds, and whether Roles Anywhere would accept it",
                    )
                    .arg(
                        Arg::new("place")
                            .value_name("PATH|URI")
                            .help("Where the certificate is [default: where each session has its own]"),
                    )
                    .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print it as JSON"))
                    .args(config::arguments::all()),
            ),
        )
        .subcommand(super::bedrock::command())
        .subcommand(Command::new("version").about("Print the version"))
}

fn credential_process() -> Command {
    helper::subcommand("credential-process", Name::Anchord).long_about(
        "Print credentials as `credential_process` of an AWS profile expects them: from the daemon's socket, or with a \
         CreateSession of its own when no daemon runs, or when its session is another than flags, ANCHORD_ variables and a \
         settings file other than /etc/anchord's describe. The daemon's is taken as it is where only its name is given.",
    )
}

/// clap's words, without what may be a part of a passphrase that has spaces in it and was not quoted.
pub(super) fn rendered(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let is_stray = error.kind() == ErrorKind::UnknownArgument;
    let found = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    if !is_stray || found.starts_with('-') {
        return text;
    }
    let told = "an argument is neither a flag nor the value of one: values with spaces need quotes (it is not shown, for \
                it may be secret)";
    text.replace(&format!("'{found}'"), "'…'").replacen("unexpected argument '…' found", told, 1)
}

/// Prints clap's answer where it belongs: help and version are data, the rest is a mistake.
pub(super) fn explain(error: &clap::Error, surroundings: &mut Surroundings<'_>) -> Exit {
    let text = rendered(error);
    if error.use_stderr() {
        let _ = surroundings.stderr.write_all(text.as_bytes());
        return Exit::Usage;
    }
    exit::print(surroundings, &text)
}
