//! The daemon that runs here, as its status describes it.

use std::path::PathBuf;
use std::time::Duration;

use crate::client;
use crate::client::Asked;
use crate::client::Place;
use crate::client::Question;
use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_frontend::StatusDocument;

const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that answers.
#[derive(Debug)]
pub struct Running {
    /// Where it was asked.
    pub socket: PathBuf,
    /// What it answered.
    pub status: StatusDocument,
}

impl Running {
    /// Whether it holds a session of this name.
    pub fn holds(&self, session: &str) -> bool {
        self.status.sessions.iter().any(|held| held.name == session)
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
    let known =
        || running.status.sessions.iter().map(|held| held.name.as_str()).collect::<Vec<_>>().join(", ");
    let hint = || match running.status.sessions.as_slice() {
        [] => "no sessions are configured".to_owned(),
        _ => format!("the sessions are {}", known()),
    };
    match (named, running.status.sessions.as_slice()) {
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
    Ok(Some(Running { socket: place.path, status: read(body.expose())? }))
}

/// The status in an answer.
pub fn read(body: &[u8]) -> Result<StatusDocument, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| Failure::of(Reason::DaemonUnavailable, "the daemon's status cannot be read", None))
}
