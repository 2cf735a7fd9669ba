//! What `anchord config check` prints: each option, its value, and who decided it.

use std::fmt::Write as _;

use super::Settings;
use super::problem::Origin;

/// The value and origin of each option, in the order of the sample file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    key: String,
    value: String,
    origin: Origin,
}

impl Origins {
    /// Notes an option, over what was noted of it before. `value` is in TOML's form and holds no secret.
    pub(super) fn note(&mut self, key: impl Into<String>, value: impl Into<String>, origin: Origin) {
        let line = Line { key: key.into(), value: value.into(), origin };
        match self.0.iter_mut().find(|noted| noted.key == line.key) {
            Some(noted) => *noted = line,
            None => self.0.push(line),
        }
    }

    /// Who decided the option with this key, such as `log.level` or `session.bedrock.region`.
    pub fn of(&self, key: &str) -> Option<&Origin> {
        self.0.iter().find(|line| line.key == key).map(|line| &line.origin)
    }
}

/// A line an option: `key = value`, then its origin - a flag, a variable, a line of the file or `default`.
pub fn describe(settings: &Settings) -> String {
    let lines = &settings.origins.0;
    let widest = |width: fn(&Line) -> usize| lines.iter().map(width).max().unwrap_or(0);
    let (keys, values) =
        (widest(|line| line.key.len()), widest(|line| line.value.chars().count()).min(WIDEST_VALUE));
    let mut text = String::new();
    for Line { key, value, origin } in lines {
        writeln!(text, "{key:keys$} = {value:values$}  # {origin}")
            .expect("a String takes all that is written");
    }
    text
}

/// Longer values, ARNs mostly, push their own origin aside and not everybody's.
const WIDEST_VALUE: usize = 40;

/// A proxy's address without what stands before its host, which may be a login.
pub(super) fn without_login(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}[redacted]@{host}", scheme.unwrap_or_default())
        }
        None => proxy.into(),
    }
}
