//! Checks which sets of credentials clients get.
//!
//! The rules are independent of the code under test. They use what AWS issued and the `Date` of its responses:
//!
//! - The session can have a set from the moment its complete response arrives until its end. This is its end *by this
//!   host's clock*: AWS's end, moved earlier by the time that this clock is behind AWS's by the last `Date`, if that is
//!   more than 30 s. It also ends after the life that it had when it came, measured by the time since boot.
//! - Of the sets that the session can have, clients get the one that AWS accepts for the longest time. While it has
//!   more than the reserve left by both clocks (60 s, or 30 s for a client that has just read the list), no client may
//!   be refused. The first set of a newer certificate replaces all others.
//! - No set may be handed out with less than the reserve by AWS's clock, which is the true time, minus the 30 s by
//!   which clocks may differ unnoticed, and none after its end. This holds no matter how the host's clock was set. The
//!   only exception is a set that came with a wrong `Date`: it may be used for up to five minutes too long.

use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;

use crate::aws::Set;

/// A smaller difference of `Date` is the network's delay.
const AGREES: Span = Span::seconds(30);
/// A `Date` with a larger difference is ignored.
const PLAUSIBLE: Span = Span::days(100 * 365);
/// A set that lives longer than requested by more than this is rejected.
const EXTRA_LIFE: Span = Span::minutes(5);
/// The time limit of an attempt.
const ATTEMPT: Span = Span::MINUTE;
pub(crate) const RESERVE: Span = Span::MINUTE;
/// `Date` has whole seconds, so times that are derived from it have too.
pub(crate) const GRAIN: Span = Span::seconds(2);

/// One instant, by this host's clock and by the true time, which the time since boot measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) host: OffsetDateTime,
    pub(crate) truth: OffsetDateTime,
}

impl Now {
    fn offset(self) -> Span {
        self.host - self.truth
    }
}

/// A set that the session could have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) number: usize,
    /// The end by AWS's clock.
    ends_at: OffsetDateTime,
    /// The end by this host's clock, from the last `Date`.
    wall: OffsetDateTime,
    /// The end from the `Date` before, and when the last one came. The session may not know the last one until the
    /// attempt is over.
    before: (OffsetDateTime, OffsetDateTime),
    /// The end by the time since boot: as granted, and from AWS's last `Date` (`up`).
    granted: OffsetDateTime,
    up: OffsetDateTime,
    /// The life that was left when it came.
    pub(crate) life: Span,
    certificate: usize,
    /// Whether it was obtained with earlier settings.
    inherited: bool,
    /// The life of a set that came later and ends earlier: when such a one would live longer is the time to renew.
    pub(crate) spared: Option<Span>,
}

impl Held {
    /// Received now, when AWS's clock may have been `behind` ahead of the host's; no more than `most` is believed.
    fn new(set: Set, certificate: usize, behind: Span, most: Span, now: Now) -> Self {
        let wall = set.ends_at - earlier(behind);
        let granted = now.truth + Span::min(set.ends_at - (now.host + behind) - Span::SECOND, most);
        Self {
            number: set.number,
            ends_at: set.ends_at,
            wall,
            before: (wall, now.truth),
            granted,
            up: granted,
            life: wall - now.host,
            certificate,
            inherited: false,
            spared: None,
        }
    }

    pub(crate) fn left(&self, now: Now) -> Span {
        (self.wall - now.host).min(self.up - now.truth)
    }

    /// The life that is left for certain.
    fn surely_left(&self, now: Now) -> Span {
        let (wall, dated_at) = self.before;
        let may_be_unknown = now.truth - dated_at < ATTEMPT;
        if may_be_unknown { self.left(now).min(wall - now.host) - AGREES } else { self.left(now) }
    }

    /// Learns that the host's clock is `behind` AWS's by this much.
    fn date(&mut self, behind: Span, now: Now) {
        self.before = (self.wall, now.truth);
        self.wall = self.ends_at - earlier(behind);
        self.up = self.granted.min(now.truth + (self.ends_at - (now.host + behind)));
    }

    /// How much of its life was lost by clock steps that are too small to be noticed.
    pub(crate) fn lost_to_steps(&self, now: Now) -> Span {
        (self.up - now.truth - self.left(now)).min(AGREES)
    }
}

/// How useful a new set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It ends later than the present set.
    Better,
    /// It can be used for so long, and what is held lives for so much longer.
    Spare { life: Span, held: Span },
    /// It is rejected or too short.
    Nothing,
    /// It is so near to one of these limits that rounding to seconds decides.
    Unclear,
}

#[derive(Default)]
pub(crate) struct Sets {
    /// What AWS's `Date` made known last: how far the host's clock was behind, and how far from the truth it was then.
    read: Option<(Span, Span)>,
    /// How far the host's clock was from the true time when a step was last noticed.
    noticed: Span,
    at_most_behind: Span,
    /// By number: whether something told the truth of when the set ends.
    delivered: Vec<Option<bool>>,
    best: Option<Held>,
    /// It does not show here whether `best` is what is held, or something that ends a second later.
    is_unclear: bool,
    /// What was best before the last set came, and when that was.
    before: (Option<Held>, Duration),
    delivered_at: Option<OffsetDateTime>,
    /// How many leaves take turns, where not each certificate is another.
    pub(crate) leaves: Option<usize>,
}

impl Sets {
    /// Takes in a `Date`, which dates what is held anew; tells whether it is news.
    ///
    /// The reply was written between `sent` and now: what lies outside is the clock's error.
    pub(crate) fn hear(&mut self, date: OffsetDateTime, sent: OffsetDateTime, now: Now) -> bool {
        let date = date.replace_nanosecond(0).unwrap();
        let sent_at = now.host - (now.truth - sent);
        let measured = match () {
            () if date > now.host => date - now.host,
            () if date < sent_at => date - sent_at,
            () => Span::ZERO,
        };
        if measured.abs() > PLAUSIBLE {
            return false;
        }
        // It may have been written at any time since the request.
        self.at_most_behind = near_zero_is_zero(date - sent_at);
        let behind = near_zero_is_zero(measured);
        let before = self.read.map(|(behind, offset)| near_zero_is_zero(behind - (now.offset() - offset)));
        self.read = Some((behind, now.offset()));
        if let Some(best) = &mut self.best {
            best.date(self.at_most_behind, now);
        }
        (behind - before.unwrap_or_default()).abs() >= AGREES - GRAIN
    }

    /// The clock is set: what AWS said of the time before holds against the time since boot. Small steps add up.
    pub(crate) fn step(&mut self, now: Now) {
        if (now.offset() - self.noticed).abs() <= AGREES {
            return;
        }
        self.noticed = now.offset();
        let behind = self.behind(now);
        if let (Some(_), Some(best)) = (self.read, &mut self.best) {
            best.date(behind, now);
        }
    }

    /// How far the host's clock is behind AWS's at most: by the last `Date`, and by the steps since then, which show
    /// against the time since boot.
    fn behind(&self, now: Now) -> Span {
        let since = self.read.map_or(Span::ZERO, |(_, offset)| now.offset() - offset);
        near_zero_is_zero(self.at_most_behind - since)
    }

    /// Another process: it has heard nothing of the clock, and holds what it was given.
    pub(crate) fn start_over(&mut self, kept: Option<(usize, OffsetDateTime)>, now: Now) {
        self.forget_the_clock();
        self.noticed = now.offset();
        let number = kept.map(|(number, _)| number);
        self.best = self.best.filter(|best| Some(best.number) == number);
        if let (Some(best), Some((_, wall))) = (&mut self.best, kept) {
            // Whether it noticed the last step before it ended shows in what it left.
            (best.wall, best.before) = (wall.min(best.ends_at), (wall, now.truth));
        }
        (self.before.0, self.is_unclear) = (None, kept.is_some() && self.best.is_none());
    }

    /// Other settings: what is held serves until the first set that is got with them.
    pub(crate) fn inherit(&mut self, now: Now) {
        self.best = self.best.filter(|best| best.left(now).is_positive());
        if let Some(best) = &mut self.best {
            (best.inherited, best.spared) = (true, None);
        }
    }

    /// Another issuer, which has heard nothing of the clock.
    pub(crate) fn forget_the_clock(&mut self) {
        (self.read, self.at_most_behind) = (None, Span::ZERO);
    }

    /// The set that is held, if that shows here.
    pub(crate) fn best(&self) -> Option<Held> {
        self.best.filter(|_| !self.is_unclear)
    }

    /// A reply has brought a set; `is_trusted` if its `Date` told the truth.
    pub(crate) fn deliver(
        &mut self,
        set: Set,
        (certificate, is_trusted): (usize, bool),
        now: Now,
        asked: Span,
        awake: Duration,
    ) -> Worth {
        let behind = self.behind(now);
        let life = set.ends_at - earlier(behind) - now.host;
        self.delivered.resize(self.delivered.len().max(set.number + 1), None);
        let is_believed = is_less(life, asked + EXTRA_LIFE);
        if is_believed != Some(false) {
            self.delivered[set.number] = Some(is_trusted);
        }
        let is_usable = is_less(RESERVE, life);
        let is_wanted = match self.best {
            None => Some(true),
            Some(best) if best.inherited || self.is_newer(certificate, best.certificate) => Some(true),
            Some(best) if best.left(now) <= RESERVE - GRAIN => Some(true),
            Some(best) if is_less(best.left(now), life) != Some(false) => is_less(best.left(now), life),
            Some(best) => is_less(best.ends_at, set.ends_at),
        };
        self.before = (self.best, awake);
        self.delivered_at = Some(now.truth);
        let fresh = Held::new(set, certificate, behind, asked + EXTRA_LIFE, now);
        let held = self.best.map_or(Span::ZERO, |best| best.left(now));
        match (is_believed, is_usable, is_wanted) {
            (Some(true), Some(true), Some(true)) => {
                (self.best, self.is_unclear) = (Some(fresh), false);
                Worth::Better
            }
            (Some(true), Some(true), Some(false)) => {
                if let Some(best) = &mut self.best {
                    best.spared = Some(life);
                }
                Worth::Spare { life, held }
            }
            (Some(false), ..) | (_, Some(false), _) => {
                // Where nothing is left to lose, it is held for those who were promised something.
                if is_believed == Some(true) && is_wanted == Some(true) && life > held {
                    self.best = Some(fresh);
                }
                Worth::Nothing
            }
            // Usable or not, what is held stays.
            (_, _, Some(false)) => {
                if let Some(best) = &mut self.best {
                    best.spared = Some(life);
                }
                Worth::Unclear
            }
            _ => {
                if self.best.is_none_or(|best| fresh.left(now) < best.left(now)) {
                    self.best = Some(fresh);
                }
                self.is_unclear = true;
                Worth::Unclear
            }
        }
    }

    /// Whether these are of another leaf, and a later one.
    fn is_newer(&self, certificate: usize, than: usize) -> bool {
        let is_other = self.leaves.is_none_or(|leaves| certificate % leaves != than % leaves);
        certificate > than && is_other
    }

    /// The receiver of the last response has ended. A response of this instant may be lost.
    pub(crate) fn forget_what_came_just_now(&mut self, awake: Duration) {
        if self.before.1 == awake {
            self.best = self.before.0;
        }
    }

    /// Whether a client that asks now must get credentials with more than `reserve` left.
    pub(crate) fn must_serve(&self, reserve: Span, now: Now) -> Option<Held> {
        self.best.filter(|best| best.surely_left(now) - GRAIN > reserve)
    }

    /// Whether `set` may be handed out now, shown to end at `shown`; whether it is dead all the same, for a `Date` has
    /// lied.
    pub(crate) fn judge(
        &self,
        set: Set,
        shown: OffsetDateTime,
        reserve: Span,
        now: Now,
    ) -> Result<bool, String> {
        let number = set.number;
        let Some(Some(is_trusted)) = self.delivered.get(number).copied() else {
            return Err(format!("set {number} was handed out and never delivered"));
        };
        let left = set.ends_at - now.truth;
        let unnoticed = if is_trusted { AGREES } else { AGREES + EXTRA_LIFE };
        if left <= reserve - unnoticed - GRAIN {
            return Err(format!("set {number} was handed out with {left} left of {reserve}"));
        }
        let shown_left = shown - now.host;
        if shown_left > left + unnoticed + GRAIN {
            return Err(format!("set {number} has {left} left, and is shown to have {shown_left}"));
        }
        // The keeper may receive a response in this very instant.
        let was_best = self.before.0.is_some_and(|before| before.number == number);
        let just_now = was_best && self.delivered_at == Some(now.truth);
        match self.best {
            Some(best) if best.number != number && !self.is_unclear && !just_now => {
                return Err(format!("set {number} was handed out though {} could be held", best.number));
            }
            Some(best) if best.number == number && shown_left < best.surely_left(now) - GRAIN => {
                let left = best.surely_left(now);
                return Err(format!("set {number} has {left} left, and is shown to have {shown_left}"));
            }
            _ => {}
        }
        Ok(left <= -GRAIN)
    }
}

/// How much earlier a set ends by a clock that is `behind` AWS's.
fn earlier(behind: Span) -> Span {
    if behind.is_positive() { behind + Span::SECOND } else { Span::ZERO }
}

fn near_zero_is_zero(difference: Span) -> Span {
    if difference.abs() > AGREES { difference } else { Span::ZERO }
}

/// Whether one is less than the other. `None` if they are too near to tell.
fn is_less<T: Copy + std::ops::Sub<Output = Span>>(one: T, other: T) -> Option<bool> {
    let difference = other - one;
    (difference.abs() > GRAIN).then_some(difference.is_positive())
}
