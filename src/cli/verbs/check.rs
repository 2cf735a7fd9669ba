//! `anchord check`: the doctor. It checks everything between a setting and a call to AWS, and says what to do.
//!
//! It changes nothing on this host: it gets credentials of its own, and neither reads nor writes the daemon's.

mod call;
mod certificate;
mod create_session;
mod environment;
mod explain;
mod local;
mod models;
mod network;
mod profiles;
mod roles;
mod session;

use std::sync::Arc;

use clap::ArgMatches;

pub(super) use profiles::Profiles;

use self::environment::Door;
use self::models::Models;
use self::network::Way;
use self::session::Patient;
use super::bedrock;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::misuse;
use crate::cli::output;
use crate::cli::output::check::report::Report;
use crate::cli::output::check::report::Session;
use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use crate::cli::output::prompt;
use crate::cli::threads;
use anchord_aws::bedrock::ModelId;
use anchord_aws::upstream;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Problems;
use anchord_config::Settings;
use anchord_core::arn::Region;
use anchord_core::clock::Clock;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::process_limits;
use anchord_runtime::assembly;
use anchord_runtime::client;
use anchord_runtime::client::running;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    process_limits::no_core_files();
    let model = matches.get_one::<String>("model-id").map(|text| bedrock::model(text)).transpose();
    let model = match model {
        Ok(model) => model,
        Err(error) => {
            output::report(&error, surroundings);
            return Exit::Usage;
        }
    };
    let report = match config::load(matches, surroundings.environment) {
        Ok(mut settings) => {
            settings.read_pipes();
            let name = matches.get_one::<String>("name").cloned().or_else(|| settings.picked.clone());
            match chosen(&settings, name.as_deref()) {
                Ok(chosen) => examine(&settings, &chosen, model, surroundings.environment),
                Err(failure) => {
                    output::report(&failure, surroundings);
                    return Exit::Usage;
                }
            }
        }
        Err(_) if matches.get_one::<String>("name").is_some_and(|name| misuse::is_file(name)) => {
            output::report(&no_such_session(FILE_BY_FLAG.into()), surroundings);
            return Exit::Usage;
        }
        Err(problems) => match of_a_client(matches, model, surroundings.environment) {
            Some(report) => Ok(report),
            None => {
                let mut steps = problem_steps(&problems);
                steps.extend(environment_steps(surroundings.environment, &Door::default()));
                Ok(Report { steps, sessions: Vec::new() })
            }
        },
    };
    let report = match report {
        Ok(report) => report,
        Err(failure) => return output::report(&failure, surroundings),
    };
    let report = report.without_keys();
    let text = match matches.get_flag("json") {
        true => format!("{:#}\n", report.json()),
        false => output::check::text(&report),
    };
    match output::print(surroundings, &text) {
        Exit::Done => report.exit(),
        other => other,
    }
}

/// The report for a user of the host's daemon, who does not need what a daemon needs, such as a runtime directory.
fn of_a_client(matches: &ArgMatches, model: Option<ModelId>, environment: &Environment) -> Option<Report> {
    let settings = config::load_for_client(matches, environment).ok()?;
    if settings.sessions.is_empty() {
        return of_the_daemon_alone(&settings, environment);
    }
    if !settings.file_is_the_systems() || !client::is_there(environment) {
        return None;
    }
    let name = matches.get_one::<String>("name").cloned().or_else(|| settings.picked.clone());
    let chosen = chosen(&settings, name.as_deref()).ok()?;
    examine(&settings, &chosen, model, environment).ok()
}

/// The report for a user without sessions: whether a daemon answers, and whether this environment's SDKs find it.
fn of_the_daemon_alone(settings: &Settings, environment: &Environment) -> Option<Report> {
    let found = threads::runtime().ok()?.block_on(running::find(settings, settings.picked.as_deref()));
    let running = match found {
        Ok(running) => running?,
        Err(failure) => {
            let mut steps = vec![configuration().skipped("this user's settings define no session")];
            steps.extend(local::daemon_steps(&Err(failure), settings, &[]));
            return Some(Report { steps, sessions: Vec::new() });
        }
    };
    let names: Vec<_> = running.status.sessions.iter().map(|held| held.name.as_str()).collect();
    let what =
        format!("this user's settings define no session; the daemon's sessions are {}", names.join(", "));
    let mut steps = vec![configuration().ok(what)];
    let door = local::door(Some(&running), settings, &[]);
    steps.extend(local::daemon_steps(&Ok(Some(running)), settings, &[]));
    steps.extend(environment_steps(environment, &door));
    Some(Report { steps, sessions: Vec::new() })
}

/// The session of that name, or all sessions if there is no name.
fn chosen<'a>(
    settings: &'a Settings,
    name: Option<&str>,
) -> Result<Vec<&'a config::SessionSettings>, Failure> {
    let sessions = settings.sessions.iter();
    let found: Vec<_> =
        sessions.clone().filter(|session| name.is_none_or(|name| session.name == name)).collect();
    if found.is_empty() {
        let known: Vec<_> = sessions.map(|session| session.name.as_str()).collect();
        return Err(no_such_session(match name.is_some_and(misuse::is_file) {
            true => FILE_BY_FLAG.to_owned(),
            false => format!("the sessions are {}", known.join(", ")),
        }));
    }
    Ok(found)
}

const FILE_BY_FLAG: &str = "name a settings file with its flag: `anchord check --config FILE`";

/// The message does not repeat the name: it may be a secret in the wrong place.
fn no_such_session(hint: String) -> Failure {
    Failure::of(Reason::UnknownSession, "there is no such session", Some(hint.into()))
}

fn configuration() -> Subject {
    Subject::new("configuration", "configuration")
}

fn problem_steps(problems: &Problems) -> Vec<Step> {
    let step = |problem: &Notice| {
        let failure = Failure::of(Reason::InvalidSetting, problem.message(), problem.hint.clone());
        configuration().failed("a setting is wrong or missing", &failure)
    };
    problems.iter().map(step).collect()
}

fn configuration_steps(settings: &Settings) -> Vec<Step> {
    let file = match &settings.file {
        Some(file) => file.display().to_string(),
        None => "flags and variables".to_owned(),
    };
    let names: Vec<_> = settings.sessions.iter().map(|session| session.name.as_str()).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let found = format!("{file}, with the session{plural} {}", names.join(", "));
    let warnings = settings.warnings.iter().map(|warning| configuration().warned(warning));
    std::iter::once(configuration().ok(found)).chain(warnings).collect()
}

fn examine(
    settings: &Settings,
    chosen: &[&config::SessionSettings],
    model: Option<ModelId>,
    environment: &Environment,
) -> Result<Report, Failure> {
    process_limits::one_more_thread()?;
    let runtime = threads::runtime()?;
    let mut report = Report { steps: configuration_steps(settings), sessions: Vec::new() };
    let name = chosen.first().map(|session| session.name.as_str());
    let running = runtime.block_on(running::find(settings, name));
    report.steps.extend(local::daemon_steps(&running, settings, chosen));
    let has_daemon = !matches!(running, Ok(None));
    let door = local::door(running.ok().flatten().as_ref(), settings, chosen);
    report.steps.extend(environment_steps(environment, &door));

    let clock = Clock::system();
    match assembly::https(settings, settings.upstream.read_timeout, &clock) {
        Ok(https) => {
            let doubts = settings.upstream.ca_file.iter().flat_map(|path| upstream::ca_file_doubts(path));
            report.steps.extend(doubts.map(|doubt| Subject::new("tls", "TLS").warned(&doubt)));
            let thinking = assembly::https(settings, Some(models::PATIENCE), &clock)?;
            let models = Models::new(thinking, model, environment);
            let way = Way { transport: Arc::new(https), settings: &settings.upstream, clock: &clock };
            for session in chosen {
                prompt::ask(session);
                let patient = Patient { session, way: &way, models: &models };
                let mut steps = session::steps(patient, &runtime);
                if has_daemon {
                    local::leave_files_closed(&mut steps);
                }
                report.sessions.push(Session { name: session.name.clone(), steps });
            }
        }
        Err(error @ assembly::Error::Proxy(_)) => {
            report.steps.push(Subject::new("proxy", "proxy").failed("cannot be used", &error.into()));
        }
        Err(error) => report.steps.push(Subject::new("tls", "TLS").failed("cannot be set up", &error.into())),
    }
    // A name lookup may still block a thread.
    runtime.shutdown_background();
    Ok(report)
}

fn environment_steps(environment: &Environment, door: &Door) -> Vec<Step> {
    let token_fault = environment::token_fault(environment);
    let mut steps =
        environment::steps(environment, &Profiles::read(environment), door, token_fault.as_deref());
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let region = environment.get(variable).and_then(|text| Region::parse(text).ok());
        if let Some(doubt) = region.as_ref().and_then(config::doubt_about) {
            let subject = Subject::new("environment.region-name", "environment: name of the Region");
            steps.push(subject.warned(&doubt.about(Origin::Variable(variable.into()))));
        }
    }
    steps
}
