//! What becomes of new credentials: held, to spare, or of no use.

use super::*;
use anchord_core::credentials::SignerId;

#[test]
fn credentials_that_end_no_later_are_a_success_and_do_not_replace_those_held() {
    for earlier in [Span::ZERO, seconds(1), Span::minutes(50)] {
        let (mut machine, _) = live(HOUR, LATEST);
        machine.trouble = Some(failure(Class::Transient));
        let _ = tell(&mut machine, SessionEvent::IdentityChanged, at(seconds(5)));
        let worse = credentials(at(seconds(1)), HOUR - seconds(1) - earlier);

        let action = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::clone(&worse))), at(seconds(6)));

        let snapshot = machine.snapshot();
        assert_eq!(snapshot.credentials.unwrap().obtained_at(), NOON.wall);
        assert_eq!((snapshot.phase, snapshot.trouble), (Phase::Live, None));
        assert_eq!(machine.spare(), Some(worse.expires_at()));
        assert!(action.wake_at - NOON >= Span::minutes(30), "not before what is held is due");
    }
}

/// A session of twelve hours is due for renewal when its profile has been shortened to one hour.
#[test]
fn a_shortened_profile_costs_one_call_more_and_is_used_when_it_outlives_what_is_held() {
    for drawn in [LATEST, 0.5, EARLIEST] {
        let jitter = Jitter::fixed(drawn);
        let (mut machine, mut action) = live(Span::hours(12), drawn);
        let mut calls = 0;
        loop {
            assert!(machine.on(SessionEvent::Wake, action.wake_at, &jitter).fetch);
            calls += 1;
            action = machine.on(
                SessionEvent::Fetched(Ok(credentials(action.wake_at, HOUR))),
                action.wake_at,
                &jitter,
            );
            assert_eq!((machine.snapshot().phase, machine.snapshot().trouble), (Phase::Live, None));
            if machine.spare().is_none() {
                break;
            }
        }

        let left_before = at(Span::hours(12)) - machine.seen;
        assert_eq!(calls, 2, "{drawn}");
        assert!(left_before < HOUR && left_before > Span::minutes(50), "{left_before}");
    }
}

/// A proxy gives the same answer again and again.
#[test]
fn credentials_that_come_again_are_not_asked_for_each_second() {
    let (mut machine, mut action) = live(HOUR, LATEST);
    let same = machine.snapshot().credentials.unwrap();
    let mut calls = 0;

    while machine.snapshot().phase == Phase::Live {
        action = wake(&mut machine, action.wake_at);
        if action.fetch {
            calls += 1;
            let again = SessionEvent::Fetched(Ok(Arc::new(Credentials::clone(&same))));
            let now = machine.seen;
            action = tell(&mut machine, again, now);
        }
    }

    assert!(calls < 45, "{calls}");
}

/// What `credentials` makes, obtained with `leaf`.
fn with(leaf: &[u8], now: Moment, life: Span, stood_in: bool) -> Arc<Credentials> {
    let signer = SignerId { stood_in, ..SignerId::of(leaf) };
    Arc::new(Credentials::clone(&credentials(now, life)).obtained_with(Some(signer)))
}

#[test]
fn the_first_credentials_of_a_new_certificate_take_over_though_they_end_earlier() {
    for (stood_in, takes_over) in [(false, true), (true, false)] {
        let mut machine = fetching(Policy::default());
        let _ =
            tell(&mut machine, SessionEvent::Fetched(Ok(with(b"old", NOON, Span::hours(12), false))), NOON);
        assert!(tell(&mut machine, SessionEvent::IdentityChanged, at(seconds(5))).fetch);

        let new = with(b"new", at(seconds(6)), HOUR, stood_in);
        let _ = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::clone(&new))), at(seconds(6)));

        let held = machine.snapshot().credentials.unwrap();
        assert_eq!(Arc::ptr_eq(&held, &new), takes_over, "an earlier certificate that stands in is not new");
        assert_eq!(machine.snapshot().trouble, None);
    }
}

#[test]
fn the_second_credentials_of_a_certificate_replace_only_what_ends_earlier() {
    let mut machine = fetching(Policy::default());
    let first = with(b"leaf", NOON, HOUR, false);
    let action = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::clone(&first))), NOON);
    assert!(wake(&mut machine, action.wake_at).fetch);

    let shorter = with(b"leaf", action.wake_at, Span::minutes(20), false);
    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(shorter)), action.wake_at);

    assert!(Arc::ptr_eq(&machine.snapshot().credentials.unwrap(), &first));
}

/// The clock was set back by three hours: by it, what is held ends three hours later than AWS meant, and what comes
/// ends in time.
#[test]
fn credentials_that_aws_takes_longer_replace_those_that_look_longer_by_a_clock_since_set_back() {
    let (mut machine, _) = live(HOUR, LATEST);
    let now = at(Span::minutes(30) - Span::hours(3));
    let _ = tell(&mut machine, SessionEvent::IdentityChanged, now);
    let fresh = Credentials::clone(&credentials(now, HOUR)).ending_at_aws(at(Span::minutes(90)).wall);

    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::new(fresh))), now);

    let snapshot = machine.snapshot();
    assert_eq!(snapshot.credentials.unwrap().expires_at(), (now + HOUR).wall);
    assert_eq!((snapshot.phase, snapshot.trouble), (Phase::Live, None));
}

/// By a `Date` that was wrong, or a clock set forward, what comes is as good as dead: what is held serves on.
#[test]
fn credentials_that_are_of_no_use_here_do_not_replace_the_living_though_aws_takes_them_longer() {
    let (mut machine, _) = live(HOUR, LATEST);
    let now = at(Span::minutes(30));
    let _ = tell(&mut machine, SessionEvent::IdentityChanged, now);
    let dead = Credentials::clone(&credentials(now, seconds(60))).ending_at_aws(at(Span::minutes(90)).wall);

    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::new(dead))), now);

    assert_eq!(machine.snapshot().credentials.unwrap().expires_at(), at(HOUR).wall);
    assert_eq!(machine.snapshot().phase, Phase::Live);
}

#[test]
fn credentials_that_are_expired_on_arrival_are_a_failure() {
    let mut machine = fetching(Policy::default());

    let action = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(NOON, Span::MINUTE))), NOON);

    let snapshot = machine.snapshot();
    assert_eq!(snapshot.phase, Phase::Lapsed);
    let trouble = snapshot.trouble.unwrap();
    assert_eq!(trouble.class(), Class::Misconfigured);
    assert_eq!(
        trouble.to_string(),
        "the new credentials expire at 2026-03-11T12:01:00Z, less than 60 s from now by this host's clock; \
         hint: check this host's clock, and the session duration of the profile"
    );
    assert_eq!(
        snapshot.credentials.unwrap().expires_at(),
        at(Span::MINUTE).wall,
        "good for promised callers"
    );
    assert!(!action.fetch && action.wake_at - NOON > Span::ZERO);
}

#[test]
fn credentials_that_are_expired_on_arrival_do_not_replace_those_held() {
    let (mut machine, _) = live(HOUR, LATEST);
    let _ = tell(&mut machine, SessionEvent::IdentityChanged, NOON);

    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(NOON, seconds(30)))), NOON);

    assert_eq!(machine.snapshot().credentials.unwrap().expires_at(), at(HOUR).wall);
    assert_eq!(machine.snapshot().phase, Phase::Live);
}

/// A client that was just told of credentials takes those with little life left.
#[test]
fn credentials_that_are_of_little_use_replace_those_of_less() {
    let (mut machine, _) = live(Span::minutes(2), LATEST);
    let now = at(seconds(115));
    assert!(wake(&mut machine, now).fetch);

    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(credentials(now, seconds(45)))), now);

    let snapshot = machine.snapshot();
    assert_eq!(snapshot.credentials.unwrap().remaining(now), seconds(45));
    assert_eq!(snapshot.trouble.unwrap().class(), Class::Misconfigured);
}

#[test]
fn what_has_ended_by_the_local_clock_makes_way_for_what_lives_though_aws_ends_that_earlier() {
    let (mut machine, _) = live(HOUR, LATEST);
    let forward = set(at(seconds(10)), HOUR);
    assert!(wake(&mut machine, forward).fetch);
    let lives = Credentials::clone(&credentials(forward, Span::minutes(30)))
        .ending_at_aws(at(Span::minutes(30)).wall);

    let _ = tell(&mut machine, SessionEvent::Fetched(Ok(Arc::new(lives))), forward);

    assert_eq!((machine.snapshot().phase, machine.spare()), (Phase::Live, None));
}
