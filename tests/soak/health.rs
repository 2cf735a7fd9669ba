//! Checks by when a session must have recovered from faults.

use std::time::Duration;

use crate::script::Fault;

/// The longest sleep of the keeper between two readings of the clock.
const LOOK: Duration = Duration::from_secs(30);
/// The time for two slow but successful calls and for the start of a process.
const CALLS: Duration = Duration::from_secs(5);

/// All times count how long the host has been awake.
#[derive(Default)]
pub(crate) struct Health {
    /// The number of faults that have not ended.
    lasting: usize,
    over_at: Duration,
    longest_pause: Duration,
    is_well: bool,
    pub(crate) recoveries: u64,
}

impl Health {
    pub(crate) fn is_well(&self) -> bool {
        self.is_well
    }

    /// Records a fault that ends immediately.
    pub(crate) fn strikes(&mut self, fault: Fault, awake: Duration) {
        self.is_well = false;
        self.over_at = awake;
        self.longest_pause = self.longest_pause.max(fault.longest_pause());
    }

    /// Records a fault that lasts until [`Health::ends`].
    pub(crate) fn begins(&mut self, fault: Fault, awake: Duration) {
        self.strikes(fault, awake);
        self.lasting += 1;
    }

    pub(crate) fn ends(&mut self, awake: Duration) {
        self.lasting -= 1;
        self.over_at = awake;
    }

    /// Records that the keeper may pause for so long before the session recovers.
    pub(crate) fn may_pause(&mut self, pause: Duration) {
        self.longest_pause = self.longest_pause.max(pause);
    }

    /// By when the session must have recovered. `None` during a fault, and if there was none.
    pub(crate) fn due(&self) -> Option<Duration> {
        let allowed = self.longest_pause + LOOK + CALLS;
        (!self.is_well && self.lasting == 0).then_some(self.over_at + allowed)
    }

    pub(crate) fn is_well_again(&mut self) {
        self.is_well = true;
        self.longest_pause = Duration::ZERO;
        self.recoveries += 1;
    }
}
