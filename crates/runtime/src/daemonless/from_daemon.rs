//! Obtains credentials from a running daemon, or the reason why no daemon was used.

use std::time::Duration;

use super::ObtainMode;
use crate::client;
use crate::client::DaemonAnswer;
use crate::client::Question;
use crate::client::running;
use crate::client::running::RunningDaemon;
use anchord_config::Partial;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Longer than the 8 s that the daemon waits for its first attempt.
const DAEMON_PATIENCE: Duration = Duration::from_secs(9);

/// The outcome of asking a daemon for the selected session.
pub(super) enum DaemonOutcome {
    Credentials(Box<Credentials>),
    /// No daemon was used, and why.
    Unused(Unused),
}

/// Why no daemon was used for a session that the settings define.
pub(super) enum Unused {
    /// No daemon runs.
    Absent,
    /// The daemon has no session of this name, or one with other settings.
    Other(Failure),
    /// This user may not use it.
    Forbidden(Failure),
}

/// Asks a daemon, unless `mode` is [`ObtainMode::Direct`]. The request contains the options that the caller itself
/// gives. A daemon with other settings refuses, and the caller then asks AWS.
///
/// # Errors
/// The daemon's refusal, or that no daemon runs and the settings define no session.
pub(super) async fn from_daemon(
    settings: &Settings,
    mode: ObtainMode,
    clock: &Clock,
) -> Result<DaemonOutcome, Failure> {
    if matches!(mode, ObtainMode::Direct(_)) {
        return Ok(DaemonOutcome::Unused(Unused::Absent));
    }
    let name = match settings.picked.as_ref().or(settings.the_session().map(|session| &session.name)) {
        Some(name) => name.clone(),
        None => the_daemons_only(settings).await?,
    };
    let sockets = client::sockets(settings);
    match client::ask_for(&name, Question::Credentials, (settings, &sockets), DAEMON_PATIENCE).await {
        DaemonAnswer::Answered(body) => {
            Ok(DaemonOutcome::Credentials(Box::new(client::credentials(&body, clock.moment())?)))
        }
        DaemonAnswer::Unknown(why) | DaemonAnswer::Differs(why)
            if settings.the_session().is_some() && !settings.stated().is_empty() =>
        {
            Ok(DaemonOutcome::Unused(Unused::Other(why)))
        }
        DaemonAnswer::Forbidden(why) if settings.the_session().is_some() => {
            Ok(DaemonOutcome::Unused(Unused::Forbidden(why)))
        }
        DaemonAnswer::Refused(failure)
        | DaemonAnswer::Unknown(failure)
        | DaemonAnswer::Differs(failure)
        | DaemonAnswer::Forbidden(failure) => Err(failure),
        DaemonAnswer::NoDaemon if settings.the_session().is_none() => {
            Err(no_daemon_and_no_session(settings, &name))
        }
        DaemonAnswer::NoDaemon => Ok(DaemonOutcome::Unused(Unused::Absent)),
    }
}

/// Adds to the failure of a direct call why no daemon was used. If this user may use neither the daemon nor the host's
/// key, the hint is about the daemon, because access to the daemon is enough.
pub(super) fn with_why_unused(failure: &Failure, why: &Unused) -> Failure {
    match why {
        Unused::Absent => failure.clone(),
        Unused::Forbidden(why) if failure.is_local() => {
            let message = format!("{}; without the daemon: {}", why.message(), failure.message());
            let hint = why.hint_text().cloned();
            failure.clone().with_reason(why.reason()).with_message(message).with_hint(hint)
        }
        Unused::Other(why) | Unused::Forbidden(why) => {
            let message = format!("{}; the daemon was not used: {}", failure.message(), why.message());
            failure.clone().with_message(message)
        }
    }
}

/// Obtains credentials of a daemon's session by its name alone; `None` if no daemon has it.
///
/// # Errors
/// The daemon's refusal.
pub async fn from_daemon_alone(settings: &Settings, clock: &Clock) -> Result<Option<Credentials>, Failure> {
    let Some(session) = &settings.picked else { return Ok(None) };
    let sockets = client::sockets(settings);
    match client::ask_for(session, Question::Credentials, (settings, &sockets), DAEMON_PATIENCE).await {
        DaemonAnswer::Answered(body) => client::credentials(&body, clock.moment()).map(Some),
        DaemonAnswer::Refused(failure)
        | DaemonAnswer::Differs(failure)
        | DaemonAnswer::Forbidden(failure) => Err(failure),
        DaemonAnswer::Unknown(_) | DaemonAnswer::NoDaemon => Ok(None),
    }
}

/// The name of the session for a verb that runs until it is stopped. `None` if only a daemon knows it that is expected
/// to start later.
///
/// # Errors
/// If later attempts would fail too: neither the settings nor the running daemon have the session, or no daemon is
/// expected.
pub async fn session_meant(settings: &Settings) -> Result<Option<String>, Failure> {
    if let Some(session) = settings.the_session() {
        return Ok(Some(session.name.clone()));
    }
    // A settings file that this user may not read may define the session; only the daemon knows.
    let may_be_the_daemons =
        settings.picked.is_some() || settings.partial.is_some() || settings.unread_file.is_some();
    let is_awaited = may_be_the_daemons && client::is_awaited(settings);
    let name = match &settings.picked {
        Some(name) => name.clone(),
        None => {
            let Ok(running) = the_daemon_for_all(settings).await else { return Ok(None) };
            match only(settings, running.as_ref()) {
                Ok(name) => name,
                Err(_) if running.is_none() && is_awaited => return Ok(None),
                Err(failure) => return Err(failure),
            }
        }
    };
    let sockets = client::sockets(settings);
    match client::ask_for(&name, Question::Settings, (settings, &sockets), DAEMON_PATIENCE).await {
        DaemonAnswer::Unknown(failure) | DaemonAnswer::Differs(failure) => Err(failure),
        DaemonAnswer::NoDaemon if !is_awaited => Err(no_daemon_and_no_session(settings, &name)),
        DaemonAnswer::NoDaemon
        | DaemonAnswer::Answered(_)
        | DaemonAnswer::Refused(_)
        | DaemonAnswer::Forbidden(_) => Ok(Some(name)),
    }
}

/// The daemon's only session, for a user without own sessions.
async fn the_daemons_only(settings: &Settings) -> Result<String, Failure> {
    only(settings, the_daemon_for_all(settings).await?.as_ref())
}

/// A running daemon, for a user without own sessions.
async fn the_daemon_for_all(settings: &Settings) -> Result<Option<RunningDaemon>, Failure> {
    if settings.sessions.is_empty() { running::find(settings, None).await } else { Ok(None) }
}

fn only(settings: &Settings, running: Option<&RunningDaemon>) -> Result<String, Failure> {
    let names: Vec<&str> = match running {
        Some(running) => running.status.sessions.iter().map(|held| held.name.as_str()).collect(),
        None => settings.sessions.iter().map(|session| session.name.as_str()).collect(),
    };
    let (message, hint) = match names.as_slice() {
        [only] if running.is_some() => return Ok((*only).to_owned()),
        [] if settings.partial.is_some() || settings.unread_file.is_some() => {
            return Err(no_daemon_and_no_session(settings, "default"));
        }
        [] => (
            "no session is defined here, and no daemon runs",
            "start the daemon and select its session with --session, or define one in a settings file or with \
             --certificate, --private-key, --trust-anchor-arn, --profile-arn, --role-arn"
                .to_owned(),
        ),
        names => {
            let hint = format!("select one with --session: {}", names.join(", "));
            ("no session is selected, and there is not exactly one", hint)
        }
    };
    Err(Failure::of(Reason::UnknownSession, message, Some(hint.into())))
}

pub(super) fn no_daemon_and_no_session(settings: &Settings, name: &str) -> Failure {
    if let Some(Partial { origins, missing, flags, stated: _ }) = &settings.partial {
        let missing: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "no daemon runs, and session `{name}` in {} lacks {}",
            origins.join(", "),
            missing.join(", ")
        );
        let hint = format!("start the daemon, or give {}, or their variables", flags.join(", "));
        return Failure::of(Reason::UnknownSession, message, Some(hint.into()));
    }
    let hint = "start the daemon, give its socket with --socket-path, or define the session for this user";
    let mut message = format!("no daemon runs and no configuration defines session `{name}`");
    if let Some(unread) = &settings.unread_file {
        message = format!("{message} (this user may not read `{}`)", unread.display());
    }
    Failure::of(Reason::UnknownSession, message, Some(hint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchord_config as config;
    use anchord_config::Environment;

    #[tokio::test]
    async fn the_daemon_of_a_file_that_this_user_may_not_read_is_waited_for() {
        let nowhere = [("socket-path", "/nowhere/anchord.sock")];
        let arguments = config::Arguments::given(nowhere).unwrap();
        let environment = Environment::from_iter([("HOME", "/nowhere")]).with_uid(7);
        let mut settings = config::load_flags_for_client(arguments, &environment).unwrap();

        assert!(session_meant(&settings).await.is_err());
        settings.unread_file = Some("/etc/anchord/anchord.toml".into());
        assert_eq!(session_meant(&settings).await.unwrap(), None);
    }
}
