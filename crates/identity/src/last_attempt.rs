//! What a session's last attempt signed with, to be compared with what its files hold later.

/// What the session's last attempt had. A watcher compares it with what there is now.
#[derive(Debug, Default)]
pub enum LastAttempt<T> {
    /// The session has not tried yet.
    #[default]
    NotYet,
    /// The session tried, and found nothing usable.
    Nothing,
    /// The session tried with this.
    Something(T),
}

/// What the watcher found in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchOutcome {
    /// Something that differs from what the session signs with, so the session must be notified.
    Changed,
    /// The same as before.
    Unchanged,
    /// Nothing usable.
    Unusable,
}

impl<T> LastAttempt<T> {
    /// The attempt that had `found`.
    pub fn of(found: Option<T>) -> Self {
        found.map_or(Self::Nothing, Self::Something)
    }

    /// Whether the session must be notified of `found`. If so, or before its first attempt, `found` becomes the last
    /// attempt, so that each change is reported once.
    pub fn is_outdated_by(&mut self, found: Option<T>, is_same: impl Fn(&T, &T) -> bool) -> bool {
        let has_changed = match (&*self, &found) {
            (Self::NotYet, _) | (_, None) => false,
            (Self::Nothing, Some(_)) => true,
            (Self::Something(given), Some(found)) => !is_same(given, found),
        };
        if has_changed || matches!(self, Self::NotYet) {
            *self = Self::of(found);
        }
        has_changed
    }
}
