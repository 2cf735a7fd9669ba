//! Prints data, failures and warnings. All verbs print through these functions.

use std::borrow::Cow;

use super::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::helper;
use crate::cli::grammar::helper::Mistakes;
use crate::cli::grammar::helper::ProgramName;
use anchord_config::Environment;
use anchord_config::Problems;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_runtime::client;

/// Prints data. A reader that has closed the pipe (`| head`) is not an error.
pub(in crate::cli) fn print(surroundings: &mut Surroundings<'_>, text: &str) -> Exit {
    match print_bytes(surroundings, text.as_bytes()) {
        Ok(_) => Exit::Done,
        Err(exit) => exit,
    }
}

/// Whether stdout still has a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Pipe {
    Open,
    Closed,
}

/// The same for bytes; returns whether a caller that has more to print can continue.
pub(in crate::cli) fn print_bytes(surroundings: &mut Surroundings<'_>, bytes: &[u8]) -> Result<Pipe, Exit> {
    let printed = surroundings.stdout.write_all(bytes).and_then(|()| surroundings.stdout.flush());
    match printed {
        Ok(()) => Ok(Pipe::Open),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Pipe::Closed),
        Err(error) => {
            let _ = writeln!(surroundings.stderr, "anchord: cannot write to stdout: {error}");
            Err(Exit::Failed)
        }
    }
}

/// Prints a failure as `anchord: …` with its hint on a line of its own, and chooses the exit code.
pub(in crate::cli) fn report(failure: &Failure, surroundings: &mut Surroundings<'_>) -> Exit {
    let failure = for_clients(in_words_of(surroundings.name, failure), surroundings.environment);
    // If stderr is closed, there is no other place for the error.
    let _ = writeln!(surroundings.stderr, "anchord: {}", without_pem(failure.message()));
    if let Some(hint) = failure.hint() {
        let _ = writeln!(surroundings.stderr, "  hint: {}", without_pem(hint));
    }
    failure.class().into()
}

/// Removes a key from a text. A variable may hold a key instead of, say, a path. anchord refuses that in its own settings;
/// this is for variables of other programs.
pub(in crate::cli) fn without_pem(text: &str) -> Cow<'_, str> {
    let armored = text.find("PRIVATE KEY-----").and_then(|key| text[..key].rfind("-----BEGIN "));
    // The beginning of PEM text in Base64.
    let begin = armored.or_else(|| text.find("LS0tLS1CRUdJTi"));
    match begin {
        Some(at) => format!("{}(PEM text, which is not shown)", &text[..at]).into(),
        None => text.into(),
    }
}

/// The failure in the words of the program's name: settings, or flags.
fn in_words_of(name: ProgramName, failure: &Failure) -> Failure {
    match name {
        ProgramName::Anchord => failure.clone(),
        ProgramName::Helper => helper::in_flags(failure),
    }
}

/// Changes the hint for a file that this user cannot read: with a daemon, only the daemon's user needs to read it.
pub(in crate::cli) fn for_clients(failure: Failure, environment: &Environment) -> Failure {
    match failure.reason() == Reason::FileForbidden && client::is_there(environment) {
        true => failure.with_hint(Some(LEAVE_IT_CLOSED.into())),
        false => failure,
    }
}

/// The hint for a client of a daemon about a file that only the daemon may read.
pub(in crate::cli) const LEAVE_IT_CLOSED: &str =
    "clients of the daemon do not need this file; to check it, run this command as the daemon's user";

/// Prints every mistake of a configuration on a line of its own.
pub(in crate::cli) fn report_problems(problems: &Problems, surroundings: &mut Surroundings<'_>) -> Exit {
    for problem in problems.iter() {
        let _ = writeln!(surroundings.stderr, "anchord: {}", without_pem(&problem.to_string()));
    }
    Exit::Failed
}

/// Prints each mistake on a line of its own.
pub(in crate::cli) fn report_mistakes(mistakes: &Mistakes, surroundings: &mut Surroundings<'_>) -> Exit {
    for mistake in mistakes {
        // If stderr is closed, there is no other place for the mistake.
        let _ = writeln!(surroundings.stderr, "anchord: {mistake}");
    }
    Exit::Failed
}

/// Prints warnings.
pub(in crate::cli) fn warn(warnings: &[Notice], surroundings: &mut Surroundings<'_>) {
    for warning in warnings {
        let _ = writeln!(surroundings.stderr, "anchord: warning: {warning}");
    }
}

/// Some SDKs leave stderr in a pipe that they do not read (Java), and some quote it in their errors.
const MAX_LINE_BYTES: usize = 2000;

/// Prints a failure on one line. The exit code is always 1: `credential_process` distinguishes no others.
pub(in crate::cli) fn report_on_one_line(failure: &Failure, surroundings: &mut Surroundings<'_>) -> Exit {
    let failure = in_words_of(surroundings.name, failure);
    let failure = for_clients(failure, surroundings.environment);
    let mut line = format!("anchord: {failure}").replace(['\r', '\n'], " ");
    let end = (0..=MAX_LINE_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    // If stderr is closed, there is no other place for the failure.
    let _ = writeln!(surroundings.stderr, "{line}");
    Exit::Failed
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
