//! The one way to say that a setting is absent, was reported, or is there.
//!
//! Checks go on behind every mistake, so a mistake must not look like a setting that no layer gives. What is made of
//! several settings is an `Option`, `None` when any of them was reported; [`Setting::settled`] leads from one to the other.

use anchord_core::notice::Origin;

/// What became of a setting.
#[derive(Clone, Debug)]
pub(super) enum Setting<T> {
    /// No layer gives it, and it has no fixed default.
    Absent,
    /// It is wrong, and that has been reported.
    Reported,
    /// It is there.
    There(T),
}

/// A value that is well formed, and where it came from.
pub(super) type Value<T> = Setting<(T, Origin)>;

impl<T> Setting<T> {
    /// `Some(None)` when it may be and is absent; `None` when it has been reported.
    pub(super) fn settled(self) -> Option<Option<T>> {
        match self {
            Self::There(value) => Some(Some(value)),
            Self::Absent => Some(None),
            Self::Reported => None,
        }
    }
}

impl<T> Value<T> {
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::There((value, _)) => Some(value),
            Self::Absent | Self::Reported => None,
        }
    }

    /// The value without its origin, [settled](Setting::settled).
    pub(super) fn optional(self) -> Option<Option<T>> {
        self.settled().map(|there| there.map(|(value, _)| value))
    }

    /// The same where it may not be absent.
    pub(super) fn required(self) -> Option<T> {
        self.optional().flatten()
    }
}
