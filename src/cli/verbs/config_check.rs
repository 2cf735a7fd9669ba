//! `anchord config check`: prints every mistake, or each setting and its origin.

use std::fmt::Write as _;

use clap::ArgMatches;

use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::output::prompt;
use anchord_aws::upstream;
use anchord_config as config;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::failure::Failure;
use anchord_identity::Loaded;
use anchord_identity::life_left;
use anchord_runtime::assembly;
use anchord_runtime::assembly::Seams;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let settings = match config::load(matches, surroundings.environment) {
        Ok(settings) => settings.with_pipes_read(),
        Err(problems) => return output::report_problems(&problems, surroundings),
    };
    prompt::ask_for_all(&settings);
    let mut notes = String::new();
    for warning in &settings.warnings {
        // Writing into a String cannot fail.
        let _ = writeln!(notes, "# warning: {warning}");
    }
    for doubt in settings.upstream.ca_file.iter().flat_map(|path| upstream::ca_file_doubts(path)) {
        let _ = writeln!(notes, "# warning: {doubt}");
    }
    let mut failures: Vec<Failure> = Vec::new();
    failures.extend(assembly::transport(&settings, &Seams::real()).err().map(Failure::from));
    // Kept to the end, so that a key that several sessions share is read and checked once.
    let mut identities = Vec::new();
    for session in &settings.sessions {
        let Some(source) = session.identity() else { continue };
        match source.load(Clock::system().now()) {
            Ok(loaded) => {
                write_identity(&mut notes, &session.name, &loaded, &Clock::system());
                identities.push(loaded.identity);
            }
            Err(error) => failures.push(error.into()),
        }
    }
    // Errors come last, and after the given settings alone, so that they are easy to see.
    let shown = if failures.is_empty() { config::describe } else { config::describe_given };
    let mut outcome = output::print(surroundings, &format!("{}{notes}", shown(&settings)));
    for failure in &failures {
        let exit = output::report(failure, surroundings);
        outcome = if outcome == Exit::Done { exit } else { outcome };
    }
    outcome
}

/// Writes the session's certificate as comments, so that the whole output is still a valid configuration.
fn write_identity(text: &mut String, session: &str, loaded: &Loaded, clock: &Clock) {
    let identity = &loaded.identity;
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "# session.{}: {}, valid until {} ({} left), intermediates: {}",
        session,
        identity.subject(),
        clock::rfc3339(identity.not_after()),
        life_left(identity.not_after(), clock.now()),
        identity.intermediates().len(),
    );
    let endings = identity.links().filter_map(|link| link.warning(clock.now()));
    for warning in loaded.warnings.iter().cloned().chain(endings) {
        let _ = writeln!(text, "# session.{session}: warning: {warning}");
    }
}
