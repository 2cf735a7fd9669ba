//! `anchord config check`: every mistake in one run, or each setting with its origin.

use std::fmt::Write as _;

use clap::ArgMatches;

use super::Exit;
use super::Surroundings;
use super::exit;
use super::prompt;
use crate::clock;
use crate::clock::Clock;
use crate::config;
use crate::daemon;
use crate::failure::Failure;
use crate::identity;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let settings = match config::load(matches, surroundings.environment) {
        Ok(settings) => settings,
        Err(problems) => return exit::report_problems(&problems, surroundings),
    };
    prompt::ask_for_all(&settings);
    let mut text = config::describe(&settings);
    for warning in &settings.warnings {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# warning: {warning}");
    }
    let mut outcome = Exit::Done;
    if let Err(error) = daemon::transport(&settings, &Clock::system()) {
        outcome = exit::report(&error.into(), surroundings);
    }
    for session in &settings.sessions {
        match session.identity().map(|source| identity_line(&session.name, source, &Clock::system())) {
            Some(Ok(line)) => text.push_str(&line),
            Some(Err(failure)) => outcome = exit::report(&failure, surroundings),
            None => {}
        }
    }
    match exit::print(surroundings, &text) {
        Exit::Done => outcome,
        other => other,
    }
}

/// What the session would sign with, as comments so that the whole output stays a configuration.
fn identity_line(session: &str, source: &identity::Source, clock: &Clock) -> Result<String, Failure> {
    let now = clock.now();
    let loaded = source.load(now)?;
    let identity = loaded.identity;
    let mut line = format!(
        "# session.{}: {}, valid until {}, intermediates: {}\n",
        session,
        identity.subject(),
        clock::rfc3339(identity.not_after()),
        identity.intermediates().len(),
    );
    let endings = identity.links().filter_map(|link| link.warning(now));
    for warning in loaded.warnings.into_iter().chain(endings) {
        // Writing into a String cannot fail.
        let _ = writeln!(line, "# session.{session}: warning: {warning}");
    }
    Ok(line)
}
