//! The grammar under the program's own name. `config` declares the options.

use clap::Arg;
use clap::ArgAction;
use clap::Command;

use super::bedrock;
use super::check;
use super::exec;
use super::helper;
use super::helper::Name;
use anchord_config as config;
use anchord_config::arguments::FlagSet;

/// The whole grammar.
pub(super) fn command() -> Command {
    for_people()
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
                .about("Keep sessions renewed and serve their credentials until stopped")
                .args(config::arguments::all()),
        )
        .subcommand(credential_process())
        .subcommand(helper::subcommand("serve", Name::Anchord))
        .subcommand(helper::subcommand("update", Name::Anchord))
        .subcommand(helper::subcommand("read-certificate-data", Name::Anchord))
        .subcommand(helper::subcommand("sign-string", Name::Anchord))
        .subcommand(
            Command::new("status")
                .about("Show the running daemon's sessions and their problems")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print the daemon's answer unchanged"),
                )
                .args(config::arguments::of(FlagSet::Daemon)),
        )
        .subcommand(check::command())
        .subcommand(exec::command())
        .subcommand(
            Command::new("config").about("Check the configuration").subcommand_required(true).subcommand(
                Command::new("check")
                    .about("Report every mistake in the configuration, or each setting and its origin")
                    .args(config::arguments::all()),
            ),
        )
        .subcommand(
            Command::new("certificate").about("Inspect certificates").subcommand_required(true).subcommand(
                Command::new("show")
                    .about(
                        "Show the certificates of a file, token or agent, and whether Roles Anywhere would accept them",
                    )
                    .arg(
                        Arg::new("place")
                            .value_name("PATH|URI")
                            .conflicts_with_all(["certificate", "session"])
                            .help("Location of the certificate [default: the certificate of each session]"),
                    )
                    .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
                    .args(config::arguments::of(FlagSet::Certificates)),
            ),
        )
        .subcommand(bedrock::command())
        .subcommand(Command::new("version").about("Print the version"))
}

fn credential_process() -> Command {
    helper::subcommand("credential-process", Name::Anchord).long_about(
        "Print credentials as `credential_process` of an AWS profile expects them. They come from the daemon's socket. If no \
         daemon runs, or if the daemon's session differs from what flags, ANCHORD_ variables and the settings file \
         describe, anchord calls CreateSession itself. It does not compare /etc/anchord's settings file. If only the \
         session's name is given, the daemon's session is used without a comparison.",
    )
}
