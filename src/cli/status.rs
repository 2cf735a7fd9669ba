//! `anchord status`: what a running daemon holds and what ails it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ArgMatches;
use serde::Deserialize;

use super::Exit;
use super::Surroundings;
use super::exit;
use super::socket;
use super::socket::Asked;
use crate::clock;
use crate::clock::Clock;
use crate::config;
use crate::failure::Class;
use crate::failure::Failure;

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
    next_attempt_at: Option<String>,
    #[serde(default)]
    trouble: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    class: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let settings = match config::load_for_client(matches, surroundings.environment) {
        Ok(settings) => settings,
        Err(problems) => return exit::report_problems(&problems, surroundings),
    };
    let places = socket::places(&settings);
    let asked = match exit::runtime() {
        Ok(runtime) => runtime.block_on(socket::ask(&places, "/v1/status", PATIENCE)),
        Err(failure) => return exit::report(&failure, surroundings),
    };
    let body = match asked {
        Asked::Answered(body) => body,
        Asked::Refused(failure) | Asked::Unknown(failure) => return exit::report(&failure, surroundings),
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
    let all_live = status.sessions.iter().all(|line| line.phase == "live");
    let text = if matches.get_flag("json") {
        format!("{}\n", String::from_utf8_lossy(body.expose()).trim_end())
    } else {
        render(&status, &Clock::system())
    };
    match exit::print(surroundings, &text) {
        Exit::Done if !all_live => Exit::Failed,
        other => other,
    }
}

fn render(status: &Status, clock: &Clock) -> String {
    let mut text = format!("anchord {}, {} sessions\n", status.version, status.sessions.len());
    for line in &status.sessions {
        // Writing into a String cannot fail.
        let _ = write!(text, "{}: {}", line.name, line.phase);
        if let (Some(id), Some(expires_at)) = (&line.access_key_id, &line.expires_at) {
            let minutes = clock::parse_rfc3339(expires_at).map(|at| (at - clock.now()).whole_minutes());
            let left = minutes.map(|minutes| format!(" ({minutes} min)")).unwrap_or_default();
            let _ = write!(text, ", {id} until {expires_at}{left}");
        }
        if let Some(at) = &line.next_attempt_at {
            let _ = write!(text, ", next attempt at {at}");
        }
        text.push('\n');
        if let Some(trouble) = &line.trouble {
            let _ = writeln!(text, "  {}: {}", trouble.class, trouble.message);
            if let Some(hint) = &trouble.hint {
                let _ = writeln!(text, "  hint: {hint}");
            }
        }
    }
    text
}
