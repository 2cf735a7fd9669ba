//! The output of `anchord config check`: each option with its value and origin.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::Settings;
use anchord_core::notice::Origin;

/// The value and origin of each option, in the order of the sample file. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Arc<ReportLines>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ReportLines {
    lines: Vec<ReportLine>,
    /// The index of each key's line. A thousand sessions have tens of thousands of lines, too many to search.
    places: HashMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ReportLine {
    key: String,
    value: String,
    origin: Origin,
}

impl Origins {
    /// Sets the value and origin of an option, and replaces earlier ones. `value` is in TOML's form and holds no
    /// secret.
    pub(super) fn note(&mut self, key: impl Into<String>, value: impl Into<String>, origin: Origin) {
        let line = ReportLine { key: key.into(), value: value.into(), origin };
        // This copies nothing, because there are no clones before the settings are complete.
        let ReportLines { lines, places } = Arc::make_mut(&mut self.0);
        match places.get(&line.key) {
            Some(place) => lines[*place] = line,
            None => {
                places.insert(line.key.clone(), lines.len());
                lines.push(line);
            }
        }
    }

    /// The origin of the option with this key, such as `log.level` or `session.bedrock.region`.
    pub fn of(&self, key: &str) -> Option<&Origin> {
        self.0.places.get(key).map(|place| &self.0.lines[*place].origin)
    }
}

/// A line for each option: `key = value`, then its origin, which is a flag, a variable, a line of the file or
/// `default`.
pub fn describe(settings: &Settings) -> String {
    described(&settings.origins.0.lines.iter().collect::<Vec<_>>())
}

/// The same without options that have their default.
pub fn describe_given(settings: &Settings) -> String {
    let lines = settings.origins.0.lines.iter();
    described(&lines.filter(|line| line.origin != Origin::Default).collect::<Vec<_>>())
}

fn described(lines: &[&ReportLine]) -> String {
    let (mut keys, mut values) = (0, 0);
    for line in lines {
        keys = keys.max(line.key.len());
        values = values.max(line.value.chars().count()).min(WIDEST_VALUE);
    }
    let mut text = String::new();
    for ReportLine { key, value, origin } in lines {
        writeln!(text, "{key:keys$} = {value:values$}  # {origin}")
            .expect("a String takes all that is written");
    }
    text
}

/// The widest value column. The origin of a longer value, usually an ARN, is not aligned with the others.
const WIDEST_VALUE: usize = 40;

/// A proxy's address without the text before its host, which may be a login.
pub(super) fn without_login(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}[redacted]@{host}", scheme.unwrap_or_default())
        }
        None => proxy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_replaces_the_one_of_its_key_and_keeps_its_place() {
        let mut origins = Origins::default();
        origins.note("a", "1", Origin::Default);
        origins.note("b", "2", Origin::Default);

        origins.note("a", "3", Origin::Argument("a"));

        let shown: Vec<_> = origins.0.lines.iter().map(|line| (&*line.key, &*line.value)).collect();
        assert_eq!(shown, [("a", "3"), ("b", "2")]);
        assert_eq!(origins.of("a"), Some(&Origin::Argument("a")));
        assert_eq!(origins.of("c"), None);
    }
}
