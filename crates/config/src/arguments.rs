//! Options as flags of a command line. No other code below the program depends on clap.

use std::time::Duration;

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;

use super::layers::Arguments;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::SELECTORS;
use super::options::ValueKind;
use super::values;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// The flags of all options, for verbs that run or check whole settings.
pub fn all() -> Vec<Arg> {
    SELECTORS.iter().chain(OPTIONS).map(argument).collect()
}

/// The set of flags that a verb has. A verb refuses a flag that would have no effect, because its user expects an
/// effect. It ignores such variables, because a variable may be meant for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagSet {
    /// For verbs that ask a daemon for a session's credentials, or obtain them from AWS.
    Credentials,
    /// For verbs that ask a daemon for its status.
    Daemon,
    /// For verbs that show certificates.
    Certificates,
}

/// The flags of this set.
pub fn of(flags: FlagSet) -> Vec<Arg> {
    SELECTORS.iter().chain(OPTIONS).filter(|spec| flags.contains(spec)).map(argument).collect()
}

impl FlagSet {
    fn contains(self, spec: &OptionSpec) -> bool {
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

/// The flags of all options, with help for a command line that ignores variables.
pub fn without_variables() -> Vec<Arg> {
    let alone = |spec: &OptionSpec| argument(spec).help(format!("{} [{}]", spec.doc, spec.fallback));
    SELECTORS.iter().chain(OPTIONS).map(alone).collect()
}

/// The flags that were given. A verb need not have all flags.
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

/// Parses the duration that a verb's own flag gives, in the form of settings.
///
/// # Errors
/// If `text` is not a duration. The message names the flag.
pub fn span(flag: &str, text: &str) -> Result<Duration, Failure> {
    values::span(text).map_err(|fault| of_flag(flag, fault.without_value()))
}

/// Parses the time limit that a verb's own flag gives; `None` for no limit.
///
/// # Errors
/// If `text` is not a time limit. The message names the flag.
pub fn limit(flag: &str, text: &str) -> Result<Option<Duration>, Failure> {
    values::timeout(text).map_err(|fault| of_flag(flag, fault.without_value()))
}

fn of_flag(flag: &str, fault: values::Fault) -> Failure {
    Failure::of(Reason::InvalidSetting, format!("--{flag}: {}", fault.what), fault.hint)
}

fn argument(spec: &OptionSpec) -> Arg {
    let action = match spec.kind {
        ValueKind::List(_) | ValueKind::Steps | ValueKind::Principals => ArgAction::Append,
        _ => ArgAction::Set,
    };
    Arg::new(spec.flag)
        .long(spec.flag)
        .action(action)
        .num_args(1)
        .value_name(placeholder(spec.kind))
        .allow_negative_numbers(matches!(spec.kind, ValueKind::Span | ValueKind::Limit))
        .help(format!("{} [{}] [variable: {}]", spec.doc, spec.fallback, spec.variable))
        .help_heading(match spec.table() {
            "session" => "Session options",
            _ => "Settings",
        })
}

fn placeholder(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Text(placeholder) | ValueKind::List(placeholder) => placeholder,
        ValueKind::Path => "PATH",
        ValueKind::Place => "PATH|URI",
        ValueKind::Switch => "true|false",
        ValueKind::Span | ValueKind::Limit => "DURATION",
        ValueKind::Steps => "ARN",
        ValueKind::Table => "TABLE",
        ValueKind::Principals => "any|user:NAME|group:NAME|unit:NAME",
    }
}
