//! The four layers - argument, variable, file, default - and which of them decides.

use std::collections::BTreeMap;

use super::Consumer;
use super::environment::Environment;
use super::file;
use super::file::FileLayer;
use super::file::FileSession;
use super::file::RawValue;
use super::file::Values;
use super::options::Fallback;
use super::options::OPTIONS;
use super::options::OptionSpec;
use super::options::SELECTORS;
use super::options::ValueKind;
use super::problem::Problems;
use super::setting::Setting;
use super::values::echo;
use super::values::nearest;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;

/// All values as they were given, before they are checked.
pub(super) struct Layers<'a> {
    pub(super) arguments: Arguments,
    pub(super) environment: &'a Environment,
    pub(super) file: FileLayer,
    /// Whether a settings file is read. Hints name one only then.
    pub(super) reads_a_file: bool,
}

/// The options that a command line or a program gives, by flag. Values may be passphrases, so this type has no `Debug`.
#[derive(Clone, Default)]
pub struct Arguments(BTreeMap<&'static str, Vec<String>>);

/// The layers of one session.
#[derive(Clone, Copy)]
pub(super) struct SessionLayer<'a> {
    pub(super) name: &'a str,
    /// Its table in the file.
    pub(super) table: Option<&'a FileSession>,
    /// Whether session flags and variables apply to it.
    pub(super) takes_flags: bool,
}

impl Arguments {
    /// Takes values by the flags of their options, without dashes. A list may be given several times; of any other
    /// option the last value applies.
    ///
    /// # Errors
    /// The options that do not exist.
    pub fn given<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Problems> {
        let ours = || SELECTORS.iter().chain(OPTIONS);
        let mut arguments = Self::default();
        let mut problems = Vec::new();
        for (flag, text) in given {
            let Some(spec) = ours().find(|spec| spec.flag == flag) else {
                let hint = nearest(flag, ours().map(|spec| spec.flag));
                problems.push(Notice {
                    origin: Origin::Default,
                    what: format!("no option is called {}", echo(flag)).into(),
                    hint: hint.map(|meant| format!("did you mean `{meant}`?").into()),
                });
                continue;
            };
            let values = arguments.0.entry(spec.flag).or_default();
            if !matches!(spec.kind, ValueKind::List(_) | ValueKind::Steps | ValueKind::Principals) {
                values.clear();
            }
            values.push(text.into());
        }
        Problems::collect(problems).map_or(Ok(arguments), Err)
    }

    /// The values of an option, if any.
    pub(super) fn of(&self, spec: &OptionSpec) -> Option<&[String]> {
        self.0.get(spec.flag).map(Vec::as_slice)
    }

    /// Whether the option with this flag has a value.
    pub fn has(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    /// The values of the option with this flag; empty if there are none.
    pub(super) fn texts(&self, flag: &str) -> &[String] {
        self.0.get(flag).map_or(&[], Vec::as_slice)
    }

    /// Replaces the values of an option.
    pub(super) fn put(&mut self, spec: &'static OptionSpec, values: Vec<String>) {
        self.0.insert(spec.flag, values);
    }

    /// Removes the values of an option.
    pub(super) fn remove(&mut self, spec: &OptionSpec) {
        self.0.remove(spec.flag);
    }
}

impl<'a> Layers<'a> {
    /// Reads the file that a flag or variable names, or the usual file.
    pub(super) fn read(
        arguments: Arguments,
        environment: &'a Environment,
        reader: Consumer,
        problems: &mut Vec<Notice>,
    ) -> Self {
        let mut layers = Self::without_file(arguments, environment);
        layers.reads_a_file = true;
        layers.file = file::read(layers.named_file().as_ref(), environment, reader, problems);
        layers
    }

    /// Layers without a file.
    pub(super) fn without_file(arguments: Arguments, environment: &'a Environment) -> Self {
        Self { arguments, environment, file: FileLayer::default(), reads_a_file: false }
    }

    /// The path of the settings file from a flag, or else from a variable.
    pub(super) fn named_file(&self) -> Option<RawValue> {
        self.given_outside_file(&SELECTORS[0]).and_then(|mut values| values.pop())
    }

    /// The values of an option, from the first layer that has any. There is exactly one unless the option is a list.
    /// Options of sessions need `session`.
    pub(super) fn find(
        &self,
        spec: &OptionSpec,
        session: Option<&SessionLayer<'_>>,
    ) -> Setting<Vec<RawValue>> {
        if session.is_none_or(|session| session.takes_flags)
            && let Some(values) = self.given_outside_file(spec)
        {
            return Setting::There(values);
        }
        let in_file: Option<&Values> = match session {
            Some(session) => session.table.map(|table| &table.values),
            None => Some(&self.file.values),
        };
        if let Some(found) = in_file.and_then(|values| values.get(spec.key)) {
            return found.clone();
        }
        match spec.fallback {
            Fallback::Value(text) => Setting::There(split(spec, text, &Origin::Default)),
            Fallback::Rule(_) | Fallback::Required => Setting::Absent,
        }
    }

    /// The values from a flag, or else from a variable.
    pub(super) fn given_outside_file(&self, spec: &OptionSpec) -> Option<Vec<RawValue>> {
        if let Some(texts) = self.arguments.of(spec) {
            let origin = Origin::Argument(spec.flag);
            return Some(texts.iter().flat_map(|text| split(spec, text, &origin)).collect());
        }
        let text = self.environment.get(spec.variable)?;
        Some(split(spec, text, &Origin::Variable(spec.variable.into())))
    }

    /// The origins of session options that flags and variables give.
    pub(super) fn session_flags(&self) -> Vec<Origin> {
        let mut origins = Vec::new();
        for spec in OPTIONS.iter().filter(|spec| spec.table() == "session") {
            if let Some(given) = self.given_outside_file(spec).and_then(|mut values| values.pop()) {
                origins.push(given.origin);
            }
        }
        origins
    }

    /// Reports variables that are not UTF-8, and names that look like a misspelling of ours. Other names that begin
    /// with `ANCHORD_` are no mistake: Kubernetes sets such variables for a service called `anchord`.
    pub(super) fn check_variables(&self, problems: &mut Vec<Notice>) {
        let ours = || SELECTORS.iter().chain(OPTIONS).map(|spec| spec.variable);
        for name in self.environment.not_text() {
            if ours().any(|variable| variable == name) {
                let origin = Origin::Variable(name.clone());
                problems.push(Notice { origin, what: "is not UTF-8".into(), hint: None });
            }
        }
        for name in self.environment.names() {
            let Some(suffix) = name.strip_prefix("ANCHORD_") else { continue };
            let suffixes = ours().filter_map(|variable| variable.strip_prefix("ANCHORD_"));
            if !ours().any(|variable| variable == name)
                && let Some(meant) = nearest(suffix, suffixes)
            {
                problems.push(Notice {
                    origin: Origin::Variable(name.into()),
                    what: "unknown variable".into(),
                    hint: Some(format!("did you mean `ANCHORD_{meant}`?").into()),
                });
            }
        }
    }
}

fn split(spec: &OptionSpec, text: &str, origin: &Origin) -> Vec<RawValue> {
    let one = |text: &str| RawValue { text: text.into(), origin: origin.clone() };
    match spec.kind {
        ValueKind::List(_) | ValueKind::Steps | ValueKind::Principals => {
            text.split(',').map(|item| one(item.trim())).collect()
        }
        _ => vec![one(text)],
    }
}
