//! `anchord update`: writes a profile of the shared credentials file, once or for ever.
//!
//! The credentials come as those of `credential-process` do: from a running daemon, or else from AWS through the cache
//! that parallel processes share. Renewal and writing are the daemon's own: a session's keeper, whose issuer this is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Arg;
use clap::ArgMatches;
use clap::Command;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tracing::info;

use super::Exit;
use super::Surroundings;
use super::credential_process;
use super::credential_process::Caching;
use super::credential_process::Renewal;
use super::credential_process::Way;
use super::exit;
use super::helper;
use super::helper::Line;
use super::helper::Name;
use super::helper::Words;
use super::prompt;
use super::run;
use crate::telemetry;
use anchord_aws::upstream::Issuer;
use anchord_config as config;
use anchord_config::CredentialsFile;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::profile::Profile;
use anchord_frontend::credentials_file;
use anchord_runtime::daemon;
use anchord_runtime::daemon::Embedded;
use anchord_runtime::daemon::Seams;
use anchord_session::Policy;

/// The verb's grammar with what only anchord has.
pub(super) fn with_file(command: Command) -> Command {
    let help = "The file to write [default: AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials]";
    command
        .long_about(
            "Write credentials into a profile of the shared credentials file, and renew them ahead of their end until \
             told to stop. No failure ends it: it is told, the file stays as it is, and it is tried again. SIGTERM and \
             SIGINT do. It does not start where nothing says which session is meant, or where neither the settings nor the \
             daemon have it; a daemon that does not run yet is waited for. All else in the file stays as it is. Programs notice when they start; some SDKs also when \
             what they have read ends.",
        )
        .arg(Arg::new("credentials-file").long("credentials-file").value_name("PATH").help(help))
}

/// Which profile of which file is written.
pub(super) struct Target {
    pub(super) profile: Profile,
    pub(super) path: PathBuf,
}

/// How long the verb goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Until the file is written.
    Once,
    /// Until a signal.
    Forever,
}

pub(super) fn run(matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    let words = Words(matches);
    let caching = Caching::of(matches);
    let read = Line::read(matches, name, surroundings.environment, Vec::new()).and_then(|line| {
        let settled = match name {
            Name::Anchord => (line.settings_for_client()?, Way::DaemonFirst(caching)),
            Name::Helper => (line.settings_of_one_call()?, Way::Direct(caching)),
        };
        Ok((line, settled))
    });
    let (line, (settings, way)) = match read {
        Ok(read) => read,
        Err(mistakes) => return helper::refuse(&mistakes, surroundings),
    };
    helper::warn(&line.warnings, surroundings);
    helper::warn(&settings.warnings, surroundings);
    let file = words.get("credentials-file");
    let profile = words.get("profile").unwrap_or("default");
    let target = match target(profile, file, surroundings.environment) {
        Ok(target) => target,
        Err(failure) => return exit::report(&failure, surroundings),
    };
    let term = if words.has("once") { Term::Once } else { Term::Forever };
    // What goes on for ever has logs in any case.
    if line.debug && term == Term::Once {
        telemetry::init(tracing::Level::DEBUG, telemetry::Format::Text, true, std::io::stderr);
    }
    update(&settings, &target, (term, way), surroundings)
}

/// The profile called `name` of `file`, or else of the file that SDKs read.
pub(super) fn target(name: &str, file: Option<&str>, environment: &Environment) -> Result<Target, Failure> {
    let misconfigured = |message, hint: &str| Failure::of(Reason::InvalidSetting, message, Some(hint.into()));
    let profile = Profile::parse(name)
        .map_err(|error| misconfigured(format!("--profile: {error}"), "choose another name"))?;
    let path = config::shared_credentials_file(file, environment).ok_or_else(|| {
        let hint = "name a file with --credentials-file, or set HOME";
        misconfigured("there is no home for a credentials file".into(), hint)
    })?;
    Ok(Target { profile, path })
}

/// Writes what `settings` give into `target`.
pub(super) fn update(
    settings: &Settings,
    target: &Target,
    (term, way): (Term, Way),
    surroundings: &mut Surroundings<'_>,
) -> Exit {
    daemon::no_core_files();
    let session = match session_in_logs(settings, (term, way)) {
        Ok(name) => name,
        Err(failure) => return exit::report(&failure, surroundings),
    };
    if let Some(session) = settings.the_session().filter(|_| term == Term::Forever) {
        prompt::ask(session);
    }
    let outcome = match term {
        Term::Once => {
            credential_process::credentials_by(way, settings, surroundings).and_then(|credentials| {
                let written = credentials_file::write(&target.path, &target.profile, &credentials);
                let runtime = exit::runtime()?;
                runtime.block_on(written)?;
                let doubt = runtime.block_on(credentials_file::doubt(&target.path));
                helper::warn(doubt.as_slice(), surroundings);
                Ok(())
            })
        }
        Term::Forever => run::log_queue().and_then(|queue| {
            let runtime = exit::runtime_with_threads()?;
            let environment = surroundings.environment;
            run::start_logs(settings, environment, &queue);
            let outcome = runtime.block_on(until_told_to_stop((settings, session), target, way, environment));
            // Time enough for a file that is being written; a name lookup need not be waited for.
            runtime.shutdown_timeout(Duration::from_millis(500));
            outcome
        }),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => exit::report(&failure, surroundings),
    }
}

/// What logs call the session.
fn session_in_logs(settings: &Settings, (term, way): (Term, Way)) -> Result<String, Failure> {
    let named = match (term, way) {
        (Term::Forever, Way::DaemonFirst(_)) => {
            exit::runtime()?.block_on(credential_process::session_meant(settings))?
        }
        _ => settings.the_session().map(|session| session.name.clone()),
    };
    // A daemon that does not run yet will have only one.
    Ok(named.unwrap_or_else(|| "(the daemon's only one)".into()))
}

async fn until_told_to_stop(
    (settings, session): (&Settings, String),
    target: &Target,
    way: Way,
    environment: &Environment,
) -> Result<(), Failure> {
    let cannot_listen =
        |error: std::io::Error| Failure::of(Reason::Bug, format!("cannot take signals: {error}"), None);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    tokio::select! {
        () = keep((settings, session), target, way, environment) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("Stopped; the file stays as it is");
    Ok(())
}

/// Writes again and again; no failure ends it.
async fn keep(
    (settings, session): (&Settings, String),
    target: &Target,
    way: Way,
    environment: &Environment,
) {
    let seams = Seams::real();
    let renewal = Arc::new(Renewal::new(settings, way, environment, &seams));
    let seams = Seams { jitter: renewal.jitter(), ..seams };
    let file = CredentialsFile {
        name: target.path.display().to_string(),
        path: target.path.clone(),
        profile: target.profile.clone(),
        session,
    };
    let own = settings.the_session();
    let policy = own.map_or_else(Policy::default, |session| daemon::policy(settings, session));
    let issuer: Arc<dyn Issuer> = Arc::clone(&renewal) as _;
    let (kept, changed) = Embedded::of(&file.session, issuer, policy, &seams);
    tokio::select! {
        () = daemon::keep_credentials_file(file, kept.handle().clone(), seams.clock) => {}
        never = renewal.watch(changed) => match never {},
    }
}
