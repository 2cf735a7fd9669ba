//! What holds for every order of events, answers of AWS and moves of the clock.

use proptest::prelude::*;

use super::*;
use crate::support::NOON;
use crate::support::credentials;
use crate::support::failure;
use crate::support::throttled_for;
use crate::support::told_to_wait;
use anchord_core::credentials::Keys;
use anchord_core::credentials::SignerId;
use anchord_core::credentials::end_by_wall;

/// One thing that happens in the world around the machine.
#[derive(Clone, Debug)]
enum Move {
    /// Time passes as the machine was told to wait, but never more than the keeper sleeps.
    Sleep,
    Pass(Span),
    /// Somebody sets the wall clock.
    Set(Span),
    Wanted,
    IdentityChanged,
    /// The attempt under way ends, if there is one: credentials for one of three certificates.
    Issue(Span, u8),
    Refuse(Failure),
}

fn any_class() -> impl Strategy<Value = Class> {
    let classes = [Class::Transient, Class::Throttled, Class::Denied, Class::Misconfigured, Class::Broken];
    prop::sample::select(classes.to_vec())
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(failure(Class::Transient)),
        Just(failure(Class::Throttled)),
        Just(failure(Class::Denied)),
        Just(failure(Class::Misconfigured)),
        Just(failure(Class::Broken)),
        (0..100_000_u64).prop_map(|told| throttled_for(Duration::from_secs(told))),
        (any_class(), 0..3_u64).prop_map(|(class, told)| told_to_wait(class, Duration::from_secs(told))),
    ]
}

fn any_life() -> impl Strategy<Value = Span> {
    prop_oneof![
        Just(Span::HOUR),
        (-100..1000_i64).prop_map(Span::seconds),
        (0..50_000_i64).prop_map(Span::seconds)
    ]
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Sleep),
        2 => (0..600_000_i64).prop_map(|ms| Move::Pass(Span::milliseconds(ms))),
        1 => (0..100_000_i64).prop_map(|seconds| Move::Pass(Span::seconds(seconds))),
        1 => (-100_000..100_000_i64).prop_map(|seconds| Move::Set(Span::seconds(seconds))),
        1 => (-90..90_i64).prop_map(|seconds| Move::Set(Span::seconds(seconds))),
        2 => Just(Move::Wanted),
        1 => Just(Move::IdentityChanged),
        3 => (any_life(), 0..3_u8).prop_map(|(life, leaf)| Move::Issue(life, leaf)),
        3 => any_failure().prop_map(Move::Refuse),
    ]
}

struct World {
    machine: Machine,
    now: Moment,
    action: Action,
    in_flight: bool,
    fetches: usize,
    /// When AWS ends each set that it made, as time since boot: AWS's clock is right, and so is that one.
    ends: Vec<Span>,
}

/// The error of a `Date`, and of clocks that are said to agree.
const GRAIN: Span = Span::seconds(32);

impl World {
    fn new(drawn: f64) -> Self {
        let mut machine = Machine::new(Policy::default(), NOON);
        let action = machine.on(SessionEvent::Wake, NOON, &Jitter::fixed(drawn));
        Self { machine, now: NOON, action, in_flight: action.fetch, fetches: 1, ends: Vec::new() }
    }

    /// How far AWS's clock is ahead of the wall clock.
    fn ahead(&self) -> Span {
        let ahead = NOON.booted_at() - self.now.booted_at();
        if ahead.abs() > CLOCK_STEP { ahead } else { Span::ZERO }
    }

    /// As `upstream` makes them of an answer.
    fn issue(&mut self, life: Span, leaf: u8) -> Arc<Credentials> {
        let at_aws = NOON.wall + (self.now - NOON);
        self.ends.push(self.now.up + life);
        let keys = Keys {
            access_key_id: format!("ASIA{}", self.ends.len() - 1),
            ..credentials(NOON, Span::HOUR).keys().clone()
        };
        let end = end_by_wall(at_aws + life, self.ahead());
        let made = Credentials::new(keys, self.now, end, None).unwrap();
        Arc::new(made.ending_at_aws(at_aws + life).obtained_with(Some(SignerId::of(&[leaf]))))
    }

    fn truly_left(&self, held: &Credentials) -> Span {
        let number: usize = held.access_key_id()[4..].parse().unwrap();
        self.ends[number] - self.now.up
    }

    fn on(&mut self, event: SessionEvent, drawn: f64) {
        let ends = matches!(event, SessionEvent::Fetched(_));
        let flew = self.in_flight && !ends;
        if ends {
            self.machine
                .learn(ClockOffset { ahead: self.ahead(), at_most: self.ahead(), at: self.now }, self.now);
        }
        let before = self.machine.snapshot();

        self.action = self.machine.on(event.clone(), self.now, &Jitter::fixed(drawn));

        assert!(!(self.action.fetch && flew), "a second flight");
        self.in_flight = flew || self.action.fetch;
        self.fetches += usize::from(self.action.fetch);
        self.check(&before, &event);
    }

    fn check(&self, before: &Snapshot, event: &SessionEvent) {
        let after = self.machine.snapshot();
        let remaining =
            |snapshot: &Snapshot| snapshot.credentials.as_ref().map(|held| held.remaining(self.now));
        let alive = remaining(&after).is_some_and(|left| left > Span::MINUTE);
        assert_eq!(after.fetching, self.in_flight);
        assert_eq!(after.phase == Phase::Live, alive, "the phase tells the truth");
        assert_eq!(after.phase == Phase::Pending, !alive && self.in_flight);
        if let Some(held) = after.credentials.as_ref().filter(|_| alive) {
            let left = self.truly_left(held);
            assert!(left > Span::MINUTE - GRAIN, "the dead are not handed out: {left}");
            let shown = held.expires_at() - self.now.wall;
            assert!(shown <= left + GRAIN, "shown to end in {shown}, and ends in {left}");
        }
        let signer = |snapshot: &Snapshot| snapshot.credentials.as_ref().and_then(|held| held.signer());
        if signer(&after) == signer(before) {
            // A clock that is set may show what it was off by unnoticed.
            let before = remaining(before).map(|left| left - GRAIN);
            assert!(remaining(&after) >= before, "the living are not lost");
        } else {
            assert!(alive || remaining(before).is_none_or(|left| left <= Span::MINUTE));
        }
        if matches!(event, SessionEvent::Fetched(Err(_))) {
            let (left, left_before) = (remaining(&after), remaining(before));
            let changed = left.zip(left_before).map(|(left, before)| (left - before).abs());
            assert!(changed.unwrap_or_default() <= GRAIN && left.is_some() == left_before.is_some());
            assert!(after.trouble.is_some());
        }
        if after.phase == Phase::Lapsed {
            assert!(after.trouble.is_some() || before.trouble.is_some() || after.credentials.is_some());
        }

        let ahead = self.action.wake_at - self.now;
        let alarm = remaining(&after).filter(|_| alive).map(|left| left - Span::MINUTE);
        assert!(ahead > Span::ZERO, "awake for ever");
        assert!(ahead <= alarm.unwrap_or(LONGEST), "asleep for ever: {ahead}");
        assert!(after.nudge_from - self.now <= LONGEST);
    }

    fn play(&mut self, step: &Move, drawn: f64) {
        match step {
            Move::Sleep => {
                let look_again = span(Policy::default().look_again);
                self.now = self.now + (self.action.wake_at - self.now).clamp(Span::ZERO, look_again);
                self.on(SessionEvent::Wake, drawn);
            }
            Move::Pass(span) => {
                self.now = self.now + *span;
                self.on(SessionEvent::Wake, drawn);
            }
            Move::Set(by) => {
                self.now.wall += *by;
                self.on(SessionEvent::Wake, drawn);
            }
            Move::Wanted => self.on(SessionEvent::Wanted, drawn),
            Move::IdentityChanged => self.on(SessionEvent::IdentityChanged, drawn),
            Move::Issue(life, leaf) if self.in_flight => {
                let made = self.issue(*life, *leaf);
                self.on(SessionEvent::Fetched(Ok(made)), drawn);
            }
            Move::Refuse(failure) if self.in_flight => {
                self.on(SessionEvent::Fetched(Err(failure.clone())), drawn);
            }
            Move::Issue(..) | Move::Refuse(_) => {}
        }
    }
}

/// The longest pause: 15 minutes by `Retry-After`, and a tenth for jitter.
const LONGEST: Span = Span::seconds(990);

fn moves() -> impl Strategy<Value = Vec<(Move, f64)>> {
    prop::collection::vec((any_move(), 0.0..=1.0_f64), 1..150)
}

proptest! {
    /// One flight; the phase tells the truth; a failure never loses the living; the next look is ahead, and
    /// never for ever. All are asserted in `World::check`.
    #[test]
    fn no_order_of_events_breaks_a_promise(moves in moves()) {
        let mut world = World::new(0.5);
        for (step, drawn) in &moves {
            world.play(step, *drawn);
        }
    }

    #[test]
    fn a_session_lives_again_soon_after_aws_does(moves in moves(), drawn in 0.0..=1.0_f64) {
        let mut world = World::new(drawn);
        for (step, drawn) in &moves {
            world.play(step, *drawn);
        }

        // Whatever a wrong clock makes of what AWS gives is another matter.
        world.now = NOON + (world.now - NOON);
        let well_since = world.now;
        world.play(&Move::Issue(Span::hours(30), 0), drawn);
        let mut looks = 0;
        while world.machine.snapshot().phase != Phase::Live {
            looks += 1;
            prop_assert!(looks < 1000, "lapsed for ever");
            world.play(&Move::Sleep, drawn);
            world.play(&Move::Issue(Span::hours(30), 0), drawn);
        }

        prop_assert!(world.now - well_since <= LONGEST, "{}", world.now - well_since);
    }

    /// AWS refuses at once, clients ask each 100 ms for ten minutes: at most 5 attempts before the first pause
    /// of 5 s, then one each 5 s at the most.
    #[test]
    fn a_crowd_in_an_outage_does_not_hammer(
        failures in prop::collection::vec(any_failure(), 1..8),
        drawn in 0.0..=1.0_f64,
    ) {
        let mut world = World::new(drawn);
        let mut failures = failures.iter().cycle();
        for _ in 0..6000 {
            if let Some(failure) = failures.next().filter(|_| world.in_flight) {
                world.play(&Move::Refuse(failure.clone()), drawn);
            }
            world.now = world.now + Span::milliseconds(100);
            world.on(SessionEvent::Wanted, drawn);
        }

        prop_assert!(world.fetches <= 5 + 600 / 5, "{}", world.fetches);
    }

    /// AWS answers at once, for ten hours, with nobody asking: a life passes for a sixth at least.
    #[test]
    fn a_healthy_session_does_not_hammer(life in 61..50_000_i64, drawn in 0.0..=1.0_f64) {
        let life = Span::seconds(life);
        let mut world = World::new(drawn);
        let day = Span::hours(10).min(life * 100);
        while world.now - NOON < day {
            world.play(&Move::Issue(life, 0), drawn);
            let before = world.now;
            world.play(&Move::Sleep, drawn);
            prop_assert!(world.now - before > Span::ZERO, "awake for ever");
        }

        let usable = life - Span::MINUTE;
        let bound = day / Span::max(usable / 6, Span::SECOND) + 2.0;
        prop_assert!((world.fetches as f64) <= bound, "{} of {bound}", world.fetches);
    }
}
