//! The state that the parts of a run share: times, AWS, credentials, events.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedSender;

use crate::aws::Answer;
use crate::aws::Outcome;
use crate::aws::RetryAfter;
use crate::aws::Sky;
use crate::health::Health;
use crate::pace;
use crate::pace::Pace;
use crate::process::Process;
use crate::script::Action;
use crate::script::Fault;
use crate::sets::Sets;
use crate::sets::Worth;
use crate::times::Times;
use crate::trace::Event;
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) times: Times,
    /// The requested lifetime of credentials.
    pub(crate) life: Duration,
    state: Mutex<State>,
    /// The process that runs, if one does.
    process: Mutex<Option<Process>>,
    /// Actions of the script that happen while a call is in progress.
    in_flight: UnboundedSender<Action>,
}

pub(crate) struct State {
    pub(crate) sky: Sky,
    pub(crate) sets: Sets,
    pub(crate) pace: Pace,
    pub(crate) health: Health,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) hits: BTreeMap<Fault, u64>,
    /// Actions that wait for the next call.
    pub(crate) armed: Vec<Action>,
    /// The certificate with which the process last got credentials.
    pub(crate) accepted: Option<usize>,
    /// The certificate that a call must use before the session counts as recovered.
    pub(crate) expected: Option<usize>,
    /// The first invariant that did not hold.
    pub(crate) broken: Option<String>,
}

/// How requests of clients ended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Refused while the session could not have valid credentials.
    pub(crate) refused_rightly: u64,
    /// Not answered because no process ran.
    pub(crate) unheard: u64,
    /// Answered with credentials that AWS counts as expired, because its `Date` was wrong when they came.
    pub(crate) lied_to: u64,
}

impl World {
    pub(crate) fn new(seed: u64, life: Duration, in_flight: UnboundedSender<Action>) -> Self {
        let state = State {
            sky: Sky::new(seed),
            sets: Sets::default(),
            pace: Pace::default(),
            health: Health::default(),
            trace: Trace::new(),
            counts: Counts::default(),
            faults: BTreeMap::new(),
            hits: BTreeMap::new(),
            armed: Vec::new(),
            accepted: None,
            expected: None,
            broken: None,
        };
        let (times, state, process) = (Times::new(), Mutex::new(state), Mutex::new(None));
        Self { seed, times, life, state, process, in_flight }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, event: Event) {
        self.lock().trace.note(&self.times, event);
    }

    /// Records an invariant that did not hold. Only the first counts.
    pub(crate) fn breaks(&self, what: impl Into<String>) {
        self.lock().breaks(&self.times, what.into());
    }

    /// A call is in progress: runs the actions that waited for it.
    pub(crate) fn fire_in_flight(&self) {
        for action in std::mem::take(&mut self.lock().armed) {
            // The run may be over.
            _ = self.in_flight.send(action);
        }
    }
}

impl State {
    pub(crate) fn breaks(&mut self, times: &Times, what: String) {
        if self.broken.is_none() {
            self.trace.note(times, Event::Broken(what.clone()));
            self.broken = Some(what);
        }
    }

    pub(crate) fn strikes(&mut self, fault: Fault, times: &Times) {
        *self.faults.entry(fault).or_default() += 1;
        self.health.strikes(fault, times.awake());
    }

    pub(crate) fn begins(&mut self, fault: Fault, times: &Times) {
        *self.faults.entry(fault).or_default() += 1;
        self.health.begins(fault, times.awake());
        self.trace.note(times, Event::Begins(fault.name()));
    }

    pub(crate) fn ends(&mut self, fault: Fault, times: &Times) {
        self.health.ends(times.awake());
        self.trace.note(times, Event::Ends(fault.name()));
    }

    pub(crate) fn taken_off(&mut self, times: &Times, certificate: usize) {
        if self.expected == Some(certificate) {
            self.expected = None;
        }
        if let Err(why) = self.pace.takes_off(times.awake(), certificate) {
            self.breaks(times, why);
        }
    }

    pub(crate) fn landed(
        &mut self,
        world: &World,
        certificate: usize,
        sent_at: OffsetDateTime,
        answer: &Answer,
    ) {
        let times = &world.times;
        let (awake, now) = (times.awake(), times.now());
        let news = answer.date.is_some_and(|date| self.sets.hear(date, sent_at, now));
        let asked = Span::try_from(world.life).unwrap();
        let worth = match &answer.outcome {
            Outcome::Issued(set) => {
                self.accepted = Some(certificate);
                self.sets.deliver(*set, (certificate, !answer.is_misdated), now, asked, awake)
            }
            _ => Worth::Nothing,
        };
        if let Outcome::Refused { retry_after, .. } = &answer.outcome {
            let seconds = match retry_after {
                RetryAfter::Seconds(seconds) => *seconds,
                RetryAfter::Date(at) => (*at - times.truth()).whole_seconds().unsigned_abs() + 1,
                RetryAfter::Absent | RetryAfter::Nonsense => 0,
            };
            // A tenth more for jitter.
            self.health.may_pause(pace::told_to_wait(seconds).mul_f64(1.1));
        }
        let left = self.sets.best().map_or(Span::ZERO, |best| best.left(now));
        self.pace.lands(times, answer, worth, left, news);
    }

    pub(crate) fn lost(&mut self, times: &Times) {
        self.pace.is_lost(times);
    }

    /// Without a fault, credentials are renewed early enough: with half the life left, or with the SDKs' window for
    /// that life and five minutes, but never in the first quarter of the usable life. Clients do not notice outages
    /// shorter than this.
    pub(crate) fn look(&mut self, times: &Times) {
        /// Two calls on a good day.
        const CALLS: Span = Span::seconds(5);
        let Some(held) = self.sets.best().filter(|_| self.health.is_well()) else { return };
        let left = held.left(times.now());
        // Seconds may decide which window is the SDKs'.
        let margin = margin(held.life).min(margin(held.life - CALLS));
        // Where AWS grants less than before, what is held stays until that would live longer, a twelfth later at most.
        let margin =
            held.spared.map_or(margin, |life| margin.min(life.max(Span::minutes(15)) * 11 / 12 - CALLS));
        if left + CALLS + held.lost_to_steps(times.now()) < margin {
            let what = format!("all is well, and {left} are left of {}, not {margin}", held.life);
            self.breaks(times, what);
        }
    }
}

fn margin(life: Span) -> Span {
    let window = match life {
        life if life <= Span::minutes(20) => Span::minutes(5),
        life if life < Span::minutes(90) => Span::minutes(15),
        _ => Span::HOUR,
    };
    let usable = life - Span::MINUTE;
    Span::max(life / 2, window + Span::minutes(5)).min(Span::MINUTE + usable * 3 / 4)
}
