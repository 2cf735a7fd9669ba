//! Two Regions: the first refuses, goes away or never was there, and clients get credentials of the second.

use anchord_core::event;
use std::time::Duration;

use anchord_core::clock::Clock;
use anchord_core::clock::until;
use anchord_core::failure::Class;
use anchord_emulator::Emulator;
use anchord_emulator::Fault;
use anchord_emulator::Setup;
use anchord_session::Phase;
use anchord_session::Snapshot;

use crate::outage::Inside;
use crate::outage::StillTime;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

/// A stage in `us-east-1` whose session has a second endpoint, in `eu-west-1`.
async fn regions(clock: Option<&Clock>) -> (Stage, Emulator) {
    let clock = clock.cloned();
    let set = move |setup: &mut Setup| {
        if let Some(clock) = clock.clone() {
            setup.clock = anchord_emulator::Clock::new(move || clock.now());
        }
    };
    let stage = Stage::with(set.clone()).await;
    let mut setup = Setup::sample("eu-west-1", &stage.root);
    set(&mut setup);
    let (trust_anchor, profile) = (setup.trust_anchor_arn(), setup.profile_arn());
    let second = Emulator::start(setup).await.unwrap();
    stage.write("tls-ca.pem", &[stage.emulator.tls_ca_pem(), second.tls_ca_pem()].concat());
    stage.configure(&format!(
        "{}fallback_trust_anchor_arn = \"{trust_anchor}\"\nfallback_profile_arn = \"{profile}\"\n\
         fallback_endpoint = \"{}\"\n",
        stage.session("bedrock"),
        second.endpoint()
    ));
    (stage, second)
}

async fn inside() -> (Inside, Emulator) {
    let still = StillTime::hold();
    let clock = Clock::manual(Clock::system().now());
    let (stage, second) = regions(Some(&clock)).await;
    (Inside::on(stage, clock, still).await, second)
}

fn is_idle(snapshot: &Snapshot) -> bool {
    !snapshot.fetching
}

/// Lets the pause before the next attempt pass, and that attempt end.
async fn next_attempt(inside: &Inside) -> Snapshot {
    let before = inside.until(is_idle).await;
    let pause = until(inside.clock.now(), before.next_attempt_at.wall);
    tokio::time::advance(pause + Duration::from_millis(1)).await;
    inside.until(|snapshot| snapshot.fetching || snapshot.next_attempt_at != before.next_attempt_at).await;
    inside.until(is_idle).await
}

fn key_id(snapshot: &Snapshot) -> &str {
    snapshot.credentials.as_ref().unwrap().access_key_id()
}

#[tokio::test]
async fn a_first_region_that_is_down_at_boot_costs_clients_nothing() {
    let (mut stage, second) = regions(None).await;
    stage.emulator.stop().await;

    let daemon = stage.daemon().await;
    let document = client::imds(&daemon.http().await).await;
    let line = daemon.wait_for(event::UPSTREAM_FALLBACK).await;
    let (_, log) = daemon.stop().await;

    let issued = &second.issued()[0];
    assert_eq!(document.key_id(), issued.access_key_id);
    assert_eq!(issued.role_arn, stage.role);
    assert_eq!((&line["level"], &line["region"]), (&"WARN".into(), &"eu-west-1".into()), "{line}");
    assert!(line["error"].as_str().unwrap().starts_with("no answer from 127.0.0.1:"), "{line}");
    let secrets = [issued.secret_access_key.clone(), issued.session_token.clone()];
    stage.assert_no_secrets(&log, &secrets);
}

#[tokio::test]
async fn credential_process_without_a_daemon_takes_the_second_region_too() {
    let (mut stage, second) = regions(None).await;
    stage.emulator.stop().await;

    let ran = stage.run(&["credential-process", "--session", "bedrock"]).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains(&second.issued()[0].access_key_id), "not the second's");
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_not_taken_to_the_second_region() {
    let (stage, _second) = regions(None).await;
    fs_err::remove_file(stage.path("key.pem")).unwrap();

    let daemon = stage.daemon().await;
    let line = daemon.wait_for(event::CREDENTIALS_UNAVAILABLE).await;
    let (_, log) = daemon.stop().await;

    assert!(line["error"].as_str().unwrap().starts_with("cannot read"), "{line}");
    assert!(!log.contains("second endpoint"), "{log}");
}

/// It takes the connection and says nothing for ever.
#[tokio::test]
async fn a_first_region_that_is_silent_at_boot_costs_three_seconds() {
    let (inside, second) = {
        let still = StillTime::hold();
        let clock = Clock::manual(Clock::system().now());
        let (stage, second) = regions(Some(&clock)).await;
        stage.emulator.always(Some(Fault::Hold));
        (Inside::on(stage, clock, still).await, second)
    };
    inside.stage.emulator.wait_for_held(1).await;
    assert_eq!(second.requests().len(), 0);

    // Timers may be late by a millisecond.
    tokio::time::advance(Duration::from_millis(3001)).await;

    let live = inside.until(|snapshot| snapshot.phase == Phase::Live).await;
    assert_eq!(key_id(&live), second.issued()[0].access_key_id);
}

#[tokio::test]
async fn a_profile_that_is_disabled_sends_the_session_to_the_second_region_in_the_same_attempt() {
    let (inside, second) = inside().await;
    let first = inside.until(is_idle).await;
    inside.stage.emulator.change(|setup| setup.profiles[0].enabled = false);

    let renewed = next_attempt(&inside).await;

    let statuses: Vec<_> = inside.stage.emulator.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(201), Some(404)]);
    assert_ne!(key_id(&renewed), key_id(&first));
    assert_eq!(key_id(&renewed), second.issued()[0].access_key_id);
    assert_eq!(renewed.trouble, None);
    assert!(inside.key_ids().await.iter().all(|id| id == key_id(&renewed)));
}

/// Credentials are held, so nothing is urgent: the second Region is for when the first fails for good.
#[tokio::test]
async fn a_portals_403_does_not_send_the_session_to_the_second_region() {
    let (inside, second) = inside().await;
    let first = inside.until(is_idle).await;
    inside.stage.emulator.always(Some(Fault::Html(403)));

    let held = next_attempt(&inside).await;

    assert_eq!((second.requests().len(), key_id(&held)), (0, key_id(&first)));
    let trouble = held.trouble.unwrap();
    assert_eq!(trouble.class(), Class::Transient, "{trouble}");
    let told = "a proxy or another intermediary answered instead of AWS: 403 Forbidden (from the server `proxy`, as text/html)";
    assert_eq!(trouble.message(), told);
    inside.stage.emulator.always(None);
    assert_eq!(next_attempt(&inside).await.trouble, None, "tried again soon");
    let pause = until(inside.clock.now(), held.next_attempt_at.wall);
    assert!(pause <= Duration::from_secs(1), "{pause:?}");
}

#[tokio::test]
async fn a_first_region_that_goes_away_is_replaced_long_before_clients_notice_and_takes_over_again() {
    let (mut inside, second) = inside().await;
    let first = inside.until(is_idle).await;
    inside.stage.emulator.stop().await;

    for _ in 0..2 {
        let failed = next_attempt(&inside).await;
        assert_eq!(key_id(&failed), key_id(&first), "what lives is kept");
        assert_eq!(second.requests().len(), 0, "it may pass");
    }
    let renewed = next_attempt(&inside).await;
    assert_eq!(key_id(&renewed), second.issued()[0].access_key_id);
    let left = first.credentials.unwrap().remaining(inside.clock.moment());
    assert!(left > time::Duration::minutes(29), "the old ones had {left} left");

    let again = next_attempt(&inside).await;
    assert_eq!(key_id(&again), second.issued()[1].access_key_id, "still away");
    inside.stage.emulator.restart().await.unwrap();
    let back = next_attempt(&inside).await;
    assert_eq!(key_id(&back), inside.stage.emulator.issued()[1].access_key_id);
    assert_eq!(second.requests().len(), 2);
}

#[tokio::test]
async fn when_both_regions_are_down_clients_are_told_of_both_until_one_is_back() {
    let (mut inside, mut second) = {
        let still = StillTime::hold();
        let clock = Clock::manual(Clock::system().now());
        let (mut stage, mut second) = regions(Some(&clock)).await;
        stage.emulator.stop().await;
        second.stop().await;
        (Inside::on(stage, clock, still).await, second)
    };

    // Until the pause is so long that no client waits for its end.
    let mut lapsed = inside.until(is_idle).await;
    while lapsed.history.failures < 4 {
        lapsed = next_attempt(&inside).await;
    }
    let container = client::container(&inside.http, "bedrock", &inside.bearer).await;
    let told = lapsed.trouble.unwrap().to_string();
    assert_eq!((lapsed.phase, container.status), (Phase::Lapsed, 503));
    for part in
        [inside.stage.emulator.address().to_string(), second.address().to_string(), "(eu-west-1)".into()]
    {
        assert!(told.contains(&part), "{part} is missing in: {told}");
    }

    second.restart().await.unwrap();
    let live = next_attempt(&inside).await;
    assert_eq!(key_id(&live), second.issued()[0].access_key_id);
    second.stop().await;
    inside.stage.emulator.restart().await.unwrap();
    let renewed = next_attempt(&inside).await;
    assert_eq!(key_id(&renewed), inside.stage.emulator.issued()[0].access_key_id);
}
