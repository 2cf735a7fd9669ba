//! What goes wrong in a run, and when: drawn from the seed before the run begins.

use std::time::Duration;

use time::Duration as Span;

use crate::random::Random;

/// What can go wrong.
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

    /// The longest that a session may take to be well once this is over, by the pauses that
    /// docs/internals/session.md states; what AWS told to wait, and the look at the clock, come on top.
    pub(crate) fn longest_pause(self) -> Duration {
        Duration::from_secs(match self {
            Self::Suspend => 0,
            // The attempt under way may hang until its limit.
            Self::Slow => 60 + 60,
            // Whoever believes a wrong `Date` signs for a wrong time, and is denied.
            Self::Denied | Self::WrongDate | Self::UnknownCertificate => 330,
            // After a step of the clock, what came while it was wrong may have been of no use.
            _ => 60,
        })
    }
}

/// AWS, or the way there, is unwell: each call is hit with the chance of `percent`.
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
    /// The same, but AWS does not know the new certificate for so long.
    RotateTooEarly(Duration),
    Recognise,
    /// Half of a rotation: the files do not fit each other for so long.
    TearFiles(Duration),
    MendFiles,
    Suspend(Duration),
    /// The clock is set wrong by so much, and right again after so long.
    Step(Span, Duration),
    SetRight,
    /// The process ends; another starts after so long.
    Stop(Duration),
    Start,
    /// The session gets new settings; `changed` if they make its credentials another role's.
    Reload {
        changed: bool,
    },
    PanicInKeeper,
    PanicInAttempt,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cue {
    /// How long the host has been awake by then.
    pub(crate) at: Duration,
    /// Not before the next call is under way.
    pub(crate) in_flight: bool,
    pub(crate) action: Action,
}

impl Cue {
    pub(crate) fn at(at: Duration, action: Action) -> Self {
        Self { at, in_flight: false, action }
    }
}

/// A script for a host that is awake for `length`; nothing new begins in its last hour.
pub(crate) fn write(seed: u64, length: Duration, over_the_wire: bool) -> Vec<Cue> {
    let last = length - Duration::from_secs(3600);
    let mut cues = conditions(&mut Random::new(seed, "conditions"), last, over_the_wire);
    cues.extend(incidents(&mut Random::new(seed, "incidents"), last, over_the_wire));
    cues.sort_by_key(|cue| cue.at);
    cues
}

/// One condition after the other, with well times between.
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
        // The clock is set while AWS is down, either way: nothing else comes to the rescue.
        if random.chance(30) {
            let after = Duration::from_millis(random.below(u64::try_from(length.as_millis()).unwrap()));
            cues.push(Cue::at(at + after, step(random)));
        }
        at += length;
        cues.push(Cue::at(at, Action::End));
    }
}

/// What happens on the host, whatever AWS does meanwhile.
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
