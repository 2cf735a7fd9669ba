//! Options of a session that no settings file defines and that flags and variables do not complete. A daemon may have the
//! session: what was stated of it can be compared with the daemon's.

use super::Fact;
use super::Reader;
use super::Settings;
use super::check;
use super::environment::Environment;
use super::facts::facts_of_caller;
use super::layers::Arguments;
use super::layers::Layers;
use super::layers::SessionLayer;
use super::options::Fallback;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::option;
use super::problem::Problems;
use super::setting::Setting;
use anchord_core::notice::Origin;

/// A part of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// What was said of the session, for a daemon to compare.
    pub stated: Vec<Fact>,
    /// The flags and variables that said it.
    pub origins: Vec<String>,
    /// The names of the options that are missing.
    pub missing: Vec<&'static str>,
    /// The flags that would give them.
    pub flags: Vec<String>,
}

/// Settings for asking a daemon; those of a part of a session have no session, but [`Settings::partial`].
pub(super) fn settle(arguments: Arguments, environment: &Environment) -> Result<Settings, Problems> {
    let mut problems = Vec::new();
    let mut layers = Layers::read(arguments, environment, Reader::Client, &mut problems);
    let settled = check::settle_layers(&layers, Reader::Client, problems);
    let origins = layers.session_flags();
    if settled.is_ok() || origins.is_empty() || !layers.file.sessions.is_empty() || layers.file.incomplete {
        return settled;
    }
    let missing = missing(&layers);
    for spec in &missing {
        let value = stand_in(&layers, spec);
        layers.arguments.put(spec, vec![value]);
    }
    // Mistakes elsewhere are reported with what is missing.
    match check::settle_layers(&layers, Reader::Client, Vec::new()) {
        Ok(whole) if !missing.is_empty() => Ok(part_of(whole, origins, &missing, &layers)),
        _ => settled,
    }
}

fn missing(layers: &Layers<'_>) -> Vec<&'static OptionSpec> {
    let layer = SessionLayer { name: "", table: None, takes_flags: true };
    let is_missing = |spec: &&OptionSpec| {
        spec.fallback == Fallback::Required && matches!(layers.find(spec, Some(&layer)), Setting::Absent)
    };
    OPTIONS.iter().filter(|spec| spec.table() == "session").filter(is_missing).collect()
}

/// A value that agrees with those that were given.
fn stand_in(layers: &Layers<'_>, spec: &OptionSpec) -> String {
    let given = |key: &str| layers.given_outside_file(option(key))?.pop().map(|given| given.text);
    let field = |key: &str, number: usize| {
        given(key)
            .and_then(|arn| arn.split(':').nth(number).map(str::to_owned))
            .filter(|text| !text.is_empty())
    };
    let either = |number: usize| {
        field("session.trust_anchor_arn", number).or_else(|| field("session.profile_arn", number))
    };
    let partition = either(1).or_else(|| field("session.role_arn", 1)).unwrap_or_else(|| "aws".to_owned());
    let usual = match partition.as_str() {
        "aws-cn" => "cn-north-1",
        "aws-us-gov" => "us-gov-west-1",
        _ => "us-east-1",
    };
    let asked = given("session.roles_anywhere_region").filter(|region| region != "auto");
    let region = either(3).or(asked).unwrap_or_else(|| usual.to_owned());
    let account = either(4).unwrap_or_else(|| "000000000000".to_owned());
    let of_anywhere = |what: &str| {
        format!(
            "arn:{partition}:rolesanywhere:{region}:{account}:{what}/00000000-0000-0000-0000-000000000000"
        )
    };
    match spec.key {
        "session.trust_anchor_arn" => of_anywhere("trust-anchor"),
        "session.profile_arn" => of_anywhere("profile"),
        "session.role_arn" => format!("arn:{partition}:iam::{account}:role/none"),
        _ => "/none".into(),
    }
}

/// The settings without the session, which is known in part.
fn part_of(
    whole: Settings,
    origins: Vec<Origin>,
    missing: &[&'static OptionSpec],
    layers: &Layers<'_>,
) -> Settings {
    let is_stated = |fact: &Fact| {
        let spec = OPTIONS.iter().find(|spec| spec.table() == "session" && spec.name() == fact.option);
        let is_missing = missing.iter().any(|spec| spec.name() == fact.option);
        !is_missing && spec.is_some_and(|spec| layers.given_outside_file(spec).is_some())
    };
    let said = whole.the_session().map(facts_of_caller).unwrap_or_default();
    let stated = said.into_iter().filter(is_stated).collect();
    let partial = Partial {
        stated,
        origins: origins.iter().map(Origin::to_string).collect(),
        missing: missing.iter().map(|spec| spec.name()).collect(),
        flags: missing.iter().map(|spec| format!("--{}", spec.flag)).collect(),
    };
    // What warns of the session speaks of stand-ins.
    Settings { sessions: Vec::new(), warnings: Vec::new(), partial: Some(partial), ..whole }
}
