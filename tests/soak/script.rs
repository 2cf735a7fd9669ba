//! The faults of a run and their times, drawn from the seed before the run begins.

use std::time::Duration;

use time::Duration as Span;

use crate::random::Random;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Throttled,
    ServerError,
    Reset,
    Slow,
    Malformed,
    ShortLife,
    ShortenedProfile,
    WrongDate,
    Denied,
    Rotation,
    UnknownCertificate,
    TornFiles,
    Suspend,
    ClockStep,
    Restart,
    Reload,
    KeeperPanic,
    AttemptPanic,
}

impl Fault {
    pub(crate) const ALL: [Self; 18] = [
        Self::Throttled,
        Self::ServerError,
        Self::Reset,
        Self::Slow,
        Self::Malformed,
        Self::ShortLife,
        Self::ShortenedProfile,
        Self::WrongDate,
        Self::Denied,
        Self::Rotation,
        Self::UnknownCertificate,
        Self::TornFiles,
        Self::Suspend,
        Self::ClockStep,
        Self::Restart,
        Self::Reload,
        Self::KeeperPanic,
        Self::AttemptPanic,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::ServerError => "5xx",
            Self::Reset => "reset",
            Self::Slow => "slow",
            Self::Malformed => "malformed",
            Self::ShortLife => "short life",
            Self::ShortenedProfile => "shortened profile",
            Self::WrongDate => "wrong Date",
            Self::Denied => "denied",
            Self::Rotation => "rotation",
            Self::UnknownCertificate => "unknown certificate",
            Self::TornFiles => "torn files",
            Self::Suspend => "suspend",
            Self::ClockStep => "clock step",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::KeeperPanic => "keeper panic",
            Self::AttemptPanic => "attempt panic",
        }
    }

    /// How long a session may take to recover after this fault, by the pauses of docs/internals/session.md. The wait
    /// that AWS asked for and the interval between readings of the clock come on top.
    pub(crate) fn longest_pause(self) -> Duration {
        Duration::from_secs(match self {
            Self::Suspend => 0,
            // The attempt in progress may hang until its time limit.
            Self::Slow => 60 + 60,
            // A session that believes a wrong `Date` signs with a wrong time and is denied.
            Self::Denied | Self::WrongDate | Self::UnknownCertificate => 330,
            // After a clock step, credentials that came while the clock was wrong may have been unusable.
            _ => 60,
        })
    }
}

/// A fault of AWS or the network, which affects `percent` of the calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub(crate) fault: Fault,
    pub(crate) percent: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Begin(Condition),
    End,
    Rotate {
        revoked: bool,
    },
    /// Rotates to a certificate that AWS does not trust for so long.
    RotateTooEarly(Duration),
    Recognise,
    /// Half of a rotation: certificate and key do not match for so long.
    TearFiles(Duration),
    MendFiles,
    Suspend(Duration),
    /// Sets the clock wrong by so much, and right again after so long.
    Step(Span, Duration),
    SetRight,
    /// Ends the process, and starts another after so long.
    Stop(Duration),
    Start,
    /// Reloads the session's settings. `changed`: its credentials are another role's then.
    Reload {
        changed: bool,
    },
    PanicInKeeper,
    PanicInAttempt,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cue {
    /// The time of the cue, as time awake.
    pub(crate) at: Duration,
    /// Whether the action waits until a call is in progress.
    pub(crate) in_flight: bool,
    pub(crate) action: Action,
}

impl Cue {
    pub(crate) fn at(at: Duration, action: Action) -> Self {
        Self { at, in_flight: false, action }
    }
}

/// A script for a host that is awake for `length`. No fault begins in its last hour.
pub(crate) fn write(seed: u64, length: Duration, over_the_wire: bool) -> Vec<Cue> {
    let last = length - Duration::from_secs(3600);
    let mut cues = conditions(&mut Random::new(seed, "conditions"), last, over_the_wire);
    cues.extend(incidents(&mut Random::new(seed, "incidents"), last, over_the_wire));
    cues.sort_by_key(|cue| cue.at);
    cues
}

/// One condition after the other, with times without faults between.
fn conditions(random: &mut Random, last: Duration, over_the_wire: bool) -> Vec<Cue> {
    let mut kinds = vec![
        Fault::Throttled,
        Fault::ServerError,
        Fault::Reset,
        Fault::Slow,
        Fault::Malformed,
        Fault::ShortLife,
        Fault::ShortenedProfile,
        Fault::Denied,
    ];
    // `Date` is read where the reply is.
    if over_the_wire {
        kinds.push(Fault::WrongDate);
    }
    let mut cues = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += match random.below(4) {
            0 => random.seconds(1..600),
            _ => random.seconds(600..15_000),
        };
        let length = match random.below(10) {
            0..=2 => random.seconds(1..60),
            3..=6 => random.seconds(60..1200),
            7..=8 => random.seconds(1200..5400),
            _ => random.seconds(5400..18_000),
        };
        if at + length > last {
            return cues;
        }
        let condition = Condition { fault: random.pick(&kinds), percent: random.pick(&[100, 100, 70, 30]) };
        cues.push(Cue::at(at, Action::Begin(condition)));
        // The clock is set forward or back while AWS is down, so that no call can correct the effect.
        if random.chance(30) {
            let after = Duration::from_millis(random.below(u64::try_from(length.as_millis()).unwrap()));
            cues.push(Cue::at(at + after, step(random)));
        }
        at += length;
        cues.push(Cue::at(at, Action::End));
    }
}

/// The faults of the host, independent of those of AWS.
fn incidents(random: &mut Random, last: Duration, over_the_wire: bool) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += match random.below(5) {
            0 => random.seconds(1..30),
            _ => random.seconds(30..12_000),
        };
        if at > last {
            return cues;
        }
        let action = match random.below(if over_the_wire { 10 } else { 8 }) {
            0 => Action::Rotate { revoked: random.chance(50) },
            1 => Action::Suspend(match random.below(3) {
                0 => random.seconds(1..300),
                1 => random.seconds(300..3600),
                _ => random.seconds(3600..36_000),
            }),
            2 | 3 => step(random),
            4 => Action::Stop(random.pick(&[
                Duration::from_millis(200),
                Duration::from_secs(3),
                Duration::from_secs(400),
            ])),
            5 => Action::Reload { changed: random.chance(50) },
            6 => Action::PanicInKeeper,
            7 => Action::PanicInAttempt,
            8 => Action::RotateTooEarly(random.seconds(60..14_000)),
            _ => Action::TearFiles(random.seconds(1..120)),
        };
        cues.push(Cue { at, in_flight: random.chance(30), action });
    }
}

fn step(random: &mut Random) -> Action {
    let by = match random.below(3) {
        0 => random.millis(200..40_000),
        1 => random.seconds(40..1200),
        _ => random.seconds(1200..10_800),
    };
    let by = Span::try_from(by).unwrap();
    let lasts = match random.below(3) {
        0 => random.seconds(5..120),
        1 => random.seconds(120..3000),
        _ => random.seconds(3000..12_000),
    };
    Action::Step(if random.chance(50) { by } else { -by }, lasts)
}
