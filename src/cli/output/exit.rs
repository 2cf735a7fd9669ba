//! Exit codes.

use anchord_core::failure::Class;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Done,
    /// A failure of the environment: a file, the network, an outage of AWS, no daemon.
    Failed,
    /// The command line was wrong.
    Usage,
    /// AWS refused.
    Refused,
    /// A bug in anchord.
    Broken,
    /// The command of `exec` cannot be run; the same code as in shells.
    NotRun,
    /// The command of `exec` does not exist; the same code as in shells.
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
