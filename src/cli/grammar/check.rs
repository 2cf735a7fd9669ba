//! The grammar of `anchord check`.

use clap::Arg;
use clap::ArgAction;
use clap::Command;

use anchord_config as config;

/// The verb and what it takes.
pub(super) fn command() -> Command {
    Command::new("check")
        .about("Diagnose problems: configuration, certificate, network, AWS, environment")
        .long_about(
            "Check each step and report what is wrong: the configuration, the certificate and its key, each endpoint, this \
             host's clock, AWS's answers, and the variables and files that keep SDKs from using the daemon.\n\n\
             It makes real calls, which CloudTrail records: CreateSession for each trust anchor, GetCallerIdentity, AssumeRole \
             for each role of a chain, ListFoundationModels. With --model-id it also calls that model, which is billed. A \
             refusal of Bedrock is a warning, or a failure if --model-id is given. It changes nothing \
             on this host, and neither reads nor writes the credentials that the daemon or `credential-process` store.\n\n\
             Exit codes: 0 nothing failed, 1 this host or the network, 3 AWS refused, 70 a bug.",
        )
        .arg(
            Arg::new("name")
                .value_name("SESSION")
                .conflicts_with("session")
                .help("The session to check [default: all sessions]"),
        )
        .arg(
            Arg::new("model-id")
                .long("model-id")
                .value_name("ID|ARN")
                .help("Also call this model, for at most one token (billed)"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
        .args(config::arguments::all())
}
