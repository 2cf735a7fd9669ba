//! A clock that somebody sets, a host that sleeps, and what the dates of AWS say of both.

use super::*;

#[test]
fn a_night_of_suspend_is_noticed_at_the_first_event() {
    let (mut machine, _) = live(HOUR, LATEST);

    let action = wake(&mut machine, at(Span::hours(9)));

    assert!(action.fetch);
    assert_eq!(machine.snapshot().phase, Phase::Pending);
}

/// AWS fails from then on: nothing comes to the rescue.
#[test]
fn credentials_end_in_time_though_the_clock_is_set_back() {
    let (mut machine, _) = live(HOUR, LATEST);
    let back = |after: Span| set(at(after), -Span::hours(2));

    let _ = wake(&mut machine, back(Span::minutes(58)));
    let shown = machine.snapshot().credentials.unwrap();
    assert_eq!(machine.snapshot().phase, Phase::Live);
    assert_eq!(shown.expires_at(), back(HOUR).wall, "clients judge by the wall clock");
    let action =
        tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Transient))), back(Span::minutes(58)));
    assert!(action.wake_at - NOON <= Span::minutes(59));
    let _ = wake(&mut machine, back(Span::minutes(59)));

    assert_ne!(machine.snapshot().phase, Phase::Live);
}

#[test]
fn a_clock_that_is_set_back_and_right_again_costs_no_life() {
    let (mut machine, _) = live(HOUR, LATEST);
    let _ = wake(&mut machine, set(at(Span::minutes(10)), -Span::hours(2)));
    let _ = tell(
        &mut machine,
        SessionEvent::Fetched(Err(failure(Class::Transient))),
        set(at(Span::minutes(10)), -Span::hours(2)),
    );

    let _ = wake(&mut machine, at(Span::minutes(20)));

    assert_eq!(machine.snapshot().phase, Phase::Live);
    assert_eq!(machine.snapshot().credentials.unwrap().expires_at(), at(HOUR).wall);
}

#[test]
fn a_clock_that_is_set_renews_at_once_and_once_a_minute_at_most() {
    for by in [-Span::hours(2), -seconds(31), seconds(31), Span::minutes(10), Span::hours(8)] {
        let (mut machine, _) = live(HOUR, LATEST);
        let now = set(at(seconds(10)), by);
        assert!(wake(&mut machine, now).fetch, "{by}");

        let fresh = credentials(now, HOUR);
        let _ = tell(&mut machine, SessionEvent::Fetched(Ok(fresh)), now);
        for second in 11..60 {
            let flap = if second % 2 == 0 { by } else { -by };
            let action = wake(&mut machine, set(at(seconds(second)), flap / 2));
            assert!(!action.fetch || machine.snapshot().phase != Phase::Live, "{by}");
            let now = machine.seen;
            let _ = tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Denied))), now);
        }
    }
}

#[test]
fn a_clock_that_drifts_and_one_that_is_set_a_little_renew_nothing() {
    let (mut machine, action) = live(HOUR, LATEST);

    for by in [-30, -15, 15, 30].map(seconds) {
        assert!(!wake(&mut machine, set(at(seconds(10)), by)).fetch);
    }
    assert_eq!(wake(&mut machine, at(seconds(11))).wake_at, action.wake_at);
}

#[test]
fn a_clock_that_is_set_does_not_shorten_a_pause_that_aws_asked_for() {
    let (mut machine, _) = failed(&throttled_for(Duration::from_secs(600)), 1, LATEST);

    for second in 1..600 {
        assert!(!wake(&mut machine, set(at(seconds(second)), Span::hours(second % 7 - 3))).fetch);
    }
    assert!(wake(&mut machine, at(seconds(600))).fetch);
}

#[test]
fn a_clock_that_is_set_forward_twice_does_not_leave_the_session_lapsed() {
    let (mut machine, _) = live(HOUR, LATEST);
    assert!(wake(&mut machine, set(at(seconds(10)), seconds(40))).fetch);
    let fresh = credentials(set(at(seconds(11)), seconds(40)), HOUR);
    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(fresh)), set(at(seconds(11)), seconds(40)));

    let later = |after: i64| set(at(seconds(after)), Span::hours(8));
    assert!(wake(&mut machine, later(20)).fetch, "by the clock as it is now they have ended");
}

fn date(ahead: Span, at: Moment) -> ClockOffset {
    ClockOffset { ahead, at_most: ahead, at }
}

#[test]
fn a_date_of_a_refusal_dates_what_is_held() {
    let (mut machine, _) = live(HOUR, LATEST);
    let back = set(at(Span::minutes(10)), -Span::hours(2));
    assert!(wake(&mut machine, back).fetch);

    machine.learn(date(Span::hours(2), back), back);
    let _ = tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Transient))), back);

    let held = machine.snapshot().credentials.unwrap();
    assert_eq!(held.end().wall, NOON.wall - HOUR - seconds(1));
    assert_eq!(held.remaining(back), Span::minutes(50) - seconds(1));
}

/// The time since boot stood still with a virtual machine that was paused.
#[test]
fn what_a_paused_machine_holds_ends_when_aws_says_so() {
    let (mut machine, _) = live(HOUR, LATEST);
    let resumed = set(at(Span::minutes(10)), Span::minutes(45));

    machine.learn(date(Span::ZERO, resumed), resumed);
    let _ = wake(&mut machine, set(resumed, -Span::hours(1)));

    assert_eq!(machine.remaining(), Some(Span::minutes(5) - seconds(1)));
}

#[test]
fn a_date_that_tells_nothing_new_changes_nothing() {
    let (mut machine, _) = live(HOUR, LATEST);
    let before = machine.snapshot().credentials.unwrap();

    let now = at(Span::minutes(10)) + Span::milliseconds(3);
    machine.learn(date(Span::ZERO, now), now);

    assert!(Arc::ptr_eq(&machine.snapshot().credentials.unwrap(), &before));
}

#[test]
fn a_clock_that_was_set_back_does_not_stretch_a_pause() {
    let (mut machine, _) = failed(&failure(Class::Denied), 1, LATEST);
    machine.clock_step_counts_from = at(HOUR).up;
    let yesterday = set(at(seconds(10)), -Span::DAY);

    let action = wake(&mut machine, yesterday);

    assert_eq!(action.wake_at - NOON, seconds(270));
    assert_eq!(action.wake_at.wall, yesterday.wall + seconds(260), "as the clock counts now");
    assert_eq!(machine.snapshot().nudge_from - NOON, seconds(30));
}

/// The host was started with a clock that is two hours behind; NTP sets it right while AWS is down.
#[test]
fn a_slow_clock_that_is_set_right_ends_nothing_that_lives() {
    let mut machine = fetching(Policy::default());
    let slow = |moment| set(moment, -Span::hours(2));
    machine.learn(date(Span::hours(2), slow(NOON)), slow(NOON));
    let end = NOON.wall - HOUR - seconds(1);
    let made = Credentials::new(credentials(NOON, HOUR).keys().clone(), slow(NOON), end, None).unwrap();
    let made = made.ending_at_aws(at(HOUR).wall);
    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::new(made))), slow(NOON));

    let _ = wake(&mut machine, at(seconds(10)));

    assert_eq!(machine.snapshot().phase, Phase::Live);
    assert_eq!(machine.snapshot().credentials.unwrap().expires_at(), at(HOUR).wall);
    assert!(machine.remaining().unwrap() <= HOUR - seconds(10), "and nothing is lengthened");
}

/// The keeper panics in the very event that finds the clock set.
#[test]
fn a_clock_that_was_set_is_not_forgotten_with_the_keeper() {
    let (machine, _) = live(HOUR, LATEST);
    let now = set(at(seconds(10)), Span::minutes(20));

    let mut machine = Machine::resume(Policy::default(), &machine.snapshot(), now, &Jitter::fixed(LATEST));

    assert!(wake(&mut machine, now).fetch);
}

/// Grants of one hour follow one of twelve that has ended by the local clock.
#[test]
fn no_usable_credentials_are_thrown_away_while_there_are_none() {
    let mut machine = fetching(Policy::default());
    let fast = |moment| set(moment, Span::hours(11));
    let end = at(Span::hours(12)).wall;
    let made = Credentials::new(credentials(NOON, HOUR).keys().clone(), fast(NOON), end, None).unwrap();
    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::new(made))), fast(NOON));
    let (mut calls, mut now) = (0, at(seconds(10)));

    while now - NOON < Span::hours(6) {
        let mut action = wake(&mut machine, now);
        if action.fetch {
            calls += 1;
            action = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(now, HOUR))), now);
        }
        assert_eq!(machine.snapshot().phase, Phase::Live, "{}", now - NOON);
        now = now + Span::min(action.wake_at - now, seconds(30));
    }

    assert!(calls < 16, "{calls}");
}

/// The keeper's machine is another after a panic, and what the issuer knows is older than the action.
#[test]
fn a_date_from_before_a_step_is_taken_as_the_clock_counts_now() {
    let (mut machine, _) = live(HOUR, LATEST);
    let slow = set(at(seconds(10)), -Span::hours(2));

    machine.learn(date(Span::hours(2), slow), at(seconds(20)));
    let _ = wake(&mut machine, at(seconds(20)));

    assert_eq!(machine.snapshot().credentials.unwrap().expires_at(), at(HOUR).wall);
}
