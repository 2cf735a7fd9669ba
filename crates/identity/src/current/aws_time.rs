//! AWS's time: AWS judges certificates by its own clock.
//!
//! A wrong local clock must not stop anchord from calling AWS: without a call there is no `Date` header, and the error
//! would stay. An expired certificate must not be sent again and again either. So only the time in AWS's replies
//! decides, until the local clock is set.

use time::OffsetDateTime;
use tokio::time::Instant;

/// The accuracy of the measured difference between the clocks.
const TOLERANCE: time::Duration = time::Duration::seconds(30);

/// What AWS's replies have shown so far.
#[derive(Debug, Default)]
pub(super) struct AwsTime {
    /// AWS's time minus local time.
    offset: time::Duration,
    /// When the reply came, by the wall clock and by a monotonic clock.
    told: Option<(OffsetDateTime, Instant)>,
}

impl AwsTime {
    /// Notes that AWS's clock is `offset` ahead of the local one at local `now`.
    pub(super) fn learn(&mut self, offset: time::Duration, now: OffsetDateTime) {
        *self = Self { offset, told: Some((now, Instant::now())) };
    }

    /// AWS's time at local `now`; local time if AWS's is unknown, because a clock that was just set is probably right.
    pub(super) fn at(&self, now: OffsetDateTime) -> OffsetDateTime {
        if self.is_known(now) { now + self.offset } else { now }
    }

    /// Whether a reply has shown AWS's time since the local clock was last set.
    ///
    /// After a suspend it is unknown: the monotonic clock stands still meanwhile, which looks like a clock that was
    /// set. That costs one call.
    pub(super) fn is_known(&self, now: OffsetDateTime) -> bool {
        self.told.is_some_and(|(then, instant)| {
            let elapsed = now - then;
            let passed = time::Duration::try_from(instant.elapsed()).unwrap_or(time::Duration::MAX);
            elapsed.saturating_sub(passed).abs() <= TOLERANCE
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::datetime;

    use super::*;
    use anchord_core::clock::Clock;

    const START: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    #[tokio::test(start_paused = true)]
    async fn it_is_known_until_the_clock_is_set_or_the_host_sleeps() {
        let (clock, mut aws) = (Clock::manual(START), AwsTime::default());
        assert!(!aws.is_known(clock.now()));

        aws.learn(time::Duration::HOUR, clock.now());
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(aws.is_known(clock.now()));
        assert_eq!(aws.at(clock.now()), START + time::Duration::hours(25));

        for step in [-7200, 7200] {
            clock.jump(time::Duration::seconds(step));
            assert!(!aws.is_known(clock.now()), "{step}");
            clock.jump(time::Duration::seconds(-step));
        }
        assert!(aws.is_known(clock.now()));
        clock.suspend(Duration::from_secs(60));
        assert!(!aws.is_known(clock.now()));
        aws.learn(time::Duration::ZERO, clock.now());
        assert!(aws.is_known(clock.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_local_clock_that_is_set_right_is_believed() {
        let (clock, mut aws) = (Clock::manual(START), AwsTime::default());
        aws.learn(time::Duration::hours(-2), clock.now());
        assert_eq!(aws.at(clock.now()), START - time::Duration::hours(2));

        clock.jump(time::Duration::hours(-2));

        assert_eq!(aws.at(clock.now()), clock.now());
    }
}
