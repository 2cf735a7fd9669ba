//! A mistake or a warning: where, what, and what to do.

use std::fmt;

use crate::text::Text;

/// Where a value came from. Ordered as mistakes are reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A flag, without its dashes.
    Argument(&'static str),
    /// An environment variable.
    Variable(String),
    /// A line of the file, counted from 1; line 0 is the file as a whole.
    File {
        /// The path as it was given.
        path: String,
        /// The line.
        line: usize,
    },
    /// It is a default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(flag) => write!(formatter, "--{flag}"),
            Self::Variable(name) => formatter.write_str(name),
            Self::File { path, line: 0 } => formatter.write_str(path),
            Self::File { path, line } => write!(formatter, "{path}:{line}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// One mistake or warning. Prints as `where: what; hint: what to do`, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where the setting was given; [`Origin::Default`] if the notice is about no setting, or a missing one.
    pub origin: Origin,
    /// The mistake or the state, as a sentence without a full stop.
    pub what: Text,
    /// What a person can do.
    pub hint: Option<Text>,
}

impl Notice {
    /// A notice without a hint.
    pub fn new(what: impl Into<Text>) -> Self {
        Self { origin: Origin::Default, what: what.into(), hint: None }
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hinting(self, hint: impl Into<Text>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same, about the setting that comes from `origin`.
    #[must_use]
    pub fn about(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Without the hint: `where: what`.
    pub fn message(&self) -> String {
        match &self.origin {
            Origin::Default => self.what.to_string(),
            origin => format!("{origin}: {}", self.what),
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_hint(formatter, &self.message(), self.hint())
    }
}

/// The one form of a message with its hint on one line: `message; hint: …`.
pub(crate) fn write_with_hint(
    formatter: &mut fmt::Formatter<'_>,
    message: &str,
    hint: Option<&str>,
) -> fmt::Result {
    formatter.write_str(message)?;
    match hint {
        Some(hint) => write!(formatter, "; hint: {hint}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_prints_where_what_and_what_to_do() {
        let bare = Notice::new("no session is defined");
        assert_eq!(bare.to_string(), "no session is defined");

        let origin = Origin::File { path: "a.toml".into(), line: 3 };
        let whole = Notice::new("unknown key").hinting("did you mean `region`?").about(origin);
        assert_eq!(whole.to_string(), "a.toml:3: unknown key; hint: did you mean `region`?");
        assert_eq!(whole.message(), "a.toml:3: unknown key");
    }
}
