//! Checks how often AWS is called, by the rules of docs/internals/session.md.
//!
//! - One call at a time.
//! - After a failure, a pause by its class. Its length is at least a quarter of a ceiling, which doubles with each
//!   failure from 1 s (5 s if throttled) to 60 s; a waiting client can end it after 5 s. If denied, the pause is 30 s.
//!   If throttled, nothing ends the pause early. `Retry-After` can make a pause longer, but not shorter, and nothing
//!   ends it early then.
//! - After a success, a pause of a sixth of the usable life: a renewal is due after a quarter, up to a twelfth earlier
//!   for jitter. If the new set ends earlier than the present one: until a new set would end later (with a life of at
//!   least 15 minutes), but at least a twelfth of the time that is left.
//! - Early only for a reason: a new certificate or a clock that jumped, unless AWS asked to wait; a new process; the
//!   end of a panic. Within an attempt, a refused call may be repeated immediately, once with another date if `Date`
//!   showed that the clock was wrong, and once with the certificate that AWS accepted before if this one is new.
//!
//! By these rules an outage has at most 17 attempts in a minute: pauses of ¼, ½, 1, 2 and 4 s, then of 5 s. Each
//! exception and each success, after which the pauses start from the shortest, can add 6.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use time::Duration as Span;
use time::OffsetDateTime;

use crate::aws::Answer;
use crate::aws::Outcome;
use crate::aws::RetryAfter;
use crate::sets;
use crate::sets::RESERVE;
use crate::sets::Worth;
use crate::times::Times;

const MINUTE: Duration = Duration::from_secs(60);
const IN_A_MINUTE: usize = 17;
const FOR_EACH_EXCEPTION: usize = 6;
/// The resolution of timers.
const GRAIN: Duration = Duration::from_millis(2);

#[derive(Default)]
pub(crate) struct Pace {
    flying: u32,
    /// The earliest time of the next call, as time awake, and the reason.
    not_before: Option<(Duration, &'static str)>,
    failures: u32,
    /// The certificate of each call of this attempt.
    attempt: Vec<usize>,
    /// How the last call was refused, if it was refused.
    refusal: Option<Refusal>,
    /// Whether the certificate of the call in progress is no longer the newest.
    outdated: bool,
    /// Whether the call in progress is given up for a reason that allows the next one immediately.
    excused: bool,
    attempts: VecDeque<Duration>,
    exceptions: VecDeque<Duration>,
    /// Until when AWS asked not to be called, by its own clock.
    asked_until: Option<OffsetDateTime>,
    landed_at: Duration,
    pub(crate) calls: u64,
    pub(crate) busiest_minute: usize,
}

/// A refusal after which a call may be repeated immediately.
struct Refusal {
    at: Duration,
    /// Whether its `Date` showed that the clock differs from what was known.
    has_clock_news: bool,
}

impl Pace {
    /// Records that a call with this certificate begins. `Err` if it comes too early.
    pub(crate) fn takes_off(&mut self, awake: Duration, certificate: usize) -> Result<(), String> {
        self.calls += 1;
        self.flying += 1;
        if self.flying > 1 {
            return Err(format!("{} calls are under way at once", self.flying));
        }
        let goes_on = self.refusal.take().is_some_and(|refusal| {
            let times = self.attempt.iter().filter(|tried| **tried == certificate).count();
            let is_same = self.attempt.last() == Some(&certificate);
            refusal.at == awake && (times == 0 || (times == 1 && is_same && refusal.has_clock_news))
        });
        if goes_on {
            // This refusal does not end the attempt.
            self.attempt.push(certificate);
            self.failures = self.failures.saturating_sub(1);
            return Ok(());
        }
        self.attempt = vec![certificate];
        self.attempts.push_back(awake);
        let since = awake.saturating_sub(MINUTE);
        for minute in [&mut self.attempts, &mut self.exceptions] {
            while minute.front().is_some_and(|at| *at < since) {
                minute.pop_front();
            }
        }
        self.busiest_minute = self.busiest_minute.max(self.attempts.len());
        let bound = IN_A_MINUTE + FOR_EACH_EXCEPTION * self.exceptions.len();
        if self.attempts.len() > bound {
            return Err(format!("{} attempts in a minute, {bound} are allowed", self.attempts.len()));
        }
        match self.not_before.take() {
            Some((at, why)) if awake + GRAIN < at => {
                Err(format!("a call {:?} too early after {why}", at - awake))
            }
            _ => Ok(()),
        }
    }

    /// A reply is there; `clock_news` if its `Date` told something new of the clock, `left` the life of the set it
    /// brought.
    pub(crate) fn lands(
        &mut self,
        times: &Times,
        answer: &Answer,
        worth: Worth,
        left: Span,
        clock_news: bool,
    ) {
        let awake = times.awake();
        self.landed_at = awake;
        self.flying -= 1;
        self.asked_until = asked_to_wait(&answer.outcome, self.failures + 1).map(|wait| times.truth() + wait);
        self.excused = false;
        let is_refusal = matches!(&answer.outcome, Outcome::Refused { status, .. }
            if status.is_client_error() && !is_throttling(&answer.outcome));
        self.refusal = is_refusal.then_some(Refusal { at: awake, has_clock_news: clock_news });
        if self.outdated || worth == Worth::Unclear {
            // The next call of the attempt, if there is one, has an old certificate too.
            self.outdated &= is_refusal;
            self.excuse(times);
        } else if let Worth::Spare { life, held } = worth {
            let outlived_in = (held - life.max(Span::minutes(15))).max(held / 12) - sets::GRAIN;
            let outlived_in = Duration::try_from(outlived_in).unwrap_or_default();
            self.failures = 0;
            self.exceptions.push_back(awake);
            self.not_before = Some((awake + outlived_in, "a shorter life"));
        } else if worth == Worth::Better {
            let sixth = Duration::try_from((left - RESERVE - sets::GRAIN) / 6).unwrap_or_default();
            self.failures = 0;
            self.exceptions.push_back(awake);
            self.not_before = Some((awake + sixth, "a success"));
        } else {
            self.failures += 1;
            let (pause, why) = pause(&answer.outcome, self.failures);
            self.not_before = Some((awake + pause, why));
        }
    }

    /// Records that a call was given up.
    pub(crate) fn is_lost(&mut self, times: &Times) {
        let awake = times.awake();
        self.flying -= 1;
        self.asked_until = None;
        self.failures += 1;
        self.refusal = None;
        let pause = grown(1, self.failures).min(CLIENTS_WAIT);
        self.not_before = Some((awake + pause, "a call that was given up"));
        if std::mem::take(&mut self.outdated) || self.excused {
            self.excuse(times);
        }
    }

    pub(crate) fn is_flying(&self) -> bool {
        self.flying > 0
    }

    /// Records a new certificate.
    pub(crate) fn rotates(&mut self, times: &Times) {
        self.outdated = self.flying > 0;
        self.excuse(times);
    }

    /// The next call may have an old certificate, because a keeper learns of the new one when it starts.
    pub(crate) fn has_rotated(&mut self) {
        self.outdated = true;
    }

    /// The next pauses grow from the shortest again. The present one continues.
    pub(crate) fn starts_over(&mut self) {
        self.failures = 0;
    }

    /// The receiver of the last response has ended. A response of this instant is lost.
    pub(crate) fn forget_what_came_just_now(&mut self, awake: Duration) {
        if self.landed_at == awake {
            self.asked_until = None;
        }
    }

    /// A new process starts, which does not know for how long AWS asked to wait.
    pub(crate) fn starts_anew(&mut self, times: &Times) {
        self.asked_until = None;
        self.excuse(times);
    }

    /// The next attempt may come early, unless AWS asked to wait, and pauses grow from the shortest again.
    pub(crate) fn excuse(&mut self, times: &Times) {
        let awake = times.awake();
        let asked =
            self.asked_until.map(|until| Duration::try_from(until - times.truth()).unwrap_or_default());
        self.not_before = asked.map(|asked| (awake + asked, "AWS asked to wait"));
        self.excused = self.flying > 0;
        self.failures = 0;
        self.exceptions.push_back(awake);
    }
}

fn is_throttling(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { status, kind, .. }
        if *status == StatusCode::TOO_MANY_REQUESTS || kind.starts_with("Throttl"))
}

const CLIENTS_WAIT: Duration = Duration::from_secs(5);

/// The shortest time for which AWS asked to wait, with the `failures`th failure in a row.
fn asked_to_wait(outcome: &Outcome, failures: u32) -> Option<Duration> {
    let told = match outcome {
        Outcome::Refused { retry_after: RetryAfter::Seconds(told), .. } => Some(told_to_wait(*told)),
        _ => None,
    };
    let throttled = is_throttling(outcome).then(|| grown(5, failures));
    told.max(throttled)
}

/// The shortest pause after the `failures`th failure in a row.
fn pause(outcome: &Outcome, failures: u32) -> (Duration, &'static str) {
    let (pause, why) = pause_of_class(outcome, failures);
    match asked_to_wait(outcome, failures) {
        Some(asked) if asked > pause => (asked, "being told to wait"),
        _ => (pause, why),
    }
}

fn pause_of_class(outcome: &Outcome, failures: u32) -> (Duration, &'static str) {
    match outcome {
        throttled if is_throttling(throttled) => (grown(5, failures), "being throttled"),
        Outcome::Refused { status, .. } if status.is_client_error() => {
            (Duration::from_secs(30), "being refused")
        }
        _ => (grown(1, failures).min(CLIENTS_WAIT), "a failure"),
    }
}

/// The wait that `Retry-After` asks for, up to a limit.
pub(crate) fn told_to_wait(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(15 * 60))
}

fn grown(first_seconds: u64, failures: u32) -> Duration {
    let ceiling = (first_seconds << failures.saturating_sub(1).min(10)).min(60);
    Duration::from_secs(ceiling) / 4
}
