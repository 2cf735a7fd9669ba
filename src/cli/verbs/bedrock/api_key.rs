//! `anchord bedrock api-key`: prints a short-term API key for Bedrock.

use std::time::Duration;

use clap::ArgMatches;
use serde::Serialize;

use super::Ended;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::bedrock::REGION;
use crate::cli::output;
use anchord_aws::signing;
use anchord_aws::signing::LONGEST_API_KEY;
use anchord_config as config;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;

#[derive(Serialize)]
struct Printed<'a> {
    api_key: &'a str,
    expires_at: String,
    region: &'a str,
}

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Result<Exit, Ended> {
    let asked =
        matches.get_one::<String>("ttl").map(|text| lifetime(text)).transpose().map_err(Ended::Misused)?;
    let settings = super::settings(matches, surroundings)?;
    // The key is for a program in this environment, and that program calls the environment's Region.
    let of_the_sdks = match matches.contains_id(REGION) {
        true => None,
        false => super::region_of_the_sdks(surroundings)?,
    };
    let region = match of_the_sdks {
        Some(region) => region,
        None => super::region_given(matches, &settings, surroundings)?,
    };
    super::warn_of(&region, surroundings);
    let credentials = super::credentials(&settings, surroundings)?;

    let now = Clock::system().now();
    let lifetime = asked.unwrap_or(LONGEST_API_KEY);
    let signed = signing::api_key_lifetime(&credentials, now, lifetime);
    let key = signing::bedrock_api_key(credentials.keys(), &region, now, signed)?;
    let expires_at = (now + lifetime).min(credentials.expires_at());
    if asked.is_some() && expires_at < now + lifetime {
        // If stderr is closed, there is no other place for the warning.
        let _ = writeln!(
            surroundings.stderr,
            "anchord: warning: the key expires with the session's credentials, at {}",
            clock::rfc3339(expires_at)
        );
    }
    if !matches.get_flag("json") {
        return Ok(print(&key, surroundings));
    }
    let printed =
        Printed { api_key: key.expose(), expires_at: clock::rfc3339(expires_at), region: region.as_str() };
    // The buffer has its full size from the start, because a growing buffer leaves copies.
    let mut json = Secret::new(Vec::with_capacity(key.expose().len() + 256));
    json.change(|json| serde_json::to_writer(json, &printed))
        .map_err(|_| Failure::of(Reason::Bug, "cannot write the key as JSON", None))?;
    let json = String::from_utf8(json.expose().clone())
        .map_err(|_| Failure::of(Reason::Bug, "the key is not text", None))?;
    Ok(print(&Secret::new(json), surroundings))
}

/// Parses the value of `--ttl`.
pub(in crate::cli) fn lifetime(text: &str) -> Result<Duration, Failure> {
    let lifetime = config::arguments::span("ttl", text)?;
    if lifetime.subsec_nanos() == 0 && (Duration::from_secs(1)..=LONGEST_API_KEY).contains(&lifetime) {
        return Ok(lifetime);
    }
    let what = format!("--ttl: `{text}` is not a valid lifetime");
    Err(Failure::of(Reason::InvalidSetting, what, Some("use whole seconds, from 1s to 12h".into())))
}

fn print(line: &Secret<String>, surroundings: &mut Surroundings<'_>) -> Exit {
    match output::print_bytes(surroundings, line.expose().as_bytes()) {
        Ok(_) => output::print(surroundings, "\n"),
        Err(exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_for_whole_seconds_and_half_a_day_at_most() {
        for (text, seconds) in [("1s", 1), ("12h", 43200), ("900", 900), ("1h30m", 5400)] {
            assert_eq!(lifetime(text).unwrap(), Duration::from_secs(seconds));
        }
        for text in ["0", "12h1s", "1500ms", "a while", "", "-1"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
