//! The verbs and flags of AWS's `aws_signing_helper`, for those who have it in their scripts.
//!
//! Called by that name (a symbolic link) the program has that tool's verbs and nothing else, and what it does is what
//! the flags say: no configuration file, no variables of anchord's, no daemon. Called `anchord` it takes the same
//! command lines beside its own. What differs on purpose is in [`flags::FLAGS`].

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
use anchord_config::arguments::Use;

pub(super) use flags::has_flag;
pub(in crate::cli) use hints::in_flags;
pub(in crate::cli) use line::Line;
pub(in crate::cli) use line::Mistakes;
pub(in crate::cli) use line::as_failure;
pub(in crate::cli) use line::missing;
pub(in crate::cli) use words::Words;

/// What the program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Name {
    /// Its own name, or any but the other.
    Anchord,
    /// `aws_signing_helper`.
    Helper,
}

const HELPER: &str = "aws_signing_helper";

/// The verbs of AWS's tool that have flags.
const VERBS: &[&str] = &["credential-process", "serve", "update", "read-certificate-data", "sign-string"];

/// Flags of ours for which one session without a configuration file has no use, or its own way.
const OF_DAEMONS: &[&str] = &["config", "session", "listen", "imds-enabled", "imds-session"];
/// Flags of ours about what a daemon serves.
const OF_LISTENERS: &[&str] =
    &["runtime-directory", "container-enabled", "socket-enabled", "socket-path", "socket-mode"];

const OF_LOGS: &[&str] = &["log-level", "log-format"];

impl Name {
    /// By the first of a process's arguments.
    pub(in crate::cli) fn of(arguments: &[OsString]) -> Self {
        let called = arguments.first().map(Path::new).and_then(Path::file_name);
        if called.is_some_and(|called| called == HELPER) { Self::Helper } else { Self::Anchord }
    }
}

/// The grammar under the other name.
pub(super) fn command() -> Command {
    let verbs = VERBS.iter().map(|verb| subcommand(verb, Name::Helper));
    Command::new(HELPER)
        .about("anchord, called by the name of AWS's tool for IAM Roles Anywhere: its verbs, its flags")
        .max_term_width(110)
        .subcommands(verbs)
        .subcommand(Command::new("version").about("Print anchord's version"))
}

/// The grammar of one of [`VERBS`]. A flag that is given twice holds as it was given last, as in AWS's tool.
pub(in crate::cli) fn subcommand(verb: &'static str, name: Name) -> Command {
    let about = match verb {
        "credential-process" => "Print credentials as `credential_process` of an AWS profile expects them",
        "serve" => {
            "Serve one session's credentials as EC2's metadata service does, without a configuration file"
        }
        "update" => "Write credentials into the shared credentials file, and keep them fresh",
        "read-certificate-data" => "Print what a certificate file holds, or the certificates of tokens",
        _ => "Sign a fixed text with a private key, to see whether it can sign",
    };
    let command = Command::new(verb).about(about).args_override_self(true).args(arguments(verb, name));
    match verb {
        "serve" => with_defaults(command),
        "update" => with_no_cache(with_file(command)),
        "credential-process" => with_no_cache(command),
        // Both have something to do without one.
        _ => command.mut_arg("certificate", |argument| argument.help(CERTIFICATE)),
    }
}

const CERTIFICATE: &str = "Certificate: a PEM or PKCS#12 file, pkcs11:URI, spiffe: or spiffe://ID";

/// Ours as far as the verb has a use for them, then theirs.
fn arguments(verb: &str, name: Name) -> Vec<Arg> {
    let about_credentials = config::arguments::of(Use::Credentials);
    let is_about_credentials = |flag: &str| about_credentials.iter().any(|own| own.get_id() == flag);
    let is_of_use = |flag: &str| match (verb, name) {
        // Only what goes on for ever has logs of its own.
        ("credential-process", Name::Anchord) => is_about_credentials(flag),
        ("update", Name::Anchord) => is_about_credentials(flag) || OF_LOGS.contains(&flag),
        ("credential-process" | "update", Name::Helper) => {
            !OF_DAEMONS.contains(&flag) && !OF_LISTENERS.contains(&flag)
        }
        ("read-certificate-data", _) => ["certificate", "pkcs11-module"].contains(&flag),
        ("sign-string", _) => {
            ["certificate", "private-key", "passphrase", "pkcs11-module", "tpm"].contains(&flag)
        }
        _ => !OF_DAEMONS.contains(&flag),
    };
    let all = match name {
        Name::Anchord => config::arguments::all(),
        Name::Helper => config::arguments::without_variables(),
    };
    let own: Vec<Arg> = all.into_iter().filter(|argument| is_of_use(argument.get_id().as_str())).collect();
    let theirs = flags::arguments(verb, &own);
    own.into_iter().chain(theirs).collect()
}

/// Front ends that `serve` leaves off unless a flag turns them on, and what help says of them.
pub(in crate::cli) const OFF_UNLESS_GIVEN: [(&str, &str); 2] = [
    ("socket-enabled", "Serve the Unix socket [default: false]"),
    ("container-enabled", "Serve container credentials [default: false]"),
];
const FOLDER: &str = "The folder of the token key [default: serve-PORT in $RUNTIME_DIRECTORY, /run/anchord (for root) or \
                      $XDG_RUNTIME_DIR/anchord, else a temporary one]";

/// `serve` with help that tells its own defaults.
fn with_defaults(command: Command) -> Command {
    let command = command.mut_arg("runtime-directory", |argument| argument.help(FOLDER));
    OFF_UNLESS_GIVEN
        .iter()
        .fold(command, |command, (flag, help)| command.mut_arg(flag, |argument| argument.help(*help)))
}

/// `update` with the flag that only anchord has.
fn with_file(command: Command) -> Command {
    let help = "The file to write [default: AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials]";
    command
        .long_about(
            "Write credentials into a profile of the shared credentials file, and renew them before they expire, until \
             stopped. Keeps retrying after errors (they are logged; the file is left unchanged). Stop it with SIGTERM or \
             SIGINT. It does not start if nothing names a session, or if neither the settings nor the daemon have the \
             session; it waits for a daemon that does not run yet. The rest of the file is left unchanged. Programs read \
             the credentials when they start; some SDKs also read them again when the old ones expire.",
        )
        .arg(Arg::new("credentials-file").long("credentials-file").value_name("PATH").help(help))
}

/// The flag that turns the cache off.
pub(in crate::cli) const NO_CACHE: &str = "no-cache";

/// A verb with the flag that only anchord has.
fn with_no_cache(command: Command) -> Command {
    let help = "Neither read nor write the cache that processes without a daemon share";
    command.arg(Arg::new(NO_CACHE).long(NO_CACHE).action(ArgAction::SetTrue).help(help))
}
