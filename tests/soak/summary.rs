//! The summary of all seeds in the log of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::run::Outcome;
use crate::script::Fault;

pub(crate) struct Summary {
    seeds: usize,
    days: f64,
    took: Duration,
    calls: u64,
    busiest_minute: usize,
    recoveries: u64,
    answered: u64,
    refused_rightly: u64,
    unheard: u64,
    lied_to: u64,
    hours: f64,
    faults: BTreeMap<Fault, u64>,
    hits: BTreeMap<Fault, u64>,
    /// A hash that is the same for the same seeds on every machine.
    hash: u64,
}

impl Summary {
    /// The figures of seeds that all passed.
    pub(crate) fn of(outcomes: &[Outcome], took: Duration) -> Self {
        let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum();
        let total = |of: fn(&Outcome) -> &BTreeMap<Fault, u64>| {
            let mut total = BTreeMap::new();
            for (fault, count) in outcomes.iter().flat_map(of) {
                *total.entry(*fault).or_default() += count;
            }
            total
        };
        Self {
            seeds: outcomes.len(),
            days: outcomes.iter().map(|outcome| outcome.days).sum(),
            took,
            calls: sum(|outcome| outcome.calls),
            busiest_minute: outcomes.iter().map(|outcome| outcome.busiest_minute).max().unwrap_or(0),
            recoveries: sum(|outcome| outcome.recoveries),
            answered: sum(|outcome| outcome.counts.answered),
            refused_rightly: sum(|outcome| outcome.counts.refused_rightly),
            unheard: sum(|outcome| outcome.counts.unheard),
            lied_to: sum(|outcome| outcome.counts.lied_to),
            hours: outcomes.iter().map(|outcome| outcome.days * 24.0).sum(),
            faults: total(|outcome| &outcome.faults),
            hits: total(|outcome| &outcome.hits),
            hash: outcomes.iter().fold(0, |sum, outcome| sum.wrapping_add(outcome.hash)),
        }
    }
}

/// For runs with a fault in a third of the time. Without a fault, a session of 15 minutes is renewed nine times an
/// hour. An outage without clients costs an attempt each 37 s on average.
pub(crate) const MOST_CALLS_PER_SESSION_HOUR: f64 = 30.0;

impl Summary {
    pub(crate) fn calls_per_session_hour(&self) -> f64 {
        self.calls as f64 / self.hours
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, days, took, calls, busiest_minute, recoveries, .. } = self;
        let Self { answered, refused_rightly, unheard, lied_to, faults, hits, hash, .. } = self;
        let per_hour = self.calls_per_session_hour();
        write!(
            formatter,
            "soak: {seeds} seeds, {days:.0} virtual days in {:.1} s; faults:",
            took.as_secs_f64()
        )?;
        for (index, fault) in Fault::ALL.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma} {} {}", faults.get(fault).unwrap_or(&0), fault.name())?;
        }
        let hit: u64 = hits.values().sum();
        write!(
            formatter,
            "; {recoveries} recoveries; {calls} calls to AWS, {hit} of them hit, the busiest minute had \
             {busiest_minute}, {per_hour:.1} calls per session-hour (at most {MOST_CALLS_PER_SESSION_HOUR}); \
             {answered} answers to clients, {refused_rightly} refusals with nothing valid to be held, {unheard} while \
             no process ran; dead sets handed out = 0, {lied_to} more while AWS's own Date lied; refused clients = 0; \
             trace {hash:016x}"
        )
    }
}
