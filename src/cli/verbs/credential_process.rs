//! `anchord credential-process`: one line of JSON on stdout, or one line on stderr.
//!
//! It asks a daemon first. Without a daemon it calls AWS itself, behind a cache and a lock that processes share. It never
//! reads stdin, prints nothing on stderr on success, and ends within ten seconds: SDKs wait without a limit, or up to a
//! minute (Go).

mod in_time;

use std::io::IsTerminal as _;

use clap::ArgMatches;
use tokio::time::Instant;

use self::in_time::PATIENCE;
pub(super) use self::in_time::credentials;
pub(super) use self::in_time::credentials_by;
use self::in_time::obtained;
use self::in_time::within;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::helper;
use crate::cli::grammar::helper::Line;
use crate::cli::grammar::helper::NO_CACHE;
use crate::cli::grammar::helper::Name;
use crate::cli::output;
use crate::cli::threads;
use crate::telemetry;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::process_limits;
use anchord_core::secret::Secret;
use anchord_frontend::process;
use anchord_runtime::daemonless;
use anchord_runtime::daemonless::Caching;
use anchord_runtime::daemonless::ObtainMode;

/// Whether `--no-cache` is given.
pub(super) fn caching(matches: &ArgMatches) -> Caching {
    if matches.get_flag(NO_CACHE) { Caching::Off } else { Caching::On }
}

pub(super) fn run(matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    process_limits::no_core_files();
    let ends_at = Instant::now() + PATIENCE;
    let named = daemon_named_by_flags(matches, name, surroundings.environment);
    if let Some(held) = named.and_then(|settings| from_daemon_alone(settings, ends_at).transpose()) {
        return shown(held, surroundings);
    }
    let (settings, mode) = match settings(matches, name, ends_at, surroundings) {
        Ok((mut settings, mode)) => {
            settings.read_pipes();
            (settings, mode)
        }
        Err(failure) => {
            let named = beside_the_systems_file(matches, name, ends_at, surroundings.environment);
            let held = named.and_then(|settings| from_daemon_alone(settings, ends_at).transpose());
            return shown(held.unwrap_or(Err(failure)), surroundings);
        }
    };
    let obtained = obtained(&settings, mode, ends_at, surroundings);
    shown(obtained.map_err(|failure| with_doubt(failure, &settings)), surroundings)
}

/// Adds to a failure the doubt about a Region of the session, which is the likely cause. SDKs show stderr only for a
/// failure; on a terminal the doubt has already been printed as a warning.
fn with_doubt(failure: Failure, settings: &Settings) -> Failure {
    let doubts = settings.the_session().map(config::doubts_of).unwrap_or_default();
    let Some((_, doubt)) = doubts.first().filter(|_| !std::io::stderr().is_terminal()) else {
        return failure;
    };
    let hint = match (&doubt.hint, failure.hint_text()) {
        (Some(first), Some(second)) => Some(first.clone().then(&" ".into()).then(second)),
        (first, second) => first.as_ref().or(second).cloned(),
    };
    let message = format!("{}; {}", failure.message(), doubt.what);
    failure.with_message(message).with_hint(hint)
}

fn shown(obtained: Result<Credentials, Failure>, surroundings: &mut Surroundings<'_>) -> Exit {
    match obtained {
        Ok(credentials) => {
            let line = Secret::new(format!("{}\n", process::render(&credentials).expose()));
            output::print(surroundings, line.expose())
        }
        Err(failure) => output::report_on_one_line(&failure, surroundings),
    }
}

/// Settings that only name a daemon's socket and a session, if flags give both and name no file. This reads no settings
/// file, so a mistake in one, or a home that hangs, does no harm.
fn daemon_named_by_flags(matches: &ArgMatches, name: Name, environment: &Environment) -> Option<Settings> {
    if name == Name::Helper {
        return None;
    }
    let is_given = |flag: &str| matches.contains_id(flag);
    let is_named =
        is_given("socket-path") && is_given("session") && !config::names_a_file(matches, environment);
    is_named.then(|| config::load_name(matches, environment)).flatten()
}

/// Settings that only name the session, for use when the host's settings file is invalid: the daemon keeps the settings that
/// it has loaded, and its clients keep using it. `None` if the file is the user's own, which may mean another session.
fn beside_the_systems_file(
    matches: &ArgMatches,
    name: Name,
    ends_at: Instant,
    environment: &Environment,
) -> Option<Settings> {
    if name == Name::Helper {
        return None;
    }
    let (matches, environment) = (matches.clone(), environment.clone());
    let named = within(ends_at, move || {
        let is_the_systems = config::file_is_the_systems(&matches, &environment);
        Ok(is_the_systems.then(|| config::load_name(&matches, &environment)).flatten())
    });
    named.ok().flatten()
}

/// The credentials of a daemon's session, requested by its name only; `None` if no daemon has the session.
fn from_daemon_alone(settings: Settings, ends_at: Instant) -> Result<Option<Credentials>, Failure> {
    within(ends_at, move || {
        threads::runtime()?.block_on(daemonless::from_daemon_alone(&settings, &Clock::system()))
    })
}

/// The settings. Under the name `aws_signing_helper` they come from flags only, and no daemon is asked. Has a time limit,
/// because the settings file is in a home that may hang.
fn settings(
    matches: &ArgMatches,
    name: Name,
    ends_at: Instant,
    surroundings: &mut Surroundings<'_>,
) -> Result<(Settings, ObtainMode), Failure> {
    let caching = caching(matches);
    let (matches, environment) = (matches.clone(), surroundings.environment.clone());
    let (line, settings, mode) = within(ends_at, move || {
        let line = Line::read(&matches, name, &environment, Vec::new());
        let settled = line.and_then(|line| {
            let (settings, mode) = match name {
                Name::Anchord => (line.settings_for_client()?, ObtainMode::DaemonFirst(caching)),
                Name::Helper => (line.settings_of_one_call()?, ObtainMode::Direct(caching)),
            };
            Ok((line, settings, mode))
        });
        settled.map_err(|mistakes| helper::as_failure(&mistakes))
    })?;
    // SDKs expect an empty stderr; a person on a terminal should see warnings.
    if std::io::stderr().is_terminal() {
        output::warn(&line.warnings, surroundings);
        output::warn(&settings.warnings, surroundings);
    }
    if line.debug {
        telemetry::init(tracing::Level::DEBUG, telemetry::Format::Text, true, std::io::stderr);
    }
    Ok((settings, mode))
}
