//! `anchord status`: what a running daemon holds and what ails it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use serde::Deserialize;
use serde_json::Value;

use super::Exit;
use super::Surroundings;
use super::exec;
use super::exit;
use super::running;
use crate::client;
use crate::client::Asked;
use crate::clock;
use crate::clock::Clock;
use crate::config;
use crate::config::Settings;
use crate::failure::Class;
use crate::failure::Failure;
use crate::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Status {
    version: String,
    sessions: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    phase: String,
    #[serde(default)]
    access_key_id: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    of_earlier_settings: bool,
    fetching: bool,
    #[serde(default)]
    next_attempt_at: Option<String>,
    #[serde(default)]
    trouble: Option<Trouble>,
    #[serde(default)]
    certificate_trouble: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    class: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let environment = surroundings.environment;
    // A mistake in a settings file does not hide a daemon that is named.
    let settled = match matches.contains_id("socket-path") {
        true => config::load_place(matches, environment),
        false => config::load_for_asking(matches, environment),
    };
    let settings = match settled {
        Ok(settings) => settings,
        Err(problems) => return exit::report_problems(&problems, surroundings),
    };
    let session = settings.picked.as_deref();
    let mut places = client::places(&settings);
    let asked = exit::runtime().and_then(|runtime| {
        if let Some(socket) = runtime.block_on(socket_of(&settings, session))? {
            places.retain(|place| place.path == socket);
        }
        Ok(runtime.block_on(client::ask(&places, "/v1/status", PATIENCE)))
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(failure) => return exit::report(&failure, surroundings),
    };
    let body = match asked {
        Asked::Answered(body) => only(body, session),
        Asked::Refused(failure) | Asked::Unknown(failure) | Asked::Differs(failure) => {
            return exit::report(&failure, surroundings);
        }
        Asked::NoDaemon => {
            let paths: Vec<_> = places.iter().map(|place| format!("`{}`", place.path.display())).collect();
            let message = format!("no daemon listens on {}", paths.join(" or "));
            let hint = Some("start it with `anchord run`, or name its socket with --socket-path".into());
            return exit::report(&Failure::of(Class::Transient, message, hint), surroundings);
        }
    };
    let Ok(status) = serde_json::from_slice::<Status>(body.expose()) else {
        let failure = Failure::of(Class::Transient, "the daemon's status cannot be read", None);
        return exit::report(&failure, surroundings);
    };
    let worst = worst(&status);
    let text = if matches.get_flag("json") {
        format!("{}\n", String::from_utf8_lossy(body.expose()).trim_end())
    } else {
        render(&status, &Clock::system())
    };
    match exit::print(surroundings, &text) {
        Exit::Done => worst,
        other => other,
    }
}

/// The socket of the daemon that has the session that is meant, where one is meant and a daemon runs.
async fn socket_of(settings: &Settings, session: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let Some(name) = session else { return Ok(None) };
    let Some(running) = running::find(settings, session).await? else { return Ok(None) };
    exec::which(&running, Some(name.to_owned()))?;
    Ok(Some(running.socket))
}

/// The daemon's answer without what it says of other sessions than the one that is meant.
fn only(body: Secret<Vec<u8>>, session: Option<&str>) -> Secret<Vec<u8>> {
    let Some(name) = session else { return body };
    // What is no status is told by whoever reads it.
    let Ok(mut status) = serde_json::from_slice::<Value>(body.expose()) else { return body };
    if let Some(sessions) = status["sessions"].as_array_mut() {
        sessions.retain(|held| held["name"] == name);
    }
    Secret::new(status.to_string().into_bytes())
}

/// Refused if AWS refuses any session that is not live, failed if one is not live for another reason.
fn worst(status: &Status) -> Exit {
    let lacking = || status.sessions.iter().filter(|line| line.phase != "live");
    let is_refused = |line: &Line| line.trouble.as_ref().is_some_and(|trouble| trouble.class == "denied");
    if lacking().any(is_refused) {
        return Exit::Refused;
    }
    if lacking().next().is_some() { Exit::Failed } else { Exit::Done }
}

fn render(status: &Status, clock: &Clock) -> String {
    let plural = if status.sessions.len() == 1 { "" } else { "s" };
    let mut text = format!("anchord {}, {} session{plural}\n", status.version, status.sessions.len());
    for line in &status.sessions {
        // Writing into a String cannot fail.
        let _ = write!(text, "{}: {}", line.name, line.phase);
        let expires_at = line.expires_at.as_deref().and_then(clock::parse_rfc3339);
        if let (Some(id), Some(expires_at)) = (&line.access_key_id, expires_at) {
            let left = (expires_at - clock.now()).whole_minutes();
            let _ = match line.phase.as_str() {
                "live" => write!(text, ", {id} until {} ({left} min)", clock::rfc3339(expires_at)),
                _ => write!(text, ", the last credentials end at {}", clock::rfc3339(expires_at)),
            };
        }
        if line.of_earlier_settings {
            text.push_str(", of earlier settings");
        }
        match &line.next_attempt_at {
            _ if line.fetching => text.push_str(", an attempt is under way"),
            Some(at) => _ = write!(text, ", next attempt at {at}"),
            None => {}
        }
        text.push('\n');
        for (trouble, what) in [(&line.trouble, ""), (&line.certificate_trouble, "certificate, ")] {
            let Some(trouble) = trouble else { continue };
            let _ = writeln!(text, "  {what}{}: {}", trouble.class, trouble.message);
            if let Some(hint) = &trouble.hint {
                let _ = writeln!(text, "  hint: {hint}");
            }
        }
    }
    text
}
