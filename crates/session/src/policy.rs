//! How fresh credentials must be, and the related settings.

use std::time::Duration;

use time::Duration as Span;

/// How much life credentials must have left to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// More than 60 s. With less they count as expired: a call that starts now could still be running when they expire.
    Full,
    /// More than 30 s, for a client that heard in the last 30 s that credentials are available.
    Promised,
}

impl Freshness {
    /// The life that must be left by default; a [`Policy`] can change it.
    pub fn reserve(self) -> Span {
        match self {
            Self::Full => Span::seconds(60),
            Self::Promised => Span::seconds(30),
        }
    }
}

/// The settings of a session's renewal. The defaults suit sessions of 15 minutes and more; tests with sessions of
/// seconds shorten the reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Credentials with this much life or less count as expired; [`Freshness::Full`] by default.
    pub reserve: Duration,
    /// The same for clients that heard of credentials a moment ago; [`Freshness::Promised`] by default.
    pub promised_reserve: Duration,
    /// The time limit of one attempt: 60 s by default.
    pub attempt_limit: Duration,
    /// The longest time between two checks of the clocks: 30 s by default.
    pub look_again: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            reserve: Freshness::Full.reserve().unsigned_abs(),
            promised_reserve: Freshness::Promised.reserve().unsigned_abs(),
            attempt_limit: Duration::from_secs(60),
            look_again: Duration::from_secs(30),
        }
    }
}
