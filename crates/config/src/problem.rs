//! Mistakes in settings: where they are, what is wrong, and what to do.

use std::fmt;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;

/// The origin of a value. The order is that in which mistakes are reported.
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
    /// No layer gives the value.
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

/// One mistake. Prints as `where: what; hint: what to do`, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the mistake is; [`Origin::Default`] if something is missing.
    pub origin: Origin,
    /// What is wrong.
    pub what: String,
    /// What a person can do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(formatter, "{}: ", self.origin)?;
        }
        formatter.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(formatter, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All mistakes of one run: those in flags first, then in variables, then in the file from top to bottom. Mistakes in
/// the file as a whole come last, because a mistake in a line is often their cause. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts mistakes into the order of reports; `None` if there are none.
    pub(super) fn collect(mut problems: Vec<Problem>) -> Option<Self> {
        let is_of_whole_file = |problem: &Problem| matches!(problem.origin, Origin::File { line: 0, .. });
        problems.sort_by_key(|problem| (is_of_whole_file(problem), problem.origin.clone()));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// For refused settings without a reported mistake, which is a bug of anchord.
    pub(super) fn unexplained() -> Self {
        let what = "the settings are unusable, and anchord did not say why; this is a bug".into();
        Self(vec![Problem { origin: Origin::Default, what, hint: None }])
    }

    /// Each mistake.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

/// One line for each mistake.
impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Classify for Problems {
    fn reason(&self) -> Reason {
        Reason::InvalidSetting
    }
}
