//! The result of reading a setting: absent, invalid and reported, or valid.
//!
//! Checks continue after each mistake, so an invalid setting must not look like one that no layer gives. A result that
//! combines several settings is an `Option`, which is `None` if one of them was reported. [`Setting::settled`]
//! converts.

use anchord_core::notice::Origin;

/// The result of reading a setting.
#[derive(Clone, Debug)]
pub(super) enum Setting<T> {
    /// No layer gives it, and it has no fixed default.
    Absent,
    /// It is invalid, and the mistake has been reported.
    Reported,
    /// It is valid.
    There(T),
}

/// A valid value and its origin.
pub(super) type Value<T> = Setting<(T, Origin)>;

impl<T> Setting<T> {
    /// `Some(None)` if the setting is absent; `None` if it has been reported.
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

    /// The value of a required setting; `None` if it is absent or reported.
    pub(super) fn required(self) -> Option<T> {
        self.optional().flatten()
    }
}
