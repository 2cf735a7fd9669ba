//! Exit codes.

use anchord_core::failure::Class;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked to.
    Done,
    /// The environment failed: a file, the network, AWS being unwell, no daemon.
    Failed,
    /// The command line was wrong.
    Usage,
    /// AWS refused.
    Refused,
    /// A bug of ours.
    Broken,
    /// The command that was to be run cannot be, as shells say it.
    NotRun,
    /// There is no such command, as shells say it.
    NoCommand,
}

impl Exit {
    /// The process's exit code; README.md lists them.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Broken => 70,
            Self::NotRun => 126,
            Self::NoCommand => 127,
        }
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Transient | Class::Throttled | Class::Misconfigured => Self::Failed,
            Class::Denied => Self::Refused,
            Class::Broken => Self::Broken,
        }
    }
}
