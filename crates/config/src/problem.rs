//! Mistakes in settings: where, what, and what to do.

use std::fmt;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;

/// All mistakes of one run, those of flags first, then variables, then the file from top to bottom, then what is about the
/// file as a whole: a mistake in a line is often its cause. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Notice>);

impl Problems {
    /// Puts mistakes into the order in which they are reported; `None` when there are none.
    pub(super) fn collect(mut problems: Vec<Notice>) -> Option<Self> {
        let is_of_whole_file = |problem: &Notice| matches!(problem.origin, Origin::File { line: 0, .. });
        problems.sort_by_key(|problem| (is_of_whole_file(problem), problem.origin.clone()));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// For a refusal that nobody explained, which is a mistake of ours.
    pub(super) fn unexplained() -> Self {
        Self(vec![Notice::new("the settings are unusable, and anchord did not say why; this is a bug")])
    }

    /// Each mistake.
    pub fn iter(&self) -> std::slice::Iter<'_, Notice> {
        self.0.iter()
    }
}

/// A line a mistake.
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
