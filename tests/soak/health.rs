//! Whether all is well, and by when it has to be again.

use std::time::Duration;

use crate::script::Fault;

/// The longest sleep without a look at the clock.
const LOOK: Duration = Duration::from_secs(30);
/// Two calls, at their slowest on a good day, and a process that starts.
const CALLS: Duration = Duration::from_secs(5);

/// Times are those that the host is awake.
#[derive(Default)]
pub(crate) struct Health {
    /// How many faults last.
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

    /// Something goes wrong and is over.
    pub(crate) fn strikes(&mut self, fault: Fault, awake: Duration) {
        self.is_well = false;
        self.over_at = awake;
        self.longest_pause = self.longest_pause.max(fault.longest_pause());
    }

    /// Something goes wrong and lasts.
    pub(crate) fn begins(&mut self, fault: Fault, awake: Duration) {
        self.strikes(fault, awake);
        self.lasting += 1;
    }

    pub(crate) fn ends(&mut self, awake: Duration) {
        self.lasting -= 1;
        self.over_at = awake;
    }

    /// There is a reason to pause for so long before all is well again.
    pub(crate) fn may_pause(&mut self, pause: Duration) {
        self.longest_pause = self.longest_pause.max(pause);
    }

    /// By when the session must be well again; `None` while something is wrong, or nothing was.
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
