//! How far the local clock is from AWS's, learned from the `Date` of its replies.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use time::Duration;
use time::OffsetDateTime;
use tracing::info;
use tracing::warn;

/// AWS accepts five minutes; less than this is the network's delay and the header's whole seconds.
const TOLERANCE: Duration = Duration::seconds(30);

/// A clock may have been reset to 1970; a `Date` further off than this is nonsense, and is not believed.
const PLAUSIBLE: Duration = Duration::days(100 * 365);

/// AWS's time minus local time; zero while they agree.
#[derive(Debug, Default)]
pub(super) struct Skew(AtomicI64);

impl Skew {
    /// What to add to local time to get AWS's.
    pub(super) fn offset(&self) -> Duration {
        Duration::seconds(self.0.load(Ordering::Relaxed))
    }

    /// At least how long an instant by AWS's clock is past when the local clock reaches it; zero if it is not behind.
    pub(super) fn lateness(&self) -> Duration {
        // `Date` has whole seconds, cut off.
        if self.offset().is_positive() { self.offset() + Duration::SECOND } else { Duration::ZERO }
    }

    /// Compares AWS's time with the local times between which it was written; tells whether that changed the offset
    /// by enough to make a signature that was refused worth making again.
    ///
    /// A reply that took long, or that came while the host was suspended, is old when it is read: only what lies
    /// outside of both times is the clock's fault.
    pub(super) fn learn(
        &self,
        aws: OffsetDateTime,
        sent_at: OffsetDateTime,
        read_at: OffsetDateTime,
    ) -> bool {
        // Set back meanwhile, the clock as it is now counts.
        let sent_at = sent_at.min(read_at);
        let measured = aws - aws.clamp(sent_at, read_at);
        if measured.abs() > PLAUSIBLE {
            return false;
        }
        let offset = if measured.abs() > TOLERANCE { measured } else { Duration::ZERO };
        let before = Duration::seconds(self.0.swap(offset.whole_seconds(), Ordering::Relaxed));
        let changed = (offset - before).abs() > TOLERANCE;
        if changed && offset.is_zero() {
            info!("The local clock agrees with AWS again");
        } else if changed {
            let direction = if offset.is_positive() { "behind" } else { "ahead of" };
            warn!(
                seconds = offset.abs().whole_seconds(),
                "The local clock is {direction} AWS's; signing with AWS's time; hint: synchronise this host's clock"
            );
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const LOCAL: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    /// From a reply that took no time.
    fn learn(skew: &Skew, aws: OffsetDateTime) -> bool {
        skew.learn(aws, LOCAL, LOCAL)
    }

    #[test]
    fn a_reply_that_is_old_when_it_is_read_says_nothing_of_the_clock() {
        let skew = Skew::default();
        let read_at = LOCAL + Duration::HOUR;

        assert!(!skew.learn(LOCAL + Duration::SECOND, LOCAL, read_at));
        assert!(!skew.learn(read_at, LOCAL, read_at));
        assert_eq!(skew.offset(), Duration::ZERO);
        assert!(skew.learn(LOCAL - Duration::MINUTE, LOCAL, read_at));
        assert_eq!(skew.offset(), -Duration::MINUTE);
        assert!(skew.learn(read_at + Duration::MINUTE, LOCAL, read_at));
        assert_eq!(skew.offset(), Duration::MINUTE);
    }

    #[test]
    fn a_clock_that_was_set_back_during_the_call_is_behind_by_what_it_shows_now() {
        let skew = Skew::default();

        assert!(skew.learn(LOCAL, LOCAL, LOCAL - Duration::HOUR));
        assert_eq!(skew.offset(), Duration::HOUR);
    }

    #[test]
    fn small_differences_are_the_networks() {
        let skew = Skew::default();

        assert!(!learn(&skew, LOCAL + Duration::seconds(30)));
        assert_eq!(skew.offset(), Duration::ZERO);
    }

    #[test]
    fn a_date_beyond_all_reason_is_not_believed() {
        let skew = Skew::default();

        assert!(!learn(&skew, datetime!(9999-12-31 23:59:59 UTC)));
        assert!(!learn(&skew, datetime!(0001-01-01 00:00:00 UTC)));
        assert_eq!(skew.offset(), Duration::ZERO);
    }

    #[test]
    fn a_wrong_clock_is_learned_once_and_forgotten_when_right() {
        let skew = Skew::default();

        assert!(learn(&skew, LOCAL - Duration::hours(2)));
        assert_eq!(skew.offset(), Duration::hours(-2));
        assert!(!learn(&skew, LOCAL - Duration::hours(2) + Duration::SECOND));
        assert_eq!(skew.lateness(), Duration::ZERO);
        assert!(learn(&skew, LOCAL + Duration::HOUR));
        assert_eq!(skew.lateness(), Duration::HOUR + Duration::SECOND);
        assert!(learn(&skew, LOCAL));
        assert_eq!(skew.offset(), Duration::ZERO);
    }
}
