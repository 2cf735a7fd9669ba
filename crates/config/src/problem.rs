//! Mistakes in settings: where they are, what is wrong, and what to do.

use std::fmt;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;

/// All mistakes of one run: those in flags first, then in variables, then in the file from top to bottom. Mistakes in
/// the file as a whole come last, because a mistake in a line is often their cause. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Notice>);

impl Problems {
    /// Sorts mistakes into the order of reports; `None` if there are none.
    pub(super) fn collect(mut problems: Vec<Notice>) -> Option<Self> {
        let is_of_whole_file = |problem: &Notice| matches!(problem.origin, Origin::File { line: 0, .. });
        problems.sort_by_key(|problem| (is_of_whole_file(problem), problem.origin.clone()));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// For refused settings without a reported mistake, which is a bug of anchord.
    pub(super) fn unexplained() -> Self {
        Self(vec![Notice::new("the settings are unusable, and anchord did not say why; this is a bug")])
    }

    /// Each mistake.
    pub fn iter(&self) -> std::slice::Iter<'_, Notice> {
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
