//! Finds a running daemon and reads its status.

use std::path::PathBuf;
use std::time::Duration;

use crate::client;
use crate::client::DaemonAnswer;
use crate::client::DaemonSocket;
use crate::client::Question;
use anchord_config::Settings;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_frontend::StatusDocument;

const PATIENCE: Duration = Duration::from_secs(5);

/// A running daemon that answered.
#[derive(Debug)]
pub struct RunningDaemon {
    /// The socket on which it answered.
    pub socket: PathBuf,
    /// Its status.
    pub status: StatusDocument,
}

impl RunningDaemon {
    /// Whether it has a session of this name.
    pub fn has(&self, session: &str) -> bool {
        self.status.sessions.iter().any(|held| held.name == session)
    }

    /// Confirms that its session has the settings that the caller gives.
    ///
    /// # Errors
    /// If the session is missing, has other settings, or the daemon does not answer.
    pub async fn confirm(&self, settings: &Settings, session: &str) -> Result<(), Failure> {
        self.ask(settings, session, Question::Settings).await.map(drop)
    }

    /// The session's bearer for container credentials.
    ///
    /// # Errors
    /// As [`RunningDaemon::confirm`], or if the daemon gives this user none.
    pub async fn bearer(&self, settings: &Settings, session: &str) -> Result<Secret<Vec<u8>>, Failure> {
        self.ask(settings, session, Question::Bearer).await
    }

    async fn ask(
        &self,
        settings: &Settings,
        session: &str,
        question: Question,
    ) -> Result<Secret<Vec<u8>>, Failure> {
        let mut sockets = client::sockets(settings);
        sockets.retain(|socket| socket.path == self.socket);
        match client::ask_for(session, question, (settings, &sockets), PATIENCE).await {
            DaemonAnswer::Answered(body) => Ok(body),
            DaemonAnswer::Refused(failure)
            | DaemonAnswer::Unknown(failure)
            | DaemonAnswer::Differs(failure)
            | DaemonAnswer::Forbidden(failure) => Err(failure),
            DaemonAnswer::NoDaemon => Err(client::no_daemon(&sockets)),
        }
    }
}

/// The first daemon that has `session`, else the first that answers; `None` if no daemon answers.
///
/// # Errors
/// A daemon's refusal, or an answer that cannot be read.
pub async fn find(settings: &Settings, session: Option<&str>) -> Result<Option<RunningDaemon>, Failure> {
    let mut first = None;
    for socket in client::sockets(settings) {
        let Some(running) = ask(socket).await? else { continue };
        if session.is_none_or(|session| running.has(session)) {
            return Ok(Some(running));
        }
        first = first.or(Some(running));
    }
    Ok(first)
}

/// The name of the session to use: `named`, or else the daemon's only session.
///
/// # Errors
/// If the daemon does not have it, or `named` is `None` and there is not exactly one.
pub fn which(running: &RunningDaemon, named: Option<String>) -> Result<String, Failure> {
    let names: Vec<&str> = running.status.sessions.iter().map(|held| held.name.as_str()).collect();
    let known = match names.is_empty() {
        true => "no sessions are configured".to_owned(),
        false => format!("the sessions are {}", names.join(", ")),
    };
    match (named, names.as_slice()) {
        (Some(name), _) if running.has(&name) => Ok(name),
        (Some(name), _) => {
            let message = format!("the daemon at `{}` has no session `{name}`", running.socket.display());
            Err(Failure::of(Reason::UnknownSession, message, Some(known.into())))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => {
            let message = "no session is selected, and there is not exactly one";
            let hint = format!("select one with --session; {known}");
            Err(Failure::of(Reason::UnknownSession, message, Some(hint.into())))
        }
    }
}

async fn ask(socket: DaemonSocket) -> Result<Option<RunningDaemon>, Failure> {
    let sockets = [socket];
    let body = match client::ask(&sockets, "/v1/status", PATIENCE).await {
        DaemonAnswer::Answered(body) => body,
        DaemonAnswer::Refused(failure)
        | DaemonAnswer::Differs(failure)
        | DaemonAnswer::Forbidden(failure) => return Err(failure),
        DaemonAnswer::Unknown(_) | DaemonAnswer::NoDaemon => return Ok(None),
    };
    let [socket] = sockets;
    Ok(Some(RunningDaemon { socket: socket.path, status: read(body.expose())? }))
}

/// Reads the status in an answer.
///
/// # Errors
/// If the answer is not a status.
pub fn read(body: &[u8]) -> Result<StatusDocument, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| Failure::of(Reason::DaemonUnavailable, "the daemon's status cannot be read", None))
}
