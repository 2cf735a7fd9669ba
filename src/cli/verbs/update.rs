//! `anchord update`: writes a profile of the shared credentials file, once or until stopped.
//!
//! The credentials come from the same sources as for `credential-process`: from a running daemon, else from AWS through the
//! cache that processes share. The daemon's own code renews and writes them: the keeper of a session, with an issuer that
//! asks these sources.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tracing::info;

use super::credential_process;
use super::run;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::helper::FlagValues;
use crate::cli::grammar::helper::HelperArguments;
use crate::cli::grammar::helper::ProgramName;
use crate::cli::output;
use crate::cli::output::prompt;
use crate::cli::threads;
use crate::telemetry;
use anchord_config as config;
use anchord_config::CredentialsFile;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::Issuer;
use anchord_core::process_limits;
use anchord_core::profile::Profile;
use anchord_frontend::credentials_file;
use anchord_runtime::assembly;
use anchord_runtime::assembly::KeptSession;
use anchord_runtime::assembly::Seams;
use anchord_runtime::daemonless;
use anchord_runtime::daemonless::ObtainMode;
use anchord_runtime::daemonless::Renewal;
use anchord_session::Policy;

/// The profile to write, and its file.
pub(super) struct UpdateTarget {
    pub(super) profile: Profile,
    pub(super) path: PathBuf,
}

/// How long the verb runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Until the file is written.
    Once,
    /// Until a signal.
    Forever,
}

pub(super) fn run(matches: &ArgMatches, name: ProgramName, surroundings: &mut Surroundings<'_>) -> Exit {
    let words = FlagValues(matches);
    let caching = credential_process::caching(matches);
    let read = HelperArguments::read(matches, name, surroundings.environment, Vec::new()).and_then(|line| {
        let settled = match name {
            ProgramName::Anchord => (line.settings_for_client()?, ObtainMode::DaemonFirst(caching)),
            ProgramName::Helper => (line.settings_of_one_call()?, ObtainMode::Direct(caching)),
        };
        Ok((line, settled))
    });
    let (line, (settings, mode)) = match read {
        Ok(read) => read,
        Err(mistakes) => return output::report_mistakes(&mistakes, surroundings),
    };
    output::warn(&line.warnings, surroundings);
    output::warn(&settings.warnings, surroundings);
    let file = words.get("credentials-file");
    let profile = words.get("profile").unwrap_or("default");
    let target = match target(profile, file, surroundings.environment) {
        Ok(target) => target,
        Err(failure) => return output::report(&failure, surroundings),
    };
    let term = if words.has("once") { Term::Once } else { Term::Forever };
    // Without --once, `update` starts the logs in any case.
    if line.debug && term == Term::Once {
        telemetry::init(tracing::Level::DEBUG, telemetry::LineFormat::Text, true, std::io::stderr);
    }
    update(&settings, &target, (term, mode), surroundings)
}

/// The profile `name` of `file`, or of the file that SDKs read.
pub(super) fn target(
    name: &str,
    file: Option<&str>,
    environment: &Environment,
) -> Result<UpdateTarget, Failure> {
    let profile = Profile::parse(name).map_err(|error| {
        let hint = Some("choose another name".into());
        Failure::of(Reason::InvalidSetting, format!("--profile: {error}"), hint)
    })?;
    let Some(path) = config::shared_credentials_file(file, environment) else {
        let hint = Some("name a file with --credentials-file, or set HOME".into());
        let message = "cannot find the credentials file: HOME is not set";
        return Err(Failure::of(Reason::InvalidSetting, message, hint));
    };
    Ok(UpdateTarget { profile, path })
}

/// Writes the credentials of the settings' session to `target`.
pub(super) fn update(
    settings: &Settings,
    target: &UpdateTarget,
    (term, mode): (Term, ObtainMode),
    surroundings: &mut Surroundings<'_>,
) -> Exit {
    process_limits::no_core_files();
    let session = match session_in_logs(settings, (term, mode)) {
        Ok(name) => name,
        Err(failure) => return output::report(&failure, surroundings),
    };
    if let Some(session) = settings.the_session().filter(|_| term == Term::Forever) {
        prompt::ask(session);
    }
    let outcome = match term {
        Term::Once => {
            credential_process::credentials_by(mode, settings, surroundings).and_then(|credentials| {
                let written = credentials_file::write(&target.path, &target.profile, &credentials);
                let runtime = threads::runtime()?;
                runtime.block_on(written)?;
                let doubt = runtime.block_on(credentials_file::doubt(&target.path));
                output::warn(doubt.as_slice(), surroundings);
                Ok(())
            })
        }
        Term::Forever => run::log_queue().and_then(|queue| {
            let runtime = threads::runtime_with_threads()?;
            let environment = surroundings.environment;
            run::start_logs(settings, environment, &queue);
            let outcome =
                runtime.block_on(until_told_to_stop((settings, session), target, mode, environment));
            // Long enough for a write under way. Does not wait for a name lookup.
            runtime.shutdown_timeout(Duration::from_millis(500));
            outcome
        }),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => output::report(&failure, surroundings),
    }
}

/// The session's name in logs.
fn session_in_logs(settings: &Settings, (term, mode): (Term, ObtainMode)) -> Result<String, Failure> {
    let named = match (term, mode) {
        (Term::Forever, ObtainMode::DaemonFirst(_)) => {
            threads::runtime()?.block_on(daemonless::session_meant(settings))?
        }
        _ => settings.the_session().map(|session| session.name.clone()),
    };
    // A daemon that does not run yet will have only one.
    Ok(named.unwrap_or_else(|| "(the daemon's only session)".into()))
}

async fn until_told_to_stop(
    (settings, session): (&Settings, String),
    target: &UpdateTarget,
    mode: ObtainMode,
    environment: &Environment,
) -> Result<(), Failure> {
    let cannot_listen =
        |error: std::io::Error| Failure::of(Reason::Bug, format!("cannot handle signals: {error}"), None);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    tokio::select! {
        () = keep((settings, session), target, mode, environment) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!(event = event::UPDATE_STOPPED, "Stopped; the file stays as it is");
    Ok(())
}

/// Renews and writes the credentials without end; retries after errors.
async fn keep(
    (settings, session): (&Settings, String),
    target: &UpdateTarget,
    mode: ObtainMode,
    environment: &Environment,
) {
    let seams = Seams::real();
    let renewal = Arc::new(Renewal::new(settings, mode, environment, &seams));
    let seams = Seams { jitter: renewal.jitter(), ..seams };
    let file = CredentialsFile {
        name: target.path.display().to_string(),
        path: target.path.clone(),
        profile: target.profile.clone(),
        session,
    };
    let own = settings.the_session();
    let policy = own.map_or_else(Policy::default, |session| assembly::policy(settings, session));
    let issuer: Arc<dyn Issuer> = Arc::clone(&renewal) as _;
    let kept = KeptSession::of(&file.session, issuer, policy, &seams);
    tokio::select! {
        () = assembly::keep_credentials_file(file, kept.handle().clone(), seams.clock) => {}
        never = renewal.watch(Arc::clone(kept.identity_changed())) => match never {},
    }
}
