//! The only reader of wall time, and of the time since boot.
//!
//! Expiry, signing dates and TLS validity use the same clock, so that a test (or an NTP step) moves them together. Wall
//! time can be set, the time since boot cannot; both continue while a machine is suspended. A [`Moment`] is one instant
//! by both clocks; code that must not depend on a clock that may be set stores moments. Waiting is left to tokio. A
//! task that waits must check the clocks at least every 30 s, because tokio's timers stand still during a suspend.

use std::ops::Add;
use std::ops::Sub;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// One instant by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall time, in UTC. A person or NTP may set it.
    pub wall: OffsetDateTime,
    /// The time since boot, suspends included. It cannot be set. Negative before the boot.
    pub up: time::Duration,
}

impl Moment {
    /// The moment at which this host has been up for `up`. Its wall time is what the clock shows then, or showed, if
    /// nothing sets it.
    #[must_use]
    pub fn when_up(self, up: time::Duration) -> Self {
        self + (up - self.up)
    }

    /// The wall time of the boot, by the clock as it is now. It changes only when the clock is set.
    pub fn booted_at(self) -> OffsetDateTime {
        self.wall - self.up
    }
}

impl Add<time::Duration> for Moment {
    type Output = Self;

    /// Later (or earlier) by both clocks.
    fn add(self, span: time::Duration) -> Self {
        Self { wall: self.wall + span, up: self.up + span }
    }
}

impl Sub<time::Duration> for Moment {
    type Output = Self;

    /// Earlier by both clocks.
    fn sub(self, span: time::Duration) -> Self {
        self + -span
    }
}

impl Sub for Moment {
    type Output = time::Duration;

    /// The time that has passed between them, by the time since boot.
    fn sub(self, other: Self) -> time::Duration {
        self.up - other.up
    }
}

/// If the difference between two clocks changes by more than this, one of them was set. A smaller change comes from the
/// network's delay, or from dates in whole seconds.
pub const CLOCK_STEP: time::Duration = time::Duration::seconds(30);

/// How far AWS's clock is ahead of the local one, by the `Date` header of one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// How far AWS's clock was ahead of the wall clock (negative: behind); zero if they agreed.
    pub ahead: time::Duration,
    /// The upper bound, which assumes that AWS wrote the `Date` when the request was sent and that the reply took all
    /// the time since. Nothing says how old a `Date` is when it is read, and too small an offset would make credentials
    /// seem to live longer.
    pub at_most: time::Duration,
    /// When the reply was read.
    pub at: Moment,
}

impl ClockOffset {
    /// How far AWS's clock is ahead of the wall clock at `now`, even if the wall clock was set since.
    pub fn ahead(self, now: Moment) -> time::Duration {
        near_zero_is_zero(self.ahead - (now.booted_at() - self.at.booted_at()))
    }

    /// The upper bound of [`ClockOffset::ahead`].
    pub fn ahead_at_most(self, now: Moment) -> time::Duration {
        near_zero_is_zero(self.at_most - (now.booted_at() - self.at.booted_at()))
    }
}

/// `ahead`, or zero if it is at most [`CLOCK_STEP`]: then the clocks agree.
pub fn near_zero_is_zero(ahead: time::Duration) -> time::Duration {
    if ahead.abs() > CLOCK_STEP { ahead } else { time::Duration::ZERO }
}

/// Reads wall time and the time since boot.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    source: TimeSource,
    /// Wall time at boot when a setting of the clock was last reported.
    reported: Arc<Mutex<Option<OffsetDateTime>>>,
}

#[derive(Clone, Debug, Default)]
enum TimeSource {
    #[default]
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    start: OffsetDateTime,
    started: tokio::time::Instant,
    jumped_ms: AtomicI64,
    suspended_ms: AtomicU64,
    boots: AtomicU64,
}

/// The time since boot of a new manual clock.
const UP_BEFORE: Duration = Duration::from_secs(3600);

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock for tests that reads `start` now, then follows tokio's timers, so it stands still while these are
    /// paused.
    ///
    /// # Panics
    /// Outside a tokio runtime only if its time driver is missing.
    pub fn manual(start: OffsetDateTime) -> Self {
        let manual = Manual {
            start,
            started: tokio::time::Instant::now(),
            jumped_ms: AtomicI64::new(0),
            suspended_ms: AtomicU64::new(0),
            boots: AtomicU64::new(0),
        };
        Self { source: TimeSource::Manual(Arc::new(manual)), reported: Arc::default() }
    }

    /// Moves only the wall time of a manual clock, as an NTP step does. Does nothing to the system's clock.
    pub fn jump(&self, by: time::Duration) {
        if let TimeSource::Manual(manual) = &self.source {
            let by = i64::try_from(by.whole_milliseconds()).unwrap_or(0);
            manual.jumped_ms.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Changes the boot id of a manual clock, as a reboot does. Does nothing to the system's clock.
    pub fn reboot(&self) {
        if let TimeSource::Manual(manual) = &self.source {
            manual.boots.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Moves wall time and the time since boot of a manual clock, but no timer, as a suspend does. Does nothing to the
    /// system's clock.
    pub fn suspend(&self, by: Duration) {
        if let TimeSource::Manual(manual) = &self.source {
            let by = u64::try_from(by.as_millis()).unwrap_or(0);
            manual.suspended_ms.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Now, by both clocks.
    pub fn moment(&self) -> Moment {
        let up = self.since_boot().try_into().unwrap_or(time::Duration::MAX);
        Moment { wall: self.now(), up }
    }

    /// By how much the wall clock was set since the last report; `None` if it was not, and for the first call. Clones
    /// share this memory, so a program reports each step once.
    pub fn unreported_step(&self, now: Moment) -> Option<time::Duration> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let step = now.booted_at() - *reported.get_or_insert(now.booted_at());
        if step.abs() <= CLOCK_STEP {
            return None;
        }
        *reported = Some(now.booted_at());
        Some(step)
    }

    /// The id of this boot of this host, so that a time since boot can be stored for another process; `None` if the
    /// kernel does not give it (random(4)).
    pub fn boot_id(&self) -> Option<String> {
        match &self.source {
            TimeSource::System => {
                let id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
                Some(id.trim().to_owned())
            }
            TimeSource::Manual(manual) => Some(format!("manual-{}", manual.boots.load(Ordering::SeqCst))),
        }
    }

    /// The time now, in UTC.
    pub fn now(&self) -> OffsetDateTime {
        match &self.source {
            #[expect(clippy::disallowed_methods, reason = "this is the one reader of the system's clock")]
            TimeSource::System => OffsetDateTime::now_utc(),
            TimeSource::Manual(manual) => {
                let jumped = time::Duration::milliseconds(manual.jumped_ms.load(Ordering::SeqCst));
                manual.start + manual.elapsed() + jumped
            }
        }
    }

    /// How long the machine has been up, suspends included. Setting the clock does not change it.
    pub fn since_boot(&self) -> Duration {
        match &self.source {
            #[expect(clippy::disallowed_methods, reason = "this is the one reader of the system's clock")]
            TimeSource::System => {
                let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Duration::try_from(up).expect("the kernel counts from zero upwards")
            }
            TimeSource::Manual(manual) => UP_BEFORE + manual.elapsed(),
        }
    }
}

impl Manual {
    fn elapsed(&self) -> Duration {
        self.started.elapsed() + Duration::from_millis(self.suspended_ms.load(Ordering::SeqCst))
    }
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().unix_timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The time from `now` until `at`; zero if `at` has passed.
pub fn until(now: OffsetDateTime, at: OffsetDateTime) -> Duration {
    Duration::try_from(at - now).unwrap_or(Duration::ZERO)
}

const RFC3339_SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const AMZ_DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// `2026-03-11T12:00:00Z`: the only form every SDK parses (no fraction, no offset).
pub fn rfc3339(at: OffsetDateTime) -> String {
    stamp(at, RFC3339_SECONDS)
}

/// `20260311T120000Z`, the form of `X-Amz-Date`.
pub fn amz_date(at: OffsetDateTime) -> String {
    stamp(at, AMZ_DATE)
}

fn stamp(at: OffsetDateTime, format: &[BorrowedFormatItem<'_>]) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .expect("every field of the format is part of an OffsetDateTime")
}

/// Reads RFC 3339 with any offset, as UTC; `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<OffsetDateTime> {
    let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    // At the ends of the calendar, an instant with an offset may have no form in UTC.
    at.checked_to_offset(time::UtcOffset::UTC)
}

/// Reads an HTTP `Date` header (RFC 9110, IMF-fixdate); `None` for anything else.
pub fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    Some(time::PrimitiveDateTime::parse(text, IMF_FIXDATE).ok()?.assume_utc())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn stamps_are_written_as_aws_and_the_sdks_read_them() {
        let at = datetime!(2026-03-11 14:00:00.75 +2);

        assert_eq!(rfc3339(at), "2026-03-11T12:00:00Z");
        assert_eq!(amz_date(at), "20260311T120000Z");
    }

    #[test]
    fn dates_of_answers_are_read() {
        let at = datetime!(2026-03-11 12:00:00 UTC);

        assert_eq!(parse_http_date("Wed, 11 Mar 2026 12:00:00 GMT"), Some(at));
        assert_eq!(parse_rfc3339("2026-03-11T14:00:00+02:00"), Some(at));
        assert_eq!(parse_http_date("yesterday"), None);
        assert_eq!(parse_rfc3339("2026-03-11"), None);
        assert_eq!(parse_rfc3339("9999-12-31T23:59:59-23:59"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_manual_clock_follows_paused_time_jumps_and_suspends() {
        let start = datetime!(2026-03-11 12:00:00 UTC);
        let clock = Clock::manual(start);
        let up = clock.since_boot();

        tokio::time::advance(Duration::from_secs(60)).await;
        clock.jump(time::Duration::hours(8));
        assert_eq!(clock.now(), start + time::Duration::hours(8) + time::Duration::minutes(1));
        assert_eq!(clock.since_boot() - up, Duration::from_secs(60), "which no setting changes");

        clock.suspend(Duration::from_secs(3600));
        assert_eq!(clock.now(), start + time::Duration::hours(9) + time::Duration::minutes(1));
        assert_eq!(clock.since_boot() - up, Duration::from_secs(3660));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_reported_once_by_all_its_clones_together() {
        let clock = Clock::manual(datetime!(2026-03-11 12:00:00 UTC));
        let other = clock.clone();

        assert_eq!(clock.unreported_step(clock.moment()), None);
        clock.suspend(Duration::from_secs(8 * 3600));
        clock.jump(time::Duration::seconds(30));
        assert_eq!(other.unreported_step(other.moment()), None, "a suspend, and a step too small to matter");
        clock.jump(-time::Duration::hours(2));
        assert!(other.unreported_step(other.moment()).is_some_and(time::Duration::is_negative));
        assert_eq!(clock.unreported_step(clock.moment()), None);
    }

    #[test]
    fn a_clock_offset_changes_with_the_wall_clock_when_that_is_set() {
        let at = Moment { wall: datetime!(2026-03-11 12:00:00 UTC), up: time::Duration::HOUR };
        let date = ClockOffset { ahead: time::Duration::MINUTE, at_most: time::Duration::minutes(2), at };
        let known = |by: time::Duration| {
            let later = at + time::Duration::DAY;
            let now = Moment { wall: later.wall + by, ..later };
            (date.ahead(now).whole_seconds(), date.ahead_at_most(now).whole_seconds())
        };

        assert_eq!(known(time::Duration::ZERO), (60, 120));
        assert_eq!(known(-time::Duration::HOUR), (3660, 3720), "set back");
        assert_eq!(known(time::Duration::MINUTE), (0, 60), "set forward");
        assert_eq!(known(time::Duration::seconds(90)), (0, 0), "30 s are no difference");
    }

    #[tokio::test(start_paused = true)]
    async fn tls_verifies_at_the_time_of_the_same_clock() {
        use rustls::time_provider::TimeProvider as _;
        let noon = Clock::manual(datetime!(2026-03-11 12:00:00 UTC));
        let before_unix = Clock::manual(datetime!(1969-12-31 23:59:59 UTC));

        assert_eq!(noon.current_time().map(|time| time.as_secs()), Some(1_773_230_400));
        assert_eq!(before_unix.current_time(), None);
    }

    #[test]
    fn the_systems_boot_has_an_id() {
        let clock = Clock::system();

        assert_eq!(clock.boot_id().map(|id| id.len()), Some(36));
        assert_eq!(clock.boot_id(), Clock::system().boot_id());
    }

    #[test]
    fn the_systems_time_since_boot_goes_on() {
        let clock = Clock::system();
        let up = clock.since_boot();

        assert!(up > Duration::ZERO);
        assert!(clock.since_boot() >= up);
    }

    #[test]
    fn nothing_is_left_of_a_time_that_has_passed() {
        let now = datetime!(2026-03-11 12:00:00 UTC);

        assert_eq!(until(now, now + Duration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(until(now, now - Duration::from_secs(5)), Duration::ZERO);
    }
}
