//! Exit codes, and the one way to print.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::Surroundings;
use super::helper;
use super::helper::Name;
use super::threads;
use anchord_config::Environment;
use anchord_config::Problems;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_runtime::client;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked to.
    Done,
    /// The environment failed: a file, the network, AWS being unwell, no daemon.
    Failed,
    /// The command line was wrong.
    Usage,
    /// AWS refused.
    Refused,
    /// A bug of ours.
    Broken,
    /// The command that was to be run cannot be, as shells say it.
    NotRun,
    /// There is no such command, as shells say it.
    NoCommand,
}

impl Exit {
    /// The process's exit code; README.md lists them.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Broken => 70,
            Self::NotRun => 126,
            Self::NoCommand => 127,
        }
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Transient | Class::Throttled | Class::Misconfigured => Self::Failed,
            Class::Denied => Self::Refused,
            Class::Broken => Self::Broken,
        }
    }
}

/// Prints data. A reader that has gone away (`| head`) is not our failure.
pub(super) fn print(surroundings: &mut Surroundings<'_>, text: &str) -> Exit {
    match print_bytes(surroundings, text.as_bytes()) {
        Ok(_) => Exit::Done,
        Err(exit) => exit,
    }
}

/// Whether anybody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    There,
    Gone,
}

/// The same for data of any kind, and for whoever has more to come.
pub(super) fn print_bytes(surroundings: &mut Surroundings<'_>, bytes: &[u8]) -> Result<Reader, Exit> {
    let printed = surroundings.stdout.write_all(bytes).and_then(|()| surroundings.stdout.flush());
    match printed {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => {
            let _ = writeln!(surroundings.stderr, "anchord: cannot write to stdout: {error}");
            Err(Exit::Failed)
        }
    }
}

/// Prints a failure as `anchord: …` with its hint on a line of its own, and chooses the exit code.
pub(super) fn report(failure: &Failure, surroundings: &mut Surroundings<'_>) -> Exit {
    let failure = for_clients(in_words_of(surroundings.name, failure), surroundings.environment);
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(surroundings.stderr, "anchord: {}", without_pem(failure.message()));
    if let Some(hint) = failure.hint() {
        let _ = writeln!(surroundings.stderr, "  hint: {}", without_pem(hint));
    }
    failure.class().into()
}

/// A text without the key that a variable may have brought into it, such as in the place of a path. The settings refuse
/// that; this is for the variables of others.
pub(super) fn without_pem(text: &str) -> Cow<'_, str> {
    let armored = text.find("PRIVATE KEY-----").and_then(|key| text[..key].rfind("-----BEGIN "));
    // The same in Base64.
    let begin = armored.or_else(|| text.find("LS0tLS1CRUdJTi"));
    match begin {
        Some(at) => format!("{}(PEM text, which is not shown)", &text[..at]).into(),
        None => text.into(),
    }
}

/// As the program speaks under this name.
pub(super) fn in_words_of(name: Name, failure: &Failure) -> Failure {
    match name {
        Name::Anchord => failure.clone(),
        Name::Helper => helper::in_flags(failure),
    }
}

/// Where a daemon is there, a file that this user may not read is no reason to open it: the daemon's user reads it.
pub(super) fn for_clients(failure: Failure, environment: &Environment) -> Failure {
    match failure.reason() == Reason::FileForbidden && client::is_there(environment) {
        true => failure.with_hint(Some(LEAVE_IT_CLOSED.into())),
        false => failure,
    }
}

/// What a user whom a daemon serves can do about a file that is closed to them.
pub(super) const LEAVE_IT_CLOSED: &str =
    "the daemon reads it, and its clients need not: run this as the daemon's user to look at it";

/// Prints every mistake of a configuration on a line of its own.
pub(super) fn report_problems(problems: &Problems, surroundings: &mut Surroundings<'_>) -> Exit {
    for problem in problems.iter() {
        let _ = writeln!(surroundings.stderr, "anchord: {}", without_pem(&problem.to_string()));
    }
    Exit::Failed
}

/// A runtime for verbs that ask a question and end.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    built(&mut Builder::new_current_thread())
}

/// One for verbs that go on: a call to a file system that hangs must not keep them from ending when they are told to.
/// Where a limit allows fewer threads it has fewer.
pub(super) fn runtime_with_threads() -> Result<Runtime, Failure> {
    /// For what blocks: files, keys and name lookups. Tokio's 512 would all be started by a thousand sessions that begin at
    /// once, and wait for two processors.
    const MOST_BLOCKING: usize = 128;
    let usual = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let obtained = threads::obtainable(usual + threads::SPARE);
    let workers = match obtained.count.saturating_sub(threads::SPARE) {
        0 => return Err(threads::none(&obtained)),
        workers => workers,
    };
    let mut builder = Builder::new_multi_thread();
    builder.max_blocking_threads(MOST_BLOCKING);
    if workers < usual {
        let (error, hint) = (obtained.reason(), threads::HINT);
        tracing::warn!(
            workers,
            usual,
            error,
            hint,
            "There are fewer threads than usual; serving more slowly"
        );
        builder.worker_threads(workers);
    }
    let runtime = built(&mut builder)?;
    // From the start, for a limit may be reached later.
    runtime.spawn(threads::keep_a_spare());
    Ok(runtime)
}

fn built(builder: &mut Builder) -> Result<Runtime, Failure> {
    let broken = |error| Failure::of(Reason::Bug, format!("cannot start the runtime: {error}"), None);
    let runtime = builder.enable_all().build().map_err(broken)?;
    survive_size_limit(&runtime);
    Ok(runtime)
}

/// Has a write beyond `RLIMIT_FSIZE` fail, where the signal would end the process before it could say why. A handler, not
/// `SIG_IGN`, which commands that are run here would inherit.
fn survive_size_limit(runtime: &Runtime) {
    let _inside = runtime.enter();
    let size_limit = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when what is returned is dropped. Without one all else works as before.
    let _ = signal(size_limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_came_in_by_a_variable_is_cut_off_and_other_words_about_pem_are_not() {
        let shown = |text: &'static str| without_pem(text).into_owned();

        let key = "cannot read `/-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----`";
        assert_eq!(shown(key), "cannot read `/(PEM text, which is not shown)");
        let base64 = "cannot read `/tmp/LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0hunter2`: File name too long";
        assert_eq!(shown(base64), "cannot read `/tmp/(PEM text, which is not shown)");
        let hint = "PEM is text with `-----BEGIN …-----` lines";
        assert_eq!(shown(hint), hint);
    }
}
