//! `anchord status`: what a running daemon holds and what ails it.

use std::collections::HashMap;
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
use anchord_config as config;
use anchord_config::Settings;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_runtime::client;
use anchord_runtime::client::Asked;

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
    /// By the address: why it is not listened on though the host has it.
    #[serde(default)]
    troubles: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    phase: String,
    #[serde(default)]
    role_arn: Option<String>,
    #[serde(default)]
    region: Option<String>,
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
    last_success_at: Option<String>,
    #[serde(default)]
    consecutive_failures: u32,
    #[serde(default)]
    failing_since: Option<String>,
    #[serde(default)]
    certificate: Option<Certificate>,
    #[serde(default)]
    trouble: Option<Trouble>,
    #[serde(default)]
    certificate_trouble: Option<Trouble>,
}

#[derive(Deserialize)]
struct Certificate {
    subject: String,
    serial: String,
    not_after: String,
    days_left: i64,
    #[serde(default)]
    warnings: Vec<String>,
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
        Asked::Refused(failure)
        | Asked::Unknown(failure)
        | Asked::Differs(failure)
        | Asked::Forbidden(failure) => {
            return exit::report(&failure, surroundings);
        }
        Asked::NoDaemon => {
            return exit::report(&client::nobody(&places), surroundings);
        }
    };
    let Ok(status) = serde_json::from_slice::<Status>(body.expose()) else {
        let failure = Failure::of(Reason::DaemonUnavailable, "the daemon's status cannot be read", None);
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

/// Refused if AWS refuses what any session asks for, failed if anything else ails one.
fn worst(status: &Status) -> Exit {
    let mut worst = Exit::Done;
    for line in &status.sessions {
        match line.exit() {
            Exit::Done => {}
            Exit::Refused => return Exit::Refused,
            failed => worst = failed,
        }
    }
    worst
}

impl Line {
    fn exit(&self) -> Exit {
        let troubles = || self.trouble.iter().chain(&self.certificate_trouble);
        if troubles().any(|trouble| trouble.class == Class::Denied.as_str()) {
            return Exit::Refused;
        }
        // While credentials live, an outage passes by itself; what a person has to mend does not.
        let passes = |trouble: &Trouble| {
            [Class::Transient, Class::Throttled].iter().any(|class| class.as_str() == trouble.class)
        };
        let is_well = self.phase == "live"
            && self.trouble.as_ref().is_none_or(passes)
            && self.certificate_trouble.is_none();
        if is_well { Exit::Done } else { Exit::Failed }
    }

    fn write_background(&self, text: &mut String) -> std::fmt::Result {
        match (&self.role_arn, &self.region) {
            (Some(role), Some(region)) => writeln!(text, "  role: {role}, Region {region}")?,
            (Some(role), None) => writeln!(text, "  role: {role}")?,
            (None, Some(region)) => writeln!(text, "  Region: {region}")?,
            (None, None) => {}
        }
        if let Some(Certificate { subject, serial, not_after, days_left, warnings }) = &self.certificate {
            let (end, left) = match days_left {
                ..=-1 => ("ended", String::new()),
                1 => ("ends", " (1 day left)".to_owned()),
                days => ("ends", format!(" ({days} days left)")),
            };
            writeln!(text, "  certificate: {subject}, serial {serial}, {end} at {not_after}{left}")?;
            for warning in warnings {
                writeln!(text, "  warning: {warning}")?;
            }
        }
        if let Some(at) = &self.last_success_at {
            writeln!(text, "  last success: {at}")?;
        }
        match (&self.failing_since, self.consecutive_failures) {
            (_, 0) => Ok(()),
            (Some(since), count) => writeln!(text, "  failures in a row: {count}, since {since}"),
            (None, count) => writeln!(text, "  failures in a row: {count}"),
        }
    }
}

fn render(status: &Status, clock: &Clock) -> String {
    let plural = if status.sessions.len() == 1 { "" } else { "s" };
    let mut text = format!("anchord {}, {} session{plural}\n", status.version, status.sessions.len());
    for address in &status.listeners.waiting {
        let why = status.listeners.troubles.get(address);
        let why = why.map_or("this host does not have the address yet", String::as_str);
        let _ = writeln!(text, "{address} is not served: {why}");
    }
    for line in &status.sessions {
        // Writing into a String cannot fail.
        let _ = write!(text, "{}: {}", line.name, line.phase);
        let expires_at = line.expires_at.as_deref().and_then(clock::parse_rfc3339);
        if let (Some(id), Some(expires_at)) = (&line.access_key_id, expires_at) {
            let (end, left) = (clock::rfc3339(expires_at), expires_at - clock.now());
            let _ = match line.phase.as_str() {
                "live" => write!(text, ", {id} until {end} ({} min)", left.whole_minutes()),
                // The last minute is kept back.
                _ if left.is_positive() => {
                    write!(text, ", the last credentials end at {end} and are not handed out any more")
                }
                _ => write!(text, ", the last credentials ended at {end}"),
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
        let _ = line.write_background(&mut text);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exit(phase: &str, trouble: Option<&str>, of_certificate: Option<&str>) -> Exit {
        let of = |class: Option<&str>| class.map(|class| json!({ "class": class, "message": "m" }));
        let line = json!({
            "name": "s", "phase": phase, "fetching": false, "trouble": of(trouble),
            "certificate_trouble": of(of_certificate),
        });
        worst(&serde_json::from_value(json!({ "version": "0", "sessions": [line] })).unwrap())
    }

    #[test]
    fn the_exit_code_is_of_what_a_person_has_to_mend() {
        let cases = [
            ("live", None, None, Exit::Done),
            // An outage while credentials live passes by itself.
            ("live", Some("transient"), None, Exit::Done),
            ("live", Some("throttled"), None, Exit::Done),
            ("live", Some("denied"), None, Exit::Refused),
            ("live", Some("misconfigured"), None, Exit::Failed),
            ("live", Some("broken"), None, Exit::Failed),
            ("live", None, Some("misconfigured"), Exit::Failed),
            ("live", None, Some("transient"), Exit::Failed),
            ("live", None, Some("denied"), Exit::Refused),
            ("live", Some("transient"), Some("denied"), Exit::Refused),
            ("lapsed", Some("transient"), None, Exit::Failed),
            ("lapsed", Some("denied"), None, Exit::Refused),
            ("pending", None, None, Exit::Failed),
        ];
        for (phase, trouble, of_certificate, expected) in cases {
            assert_eq!(
                exit(phase, trouble, of_certificate),
                expected,
                "{phase} {trouble:?} {of_certificate:?}"
            );
        }
    }

    #[test]
    fn a_certificate_is_shown_with_its_end_and_the_days_that_are_left() {
        let shown = |days_left: i64| {
            let certificate = json!({
                "subject": "CN=robot-7", "serial": "17", "not_after": "2026-03-15T13:00:00Z", "days_left": days_left,
                "warnings": ["the leaf ends"],
            });
            let line = json!({ "name": "s", "phase": "live", "fetching": false, "certificate": certificate });
            render(
                &serde_json::from_value(json!({ "version": "0", "sessions": [line] })).unwrap(),
                &Clock::system(),
            )
        };

        let beginning = "  certificate: CN=robot-7, serial 17, ";
        assert!(shown(4).contains(&format!(
            "{beginning}ends at 2026-03-15T13:00:00Z (4 days left)\n  warning: the leaf ends\n"
        )));
        assert!(shown(1).contains("(1 day left)") && shown(0).contains("(0 days left)"));
        assert!(shown(-1).contains(&format!("{beginning}ended at 2026-03-15T13:00:00Z\n")));
    }

    #[test]
    fn an_address_that_is_not_served_is_shown_with_the_last_reason() {
        let (gone, taken) = ("http://192.0.2.7:80", "http://127.0.0.1:80");
        let listeners = json!({ "waiting": [gone, taken], "troubles": { taken: "Address already in use" } });
        let status = json!({ "version": "0", "sessions": [], "listeners": listeners });

        let text = render(&serde_json::from_value(status).unwrap(), &Clock::system());

        assert!(
            text.contains(&format!("{gone} is not served: this host does not have the address yet\n")),
            "{text}"
        );
        assert!(text.contains(&format!("{taken} is not served: Address already in use\n")), "{text}");
    }

    #[test]
    fn credentials_that_are_kept_back_have_not_ended_yet() {
        let clock = Clock::manual(time::macros::datetime!(2026-03-11 12:00:00 UTC));
        let shown = |expires_at: &str| {
            let line = json!({
                "name": "s", "phase": "lapsed", "fetching": false, "access_key_id": "A", "expires_at": expires_at,
            });
            let status = json!({ "version": "0", "sessions": [line] });
            render(&serde_json::from_value(status).unwrap(), &clock)
        };

        let (before, after) = (shown("2026-03-11T12:00:30Z"), shown("2026-03-11T12:00:00Z"));

        let kept_back =
            "s: lapsed, the last credentials end at 2026-03-11T12:00:30Z and are not handed out any more\n";
        assert!(before.contains(kept_back), "{before}");
        assert!(after.contains("s: lapsed, the last credentials ended at 2026-03-11T12:00:00Z\n"), "{after}");
    }

    #[test]
    fn the_worst_session_decides_wherever_it_stands() {
        let line = |class: Option<&str>| {
            let trouble = class.map(|class| json!({ "class": class, "message": "m" }));
            json!({ "name": "s", "phase": "live", "fetching": false, "trouble": trouble })
        };
        let of = |classes: [Option<&str>; 3]| {
            let sessions = classes.map(line);
            worst(&serde_json::from_value(json!({ "version": "0", "sessions": sessions })).unwrap())
        };

        assert_eq!(of([Some("misconfigured"), Some("denied"), None]), Exit::Refused);
        assert_eq!(of([None, Some("misconfigured"), None]), Exit::Failed);
        assert_eq!(of([None, Some("transient"), None]), Exit::Done);
    }
}
