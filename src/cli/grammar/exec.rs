//! The grammar of `anchord exec`.

use std::ffi::OsString;

use clap::Arg;
use clap::ArgAction;
use clap::Command;

use anchord_config as config;
use anchord_config::OptionSpec;
use anchord_config::arguments::FlagSet;

/// The verb and what it takes.
pub(super) fn command() -> Command {
    Command::new("exec")
        .about("Run a command whose AWS SDKs get their credentials from the running daemon")
        .long_about(
            "Run a command whose AWS SDKs get their credentials from the running daemon. anchord replaces itself with the \
             command and sets AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE. It sets \
             AWS_REGION and AWS_DEFAULT_REGION to the session's Region unless one of them is set. It removes the variables \
             that SDKs prefer: keys, profiles, web identities, API keys. If a proxy is set, it adds loopback to NO_PROXY.\n\n\
             AWS_CONTAINER_AUTHORIZATION_TOKEN contains the bearer token itself, for SDKs from before autumn 2023, which do \
             not read the file. All newer SDKs except Java's prefer the file. The command's children inherit the variable, \
             and other processes of the user can read it; --token-file-only leaves it out.\n\n\
             SDKs prefer the [default] profile of ~/.aws/credentials and ~/.aws/config to a daemon. If that profile gives \
             credentials, anchord hides its file from the command with AWS_SHARED_CREDENTIALS_FILE=/dev/null or \
             AWS_CONFIG_FILE=/dev/null, which also hides the file's other profiles and settings.\n\n\
             exec fails if the daemon's session differs from what flags, ANCHORD_ variables and the settings file describe, \
             and names the settings that differ. It does not compare /etc/anchord's settings file.\n\n\
             Exit codes: the command's own; 127 if the command does not exist, 126 if it cannot be run; if anchord itself \
             fails, 1 this host, its settings, the daemon or the network, 2 usage, 3 AWS refused, 70 a bug.",
        )
        .arg(
            Arg::new("bedrock-api-key")
                .long("bedrock-api-key")
                .action(ArgAction::SetTrue)
                .help("Also set AWS_BEARER_TOKEN_BEDROCK, to a key that expires with the current credentials"),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("DURATION")
                .requires("bedrock-api-key")
                .help("Maximum lifetime of that key [default: 12h]"),
        )
        .arg(
            Arg::new("token-file-only")
                .long("token-file-only")
                .action(ArgAction::SetTrue)
                .help("Do not set AWS_CONTAINER_AUTHORIZATION_TOKEN, which SDKs since autumn 2023 do not need"),
        )
        .args(config::arguments::of(FlagSet::Credentials).into_iter().map(as_used))
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .value_parser(clap::value_parser!(OsString))
                .num_args(1..)
                .required(true)
                .last(true)
                .help("The command and its arguments"),
        )
}

/// The options of `[upstream]` need `--bedrock-api-key`: without that key, exec makes no call to AWS.
fn as_used(argument: Arg) -> Arg {
    let is_upstream = |spec: &&OptionSpec| argument.get_id() == spec.flag && spec.table() == "upstream";
    match config::OPTIONS.iter().any(|spec| is_upstream(&spec)) {
        true => argument.requires("bedrock-api-key"),
        false => argument,
    }
}
