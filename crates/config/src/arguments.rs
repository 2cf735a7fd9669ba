//! Options as flags of a command line. Nothing else that a stage ships knows clap.

use std::time::Duration;

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;

use super::layers::Arguments;
use super::options::Kind;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::SELECTORS;
use super::values;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// The flags of all options, for verbs that serve what settings say, or judge it.
pub fn all() -> Vec<Arg> {
    SELECTORS.iter().chain(OPTIONS).map(argument).collect()
}

/// What else a verb does with settings. A flag that would change nothing is refused: whoever writes it expects something
/// of it. Variables are not, for they are meant for more than one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It asks a daemon for a session's credentials, or gets them itself.
    Credentials,
    /// It asks a daemon how it is.
    Daemon,
    /// It looks at certificates.
    Certificates,
}

/// The flags for this use.
pub fn of(purpose: Use) -> Vec<Arg> {
    SELECTORS.iter().chain(OPTIONS).filter(|spec| purpose.needs(spec)).map(argument).collect()
}

impl Use {
    fn needs(self, spec: &OptionSpec) -> bool {
        let is_selector = SELECTORS.iter().any(|selector| selector.flag == spec.flag);
        let finds_daemon = ["runtime-directory", "socket-path"].contains(&spec.flag);
        is_selector
            || match self {
                Self::Credentials => finds_daemon || ["session", "upstream"].contains(&spec.table()),
                Self::Daemon => finds_daemon,
                Self::Certificates => OF_CERTIFICATES.contains(&spec.flag),
            }
    }
}

const OF_CERTIFICATES: [&str; 12] = [
    "certificate",
    "private-key",
    "intermediates",
    "passphrase",
    "certificate-fingerprint",
    "certificate-subject",
    "certificate-issuer",
    "certificate-serial",
    "pkcs11-module",
    "tpm",
    "spiffe-socket",
    "spiffe-hint",
];

/// The same for a command line beside which no variable holds.
pub fn without_variables() -> Vec<Arg> {
    let alone = |spec: &OptionSpec| argument(spec).help(format!("{} [{}]", spec.doc, spec.fallback));
    SELECTORS.iter().chain(OPTIONS).map(alone).collect()
}

/// The flags that were given. A verb may leave out flags that it has no use for.
impl From<&ArgMatches> for Arguments {
    fn from(matches: &ArgMatches) -> Self {
        let mut arguments = Self::default();
        for spec in SELECTORS.iter().chain(OPTIONS) {
            if let Some(values) = matches.try_get_many::<String>(spec.flag).ok().flatten() {
                arguments.put(spec, values.cloned().collect());
            }
        }
        arguments
    }
}

/// What a verb's own flag says of a span of time, written as in settings.
///
/// # Errors
/// What is wrong with it, naming the flag.
pub fn span(flag: &str, text: &str) -> Result<Duration, Failure> {
    values::span(text).map_err(|fault| of_flag(flag, fault.without(text)))
}

/// The same for a limit, which `none` lifts.
///
/// # Errors
/// What is wrong with it, naming the flag.
pub fn limit(flag: &str, text: &str) -> Result<Option<Duration>, Failure> {
    values::timeout(text).map_err(|fault| of_flag(flag, fault.without(text)))
}

fn of_flag(flag: &str, fault: values::Fault) -> Failure {
    Failure::of(Reason::InvalidSetting, format!("--{flag}: {}", fault.what), fault.hint)
}

fn argument(spec: &OptionSpec) -> Arg {
    let action = match spec.kind {
        Kind::List(_) | Kind::Steps => ArgAction::Append,
        _ => ArgAction::Set,
    };
    Arg::new(spec.flag)
        .long(spec.flag)
        .action(action)
        .num_args(1)
        .value_name(placeholder(spec.kind))
        .allow_negative_numbers(matches!(spec.kind, Kind::Span | Kind::Limit))
        .help(format!("{} [{}] [variable: {}]", spec.doc, spec.fallback, spec.variable))
        .help_heading(match spec.table() {
            "session" => "Session options",
            _ => "Settings",
        })
}

fn placeholder(kind: Kind) -> &'static str {
    match kind {
        Kind::Text(placeholder) | Kind::List(placeholder) => placeholder,
        Kind::Path => "PATH",
        Kind::Place => "PATH|URI",
        Kind::Switch => "true|false",
        Kind::Span | Kind::Limit => "DURATION",
        Kind::Steps => "ARN",
        Kind::Table => "TABLE",
    }
}
