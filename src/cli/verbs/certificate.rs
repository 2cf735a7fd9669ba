//! `anchord certificate show`: the certificates of a file, token or agent, and whether Roles Anywhere would accept them.

use std::fmt::Write as _;

use clap::ArgMatches;
use serde_json::Value;
use serde_json::json;
use time::OffsetDateTime;

use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::output::prompt;
use anchord_config as config;
use anchord_config::Environment;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_identity::AlternativeName;
use anchord_identity::CertificateRole;
use anchord_identity::InspectedCertificate;
use anchord_identity::Inspection;
use anchord_identity::Passphrase;
use anchord_identity::Pipes;
use anchord_identity::Source;
use anchord_identity::days_left;
use anchord_identity::life_left;

/// The result for one source, under a heading.
struct SourceReport {
    heading: String,
    inspected: Result<Inspection, Failure>,
}

pub(super) fn show(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let sources = match sources(matches, surroundings) {
        Ok(sources) => sources,
        Err(exit) => return exit,
    };
    let now = Clock::system().now();
    let mut pipes = Pipes::default();
    let mut reports = Vec::new();
    for (heading, mut source) in sources {
        source.read_pipes(&mut pipes);
        if let Some(Passphrase::Prompted(answer)) = &source.passphrase {
            prompt::ask_for(&heading, answer);
        }
        let inspected = inspect(&source, now, surroundings.environment);
        reports.push(SourceReport { heading, inspected });
    }
    let text = if matches.get_flag("json") {
        let all: Vec<_> = reports.iter().map(|report| report.json(now)).collect();
        format!("{:#}\n", json!(all))
    } else {
        let texts: Vec<_> = reports.iter().map(|report| report.text(now)).collect();
        texts.join("\n")
    };
    match output::print(surroundings, &text) {
        Exit::Done if reports.iter().all(SourceReport::is_good) => Exit::Done,
        Exit::Done => Exit::Failed,
        other => other,
    }
}

/// Inspects a source. Changes the hints of failures for clients of a daemon.
fn inspect(source: &Source, now: OffsetDateTime, environment: &Environment) -> Result<Inspection, Failure> {
    let mut inspection =
        source.inspect(now).map_err(|error| output::for_clients(error.into(), environment))?;
    let mut refusals = Vec::new();
    for refusal in inspection.refusals {
        refusals.push(output::for_clients(refusal, environment));
    }
    inspection.refusals = refusals;
    Ok(inspection)
}

/// The source that the arguments name, else the sources of the sessions.
fn sources(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Result<Vec<(String, Source)>, Exit> {
    let place = matches.get_one::<String>("place").map(String::as_str);
    if let Some(failure) = place.and_then(|place| no_file_but_a_session(place, matches, surroundings)) {
        output::report(&failure, surroundings);
        return Err(Exit::Usage);
    }
    if place.is_some() || matches.contains_id("certificate") {
        let (source, warnings) = config::load_source(matches, surroundings.environment, place)
            .map_err(|problems| output::report_problems(&problems, surroundings))?;
        output::warn(&warnings, surroundings);
        return Ok(vec![(source.name(), source)]);
    }
    let settings = config::load_for_client(matches, surroundings.environment)
        .map_err(|problems| output::report_problems(&problems, surroundings))?;
    output::warn(&settings.warnings, surroundings);
    if settings.sessions.is_empty() {
        let hint =
            Some("name a file or a URI: `anchord certificate show leaf.pem --private-key key.pem`".into());
        let what = match &settings.unread_file {
            Some(unread) => {
                format!("this user cannot read `{}` and has no session of their own", unread.display())
            }
            None => "no session is configured".into(),
        };
        let failure = Failure::of(Reason::UnknownSession, what, hint);
        return Err(output::report(&failure, surroundings));
    }
    let mut sources = Vec::new();
    for session in &settings.sessions {
        let is_meant = settings.picked.as_ref().is_none_or(|picked| *picked == session.name);
        if let (true, Some(source)) = (is_meant, session.identity()) {
            sources.push((format!("session {}", session.name), source.clone()));
        }
    }
    Ok(sources)
}

/// The error if the path is the name of a session instead.
fn no_file_but_a_session(
    place: &str,
    matches: &ArgMatches,
    surroundings: &Surroundings<'_>,
) -> Option<Failure> {
    let environment = surroundings.environment;
    if place.contains(['/', ':']) || fs_err::symlink_metadata(environment.current_dir().join(place)).is_ok() {
        return None;
    }
    let settings = config::load_for_client(matches, environment).ok()?;
    let session = settings.sessions.iter().find(|session| session.name == place)?;
    let hint = format!("name a session with its flag: `anchord certificate show --session {}`", session.name);
    let what = "no such file, but a session has that name";
    Some(Failure::of(Reason::InvalidSetting, what, Some(hint.into())))
}

impl SourceReport {
    fn is_good(&self) -> bool {
        self.inspected.as_ref().is_ok_and(|inspection| inspection.refusals.is_empty())
    }

    fn text(&self, now: OffsetDateTime) -> String {
        let mut text = format!("{}\n", self.heading);
        // Writing into a String cannot fail.
        let _ = match &self.inspected {
            Ok(inspection) => write_inspection(&mut text, inspection, now),
            Err(failure) => write_failure(&mut text, "unreadable", failure),
        };
        text
    }

    fn json(&self, now: OffsetDateTime) -> Value {
        match &self.inspected {
            Ok(inspection) => json!({
                "place": self.heading,
                "certificates": inspection.certificates.iter().map(|seen| certificate_json(seen, now)).collect::<Vec<_>>(),
                "key": inspection.key.as_ref().and_then(|key| key.as_ref().ok()),
                "ends_at": inspection.ends_at,
                "acceptable": inspection.refusals.is_empty(),
                "refusals": inspection.refusals.iter().map(failure_json).collect::<Vec<_>>(),
                "warnings": warnings(inspection, now),
            }),
            Err(failure) => json!({
                "place": self.heading,
                "acceptable": false,
                "refusals": [failure_json(failure)],
            }),
        }
    }
}

fn write_inspection(text: &mut String, inspection: &Inspection, now: OffsetDateTime) -> std::fmt::Result {
    for certificate in &inspection.certificates {
        write_certificate(text, certificate, now)?;
    }
    match &inspection.key {
        Some(Ok(key)) => writeln!(text, "  key           {key}")?,
        Some(Err(_)) => {}
        None => writeln!(
            text,
            "  key           not given; name it with --private-key to check that it matches the leaf"
        )?,
    }
    if let Some(anchors) = inspection.anchors() {
        writeln!(text, "  trust anchor  must be {anchors}, or an issuer of it")?;
    }
    for warning in warnings(inspection, now) {
        writeln!(text, "  warning       {warning}")?;
    }
    for refusal in &inspection.refusals {
        write_failure(text, "refused", refusal)?;
    }
    if inspection.refusals.is_empty() {
        writeln!(
            text,
            "  acceptable    no problems found; not checked: the chain's signatures, and what only AWS knows (revocation, the profile, the role)"
        )?;
    }
    Ok(())
}

/// Warnings about the files, and about certificates that expire soon.
fn warnings(inspection: &Inspection, now: OffsetDateTime) -> Vec<String> {
    let endings = inspection.endings(now);
    inspection.warnings.iter().chain(&endings).map(ToString::to_string).collect()
}

fn write_certificate(
    text: &mut String,
    seen: &InspectedCertificate,
    now: OffsetDateTime,
) -> std::fmt::Result {
    writeln!(text, "  {:13} {}", seen.role.to_string(), seen.subject)?;
    writeln!(text, "    from        {}", seen.origin)?;
    writeln!(text, "    issuer      {}", seen.issuer)?;
    writeln!(text, "    serial      {} ({})", seen.serial, seen.serial_hex)?;
    writeln!(text, "    fingerprint {}", seen.fingerprint)?;
    writeln!(
        text,
        "    valid       {} to {}, {}",
        clock::rfc3339(seen.not_before),
        clock::rfc3339(seen.not_after),
        life(seen, now)
    )?;
    writeln!(text, "    public key  {}", seen.key)?;
    writeln!(text, "    usage       {}", seen.usage.join(", "))?;
    if !seen.names.is_empty() {
        writeln!(text, "    names       {}", printed(&seen.names).join(", "))?;
    }
    Ok(())
}

fn life(seen: &InspectedCertificate, now: OffsetDateTime) -> String {
    if now < seen.not_before {
        return "not yet".into();
    }
    if now > seen.not_after {
        return "expired".into();
    }
    format!("{} left", life_left(seen.not_after, now))
}

fn write_failure(text: &mut String, what: &str, failure: &Failure) -> std::fmt::Result {
    writeln!(text, "  {what:13} {}", failure.message())?;
    match failure.hint() {
        Some(hint) => writeln!(text, "    hint: {hint}"),
        None => Ok(()),
    }
}

fn certificate_json(seen: &InspectedCertificate, now: OffsetDateTime) -> Value {
    json!({
        "role": match seen.role {
            CertificateRole::Leaf => "leaf",
            CertificateRole::Intermediate => "intermediate",
            CertificateRole::NotSent => "not-sent",
        },
        "origin": seen.origin,
        "subject": seen.subject,
        "issuer": seen.issuer,
        "serial": seen.serial,
        "serial_hex": seen.serial_hex,
        "fingerprint": seen.fingerprint.to_string(),
        "not_before": clock::rfc3339(seen.not_before),
        "not_after": clock::rfc3339(seen.not_after),
        "days_left": days_left(seen.not_after, now),
        "public_key": seen.key,
        "usage": seen.usage,
        "names": printed(&seen.names),
    })
}

fn printed(names: &[AlternativeName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn failure_json(failure: &Failure) -> Value {
    json!({
        "class": failure.class().as_str(),
        "reason_code": failure.reason().as_str(),
        "message": failure.message(),
        "hint": failure.hint(),
    })
}
