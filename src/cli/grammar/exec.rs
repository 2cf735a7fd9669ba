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
            "Run a command whose AWS SDKs get their credentials from the running daemon: anchord becomes the command, with \
             AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE set, AWS_REGION and \
             AWS_DEFAULT_REGION as the session has them unless one is set, and without the variables that SDKs would \
             take before: keys, profiles, web identities, API keys. Loopback is added to NO_PROXY where a proxy is set.\n\n\
             AWS_CONTAINER_AUTHORIZATION_TOKEN holds the bearer itself, for SDKs from before autumn 2023, which do not know \
             the file. Others read the file first, but for Java's. --token-file-only leaves the variable out, which the \
             command's own children inherit and its user's other processes can read.\n\n\
             SDKs take the [default] profile of ~/.aws/credentials and ~/.aws/config before a daemon. Where it gives \
             credentials, the file that it is in is hidden from the command by AWS_SHARED_CREDENTIALS_FILE=/dev/null or \
             AWS_CONFIG_FILE=/dev/null, and with it the file's other profiles and settings; else both stay as they are.\n\n\
             It fails where the daemon's session is another than flags, ANCHORD_ variables and a settings file other than \
             /etc/anchord's describe, and names the settings that differ.\n\n\
             Exit codes: the command's own; 127 where there is no such command, 126 where it cannot be run; where anchord \
             itself fails, 1 this host, its settings, the daemon or the network, 2 usage, 3 AWS refused, 70 a bug.",
        )
        .arg(
            Arg::new("bedrock-api-key")
                .long("bedrock-api-key")
                .action(ArgAction::SetTrue)
                .help("Set AWS_BEARER_TOKEN_BEDROCK too, to a key that ends with the credentials of now"),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("DURATION")
                .requires("bedrock-api-key")
                .help("How long that key lives at most [default: 12h]"),
        )
        .arg(
            Arg::new("token-file-only")
                .long("token-file-only")
                .action(ArgAction::SetTrue)
                .help("Set no AWS_CONTAINER_AUTHORIZATION_TOKEN beside the file, which SDKs know since autumn 2023"),
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

/// How AWS is reached matters only to the key, for which credentials may be got here.
fn as_used(argument: Arg) -> Arg {
    let is_upstream = |spec: &&OptionSpec| argument.get_id() == spec.flag && spec.table() == "upstream";
    match config::OPTIONS.iter().any(|spec| is_upstream(&spec)) {
        true => argument.requires("bedrock-api-key"),
        false => argument,
    }
}
