//! What a running daemon gives for the session that the settings mean, and why it gives nothing.

use std::time::Duration;

use super::Way;
use crate::client;
use crate::client::Asked;
use crate::client::Question;
use crate::client::running;
use crate::client::running::Running;
use anchord_config::Partial;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// The daemon itself waits 8 s for a first attempt.
const DAEMON_PATIENCE: Duration = Duration::from_secs(9);

/// What a daemon has for the session that the settings mean.
pub(super) enum FromDaemon {
    Credentials(Box<Credentials>),
    /// Nothing, and why.
    Nothing(Unused),
}

/// Why a daemon gave nothing for a session that the settings define.
pub(super) enum Unused {
    /// There is no daemon.
    Absent,
    /// Its session is another, or it has none of that name.
    Other(Failure),
    /// This user may not use it.
    Forbidden(Failure),
}

/// Asks a daemon, unless AWS alone may be asked. What the settings themselves say of the session goes with the request: a daemon with other settings
/// refuses, and the credentials are got here.
pub(super) async fn from_daemon(settings: &Settings, way: Way, clock: &Clock) -> Result<FromDaemon, Failure> {
    if matches!(way, Way::Direct(_)) {
        return Ok(FromDaemon::Nothing(Unused::Absent));
    }
    let name = match settings.picked.as_ref().or(settings.the_session().map(|session| &session.name)) {
        Some(name) => name.clone(),
        None => the_daemons_only(settings).await?,
    };
    let places = client::places(settings);
    match client::ask_for(&name, Question::Credentials, (settings, &places), DAEMON_PATIENCE).await {
        Asked::Answered(body) => {
            Ok(FromDaemon::Credentials(Box::new(client::credentials(&body, clock.moment())?)))
        }
        Asked::Unknown(why) | Asked::Differs(why)
            if settings.the_session().is_some() && !settings.stated().is_empty() =>
        {
            Ok(FromDaemon::Nothing(Unused::Other(why)))
        }
        Asked::Forbidden(why) if settings.the_session().is_some() => {
            Ok(FromDaemon::Nothing(Unused::Forbidden(why)))
        }
        Asked::Refused(failure)
        | Asked::Unknown(failure)
        | Asked::Differs(failure)
        | Asked::Forbidden(failure) => Err(failure),
        Asked::NoDaemon if settings.the_session().is_none() => Err(no_daemon_and_no_session(settings, &name)),
        Asked::NoDaemon => Ok(FromDaemon::Nothing(Unused::Absent)),
    }
}

/// A failure of a call made here, and why the daemon that runs was not used. A user whom the daemon keeps out, and who cannot
/// read the host's key either, needs the daemon and not the key.
pub(super) fn with_reason(failure: &Failure, why: &Unused) -> Failure {
    match why {
        Unused::Absent => failure.clone(),
        Unused::Forbidden(why) if failure.is_local() => {
            let message = format!("{}; without it: {}", why.message(), failure.message());
            let hint = why.hint_text().cloned();
            failure.clone().with_reason(why.reason()).with_message(message).with_hint(hint)
        }
        Unused::Other(why) | Unused::Forbidden(why) => {
            let message = format!("{}; the daemon was not used: {}", failure.message(), why.message());
            failure.clone().with_message(message)
        }
    }
}

/// The credentials of a daemon's session that is known by its name alone; `None` where no daemon has it.
///
/// # Errors
/// The daemon's refusal.
pub async fn from_daemon_alone(settings: &Settings, clock: &Clock) -> Result<Option<Credentials>, Failure> {
    let Some(session) = &settings.picked else { return Ok(None) };
    let places = client::places(settings);
    match client::ask_for(session, Question::Credentials, (settings, &places), DAEMON_PATIENCE).await {
        Asked::Answered(body) => client::credentials(&body, clock.moment()).map(Some),
        Asked::Refused(failure) | Asked::Differs(failure) | Asked::Forbidden(failure) => Err(failure),
        Asked::Unknown(_) | Asked::NoDaemon => Ok(None),
    }
}

/// The name of the session that a verb means that goes on until it is stopped; `None` where a daemon will know it that
/// does not run yet.
///
/// # Errors
/// Why no later attempt could give its credentials: neither the settings nor the daemon that runs have it, or there is
/// no sign of a daemon.
pub async fn session_meant(settings: &Settings) -> Result<Option<String>, Failure> {
    if let Some(session) = settings.the_session() {
        return Ok(Some(session.name.clone()));
    }
    // What a file that this user may not read defines is the daemon's to know.
    let says_something =
        settings.picked.is_some() || settings.partial.is_some() || settings.unread_file.is_some();
    let is_awaited = says_something && client::is_awaited(settings);
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
    let places = client::places(settings);
    match client::ask_for(&name, Question::Settings, (settings, &places), DAEMON_PATIENCE).await {
        Asked::Unknown(failure) | Asked::Differs(failure) => Err(failure),
        Asked::NoDaemon if !is_awaited => Err(no_daemon_and_no_session(settings, &name)),
        Asked::NoDaemon | Asked::Answered(_) | Asked::Refused(_) | Asked::Forbidden(_) => Ok(Some(name)),
    }
}

/// The daemon's only session, for a user without any of their own.
async fn the_daemons_only(settings: &Settings) -> Result<String, Failure> {
    only(settings, the_daemon_for_all(settings).await?.as_ref())
}

/// The daemon that has the sessions of a user without any of their own.
async fn the_daemon_for_all(settings: &Settings) -> Result<Option<Running>, Failure> {
    if settings.sessions.is_empty() { running::find(settings, None).await } else { Ok(None) }
}

fn only(settings: &Settings, running: Option<&Running>) -> Result<String, Failure> {
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
            "start the daemon and name its session with --session, or define one in a settings file or by \
             --certificate, --private-key, --trust-anchor-arn, --profile-arn, --role-arn"
                .to_owned(),
        ),
        names => {
            let hint = format!("name one with --session: {}", names.join(", "));
            ("there is not exactly one session to choose", hint)
        }
    };
    Err(Failure::of(Reason::UnknownSession, message, Some(hint.into())))
}

pub(super) fn no_daemon_and_no_session(settings: &Settings, name: &str) -> Failure {
    if let Some(Partial { origins, missing, flags, stated: _ }) = &settings.partial {
        let missing: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "no daemon runs, and what {} says of session `{name}` lacks {}",
            origins.join(", "),
            missing.join(", ")
        );
        let hint = format!("start the daemon, or give {}, or their variables", flags.join(", "));
        return Failure::of(Reason::UnknownSession, message, Some(hint.into()));
    }
    let hint = "start the daemon, name its socket with --socket-path, or define the session for this user";
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
