//! Each rule of renewal, alone.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;
use crate::Freshness;
use crate::support::NOON;
use crate::support::counted;
use crate::support::credentials;
use crate::support::failure;
use crate::support::throttled_for;
use crate::support::told_to_wait;

const HOUR: Span = Span::HOUR;
const LATEST: f64 = 0.0;
const EARLIEST: f64 = 1.0;

fn at(after_noon: Span) -> Moment {
    NOON + after_noon
}

fn seconds(count: i64) -> Span {
    Span::seconds(count)
}

/// `now`, when somebody has set the wall clock.
fn set(now: Moment, by: Span) -> Moment {
    Moment { wall: now.wall + by, ..now }
}

/// A machine whose first attempt is under way since noon.
fn fetching(policy: Policy) -> Machine {
    let mut machine = Machine::new(policy, NOON);
    assert!(machine.on(SessionEvent::Wake, NOON, &Jitter::fixed(LATEST)).fetch);
    machine
}

/// A machine that got credentials for `life` at noon.
fn live(life: Span, drawn: f64) -> (Machine, Action) {
    let mut machine = fetching(Policy::default());
    let action = machine.on(SessionEvent::Fetched(Ok(credentials(NOON, life))), NOON, &Jitter::fixed(drawn));
    (machine, action)
}

/// A machine without credentials whose `times`-th attempt in a row failed at noon.
fn failed(failure: &Failure, times: u32, drawn: f64) -> (Machine, Action) {
    let mut machine = fetching(Policy::default());
    machine.failures = times - 1;
    let action = machine.on(SessionEvent::Fetched(Err(failure.clone())), NOON, &Jitter::fixed(drawn));
    (machine, action)
}

fn wake(machine: &mut Machine, now: Moment) -> Action {
    machine.on(SessionEvent::Wake, now, &Jitter::fixed(LATEST))
}

fn tell(machine: &mut Machine, event: SessionEvent, now: Moment) -> Action {
    machine.on(event, now, &Jitter::fixed(LATEST))
}

/// How much life is left when credentials for `life` are renewed.
fn left_at_renewal(life: Span, drawn: f64) -> Span {
    let (_, action) = live(life, drawn);
    at(life) - action.wake_at
}

#[test]
fn the_first_event_starts_an_attempt() {
    let mut machine = Machine::new(Policy::default(), NOON);

    assert!(wake(&mut machine, NOON).fetch);
    assert_eq!(machine.snapshot().phase, Phase::Pending);
}

#[test]
fn the_default_policy_has_the_reserves_of_freshness() {
    let policy = Policy::default();

    assert_eq!(policy.reserve, Freshness::Full.reserve());
    assert_eq!(policy.promised_reserve, Freshness::Promised.reserve());
    assert_eq!(policy.attempt_limit, Duration::from_secs(60));
    assert_eq!(policy.look_again, Duration::from_secs(30));
}

#[test]
fn credentials_are_renewed_with_a_margin_that_fits_their_life() {
    let table = [
        // life, left at renewal at the latest, and at the earliest (a twelfth of the usable life sooner)
        (seconds(900), seconds(600), seconds(670)),
        (seconds(1200), seconds(600), seconds(695)),
        (seconds(1201), seconds(915), seconds(1010)),
        (Span::minutes(30), seconds(1200), seconds(1345)),
        (Span::minutes(45), seconds(1350), seconds(1570)),
        (HOUR, seconds(1800), seconds(2095)),
        (seconds(5399), seconds(2699), seconds(3144)),
        (Span::minutes(90), seconds(3900), seconds(4345)),
        (Span::hours(2), seconds(3900), seconds(4495)),
        (Span::hours(4), seconds(7200), seconds(8395)),
        (Span::hours(12), seconds(21600), seconds(25195)),
    ];

    for (life, latest, earliest) in table {
        assert_eq!(left_at_renewal(life, LATEST).whole_seconds(), latest.whole_seconds(), "{life}");
        assert_eq!(left_at_renewal(life, EARLIEST).whole_seconds(), earliest.whole_seconds(), "{life}");
    }
}

#[test]
fn no_life_is_renewed_before_a_sixth_or_after_two_thirds_of_its_use() {
    for life in (120..=46_800).step_by(60).map(seconds) {
        let usable = life - seconds(60);
        for drawn in [LATEST, 0.5, EARLIEST] {
            let untouched = life - left_at_renewal(life, drawn);
            assert!(
                untouched >= Span::min(usable / 6, usable - seconds(1)) - seconds(1),
                "{life}: {untouched}"
            );
            assert!(untouched <= usable * 2 / 3, "{life}: {untouched}");
        }
    }
}

#[test]
fn a_one_hour_session_never_has_under_25_minutes_while_aws_answers_in_60_s() {
    for drawn in [LATEST, 0.25, 0.5, 0.75, EARLIEST] {
        let (mut machine, mut action) = live(HOUR, drawn);
        let jitter = Jitter::fixed(drawn);
        let mut now = NOON;
        for _ in 0..50 {
            now = action.wake_at + seconds(30);
            action = machine.on(SessionEvent::Wake, now, &jitter);
            assert!(action.fetch);
            now = now + seconds(60);
            let held = machine.snapshot().credentials.unwrap();
            assert!(held.remaining(now) > Span::minutes(25), "{}", held.remaining(now));
            action = machine.on(SessionEvent::Fetched(Ok(credentials(now, HOUR))), now, &jitter);
        }
        assert!(now - NOON > Span::hours(20));
    }
}

#[test]
fn sessions_of_seconds_are_renewed_in_time_and_at_most_once_a_second() {
    let short = Policy { reserve: Duration::from_millis(500), ..Policy::default() };
    let renewed_after = |life: Span, drawn: f64| {
        let mut machine = fetching(short);
        let action =
            machine.on(SessionEvent::Fetched(Ok(credentials(NOON, life))), NOON, &Jitter::fixed(drawn));
        assert_eq!(machine.snapshot().phase, Phase::Live);
        Span::min(action.wake_at - NOON, machine.attempt_at - NOON.up)
    };

    assert_eq!(renewed_after(seconds(3), LATEST), seconds(1));
    assert_eq!(renewed_after(seconds(3), EARLIEST), seconds(1));
    assert_eq!(renewed_after(seconds(12), LATEST).whole_milliseconds(), 2875);

    let mut machine = fetching(short);
    let fleeting = credentials(NOON, Span::milliseconds(600));
    let action = tell(&mut machine, SessionEvent::Fetched(Ok(fleeting)), NOON);
    assert_eq!(action.wake_at, at(Span::milliseconds(100)), "it lapses first");
    assert!(!wake(&mut machine, action.wake_at).fetch);
    assert!(!tell(&mut machine, SessionEvent::Wanted, at(Span::milliseconds(900))).fetch);
    assert!(wake(&mut machine, at(seconds(1))).fetch);
}

#[test]
fn jitter_is_drawn_once() {
    let drawn = Arc::new(AtomicUsize::new(0));
    let jitter = counted(Arc::clone(&drawn), 0x55);
    let mut machine = Machine::new(Policy::default(), NOON);
    let mut on = |event, now| (machine.on(event, now, &jitter), drawn.load(Ordering::SeqCst));

    assert_eq!(on(SessionEvent::Wake, NOON).1, 0);
    let (set, draws) = on(SessionEvent::Fetched(Ok(credentials(NOON, HOUR))), NOON);
    assert_eq!(draws, 1);
    for second in 1..60 {
        assert_eq!(on(SessionEvent::Wake, at(seconds(second))), (set, 1));
        assert_eq!(on(SessionEvent::Wanted, at(seconds(second))), (set, 1));
    }
    assert!(on(SessionEvent::Wake, set.wake_at).0.fetch);
    let (set, draws) = on(SessionEvent::Fetched(Err(failure(Class::Transient))), set.wake_at);
    assert_eq!(draws, 2);
    assert_eq!(on(SessionEvent::Wake, set.wake_at - Span::MILLISECOND), (set, 2));
}

#[test]
fn a_failed_renewal_keeps_what_is_still_valid() {
    let (mut machine, action) = live(HOUR, LATEST);
    assert!(wake(&mut machine, action.wake_at).fetch);

    let _ = tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Denied))), action.wake_at);

    let snapshot = machine.snapshot();
    assert_eq!(snapshot.phase, Phase::Live);
    assert_eq!(snapshot.credentials.unwrap().expires_at(), at(HOUR).wall);
    assert_eq!(snapshot.trouble, Some(failure(Class::Denied)));
}

#[test]
fn trouble_ends_with_the_next_success() {
    let (mut machine, _) = failed(&failure(Class::Transient), 5, LATEST);
    assert!(wake(&mut machine, at(Span::MINUTE)).fetch);

    let life = credentials(at(Span::MINUTE), HOUR);
    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(life)), at(Span::MINUTE));

    assert_eq!((machine.snapshot().phase, machine.snapshot().trouble), (Phase::Live, None));
    assert_eq!(machine.failures, 0);
}

#[test]
fn the_last_minute_of_life_counts_as_expired() {
    let (mut machine, _) = live(HOUR, LATEST);
    assert!(wake(&mut machine, at(Span::minutes(30))).fetch);

    let before = wake(&mut machine, at(Span::minutes(59)) - Span::MILLISECOND);
    assert_eq!(machine.snapshot().phase, Phase::Live);
    assert_eq!(before.wake_at, at(Span::minutes(59)), "the alarm rings at the reserve during an attempt too");

    let _ = wake(&mut machine, at(Span::minutes(59)));
    assert_eq!(machine.snapshot().phase, Phase::Pending);
    let _ = tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Denied))), at(Span::minutes(59)));
    assert_eq!(machine.snapshot().phase, Phase::Lapsed);
    assert!(machine.snapshot().credentials.is_some(), "replaced, never cleared");
}

#[test]
fn the_alarm_is_set_for_expiry_when_the_retry_is_later() {
    let (mut machine, _) = live(HOUR, LATEST);
    assert!(wake(&mut machine, at(Span::minutes(57))).fetch);

    let action =
        tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Denied))), at(Span::minutes(57)));

    assert_eq!(action.wake_at, at(Span::minutes(59)));
    assert_eq!(machine.next_attempt_in(), Duration::from_secs(270));
    let action = wake(&mut machine, action.wake_at);
    assert_eq!((machine.snapshot().phase, action.fetch), (Phase::Lapsed, false));
    assert_eq!(action.wake_at, at(Span::minutes(57)) + seconds(270));
}

#[test]
fn an_attempt_is_alone_until_it_has_ended() {
    let mut machine = fetching(Policy::default());

    for second in 0..10_000 {
        for event in [SessionEvent::Wake, SessionEvent::Wanted, SessionEvent::IdentityChanged] {
            assert!(!tell(&mut machine, event, at(seconds(second))).fetch);
        }
    }
    assert!(machine.snapshot().fetching);
}

#[test]
fn pauses_follow_the_class_and_double_up_to_a_bound() {
    let pause = |failure: &Failure, times, drawn| failed(failure, times, drawn).1.wake_at - NOON;
    let ceilings = |class| [1, 2, 3, 6, 7, 40].map(|times| pause(&failure(class), times, EARLIEST));

    assert_eq!(ceilings(Class::Transient), [1, 2, 4, 32, 60, 60].map(seconds));
    assert_eq!(ceilings(Class::Broken), [1, 2, 4, 32, 60, 60].map(seconds));
    assert_eq!(ceilings(Class::Misconfigured), [5, 10, 20, 60, 60, 60].map(seconds));
    assert_eq!(ceilings(Class::Throttled), [5, 10, 20, 60, 60, 60].map(seconds));
    assert_eq!(ceilings(Class::Denied), [330; 6].map(seconds));
    assert_eq!(pause(&failure(Class::Denied), 9, LATEST), seconds(270));
}

#[test]
fn a_pause_is_never_less_than_a_quarter_of_its_ceiling() {
    let pause = |class, times| failed(&failure(class), times, LATEST).1.wake_at - NOON;

    assert_eq!(pause(Class::Transient, 1), Span::milliseconds(250));
    assert_eq!(pause(Class::Transient, 9), seconds(15));
    assert_eq!(pause(Class::Throttled, 1), Span::milliseconds(1250));
    assert_eq!(pause(Class::Misconfigured, 1), Span::milliseconds(1250));
}

#[test]
fn a_retry_after_is_obeyed_within_bounds() {
    let pause = |told: u64, drawn| {
        let failure = throttled_for(Duration::from_secs(told));
        failed(&failure, 3, drawn).1.wake_at - NOON
    };

    assert_eq!(pause(120, LATEST), seconds(120));
    assert_eq!(pause(120, EARLIEST), seconds(132));
    assert_eq!(pause(86_400, LATEST), Span::minutes(15));
    assert_eq!(pause(u64::MAX, LATEST), Span::minutes(15));
}

#[test]
fn a_retry_after_that_is_shorter_than_the_pause_of_the_class_shortens_nothing() {
    for class in [Class::Transient, Class::Throttled, Class::Denied, Class::Misconfigured, Class::Broken] {
        for told in [0, 1] {
            for times in [1, 3, 9] {
                let pauses = |failure: &Failure| {
                    let (machine, action) = failed(failure, times, EARLIEST);
                    (action.wake_at, machine.snapshot().nudge_from)
                };
                let told = pauses(&told_to_wait(class, Duration::from_secs(told)));
                let untold = pauses(&failure(class));
                assert!(told.0 - untold.0 <= Span::milliseconds(100) && told.0 - untold.0 >= Span::ZERO);
                assert!(told.1 - untold.1 <= Span::milliseconds(100) && told.1 - untold.1 >= Span::ZERO);
            }
        }
    }
}

/// An overloaded service says so with 503 as well as with 429.
#[test]
fn a_retry_after_of_a_transient_failure_is_obeyed_too() {
    let (machine, action) = failed(&told_to_wait(Class::Transient, Duration::from_secs(120)), 1, LATEST);

    assert_eq!(action.wake_at - NOON, seconds(120));
    assert_eq!(machine.snapshot().nudge_from - NOON, seconds(120), "no client hastens it");
}

#[test]
fn a_daemon_is_asked_again_as_soon_as_it_may_be_however_often_it_had_nothing() {
    let failure = failure(Class::Transient).asked_here_again_in(Duration::from_secs(5));

    assert_eq!(failed(&failure, 20, EARLIEST).1.wake_at, at(seconds(5)));
}

#[test]
fn each_failure_in_a_row_is_counted() {
    let (mut machine, mut action) = failed(&failure(Class::Transient), 1, EARLIEST);
    let mut pauses = Vec::new();

    for _ in 0..3 {
        let now = action.wake_at;
        assert!(wake(&mut machine, now).fetch);
        action =
            machine.on(SessionEvent::Fetched(Err(failure(Class::Transient))), now, &Jitter::fixed(EARLIEST));
        pauses.push(action.wake_at - now);
    }

    assert_eq!(pauses, [2, 4, 8].map(seconds));
}

#[test]
fn the_record_counts_failures_from_one_success_to_the_next_whatever_the_certificate() {
    let (mut machine, _) = live(HOUR, LATEST);
    let denied = || SessionEvent::Fetched(Err(failure(Class::Denied)));
    let history = |machine: &Machine| machine.snapshot().history;
    let first = AttemptHistory { last_success_at: Some(NOON), ..AttemptHistory::default() };
    assert_eq!(history(&machine), first);

    for (number, minute) in [(1, 40), (2, 50)] {
        let now = at(Span::minutes(minute));
        let changed = tell(&mut machine, SessionEvent::IdentityChanged, now - Span::minutes(9));
        assert!(changed.fetch || wake(&mut machine, now).fetch);
        let _ = tell(&mut machine, denied(), now);
        let failing_since = Some(at(Span::minutes(40)));
        assert_eq!(history(&machine), AttemptHistory { failures: number, failing_since, ..first });
    }
    let resumed = Machine::resume(Policy::default(), &machine.snapshot(), NOON + HOUR, &Jitter::fixed(0.0));
    assert_eq!(history(&resumed), history(&machine), "a reload or a panic does not forget it");

    let changed = tell(&mut machine, SessionEvent::IdentityChanged, at(Span::minutes(50)));
    assert!(changed.fetch || wake(&mut machine, at(Span::minutes(58))).fetch);
    let now = at(Span::minutes(58));
    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(now, HOUR))), now);
    assert_eq!(history(&machine), AttemptHistory { last_success_at: Some(now), ..AttemptHistory::default() });
}

#[test]
fn a_waiting_client_may_end_a_pause_early_but_never_at_once() {
    let nudgeable_after = |failure: &Failure| {
        let (mut machine, _) = failed(failure, 20, EARLIEST);
        let nudge_from = machine.snapshot().nudge_from;
        assert!(!tell(&mut machine, SessionEvent::Wanted, nudge_from - Span::MILLISECOND).fetch);
        assert!(tell(&mut machine, SessionEvent::Wanted, nudge_from).fetch);
        nudge_from - NOON
    };

    assert_eq!(nudgeable_after(&failure(Class::Transient)), seconds(5));
    assert_eq!(nudgeable_after(&failure(Class::Broken)), seconds(5));
    assert_eq!(nudgeable_after(&failure(Class::Misconfigured)), seconds(5));
    assert_eq!(nudgeable_after(&failure(Class::Throttled)), seconds(60));
    assert_eq!(nudgeable_after(&throttled_for(Duration::from_secs(100))), seconds(110));
    assert_eq!(nudgeable_after(&failure(Class::Denied)), seconds(30));
}

#[test]
fn a_nudge_is_never_later_than_the_retry() {
    let (machine, action) = failed(&failure(Class::Transient), 1, EARLIEST);

    assert_eq!(machine.snapshot().nudge_from, action.wake_at);
}

#[test]
fn waiting_clients_change_nothing_while_live() {
    let (mut machine, action) = live(HOUR, LATEST);

    for minute in 0..30 {
        assert_eq!(tell(&mut machine, SessionEvent::Wanted, at(Span::minutes(minute))), action);
    }
}

#[test]
fn a_client_alone_starts_the_renewal_of_what_has_expired() {
    let (mut machine, _) = live(HOUR, LATEST);
    machine.attempt_at = NOON.up + Span::DAY;

    assert!(tell(&mut machine, SessionEvent::Wanted, at(HOUR)).fetch);
}

#[test]
fn a_new_certificate_cancels_a_pause_that_aws_did_not_ask_for() {
    for class in [Class::Transient, Class::Denied, Class::Misconfigured, Class::Broken] {
        let (mut machine, _) = failed(&failure(class), 9, EARLIEST);

        let action = tell(&mut machine, SessionEvent::IdentityChanged, NOON);
        assert_eq!(action, Action { fetch: false, wake_at: at(seconds(1)) }, "{class}");
        assert!(wake(&mut machine, action.wake_at).fetch);

        let now = action.wake_at;
        let action =
            machine.on(SessionEvent::Fetched(Err(failure(Class::Transient))), now, &Jitter::fixed(EARLIEST));
        assert_eq!(action.wake_at - now, seconds(1), "its failures are counted anew");
    }
}

#[test]
fn a_new_certificate_waits_as_long_as_aws_has_asked_to() {
    for (failure, wait) in [
        (throttled_for(Duration::from_secs(600)), seconds(600)),
        (told_to_wait(Class::Denied, Duration::from_secs(600)), seconds(600)),
        (told_to_wait(Class::Denied, Duration::from_secs(20)), seconds(20)),
        (failure(Class::Throttled), seconds(15)),
    ] {
        let (mut machine, _) = failed(&failure, 9, LATEST);

        for second in 0..wait.whole_seconds() {
            assert!(
                !tell(&mut machine, SessionEvent::IdentityChanged, at(seconds(second))).fetch,
                "{failure}"
            );
        }

        assert!(wake(&mut machine, at(wait)).fetch, "{failure}");
    }
}

/// One push renews the certificates of a whole fleet.
#[test]
fn hosts_that_get_a_new_certificate_together_do_not_call_together() {
    let calls_after = |machine: &mut Machine, drawn| {
        let action = machine.on(SessionEvent::IdentityChanged, at(seconds(5)), &Jitter::fixed(drawn));
        if action.fetch { Span::ZERO } else { action.wake_at - at(seconds(5)) }
    };

    assert_eq!(calls_after(&mut live(HOUR, LATEST).0, LATEST), Span::ZERO);
    assert_eq!(calls_after(&mut live(HOUR, LATEST).0, EARLIEST), (HOUR - seconds(5)) / 360);
    assert_eq!(calls_after(&mut live(Span::hours(12), LATEST).0, EARLIEST), Span::MINUTE);
    assert_eq!(calls_after(&mut live(Span::hours(12), LATEST).0, 0.5), seconds(30));
    assert_eq!(calls_after(&mut failed(&failure(Class::Denied), 1, LATEST).0, EARLIEST), seconds(2));
}

#[test]
fn certificates_that_change_all_the_time_do_not_bring_the_attempt_forward_each_time() {
    let jitter = counted(Arc::default(), 0x80);
    let (mut machine, _) = live(HOUR, LATEST);

    let first = machine.on(SessionEvent::IdentityChanged, at(seconds(5)), &jitter).wake_at;
    for _ in 0..100 {
        assert_eq!(machine.on(SessionEvent::IdentityChanged, at(seconds(6)), &jitter).wake_at, first);
    }
}

#[test]
fn a_certificate_that_is_told_of_twice_is_given_one_time() {
    let (mut machine, _) = live(HOUR, LATEST);

    let first = machine.on(SessionEvent::IdentityChanged, at(seconds(5)), &Jitter::fixed(EARLIEST));

    assert!(!first.fetch);
    assert_eq!(machine.on(SessionEvent::IdentityChanged, at(seconds(5)), &Jitter::fixed(LATEST)), first);
}

#[test]
fn a_new_certificate_renews_and_keeps_what_is_still_valid() {
    let (mut machine, _) = live(HOUR, LATEST);

    let action = tell(&mut machine, SessionEvent::IdentityChanged, at(seconds(1)));

    assert!(action.fetch);
    assert_eq!(machine.snapshot().phase, Phase::Live);
    assert_eq!(machine.snapshot().credentials.unwrap().expires_at(), at(HOUR).wall);
}

#[test]
fn a_certificate_that_came_during_an_attempt_is_tried_once_soon_after() {
    for result in [Ok(credentials(NOON, HOUR)), Err(failure(Class::Denied))] {
        let mut machine = fetching(Policy::default());
        assert!(!tell(&mut machine, SessionEvent::IdentityChanged, NOON).fetch);
        assert!(!tell(&mut machine, SessionEvent::IdentityChanged, NOON).fetch);

        let action = tell(&mut machine, SessionEvent::Fetched(result.clone()), at(seconds(1)));
        assert_eq!(action, Action { fetch: false, wake_at: at(seconds(2)) });
        assert!(wake(&mut machine, action.wake_at).fetch);
        assert_eq!(machine.snapshot().credentials.is_some(), result.is_ok());

        let newer = credentials(at(seconds(2)), HOUR);
        let action = tell(&mut machine, SessionEvent::Fetched(Ok(newer)), at(seconds(2)));
        assert!(action.wake_at - NOON > Span::minutes(29), "once");
    }
}

#[test]
fn a_failure_with_the_old_certificate_does_not_lengthen_the_pause_of_the_new() {
    let mut machine = fetching(Policy::default());
    let _ = tell(&mut machine, SessionEvent::IdentityChanged, NOON);
    let action = tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Transient))), NOON);
    assert!(wake(&mut machine, action.wake_at).fetch);

    let now = action.wake_at;
    let action =
        machine.on(SessionEvent::Fetched(Err(failure(Class::Transient))), now, &Jitter::fixed(EARLIEST));

    assert_eq!(action.wake_at - now, seconds(1));
}

#[test]
fn a_client_that_finds_fresh_credentials_expired_may_nudge_a_second_after_they_came() {
    let (machine, _) = live(HOUR, LATEST);

    assert_eq!(machine.snapshot().nudge_from, at(seconds(1)));
}

#[test]
fn a_look_before_the_deadline_does_not_move_it() {
    let (mut machine, action) = failed(&failure(Class::Denied), 1, LATEST);

    for second in 0..270 {
        assert_eq!(wake(&mut machine, at(seconds(second))), action);
    }
}

#[test]
fn during_an_attempt_with_nothing_held_the_next_look_is_always_ahead() {
    let mut machine = fetching(Policy::default());

    assert_eq!(wake(&mut machine, at(HOUR)).wake_at, at(HOUR) + seconds(30));
    assert_eq!(machine.next_attempt_in(), Duration::ZERO);
}

mod clock;
mod resumed;
mod worth;
