//! How far the local clock is from AWS's, learned from the `Date` of its replies.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use time::Duration;
use time::OffsetDateTime;
use tracing::info;
use tracing::warn;

use anchord_core::clock::CLOCK_STEP;
use anchord_core::clock::ClockOffset;
use anchord_core::clock::Moment;
use anchord_core::clock::near_zero_is_zero;
use anchord_core::event;

/// AWS accepts five minutes. Smaller differences than this come from the network's delay and the header's whole
/// seconds.
const TOLERANCE: Duration = CLOCK_STEP;

/// A local clock may be at 1970. A `Date` that differs by more than this is ignored as nonsense.
const PLAUSIBLE: Duration = Duration::days(100 * 365);

/// How far the local clock is from AWS's. It is stored relative to the time since boot, so that it stays right when the
/// wall clock is set.
#[derive(Debug, Default)]
pub(super) struct Skew(Mutex<Known>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    last: Option<ClockOffset>,
    /// The offset that was last logged.
    logged: Duration,
}

impl Skew {
    /// The offset by the last `Date`; `None` before the first one.
    pub(super) fn last(&self) -> Option<ClockOffset> {
        self.lock().last
    }

    /// The offset to add to the wall clock at `now` to get AWS's time; zero before the first `Date`.
    pub(super) fn ahead(&self, now: Moment) -> Duration {
        self.last().map(|last| last.ahead(now)).unwrap_or_default()
    }

    /// Compares AWS's time with the moments between which it was written. Returns whether the offset changed by so much
    /// that a refused request is worth signing again.
    ///
    /// A reply that took long, or that came while the host was suspended, is old when it is read. So the clock is wrong
    /// only by the time that AWS's date lies before the request was sent or after the reply was read.
    pub(super) fn learn(&self, aws: OffsetDateTime, sent: Moment, read: Moment) -> bool {
        // By the wall clock as it is now; it may have been set during the call.
        let sent_at = read.when_up(sent.up).wall.min(read.wall);
        let measured = aws - aws.clamp(sent_at, read.wall);
        if measured.abs() > PLAUSIBLE {
            return false;
        }
        let ahead = near_zero_is_zero(measured);
        let at_most = near_zero_is_zero(aws - sent_at);
        let mut known = self.lock();
        let before = known.last.map_or(Duration::ZERO, |last| last.ahead(read));
        known.last = Some(ClockOffset { ahead, at_most, at: read });
        if (ahead - known.logged).abs() > TOLERANCE {
            known.logged = ahead;
            log(ahead);
        }
        (ahead - before).abs() > TOLERANCE
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(ahead: Duration) {
    if ahead.is_zero() {
        info!(event = event::CLOCK_RIGHT, "The local clock agrees with AWS again");
        return;
    }
    let direction = if ahead.is_positive() { "behind" } else { "ahead of" };
    warn!(
        event = event::CLOCK_WRONG,
        seconds = ahead.abs().whole_seconds(),
        hint = "synchronise this host's clock",
        "The local clock is {direction} AWS's; signing with AWS's time"
    );
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use anchord_testing::Log;

    const LOCAL: Moment = Moment { wall: datetime!(2026-03-11 12:00:00 UTC), up: Duration::HOUR };

    /// From a reply that took no time.
    fn learn(skew: &Skew, aws: OffsetDateTime) -> bool {
        skew.learn(aws, LOCAL, LOCAL)
    }

    /// The wall clock was set.
    fn set(moment: Moment, by: Duration) -> Moment {
        Moment { wall: moment.wall + by, ..moment }
    }

    #[test]
    fn a_reply_that_is_old_when_it_is_read_says_nothing_of_the_clock() {
        let skew = Skew::default();
        let read = LOCAL + Duration::HOUR;

        assert!(!skew.learn(LOCAL.wall + Duration::SECOND, LOCAL, read));
        assert!(!skew.learn(read.wall, LOCAL, read));
        assert_eq!(skew.ahead(read), Duration::ZERO);
        assert!(skew.learn(LOCAL.wall - Duration::MINUTE, LOCAL, read));
        assert_eq!(skew.ahead(read), -Duration::MINUTE);
    }

    /// It may have been written at any time since the request.
    #[test]
    fn how_far_the_clock_may_be_behind_counts_the_delay_of_the_reply() {
        for (took, behind, ahead, at_most) in
            [(0, 120, 120, 120), (40, 120, 120, 160), (40, 12, 0, 52), (20, 5, 0, 0)]
        {
            let skew = Skew::default();
            let read = LOCAL + Duration::seconds(took);

            skew.learn(read.wall + Duration::seconds(behind), LOCAL, read);

            let last = skew.last().unwrap();
            assert_eq!((last.ahead.whole_seconds(), last.at_most.whole_seconds()), (ahead, at_most));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_during_the_call_is_behind_by_what_it_shows_now() {
        let skew = Skew::default();
        let read = set(LOCAL + Duration::SECOND, -Duration::HOUR);

        assert!(skew.learn(LOCAL.wall + Duration::SECOND, LOCAL, read));
        assert_eq!(skew.ahead(read), Duration::HOUR);
    }

    #[test]
    fn small_differences_are_the_networks() {
        let skew = Skew::default();

        assert_eq!(skew.last(), None);
        assert!(!learn(&skew, LOCAL.wall + Duration::seconds(30)));
        assert_eq!(
            skew.last(),
            Some(ClockOffset { ahead: Duration::ZERO, at_most: Duration::ZERO, at: LOCAL })
        );
    }

    #[test]
    fn a_date_beyond_all_reason_is_not_believed() {
        let skew = Skew::default();

        assert!(!learn(&skew, datetime!(9999-12-31 23:59:59 UTC)));
        assert!(!learn(&skew, datetime!(0001-01-01 00:00:00 UTC)));
        assert!(!learn(&skew, LOCAL.wall + PLAUSIBLE + Duration::SECOND));
        assert_eq!(skew.last(), None);
        assert!(learn(&skew, LOCAL.wall + PLAUSIBLE));
    }

    #[test]
    fn a_clock_that_was_reset_to_1970_is_learned() {
        let skew = Skew::default();
        let reset = Moment { wall: OffsetDateTime::UNIX_EPOCH, ..LOCAL };

        assert!(skew.learn(LOCAL.wall, reset, reset));
        assert_eq!(reset.wall + skew.ahead(reset), LOCAL.wall);
    }

    #[test]
    fn a_wrong_clock_is_told_of_when_it_changes_by_more_than_30_seconds() {
        let skew = Skew::default();
        let log = Log::start();

        for (ahead, is_new) in [(60, true), (90, false), (60, false), (91, true), (-91, true), (-91, false)] {
            assert_eq!(learn(&skew, LOCAL.wall + Duration::seconds(ahead)), is_new, "{ahead}");
        }
        assert!(learn(&skew, LOCAL.wall));

        let lines = log.lines();
        let told = lines.iter().map(|line| line.split(" event=").next().unwrap().split(';').next().unwrap());
        let told: Vec<_> = told.collect();
        assert_eq!(
            told,
            [
                "WARN The local clock is behind AWS's",
                "WARN The local clock is behind AWS's",
                "WARN The local clock is ahead of AWS's",
                "INFO The local clock agrees with AWS again",
            ]
        );
    }

    #[test]
    fn a_wrong_clock_is_learned_once_and_forgotten_when_right() {
        let skew = Skew::default();

        assert!(learn(&skew, LOCAL.wall - Duration::hours(2)));
        assert_eq!(skew.ahead(LOCAL), Duration::hours(-2));
        assert!(!learn(&skew, LOCAL.wall - Duration::hours(2) + Duration::SECOND));
        assert!(learn(&skew, LOCAL.wall + Duration::HOUR));
        assert_eq!(skew.ahead(LOCAL), Duration::HOUR);
        assert!(learn(&skew, LOCAL.wall));
        assert_eq!(skew.ahead(LOCAL), Duration::ZERO);
    }

    #[test]
    fn what_is_known_of_awss_clock_holds_when_the_local_one_is_set() {
        let skew = Skew::default();
        assert!(!learn(&skew, LOCAL.wall));

        let later = set(LOCAL + Duration::MINUTE, -Duration::hours(2));
        assert_eq!(skew.ahead(later), Duration::hours(2));
        assert!(
            !skew.learn(later.wall + Duration::hours(2), later, later),
            "a new signature would be no other"
        );
        assert_eq!(skew.ahead(set(later, Duration::hours(2))), Duration::ZERO, "set right again");
    }
}
