//! What was delivered, and what that promises to clients.
//!
//! Judged apart from the code under test, from what AWS issued and from what its replies told of the clock:
//!
//! - A set can be held from the moment its reply is there, complete, until its end *by this host's clock*: AWS's end,
//!   moved earlier by as much as AWS's `Date` showed the clock to be behind (if by more than 30 s). The host knows no
//!   better, and its SDKs judge by the same clock.
//! - While the set that AWS takes longest, of those that could be held, has more than the reserve left (60 s, 30 s for
//!   who has just been told of it by the list), nobody may be refused, and nobody gets another.
//! - No set may be handed out with less. Hence one that AWS takes no longer goes out only if the clock was set back
//!   by more than the reserve since AWS last gave one: the host cannot know of that.

use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;

use crate::aws::Set;

/// Below this, a `Date` that differs is the network's delay.
const AGREES: Span = Span::seconds(30);
/// A `Date` beyond this is nonsense.
const PLAUSIBLE: Span = Span::days(100 * 365);
/// More than was asked for, by more than this, is nonsense.
const EXTRA_LIFE: Span = Span::minutes(5);
pub(crate) const RESERVE: Span = Span::MINUTE;
/// `Date` has whole seconds, and so has what is learned from it.
pub(crate) const GRAIN: Span = Span::seconds(2);

/// A set that could be held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) number: usize,
    /// By this host's clock.
    pub(crate) ends_at: OffsetDateTime,
    /// By AWS's, as far as the process knows.
    ends_at_aws: OffsetDateTime,
    /// What of it was left when it came.
    pub(crate) life: Span,
    /// Got with settings that are no longer the session's.
    inherited: bool,
}

/// Whether the set that a reply brought is one to be glad of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It can be used, and longer than what is held.
    Better,
    /// It is not believed, too short, or ends no later than what is held.
    Nothing,
    /// So near to one of these limits that whole seconds decide.
    Unclear,
}

#[derive(Default)]
pub(crate) struct Sets {
    /// What AWS's `Date` made known last: how far the host's clock is behind.
    behind: Span,
    /// By number: how much earlier than by AWS's word the set ends for this host.
    delivered: Vec<Option<Span>>,
    best: Option<Held>,
    /// Nobody can tell from here whether `best` is what is held, or something that ends a second later.
    is_unclear: bool,
    /// What was best before the last set came, and when that was.
    before: (Option<Held>, Duration),
}

impl Sets {
    /// Takes in a `Date`; tells whether that is news.
    ///
    /// The reply was written between `sent_at` and `host`, unless the clock was set back meanwhile: what lies outside
    /// is the clock's error.
    pub(crate) fn hear(
        &mut self,
        date: OffsetDateTime,
        sent_at: OffsetDateTime,
        host: OffsetDateTime,
    ) -> bool {
        let date = date.replace_nanosecond(0).unwrap();
        let measured = match () {
            () if date > host => date - host,
            () if date < sent_at.min(host) => date - sent_at.min(host),
            () => Span::ZERO,
        };
        if measured.abs() > PLAUSIBLE {
            return false;
        }
        let behind = if measured.abs() > AGREES { measured } else { Span::ZERO };
        let before = std::mem::replace(&mut self.behind, behind);
        (behind - before).abs() >= AGREES - GRAIN
    }

    /// Another process: it has heard nothing of the clock, and holds what it was given, with the life it had.
    pub(crate) fn start_over(&mut self, kept: Option<(Set, Span)>) {
        self.behind = Span::ZERO;
        self.best = kept.map(|(set, life)| {
            let ends_at = set.ends_at - self.delivered[set.number].unwrap_or_default();
            // What AWS said of it is not kept.
            Held { number: set.number, ends_at, ends_at_aws: ends_at, life, inherited: false }
        });
        (self.before.0, self.is_unclear) = (None, false);
    }

    /// Other settings: what is held serves until the first set that is got with them.
    pub(crate) fn inherit(&mut self) {
        if let Some(best) = &mut self.best {
            best.inherited = true;
        }
    }

    /// Another issuer, which has heard nothing of the clock.
    pub(crate) fn forget_the_clock(&mut self) {
        self.behind = Span::ZERO;
    }

    pub(crate) fn best(&self) -> Option<Held> {
        self.best
    }

    pub(crate) fn deliver(&mut self, set: Set, host: OffsetDateTime, asked: Span, awake: Duration) -> Worth {
        let earlier = self.behind.max(Span::ZERO);
        let ends_at = set.ends_at - earlier;
        let life = ends_at - host;
        self.delivered.resize(self.delivered.len().max(set.number + 1), None);
        let is_believed = is_less(life, asked + EXTRA_LIFE);
        if is_believed != Some(false) {
            self.delivered[set.number] = Some(earlier);
        }
        let is_usable = is_less(RESERVE, life);
        let is_wanted = match self.best {
            None => Some(true),
            Some(best) if best.inherited => Some(true),
            Some(best) => is_less(best.ends_at_aws, set.ends_at),
        };
        self.before = (self.best, awake);
        let fresh = Held { number: set.number, ends_at, ends_at_aws: set.ends_at, life, inherited: false };
        match (is_believed, is_usable, is_wanted) {
            (Some(true), Some(true), Some(true)) => {
                (self.best, self.is_unclear) = (Some(fresh), false);
                Worth::Better
            }
            (Some(false), ..) | (_, Some(false), _) | (_, _, Some(false)) => {
                // Where nothing is left to lose, it is held for those who were promised something.
                let is_last_hope = self.best.is_none_or(|best| ends_at > best.ends_at);
                if is_last_hope && is_believed == Some(true) && is_wanted == Some(true) {
                    self.best = Some(fresh);
                }
                Worth::Nothing
            }
            _ => {
                if self.best.is_none_or(|best| ends_at < best.ends_at) {
                    self.best = Some(fresh);
                }
                self.is_unclear = true;
                Worth::Unclear
            }
        }
    }

    /// Whoever took in the last reply is gone; what came at this very moment may be lost with it.
    pub(crate) fn forget_what_came_just_now(&mut self, awake: Duration) {
        if self.before.1 == awake {
            self.best = self.before.0;
        }
    }

    /// Whether a client that asks at `host` has to get something with more than `reserve` left.
    pub(crate) fn must_serve(&self, reserve: Span, host: OffsetDateTime) -> Option<Held> {
        self.best.filter(|best| best.ends_at - GRAIN - host > reserve)
    }

    /// Whether `set` may be handed out at `host`, shown to end at `shown`.
    pub(crate) fn judge(
        &self,
        set: Set,
        shown: OffsetDateTime,
        reserve: Span,
        host: OffsetDateTime,
    ) -> Result<(), String> {
        let number = set.number;
        let Some(Some(earlier)) = self.delivered.get(number).copied() else {
            return Err(format!("set {number} was handed out and never delivered"));
        };
        let ends_at = set.ends_at - earlier;
        if shown > ends_at || shown < ends_at - GRAIN {
            return Err(format!("set {number} ends at {ends_at}, and is shown to end at {shown}"));
        }
        let left = ends_at - host;
        if left <= reserve {
            return Err(format!("set {number} was handed out with {left} left of {reserve}"));
        }
        match self.best {
            Some(best) if best.number != number && !self.is_unclear => {
                Err(format!("set {number} was handed out though {} could be held", best.number))
            }
            _ => Ok(()),
        }
    }
}

/// Whether one is less than the other, unless they are too near to tell.
fn is_less<T: Copy + std::ops::Sub<Output = Span>>(one: T, other: T) -> Option<bool> {
    let difference = other - one;
    (difference.abs() > GRAIN).then_some(difference.is_positive())
}
