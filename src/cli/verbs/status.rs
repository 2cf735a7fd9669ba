//! `anchord status`: the running daemon's sessions and their problems.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::Value;

use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::threads;
use anchord_config as config;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::failure::Failure;
use anchord_core::secret::Secret;
use anchord_runtime::client;
use anchord_runtime::client::DaemonAnswer;
use anchord_runtime::client::running;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let environment = surroundings.environment;
    // With --socket-path, no settings file is read, so a mistake in one does not matter.
    let settled = match matches.contains_id("socket-path") {
        true => config::load_place(matches, environment),
        false => config::load_for_asking(matches, environment),
    };
    let settings = match settled {
        Ok(settings) => settings,
        Err(problems) => return output::report_problems(&problems, surroundings),
    };
    let session = settings.picked.as_deref();
    let mut sockets = client::sockets(&settings);
    let asked = threads::runtime().and_then(|runtime| {
        if let Some(socket) = runtime.block_on(socket_of(&settings, session))? {
            sockets.retain(|known| known.path == socket);
        }
        Ok(runtime.block_on(client::ask(&sockets, "/v1/status", PATIENCE)))
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(failure) => return output::report(&failure, surroundings),
    };
    let body = match asked {
        DaemonAnswer::Answered(body) => only(body, session),
        DaemonAnswer::Refused(failure)
        | DaemonAnswer::Unknown(failure)
        | DaemonAnswer::Differs(failure)
        | DaemonAnswer::Forbidden(failure) => {
            return output::report(&failure, surroundings);
        }
        DaemonAnswer::NoDaemon => {
            return output::report(&client::no_daemon(&sockets), surroundings);
        }
    };
    let status = match running::read(body.expose()) {
        Ok(status) => status,
        Err(failure) => return output::report(&failure, surroundings),
    };
    let text = if matches.get_flag("json") {
        format!("{}\n", String::from_utf8_lossy(body.expose()).trim_end())
    } else {
        output::status::text(&status, &Clock::system())
    };
    match output::print(surroundings, &text) {
        Exit::Done => output::status::worst(&status),
        other => other,
    }
}

/// The socket of the daemon that has the session; `None` if no session is named or no daemon runs.
async fn socket_of(settings: &Settings, session: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let Some(name) = session else { return Ok(None) };
    let Some(running) = running::find(settings, session).await? else { return Ok(None) };
    running::which(&running, Some(name.to_owned()))?;
    Ok(Some(running.socket))
}

/// The daemon's answer, reduced to the named session.
fn only(body: Secret<Vec<u8>>, session: Option<&str>) -> Secret<Vec<u8>> {
    let Some(name) = session else { return body };
    // The caller reports an answer that is not a status.
    let Ok(mut status) = serde_json::from_slice::<Value>(body.expose()) else { return body };
    if let Some(sessions) = status["sessions"].as_array_mut() {
        sessions.retain(|held| held["name"] == name);
    }
    Secret::new(status.to_string().into_bytes())
}
