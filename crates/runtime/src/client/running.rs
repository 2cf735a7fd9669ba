//! The daemon that runs here, as its socket tells of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::client;
use crate::client::Asked;
use crate::client::Place;
use crate::client::Question;
use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that answers.
#[derive(Debug)]
pub struct Running {
    /// Where it was asked.
    pub socket: PathBuf,
    /// Its version.
    pub version: String,
    /// The sessions that it holds.
    pub sessions: Vec<Held>,
    /// `http://address:port` of each listener.
    pub http: Vec<String>,
}

/// A session that it holds.
#[derive(Debug, Deserialize)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// `pending`, `live` or `lapsed`.
    pub phase: String,
}

#[derive(Deserialize)]
struct Status {
    version: String,
    sessions: Vec<Held>,
    listeners: Listeners,
}

#[derive(Deserialize)]
struct Listeners {
    http: Vec<String>,
}

impl Running {
    /// Whether it holds a session of this name.
    pub fn holds(&self, session: &str) -> bool {
        self.sessions.iter().any(|held| held.name == session)
    }

    /// Refuses where its session is another than the one that `settings` describe.
    pub async fn confirm(&self, settings: &Settings, session: &str) -> Result<(), Failure> {
        let mut places = client::places(settings);
        places.retain(|place| place.path == self.socket);
        match client::ask_for(session, Question::Settings, (settings, &places), PATIENCE).await {
            Asked::Answered(_) => Ok(()),
            Asked::Refused(failure)
            | Asked::Unknown(failure)
            | Asked::Differs(failure)
            | Asked::Forbidden(failure) => Err(failure),
            Asked::NoDaemon => Err(client::nobody(&places)),
        }
    }
}

/// The first daemon that has `session`, else the first that answers; `None` where there is none.
pub async fn find(settings: &Settings, session: Option<&str>) -> Result<Option<Running>, Failure> {
    let mut first = None;
    for place in client::places(settings) {
        let Some(running) = ask(place).await? else { continue };
        if session.is_none_or(|session| running.holds(session)) {
            return Ok(Some(running));
        }
        first = first.or(Some(running));
    }
    Ok(first)
}

/// The session that is meant, if the daemon has it.
pub fn which(running: &Running, named: Option<String>) -> Result<String, Failure> {
    let known = || running.sessions.iter().map(|held| held.name.as_str()).collect::<Vec<_>>().join(", ");
    let hint = || match running.sessions.as_slice() {
        [] => "no sessions are configured".to_owned(),
        _ => format!("the sessions are {}", known()),
    };
    match (named, running.sessions.as_slice()) {
        (Some(name), _) if running.holds(&name) => Ok(name),
        (Some(name), _) => {
            let message = format!("the daemon at `{}` has no session `{name}`", running.socket.display());
            Err(Failure::of(Reason::UnknownSession, message, Some(hint().into())))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let message = "there is not exactly one session to choose";
            let hint = format!("name one with --session; {}", hint());
            Err(Failure::of(Reason::UnknownSession, message, Some(hint.into())))
        }
    }
}

async fn ask(place: Place) -> Result<Option<Running>, Failure> {
    let places = [place];
    let body = match client::ask(&places, "/v1/status", PATIENCE).await {
        Asked::Answered(body) => body,
        Asked::Refused(failure) | Asked::Differs(failure) | Asked::Forbidden(failure) => return Err(failure),
        Asked::Unknown(_) | Asked::NoDaemon => return Ok(None),
    };
    let [place] = places;
    let Ok(status) = serde_json::from_slice::<Status>(body.expose()) else {
        return Err(Failure::of(Reason::DaemonUnavailable, "the daemon's status cannot be read", None));
    };
    let Status { version, sessions, listeners } = status;
    Ok(Some(Running { socket: place.path, version, sessions, http: listeners.http }))
}
