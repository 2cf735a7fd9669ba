//! The verbs and flags of AWS's `aws_signing_helper`, for scripts that call that tool.
//!
//! Under that name (a symbolic link) the program has only that tool's verbs, and only flags configure it: it reads no
//! configuration file and no `ANCHORD_` variables, and asks no daemon. Under the name `anchord` it accepts the same
//! command lines beside its own. [`flags::FLAGS`] lists the intended differences.

mod collisions;
mod fit;
mod flags;
mod hints;
mod line;
mod selector;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::path::Path;

use clap::Arg;
use clap::ArgAction;
use clap::Command;

use anchord_config as config;
use anchord_config::arguments::FlagSet;

pub(super) use flags::has_flag;
pub(in crate::cli) use hints::in_flags;
pub(in crate::cli) use line::HelperArguments;
pub(in crate::cli) use line::Mistakes;
pub(in crate::cli) use line::as_failure;
pub(in crate::cli) use line::missing;
pub(in crate::cli) use words::FlagValues;

/// The name under which the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum ProgramName {
    /// `anchord`, or any name except `aws_signing_helper`.
    Anchord,
    /// `aws_signing_helper`.
    Helper,
}

const HELPER: &str = "aws_signing_helper";

/// The verbs of AWS's tool that have flags.
const VERBS: &[&str] = &["credential-process", "serve", "update", "read-certificate-data", "sign-string"];

/// Flags of anchord that one session without a configuration file does not need, or sets in another way.
const OF_DAEMONS: &[&str] = &["config", "session", "listen", "imds-enabled", "imds-session"];
/// Flags of anchord about a daemon and its listeners.
const OF_LISTENERS: &[&str] =
    &["runtime-directory", "sandbox", "container-enabled", "socket-enabled", "socket-path", "socket-mode"];

const OF_LOGS: &[&str] = &["log-level", "log-format"];

impl ProgramName {
    /// From the first of the process's arguments.
    pub(in crate::cli) fn of(arguments: &[OsString]) -> Self {
        let called = arguments.first().map(Path::new).and_then(Path::file_name);
        if called.is_some_and(|called| called == HELPER) { Self::Helper } else { Self::Anchord }
    }
}

/// The grammar under the name `aws_signing_helper`.
pub(super) fn command() -> Command {
    let verbs = VERBS.iter().map(|verb| subcommand(verb, ProgramName::Helper));
    Command::new(HELPER)
        .about(
            "anchord under the name of AWS's tool for IAM Roles Anywhere, with that tool's verbs and flags",
        )
        .max_term_width(110)
        .subcommands(verbs)
        .subcommand(Command::new("version").about("Print anchord's version"))
}

/// The grammar of one of [`VERBS`]. If a flag is given twice, the last value counts, as in AWS's tool.
pub(in crate::cli) fn subcommand(verb: &'static str, name: ProgramName) -> Command {
    let about = match verb {
        "credential-process" => "Print credentials as `credential_process` of an AWS profile expects them",
        "serve" => {
            "Serve one session's credentials like EC2's metadata service (IMDS), without a configuration file"
        }
        "update" => "Write credentials to the shared credentials file and renew them",
        "read-certificate-data" => {
            "Print the data of a certificate file, or list the certificates of PKCS#11 tokens"
        }
        _ => "Sign a fixed text, to test whether a private key can sign",
    };
    let command = Command::new(verb).about(about).args_override_self(true).args(arguments(verb, name));
    match verb {
        "serve" => with_defaults(command),
        "update" => with_no_cache(with_file(command)),
        "credential-process" => with_no_cache(command),
        // Neither needs a certificate.
        _ => command.mut_arg("certificate", |argument| argument.help(CERTIFICATE)),
    }
}

const CERTIFICATE: &str = "Certificate: a PEM or PKCS#12 file, pkcs11:URI, spiffe: or spiffe://ID";

/// anchord's own flags that the verb uses, then those of AWS's tool.
fn arguments(verb: &str, name: ProgramName) -> Vec<Arg> {
    let about_credentials = config::arguments::of(FlagSet::Credentials);
    let is_of_use = |flag: &str| match (verb, name) {
        // Of the two, only `update` keeps running and logs.
        ("update", ProgramName::Anchord) if OF_LOGS.contains(&flag) => true,
        ("credential-process" | "update", ProgramName::Anchord) => {
            about_credentials.iter().any(|own| own.get_id() == flag)
        }
        ("credential-process" | "update", ProgramName::Helper) => {
            !OF_DAEMONS.contains(&flag) && !OF_LISTENERS.contains(&flag)
        }
        ("read-certificate-data", _) => ["certificate", "pkcs11-module"].contains(&flag),
        ("sign-string", _) => {
            ["certificate", "private-key", "passphrase", "pkcs11-module", "tpm"].contains(&flag)
        }
        _ => !OF_DAEMONS.contains(&flag),
    };
    let all = match name {
        ProgramName::Anchord => config::arguments::all(),
        ProgramName::Helper => config::arguments::without_variables(),
    };
    let own: Vec<Arg> = all.into_iter().filter(|argument| is_of_use(argument.get_id().as_str())).collect();
    let theirs = flags::arguments(verb, &own);
    own.into_iter().chain(theirs).collect()
}

/// Front ends that `serve` starts only if a flag turns them on, and their help.
pub(in crate::cli) const OFF_UNLESS_GIVEN: [(&str, &str); 2] = [
    ("socket-enabled", "Serve the Unix socket [default: false]"),
    ("container-enabled", "Serve container credentials [default: false]"),
];
const FOLDER: &str = "Directory of the token key [default: serve-PORT in $RUNTIME_DIRECTORY, /run/anchord (for root) or \
                      $XDG_RUNTIME_DIR/anchord, else a temporary directory]";

/// `serve` with help that names its own defaults.
fn with_defaults(command: Command) -> Command {
    let command = command.mut_arg("runtime-directory", |argument| argument.help(FOLDER));
    OFF_UNLESS_GIVEN
        .iter()
        .fold(command, |command, (flag, help)| command.mut_arg(flag, |argument| argument.help(*help)))
}

/// `update` with the flag that only anchord has.
fn with_file(command: Command) -> Command {
    let help = "File to write [default: AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials]";
    command
        .long_about(
            "Write credentials into a profile of the shared credentials file, and renew them before they expire, until \
             stopped. Keeps retrying after errors (they are logged; the file is left unchanged). Stop it with SIGTERM or \
             SIGINT. It does not start if nothing names a session, or if neither the settings nor the daemon have the \
             session. If the daemon does not run yet, it waits for the daemon. It leaves the rest of the file unchanged. \
             Programs read the credentials when they start; some SDKs read them again when the old ones expire.",
        )
        .arg(Arg::new("credentials-file").long("credentials-file").value_name("PATH").help(help))
}

/// The flag that turns the cache off.
pub(in crate::cli) const NO_CACHE: &str = "no-cache";

/// A verb with the flag that only anchord has.
fn with_no_cache(command: Command) -> Command {
    let help = "Do not use the cache that processes share when no daemon runs";
    command.arg(Arg::new(NO_CACHE).long(NO_CACHE).action(ArgAction::SetTrue).help(help))
}
