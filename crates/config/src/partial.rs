//! A session that flags and variables define only in part, without a settings file. A daemon may have the whole
//! session, and then compares the given options with its own.

use super::Consumer;
use super::Fact;
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

/// An incomplete session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The options that were given, for the daemon to compare.
    pub stated: Vec<Fact>,
    /// The flags and variables that give them.
    pub origins: Vec<String>,
    /// The names of the options that are missing.
    pub missing: Vec<&'static str>,
    /// The flags of the missing options.
    pub flags: Vec<String>,
}

/// Settings to ask a daemon with. If the session is incomplete, they have no session, but [`Settings::partial`].
pub(super) fn settle(arguments: Arguments, environment: &Environment) -> Result<Settings, Problems> {
    let mut problems = Vec::new();
    let mut layers = Layers::read(arguments, environment, Consumer::Client, &mut problems);
    let settled = check::settle_layers(&layers, Consumer::Client, problems);
    let origins = layers.session_flags();
    if settled.is_ok() || origins.is_empty() || !layers.file.sessions.is_empty() || layers.file.incomplete {
        return settled;
    }
    let missing = missing(&layers);
    for spec in &missing {
        let value = placeholder(&layers, spec);
        layers.arguments.put(spec, vec![value]);
    }
    // If there are other mistakes, they are reported together with the missing options.
    match check::settle_layers(&layers, Consumer::Client, Vec::new()) {
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

/// A placeholder for a missing option, consistent with the given ARNs and Region.
fn placeholder(layers: &Layers<'_>, spec: &OptionSpec) -> String {
    const ANYWHERE: [&str; 2] = ["session.trust_anchor_arn", "session.profile_arn"];
    let partition = field(layers, &ANYWHERE, 1).or_else(|| field(layers, &["session.role_arn"], 1));
    let partition = partition.unwrap_or_else(|| "aws".to_owned());
    let usual = match partition.as_str() {
        "aws-cn" => "cn-north-1",
        "aws-us-gov" => "us-gov-west-1",
        _ => "us-east-1",
    };
    let asked = given(layers, "session.roles_anywhere_region").filter(|region| region != "auto");
    let region = field(layers, &ANYWHERE, 3).or(asked).unwrap_or_else(|| usual.to_owned());
    let account = field(layers, &ANYWHERE, 4).unwrap_or_else(|| "000000000000".to_owned());
    let what = match spec.key {
        "session.trust_anchor_arn" => "trust-anchor",
        "session.profile_arn" => "profile",
        "session.role_arn" => return format!("arn:{partition}:iam::{account}:role/none"),
        _ => return "/none".into(),
    };
    format!("arn:{partition}:rolesanywhere:{region}:{account}:{what}/00000000-0000-0000-0000-000000000000")
}

/// The field with this number of the first of the given ARNs that has it.
fn field(layers: &Layers<'_>, keys: &[&str], number: usize) -> Option<String> {
    for key in keys {
        if let Some(arn) = given(layers, key)
            && let Some(text) = arn.split(':').nth(number)
            && !text.is_empty()
        {
            return Some(text.to_owned());
        }
    }
    None
}

/// The value that a flag or variable gives.
fn given(layers: &Layers<'_>, key: &str) -> Option<String> {
    Some(layers.given_outside_file(option(key))?.pop()?.text)
}

/// The settings without the incomplete session, which moves to [`Settings::partial`].
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
    // The warnings are about placeholders.
    Settings { sessions: Vec::new(), warnings: Vec::new(), partial: Some(partial), ..whole }
}
