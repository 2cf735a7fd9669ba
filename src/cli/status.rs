//! `anchord status`: what a running daemon holds and what ails it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ArgMatches;
use serde::Deserialize;

use super::Exit;
use super::Surroundings;
use super::exit;
use crate::client;
use crate::client::Asked;
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
    #[serde(default)]
    listeners: Listeners,
}

#[derive(Default, Deserialize)]
struct Listeners {
    /// `http://address:port` of each that is to be listened on once the host has it.
    #[serde(default)]
    waiting: Vec<String>,
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
        false => config::load_for_client(matches, environment),
    };
    let settings = match settled {
        Ok(settings) => settings,
        Err(problems) => return exit::report_problems(&problems, surroundings),
    };
    let places = client::places(&settings);
    let asked = match exit::runtime() {
        Ok(runtime) => runtime.block_on(client::ask(&places, "/v1/status", PATIENCE)),
        Err(failure) => return exit::report(&failure, surroundings),
    };
    let body = match asked {
        Asked::Answered(body) => body,
        Asked::Refused(failure)
        | Asked::Unknown(failure)
        | Asked::Differs(failure)
        | Asked::Forbidden(failure) => {
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
    for address in &status.listeners.waiting {
        let _ = writeln!(text, "{address} is not served: this host does not have the address yet");
    }
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
