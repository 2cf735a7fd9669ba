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
use clap::ArgMatches;
use clap::Command;

use super::Exit;
use super::Surroundings;
use super::credential_process;
use super::exit;
use super::read_certificate_data;
use super::serve;
use super::sign_string;
use super::update;
use anchord_config as config;
use anchord_config::arguments::Use;

pub(super) use flags::has_flag;
pub(super) use hints::in_flags;
pub(super) use line::Line;
pub(super) use line::Mistakes;
pub(super) use line::as_failure;
pub(super) use words::Words;

/// What the program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
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
    pub(super) fn of(arguments: &[OsString]) -> Self {
        let called = arguments.first().map(Path::new).and_then(Path::file_name);
        if called.is_some_and(|called| called == HELPER) { Self::Helper } else { Self::Anchord }
    }
}

/// The program under its other name.
pub(super) fn main(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    match matches.subcommand() {
        Some(("version", _)) => exit::print(surroundings, concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Some((verb, matches)) => run(verb, matches, Name::Helper, surroundings),
        // As that tool does.
        None => exit::print(surroundings, &command().render_help().to_string()),
    }
}

/// One of [`VERBS`], under either name.
pub(super) fn run(verb: &str, matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    if let (Name::Helper, "credential-process" | "serve" | "update", Some(mistake)) =
        (name, verb, line::missing(matches))
    {
        return refuse(&vec![mistake], surroundings);
    }
    match verb {
        "credential-process" => credential_process::run(matches, name, surroundings),
        "serve" => serve::run(matches, name, surroundings),
        "update" => update::run(matches, name, surroundings),
        "read-certificate-data" => read_certificate_data::run(matches, name, surroundings),
        "sign-string" => sign_string::run(matches, name, surroundings),
        _ => Exit::Usage,
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
pub(super) fn subcommand(verb: &'static str, name: Name) -> Command {
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
        "serve" => serve::with_defaults(command),
        "update" => credential_process::with_no_cache(update::with_file(command)),
        "credential-process" => credential_process::with_no_cache(command),
        // Both have something to do without one.
        _ => command.mut_arg("certificate", |argument| argument.help(CERTIFICATE)),
    }
}

const CERTIFICATE: &str =
    "Where the certificate is: a PEM or PKCS#12 file, pkcs11:URI, spiffe: or spiffe://ID";

/// Ours as far as the verb has a use for them, then theirs.
pub(super) fn arguments(verb: &str, name: Name) -> Vec<Arg> {
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

/// Prints each mistake on a line of its own.
pub(super) fn refuse(mistakes: &Mistakes, surroundings: &mut Surroundings<'_>) -> Exit {
    for mistake in mistakes {
        // Nobody is left to tell if stderr is closed.
        let _ = writeln!(surroundings.stderr, "anchord: {mistake}");
    }
    Exit::Failed
}

/// Prints what is unwise.
pub(super) fn warn(warnings: &[String], surroundings: &mut Surroundings<'_>) {
    for warning in warnings {
        let _ = writeln!(surroundings.stderr, "anchord: warning: {warning}");
    }
}
