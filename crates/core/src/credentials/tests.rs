//! When credentials end, which end clients see, and what is stored.

use time::macros::datetime;

use super::*;

const NOON: Moment = Moment { wall: datetime!(2026-03-11 12:00:00.75 UTC), up: Duration::HOUR };

fn keys() -> Keys {
    Keys {
        access_key_id: "ASIA".into(),
        secret_access_key: Secret::new("canary-secret".into()),
        session_token: Some(Secret::new("canary-token".into())),
    }
}

/// Obtained at noon, for an hour.
fn made() -> Credentials {
    Credentials::new(keys(), NOON, NOON.wall + Duration::HOUR, Some("123456789012".into())).unwrap()
}

/// The wall clock was set.
fn set(moment: Moment, by: Duration) -> Moment {
    Moment { wall: moment.wall + by, ..moment }
}

#[test]
fn credentials_with_an_empty_part_cannot_exist() {
    let with = |id: &str, secret: &str, token: &str| {
        let keys = Keys {
            access_key_id: id.into(),
            secret_access_key: Secret::new(secret.into()),
            session_token: Some(Secret::new(token.into())),
        };
        Credentials::new(keys, NOON, NOON.wall + Duration::HOUR, None).map(|complete| complete.life())
    };

    assert_eq!(with("ASIA", "secret", "token"), Ok(Duration::HOUR));
    assert_eq!(with("", "secret", "token"), Err(Incomplete("accessKeyId")));
    assert_eq!(with("ASIA", " ", "token"), Err(Incomplete("secretAccessKey")));
    assert_eq!(with("ASIA", "secret", ""), Err(Incomplete("sessionToken")));
}

#[test]
fn a_life_ends_by_the_clock_that_ends_it_earlier() {
    let later = NOON + Duration::minutes(50);

    assert_eq!(made().remaining(later), Duration::minutes(10));
    assert_eq!(made().remaining(set(later, -Duration::hours(2))), Duration::minutes(10), "set back");
    assert_eq!(made().remaining(set(later, Duration::minutes(9))), Duration::MINUTE, "set forward");
}

#[test]
fn a_client_is_shown_an_end_that_its_wall_clock_reaches_in_time() {
    let later = NOON + Duration::minutes(50);
    let back = set(later, -Duration::hours(2));

    assert_eq!(made().as_of(later).expires_at(), NOON.wall + Duration::HOUR);
    assert_eq!(made().as_of(back).expires_at(), back.wall + Duration::minutes(10));
    assert_eq!(made().as_of(back).obtained_at(), back.wall - Duration::minutes(50));
    assert_eq!(made().as_of(back).life(), Duration::HOUR);
}

#[test]
fn clocks_that_are_not_read_at_the_very_same_time_show_the_same_end() {
    let shown = |by: Duration| made().as_of(set(NOON, by)).expires_at() - made().expires_at();
    let is_wrong = |by: Duration| made().are_shown_wrong(set(NOON, by));

    assert_eq!(shown(-Duration::milliseconds(999)), Duration::ZERO);
    assert_eq!(shown(-Duration::SECOND), -Duration::SECOND);
    assert!(!is_wrong(-Duration::SECOND) && is_wrong(-Duration::milliseconds(1001)));
}

#[test]
fn ends_up_to_a_second_apart_are_one_and_the_same() {
    let end = made().end();
    for (apart, differs) in [(0, false), (1000, false), (1001, true)] {
        let apart = Duration::milliseconds(apart);
        assert_eq!(end.differs(End { wall: end.wall + apart, ..end }), differs, "{apart}");
        assert_eq!(end.differs(End { up: end.up - apart, ..end }), differs, "{apart}");
    }
}

#[test]
fn credentials_from_the_future_are_known_by_the_wall_clock() {
    assert!(made().are_obtained_after(set(NOON, -Duration::MILLISECOND)));
    assert!(!made().are_obtained_after(NOON));
    assert!(!made().are_obtained_after(set(NOON, Duration::MILLISECOND)));
}

#[test]
fn what_took_the_place_of_others_outlives_them() {
    let others = made().ending_at_aws(NOON.wall + Duration::hours(2));
    let later = made().ending_at_aws(NOON.wall + Duration::hours(3));

    assert!(!made().outlive(&others));
    assert!(made().known_to_outlive(&others).outlive(&others));
    assert_eq!(later.clone().known_to_outlive(&others).ends_at_aws, later.ends_at_aws);
}

#[test]
fn debugging_shows_the_public_part_and_no_other() {
    assert_eq!(format!("{:?}", keys()), "Keys { access_key_id: \"ASIA\", .. }");
    assert!(format!("{:?}", made()).starts_with("Credentials { access_key_id: \"ASIA\", expires_at: "));
    assert!(!format!("{:?}", made()).contains("canary"));
}

#[test]
fn a_wall_clock_that_is_ahead_of_awss_ends_credentials_early_for_as_long_as_it_is_ahead() {
    let ahead = Duration::minutes(30);
    let made = Credentials::new(keys(), NOON, NOON.wall + Duration::HOUR - ahead, None).unwrap();
    let made = made.ending_at_aws(NOON.wall + Duration::HOUR - ahead).living_for(Duration::HOUR);

    assert_eq!(made.remaining(NOON), Duration::HOUR - ahead);
    assert_eq!(made.end().up, NOON.up + Duration::HOUR);
    let set_right = set(NOON, -ahead);
    assert_eq!(made.redated(Duration::ZERO, set_right).end().up, NOON.up + Duration::HOUR);
}

#[test]
fn a_date_of_aws_moves_the_end_by_the_wall_clock_and_lengthens_no_life() {
    let later = NOON + Duration::minutes(30);
    let back = set(later, -Duration::hours(2));

    let behind = made().redated(Duration::hours(2), back);
    assert_eq!(behind.expires_at(), NOON.wall - Duration::hours(1) - Duration::SECOND);
    assert_eq!(behind.remaining(back), Duration::minutes(30) - Duration::SECOND);
    assert_eq!(behind.life(), Duration::HOUR);
    assert_eq!(behind.redated(Duration::ZERO, later).remaining(later), Duration::minutes(30), "set right");
    assert_eq!(made().redated(-Duration::hours(2), later).remaining(later), Duration::minutes(30));
}

#[test]
fn a_date_that_was_wrong_holds_until_the_next_one() {
    let later = NOON + Duration::minutes(30);

    let lied_to = made().redated(Duration::hours(6), later);
    assert!(lied_to.remaining(later).is_negative());

    assert_eq!(lied_to.redated(Duration::ZERO, later).remaining(later), Duration::minutes(30));
}

/// The time since boot stood still with the machine, and NTP has set the wall clock right meanwhile.
#[test]
fn a_date_of_aws_ends_in_time_what_a_paused_machine_takes_to_live() {
    let resumed = set(NOON + Duration::MINUTE, Duration::minutes(50));

    let dated = made().redated(Duration::ZERO, resumed);

    let back = set(resumed, -Duration::hours(1));
    assert_eq!(dated.remaining(back), Duration::minutes(9), "though the wall clock is set back after that");
    // Its wall clock is two hours slow.
    let dated = made().redated(Duration::hours(2), set(resumed, -Duration::hours(2)));
    assert_eq!(dated.end().up - resumed.up, Duration::minutes(9));
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_read_back_and_ends_no_later() {
    let clock = Clock::manual(NOON.wall);
    let signer = SignerId::of(b"leaf").standing_in();
    let made =
        Credentials::new(keys(), clock.moment(), NOON.wall + Duration::HOUR, Some("123456789012".into()));
    let made = made.unwrap().ending_at_aws(NOON.wall + Duration::hours(3)).obtained_with(Some(signer));

    let json = serde_json::to_string(&Stored::of(&made, &clock)).unwrap();
    let stored: Stored = serde_json::from_str(&json).unwrap();
    let read = stored.credentials(&clock).unwrap();

    assert_eq!(read.access_key_id(), "ASIA");
    assert_eq!(read.secret_access_key().expose(), "canary-secret");
    assert_eq!(read.session_token().map(|token| token.expose().as_str()), Some("canary-token"));
    assert_eq!(read.account_id(), Some("123456789012"));
    assert_eq!(read.signer(), Some(SignerId { stood_in: true, ..SignerId::of(b"leaf") }));
    assert_eq!((read.life(), read.expires_at()), (Duration::HOUR, datetime!(2026-03-11 13:00:00 UTC)));
    assert_eq!(read.ends_at_aws, datetime!(2026-03-11 15:00:00 UTC));
    assert_eq!(format!("{stored:?}"), "Stored { access_key_id: \"ASIA\", .. }");
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_ends_in_time_though_the_clock_was_set_back_before_it_is_read() {
    let clock = Clock::manual(NOON.wall);
    let made = Credentials::new(keys(), clock.moment(), NOON.wall + Duration::HOUR, None).unwrap();
    let stored = Stored::of(&made, &clock);

    clock.suspend(std::time::Duration::from_secs(3000));
    clock.jump(-Duration::hours(2));

    let (read, now) = (stored.credentials(&clock).unwrap(), clock.moment());
    for (read, told) in [(read.clone(), "nothing"), (read.redated(Duration::ZERO, now), "a wrong Date")] {
        let left = read.remaining(now);
        assert!((Duration::seconds(598)..=Duration::seconds(600)).contains(&left), "{left} after {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_wall_time_alone_dates_what_was_stored() {
    let clock = Clock::manual(NOON.wall);
    let made = Credentials::new(keys(), clock.moment(), NOON.wall + Duration::HOUR, None).unwrap();
    let stored = Stored::of(&made, &clock);
    let left = || stored.credentials(&clock).map(|read| read.remaining(clock.moment()).whole_minutes());
    clock.reboot();

    clock.jump(Duration::minutes(10));
    assert_eq!(left(), Some(49));
    clock.jump(-Duration::minutes(14));
    assert_eq!(left(), Some(60), "no longer than it was granted for");
    // What is stored has no fraction of a second.
    clock.jump(-Duration::MINUTE - Duration::milliseconds(750));
    assert_eq!(left(), Some(60), "five minutes in the future");
    clock.jump(-Duration::MILLISECOND);
    assert_eq!(left(), None, "from the future: nothing tells when it ends");
}
