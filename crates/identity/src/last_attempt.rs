//! What a session's last attempt had to sign with, compared with what its place holds later.

/// What the session has, for a watcher that finds out whether there is something else by now.
#[derive(Debug, Default)]
pub enum LastAttempt<T> {
    /// The session has not tried yet.
    #[default]
    NotYet,
    /// The session tried, and there was nothing.
    Nothing,
    /// The session tried with this.
    Something(T),
}

/// What a look at the files has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchOutcome {
    /// Something other than the session signs with, which it has to be told.
    Changed,
    /// What is known.
    Unchanged,
    /// Nothing that can be used.
    Unusable,
}

impl<T> LastAttempt<T> {
    /// What an attempt had.
    pub fn of(found: Option<T>) -> Self {
        found.map_or(Self::Nothing, Self::Something)
    }

    /// Whether the session should be told that there is `found` now. If so, or before its first attempt, it counts as
    /// given from here on: each change is told once.
    pub fn is_outdated_by(&mut self, found: Option<T>, is_same: impl Fn(&T, &T) -> bool) -> bool {
        let is_news = match (&*self, &found) {
            (Self::NotYet, _) | (_, None) => false,
            (Self::Nothing, Some(_)) => true,
            (Self::Something(given), Some(found)) => !is_same(given, found),
        };
        if is_news || matches!(self, Self::NotYet) {
            *self = Self::of(found);
        }
        is_news
    }
}
