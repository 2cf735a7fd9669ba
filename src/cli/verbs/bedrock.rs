//! `anchord bedrock`: calls models with a session's credentials.
//!
//! Requests and answers may be private: anchord writes them only to the destinations that the user names.

mod api_key;
mod body;
mod destination;
mod invoke;
mod models;
mod selection;
mod template;

use std::time::Duration;

use clap::ArgMatches;

pub(super) use api_key::lifetime;

use super::credential_process;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::bedrock::REGION;
use crate::cli::output;
use anchord_aws::bedrock::Client;
use anchord_aws::bedrock::EndpointOptions;
use anchord_aws::bedrock::EndpointUrl;
use anchord_aws::bedrock::ModelId;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::arn::Region;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::process_limits;
use anchord_runtime::assembly;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    process_limits::no_core_files();
    let ended = match matches.subcommand() {
        Some(("invoke", matches)) => invoke::run(matches, surroundings),
        Some(("models", matches)) => models::run(matches, surroundings),
        Some(("api-key", matches)) => api_key::run(matches, surroundings),
        _ => Ok(Exit::Usage),
    };
    match ended {
        Ok(exit) | Err(Ended::Reported(exit)) => exit,
        Err(Ended::Misused(failure)) => {
            output::report(&failure, surroundings);
            Exit::Usage
        }
        Err(Ended::Failed(failure)) => output::report(&failure, surroundings),
    }
}

/// Why a verb ends early.
#[derive(Debug)]
enum Ended {
    /// The reason has been printed.
    Reported(Exit),
    /// The command line is invalid.
    Misused(Failure),
    Failed(Failure),
}

impl Ended {
    fn misused(mistake: impl Into<Failure>) -> Self {
        Self::Misused(mistake.into())
    }
}

impl<F: Into<Failure>> From<F> for Ended {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

fn settings(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Result<Settings, Ended> {
    config::load_for_asking(matches, surroundings.environment)
        .map_err(|problems| Ended::Reported(output::report_problems(&problems, surroundings)))
}

/// The Region to call. Warns if the name is not one of AWS's known Regions.
fn region(
    matches: &ArgMatches,
    settings: &Settings,
    surroundings: &mut Surroundings<'_>,
) -> Result<Region, Ended> {
    let region = region_given(matches, settings, surroundings)?;
    warn_of(&region, surroundings);
    let doubts = settings.the_session().map(config::doubts_of).unwrap_or_default();
    for (_, doubt) in doubts.into_iter().filter(|(doubtful, _)| *doubtful != region) {
        output::warn(&[doubt], surroundings);
    }
    Ok(region)
}

fn warn_of(region: &Region, surroundings: &mut Surroundings<'_>) {
    output::warn(config::doubt_about(region).as_slice(), surroundings);
}

fn region_given(
    matches: &ArgMatches,
    settings: &Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Region, Ended> {
    if let Some(text) = matches.get_one::<String>(REGION) {
        return parse_region("--region", text);
    }
    if let Some(session) = settings.the_session() {
        return Ok(session.region.clone());
    }
    if settings.picked.is_none() && !settings.sessions.is_empty() {
        let hint = Some("name one with --session".into());
        let what = "no session is selected, and there is not exactly one";
        return Err(Failure::of(Reason::UnknownSession, what, hint).into());
    }
    // The daemon knows the session and its Region, and this user's settings do not.
    if let Some(region) = region_of_the_sdks(surroundings)? {
        return Ok(region);
    }
    let hint = Some("give `--region`, or set AWS_REGION".into());
    let what = "no settings of this user define the session, so its Region is not known";
    Err(Failure::of(Reason::InvalidSetting, what, hint).into())
}

/// What SDKs in this environment would call.
fn region_of_the_sdks(surroundings: &Surroundings<'_>) -> Result<Option<Region>, Ended> {
    let given = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter();
    let mut given = given.filter_map(|name| Some((name, surroundings.environment.get(name)?)));
    given.next().map(|(variable, text)| parse_region(variable, text)).transpose()
}

/// The model that `--model-id` names.
pub(super) fn model(text: &str) -> Result<ModelId, Failure> {
    if config::is_key_material(text) {
        let what = "--model-id: holds the content of a key or certificate";
        let hint = "give an id as `anchord bedrock models` lists it, or an ARN";
        return Err(Failure::of(Reason::InvalidSetting, what, Some(hint.into())));
    }
    ModelId::parse(text).map_err(Failure::from)
}

fn parse_region(origin: &str, text: &str) -> Result<Region, Ended> {
    Region::parse(text).map_err(|_| {
        // The value is not repeated: it may be a secret in the wrong place.
        let what = format!("{origin}: the value is not a Region: {}", Region::FORM);
        Ended::Misused(Failure::of(Reason::InvalidSetting, what, None))
    })
}

/// The endpoint that the environment names for a service whose own variable is `own`, and that variable's name. As in
/// SDKs, the variable for all services counts too, and AWS_IGNORE_CONFIGURED_ENDPOINT_URLS disables both.
pub(super) fn endpoint_in<'a>(
    environment: &'a Environment,
    own: &'static str,
) -> Option<(&'static str, &'a str)> {
    let ignored = environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if ignored.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    [own, "AWS_ENDPOINT_URL"].into_iter().find_map(|name| Some((name, environment.get(name)?)))
}

/// The endpoint for calls, from the flag, else from `variable`.
fn target(
    matches: &ArgMatches,
    settings: &Settings,
    region: Region,
    variable: &'static str,
    surroundings: &Surroundings<'_>,
) -> Result<EndpointOptions, Ended> {
    let flag = matches.get_one::<String>("endpoint-url").map(|text| ("--endpoint-url", text.as_str()));
    let given = flag.or_else(|| endpoint_in(surroundings.environment, variable));
    let endpoint = given.map(|(origin, text)| {
        text.parse::<EndpointUrl>().map_err(|error| {
            // A flag's value is not repeated: it may be a secret in the wrong place.
            let what = match flag {
                Some(_) => format!("{origin}: the value is not an endpoint"),
                None => format!("{origin}: {error}"),
            };
            Ended::Misused(Failure::from(error).with_message(what))
        })
    });
    let endpoint = endpoint.transpose()?;
    Ok(EndpointOptions { region, variant: settings.upstream.variant, endpoint })
}

/// The client for calls; `patience` is its read time-out.
fn client(settings: &Settings, target: EndpointOptions, patience: Option<Duration>) -> Result<Client, Ended> {
    let clock = Clock::system();
    Ok(Client::new(assembly::https(settings, patience, &clock)?, clock, target))
}

/// The session's credentials. Expired ones are an error.
fn credentials(settings: &Settings, surroundings: &Surroundings<'_>) -> Result<Credentials, Ended> {
    let credentials = credential_process::credentials(settings, surroundings)?;
    if credentials.remaining(Clock::system().moment()).is_positive() {
        return Ok(credentials);
    }
    let hint = Some("check `anchord status` and this host's clock".into());
    Err(Failure::of(Reason::ClockOff, "the session's credentials have expired", hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_the_environment_is_the_services_own_or_that_of_all_unless_they_are_ignored() {
        const OWN: &str = "AWS_ENDPOINT_URL_BEDROCK";
        let found = |variables: &[(&str, &str)]| {
            let environment = Environment::from_iter(variables.iter().copied());
            endpoint_in(&environment, OWN).map(|(name, url)| (name, url.to_owned()))
        };
        let (own, all) = ((OWN, "https://own"), ("AWS_ENDPOINT_URL", "https://all"));

        assert_eq!(found(&[all, own]), Some((own.0, own.1.into())));
        assert_eq!(found(&[all]), Some((all.0, all.1.into())));
        assert_eq!(found(&[all, own, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "TRUE")]), None);
        assert_eq!(
            found(&[all, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false")]),
            Some((all.0, all.1.into()))
        );
    }
}
