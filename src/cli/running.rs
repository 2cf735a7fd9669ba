//! The daemon that runs here, as its socket tells of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_runtime::client;
use anchord_runtime::client::Asked;
use anchord_runtime::client::Place;
use anchord_runtime::client::Question;

const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that answers.
#[derive(Debug)]
pub(super) struct Running {
    /// Where it was asked.
    pub(super) socket: PathBuf,
    pub(super) version: String,
    pub(super) sessions: Vec<Held>,
    /// `http://address:port` of each listener.
    pub(super) http: Vec<String>,
}

/// A session that it holds.
#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) name: String,
    /// `pending`, `live` or `lapsed`.
    pub(super) phase: String,
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
    pub(super) fn holds(&self, session: &str) -> bool {
        self.sessions.iter().any(|held| held.name == session)
    }

    /// Refuses where its session is another than the one that `settings` describe.
    pub(super) async fn confirm(&self, settings: &Settings, session: &str) -> Result<(), Failure> {
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
pub(super) async fn find(settings: &Settings, session: Option<&str>) -> Result<Option<Running>, Failure> {
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
