//! The status of a daemon as text, and its exit code.

use std::fmt::Write as _;

use super::Exit;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::failure::Class;
use anchord_frontend::CertificateStatus;
use anchord_frontend::FailureStatus;
use anchord_frontend::SessionStatus;
use anchord_frontend::StatusDocument;

/// `Refused` if AWS refuses a session, `Failed` if a session has another problem.
pub(in crate::cli) fn worst(status: &StatusDocument) -> Exit {
    let mut worst = Exit::Done;
    for session in &status.sessions {
        match exit_of(session) {
            Exit::Done => {}
            Exit::Refused => return Exit::Refused,
            failed => worst = failed,
        }
    }
    worst
}

fn exit_of(session: &SessionStatus) -> Exit {
    let mut troubles = session.trouble.iter().chain(&session.certificate_trouble);
    if troubles.any(|trouble| trouble.class == Class::Denied.as_str()) {
        return Exit::Refused;
    }
    if session.phase != "live" || session.certificate_trouble.is_some() {
        return Exit::Failed;
    }
    // With valid credentials, an outage needs no action: only other problems count.
    match &session.trouble {
        Some(trouble) if !may_pass(trouble) => Exit::Failed,
        _ => Exit::Done,
    }
}

fn may_pass(trouble: &FailureStatus) -> bool {
    [Class::Transient, Class::Throttled].iter().any(|class| class.as_str() == trouble.class)
}

fn write_background(session: &SessionStatus, text: &mut String) -> std::fmt::Result {
    match (&session.role_arn, &session.region) {
        (Some(role), Some(region)) => writeln!(text, "  role: {role}, Region {region}")?,
        (Some(role), None) => writeln!(text, "  role: {role}")?,
        (None, Some(region)) => writeln!(text, "  Region: {region}")?,
        (None, None) => {}
    }
    if let Some(CertificateStatus { subject, serial, not_after, days_left, warnings }) = &session.certificate
    {
        let (end, left) = match days_left {
            ..=-1 => ("expired", String::new()),
            1 => ("expires", " (1 day left)".to_owned()),
            days => ("expires", format!(" ({days} days left)")),
        };
        writeln!(text, "  certificate: {subject}, serial {serial}, {end} at {not_after}{left}")?;
        for warning in warnings {
            writeln!(text, "  warning: {warning}")?;
        }
    }
    if let Some(at) = &session.last_success_at {
        writeln!(text, "  last success: {at}")?;
    }
    match (&session.failing_since, session.consecutive_failures) {
        (_, 0) => Ok(()),
        (Some(since), count) => writeln!(text, "  failures in a row: {count}, since {since}"),
        (None, count) => writeln!(text, "  failures in a row: {count}"),
    }
}

pub(in crate::cli) fn text(status: &StatusDocument, clock: &Clock) -> String {
    let plural = if status.sessions.len() == 1 { "" } else { "s" };
    let mut text = format!("anchord {}, {} session{plural}\n", status.version, status.sessions.len());
    for address in &status.listeners.waiting {
        let why = status.listeners.troubles.get(address);
        let why = why.map_or("this host does not have the address yet", String::as_str);
        let _ = writeln!(text, "{address} is not served: {why}");
    }
    for session in &status.sessions {
        // Writing into a String cannot fail.
        let _ = write!(text, "{}: {}", session.name, session.phase);
        let expires_at = session.expires_at.as_deref().and_then(clock::parse_rfc3339);
        if let (Some(id), Some(expires_at)) = (&session.access_key_id, expires_at) {
            let (end, left) = (clock::rfc3339(expires_at), expires_at - clock.now());
            let _ = match session.phase.as_str() {
                "live" => write!(text, ", {id} until {end} ({} min)", left.whole_minutes()),
                // Credentials in their last minute are not handed out.
                _ if left.is_positive() => {
                    write!(text, ", the last credentials expire at {end} and are no longer handed out")
                }
                _ => write!(text, ", the last credentials expired at {end}"),
            };
        }
        if session.of_earlier_settings {
            text.push_str(", from earlier settings");
        }
        match &session.next_attempt_at {
            _ if session.fetching => text.push_str(", renewing now"),
            Some(at) => _ = write!(text, ", next attempt at {at}"),
            None => {}
        }
        text.push('\n');
        let _ = write_background(session, &mut text);
        for (trouble, what) in [(&session.trouble, ""), (&session.certificate_trouble, "certificate, ")] {
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
                "warnings": ["the leaf expires"],
            });
            let line = json!({ "name": "s", "phase": "live", "fetching": false, "certificate": certificate });
            text(
                &serde_json::from_value(json!({ "version": "0", "sessions": [line] })).unwrap(),
                &Clock::system(),
            )
        };

        let beginning = "  certificate: CN=robot-7, serial 17, ";
        assert!(shown(4).contains(&format!(
            "{beginning}expires at 2026-03-15T13:00:00Z (4 days left)\n  warning: the leaf expires\n"
        )));
        assert!(shown(1).contains("(1 day left)") && shown(0).contains("(0 days left)"));
        assert!(shown(-1).contains(&format!("{beginning}expired at 2026-03-15T13:00:00Z\n")));
    }

    #[test]
    fn an_address_that_is_not_served_is_shown_with_the_last_reason() {
        let (gone, taken) = ("http://192.0.2.7:80", "http://127.0.0.1:80");
        let listeners = json!({ "waiting": [gone, taken], "troubles": { taken: "Address already in use" } });
        let status = json!({ "version": "0", "sessions": [], "listeners": listeners });

        let shown = text(&serde_json::from_value(status).unwrap(), &Clock::system());

        assert!(
            shown.contains(&format!("{gone} is not served: this host does not have the address yet\n")),
            "{shown}"
        );
        assert!(shown.contains(&format!("{taken} is not served: Address already in use\n")), "{shown}");
    }

    #[test]
    fn credentials_that_are_kept_back_have_not_expired_yet() {
        let clock = Clock::manual(time::macros::datetime!(2026-03-11 12:00:00 UTC));
        let shown = |expires_at: &str| {
            let line = json!({
                "name": "s", "phase": "lapsed", "fetching": false, "access_key_id": "A", "expires_at": expires_at,
            });
            let status = json!({ "version": "0", "sessions": [line] });
            text(&serde_json::from_value(status).unwrap(), &clock)
        };

        let (before, after) = (shown("2026-03-11T12:00:30Z"), shown("2026-03-11T12:00:00Z"));

        let kept_back =
            "s: lapsed, the last credentials expire at 2026-03-11T12:00:30Z and are no longer handed out\n";
        assert!(before.contains(kept_back), "{before}");
        assert!(
            after.contains("s: lapsed, the last credentials expired at 2026-03-11T12:00:00Z\n"),
            "{after}"
        );
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
