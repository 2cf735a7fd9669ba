//! Sessions with a past: after a panic, in a successor, with new settings.

use super::*;

fn resume(last: &Snapshot, now: Moment) -> Machine {
    Machine::resume(Policy::default(), last, now, &Jitter::fixed(LATEST))
}

#[test]
fn a_session_without_a_past_tries_at_once() {
    let mut machine = resume(&Snapshot::first(NOON), NOON);

    assert!(wake(&mut machine, NOON).fetch);
}

#[test]
fn credentials_survive_and_are_renewed_as_planned() {
    let (machine, planned) = live(HOUR, LATEST);
    let now = at(Span::minutes(20));

    let mut machine = resume(&machine.snapshot(), now);
    let action = wake(&mut machine, now);

    assert_eq!(machine.snapshot().phase, Phase::Live);
    assert_eq!(action, planned);
}

#[test]
fn a_renewal_that_is_due_is_not_put_off_by_another_draw() {
    let (machine, planned) = live(HOUR, EARLIEST);

    let mut machine = resume(&machine.snapshot(), planned.wake_at);

    assert!(wake(&mut machine, planned.wake_at).fetch);
}

/// AWS grants less than before, so the next attempt comes when such a set would outlive what is held.
#[test]
fn a_wait_for_a_shorter_life_goes_on() {
    let (mut machine, action) = live(HOUR, LATEST);
    assert!(wake(&mut machine, action.wake_at).fetch);
    let shorter = credentials(action.wake_at, Span::minutes(15));
    let planned = tell(&mut machine, SessionEvent::Fetched(Ok(shorter)), action.wake_at);

    let now = action.wake_at + seconds(30);
    let mut machine = resume(&machine.snapshot(), now);

    assert_eq!(wake(&mut machine, now), planned);
}

#[test]
fn a_lost_attempt_counts_as_a_failure() {
    let (mut machine, action) = live(HOUR, LATEST);
    assert!(wake(&mut machine, action.wake_at).fetch);

    let mut machine = resume(&machine.snapshot(), action.wake_at);
    let again = wake(&mut machine, action.wake_at);

    let snapshot = machine.snapshot();
    assert!(!again.fetch && !snapshot.fetching);
    assert_eq!(again.wake_at, action.wake_at + Span::milliseconds(250));
    assert_eq!((snapshot.phase, snapshot.trouble.unwrap().class()), (Phase::Live, Class::Broken));
}

#[test]
fn a_lost_attempt_does_not_hide_why_the_one_before_it_failed() {
    let (mut machine, action) = failed(&failure(Class::Denied), 1, LATEST);
    assert!(wake(&mut machine, action.wake_at).fetch);

    let machine = resume(&machine.snapshot(), action.wake_at);

    assert_eq!(machine.snapshot().trouble, Some(failure(Class::Denied)));
    assert_eq!(machine.next_attempt_in(), Duration::from_secs(270));
}

#[test]
fn a_pause_goes_on() {
    let (machine, action) = failed(&failure(Class::Denied), 1, LATEST);

    let mut machine = resume(&machine.snapshot(), at(seconds(10)));

    assert_eq!(wake(&mut machine, at(seconds(10))), action);
    assert_eq!(machine.snapshot().nudge_from, at(seconds(30)));
    assert_eq!(machine.snapshot().trouble, Some(failure(Class::Denied)));
}

#[test]
fn a_new_certificate_ends_a_pause_that_goes_on_unless_aws_asked_for_it() {
    for (failure, wait) in [
        (failure(Class::Denied), seconds(2)),
        (failure(Class::Transient), seconds(2)),
        (failure(Class::Throttled), seconds(60)),
        (throttled_for(Duration::from_secs(600)), seconds(660)),
        (told_to_wait(Class::Denied, Duration::from_secs(600)), seconds(660)),
    ] {
        let (machine, _) = failed(&failure, 9, EARLIEST);

        let mut machine = resume(&machine.snapshot(), NOON);
        let action = machine.on(SessionEvent::IdentityChanged, NOON, &Jitter::fixed(EARLIEST));

        assert_eq!(action.wake_at - NOON, wait, "{failure}");
    }
}

/// Told to wait for ten minutes while what is held lasts for one: its end is no reason to ask.
#[test]
fn a_pause_outlasts_the_credentials_that_lapse_meanwhile() {
    let (mut machine, _) = live(Span::minutes(2), LATEST);
    let _ = tell(&mut machine, SessionEvent::IdentityChanged, NOON);
    let told = throttled_for(Duration::from_secs(600));
    let _ = tell(&mut machine, SessionEvent::Fetched(Err(told)), NOON);

    let mut machine = resume(&machine.snapshot(), NOON);

    assert!(!wake(&mut machine, at(Span::minutes(1))).fetch, "lapsed");
    assert!(!wake(&mut machine, at(seconds(599))).fetch);
    assert!(wake(&mut machine, at(seconds(600))).fetch);
}

#[test]
fn a_pause_goes_on_though_the_clock_was_set_back_meanwhile() {
    let (machine, action) = failed(&failure(Class::Denied), 1, LATEST);
    let yesterday = set(at(seconds(10)), -Span::DAY);

    let mut machine = resume(&machine.snapshot(), yesterday);
    machine.clock_step_counts_from = at(HOUR).up;

    assert_eq!(wake(&mut machine, yesterday).wake_at - NOON, action.wake_at - NOON);
}

#[test]
fn what_a_predecessor_left_is_handed_out_and_renewed_as_it_had_planned() {
    let (predecessor, planned) = live(HOUR, LATEST);
    let (held, now) = (predecessor.snapshot().credentials.unwrap(), at(Span::minutes(20)));

    let mut machine = resume(&Snapshot::kept(held, now), now);

    assert_eq!(wake(&mut machine, now), planned);
    assert_eq!(machine.snapshot().phase, Phase::Live);
}

#[test]
fn what_a_predecessor_left_too_long_ago_is_renewed_at_once() {
    let now = at(HOUR * 2);

    let mut machine = resume(&Snapshot::kept(credentials(NOON, HOUR), now), now);

    assert!(wake(&mut machine, now).fetch);
    assert_eq!(machine.snapshot().phase, Phase::Pending);
}

/// A session whose settings have changed while it held credentials for an hour, its own attempt under way.
fn inheriting() -> Machine {
    let mut machine = resume(&Snapshot::inherited(Some(credentials(NOON, HOUR)), NOON), NOON);
    assert!(wake(&mut machine, NOON).fetch, "its own credentials are asked for at once");
    assert_eq!((machine.snapshot().phase, machine.snapshot().inherited), (Phase::Live, true));
    machine
}

#[test]
fn the_first_credentials_of_its_own_replace_inherited_ones_that_would_live_longer() {
    let mut machine = inheriting();

    let own = credentials(NOON, Span::minutes(15));
    let action = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::clone(&own))), NOON);

    let snapshot = machine.snapshot();
    assert!(Arc::ptr_eq(&snapshot.credentials.unwrap(), &own));
    assert_eq!((snapshot.inherited, snapshot.trouble, action.fetch), (false, None, false));
}

#[test]
fn after_the_first_of_its_own_only_longer_lives_take_over_again() {
    let mut machine = inheriting();
    let own = credentials(NOON, Span::minutes(15));
    let action = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::clone(&own))), NOON);
    assert!(wake(&mut machine, action.wake_at).fetch);

    _ = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(NOON, Span::minutes(14)))), action.wake_at);

    assert!(Arc::ptr_eq(&machine.snapshot().credentials.unwrap(), &own));
}

#[test]
fn inherited_credentials_serve_while_the_new_settings_fail() {
    let mut machine = inheriting();

    _ = tell(&mut machine, SessionEvent::Fetched(Err(failure(Class::Denied))), NOON);
    assert_eq!((machine.snapshot().phase, machine.snapshot().inherited), (Phase::Live, true));
    _ = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(NOON, seconds(30)))), NOON);
    assert_eq!((machine.snapshot().phase, machine.snapshot().inherited), (Phase::Live, true));
    _ = wake(&mut machine, at(HOUR));

    assert_ne!(machine.snapshot().phase, Phase::Live, "the dead are nobody's");
}

#[test]
fn a_session_with_new_settings_and_nothing_to_inherit_tries_at_once() {
    let mut machine = resume(&Snapshot::inherited(None, NOON), NOON);

    assert!(wake(&mut machine, NOON).fetch);
    assert_eq!(machine.snapshot().phase, Phase::Pending);
}
