//! The time: the true one, the host's, and that of timers.
//!
//! Timers stop while the host is suspended. The host's clock does not stop, but it can be wrong.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anchord_core::clock::Clock;
use time::Duration as Span;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;

use crate::sets::Now;

pub(crate) const START: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

#[derive(Debug)]
pub(crate) struct Times {
    /// The host's.
    pub(crate) clock: Clock,
    started: Instant,
    suspended_ms: AtomicI64,
    offset_ms: AtomicI64,
}

impl Times {
    pub(crate) fn new() -> Self {
        let (suspended_ms, offset_ms) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { clock: Clock::manual(START), started: Instant::now(), suspended_ms, offset_ms }
    }

    /// How long the host has been awake, as its timers count.
    pub(crate) fn awake(&self) -> Duration {
        self.started.elapsed()
    }

    /// The instant at which the host has been awake for this long.
    pub(crate) fn instant(&self, awake: Duration) -> Instant {
        self.started + awake
    }

    /// The time of AWS's clock, which is the true one.
    pub(crate) fn truth(&self) -> OffsetDateTime {
        let suspended = Span::milliseconds(self.suspended_ms.load(Ordering::SeqCst));
        START + self.awake() + suspended
    }

    /// The time of this host's clock.
    pub(crate) fn host(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// The time of both clocks.
    pub(crate) fn now(&self) -> Now {
        Now { host: self.host(), truth: self.truth() }
    }

    /// How far the host's clock is ahead of the true time.
    pub(crate) fn offset(&self) -> Span {
        Span::milliseconds(self.offset_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn suspend(&self, by: Duration) {
        self.suspended_ms.fetch_add(whole_ms(by.try_into().unwrap()), Ordering::SeqCst);
        self.clock.suspend(by);
    }

    pub(crate) fn step(&self, by: Span) {
        self.offset_ms.fetch_add(whole_ms(by), Ordering::SeqCst);
        self.clock.jump(by);
    }
}

fn whole_ms(span: Span) -> i64 {
    i64::try_from(span.whole_milliseconds()).unwrap()
}
