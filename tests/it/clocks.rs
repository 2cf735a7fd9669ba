//! Laptops that sleep, and clocks that are wrong or set while the daemon runs. The clock is ours, AWS's is right.

use std::time::Duration;

use anchord_core::clock::Clock;
use anchord_core::clock::until;
use anchord_core::failure::Class;
use anchord_emulator::Fault;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_session::Phase;
use anchord_session::Snapshot;

use crate::outage::Inside;
use crate::outage::StillTime;
use crate::outage::in_order;
use crate::outage::what_blocks_ends;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

const HOUR: time::Duration = time::Duration::HOUR;

#[tokio::test]
async fn a_clock_set_forwards_by_ten_hours_leaves_clients_the_imds_tokens_they_hold() {
    let inside = Inside::start().await;
    let token = client::imds_token(&inside.http).await;

    inside.clock.jump(time::Duration::hours(10));
    // A client may wake the keeper a second after a success.
    tokio::time::advance(Duration::from_secs(1)).await;

    assert_eq!(client::imds_list(&inside.http, &token).await.status, 200);
}

/// A daemon whose clock is off by `off_by`, with a leaf that begins and ends so long from AWS's now.
async fn with_clock_off(
    off_by: time::Duration,
    life: (time::Duration, time::Duration),
    fault: Option<Fault>,
) -> Inside {
    let still = StillTime::hold();
    let now = Clock::system().now();
    let clock = Clock::manual(now + off_by);
    let emulators = clock.clone();
    let stage =
        Stage::with(move |setup| setup.clock = anchord_emulator::Clock::new(move || emulators.now())).await;
    stage.emulator.set_clock_offset(-off_by);
    stage.emulator.always(fault);
    install(&stage, life);
    Inside::on(stage, clock, still).await
}

/// Puts a leaf in place that begins and ends so long from now.
fn install(stage: &Stage, (begins, ends): (time::Duration, time::Duration)) {
    let now = Clock::system().now();
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    (request.not_before, request.not_after) = (now + begins, now + ends);
    stage.install(&stage.root.leaf(&request).unwrap());
}

fn statuses(inside: &Inside) -> Vec<Option<u16>> {
    inside.stage.emulator.requests().iter().map(|request| request.status).collect()
}

/// Lets pauses pass, one after another, for this long; on a runtime of [`in_order`].
pub(crate) async fn attempts_for(inside: &Inside, duration: time::Duration) -> Snapshot {
    let end = inside.clock.now() + duration;
    loop {
        let idle = inside.until(|snapshot| !snapshot.fetching).await;
        if inside.clock.now() >= end {
            return idle;
        }
        // In small steps, each of which lets a look at the files end: one that takes 5 s counts as hanging.
        let pause = until(inside.clock.now(), idle.next_attempt_at.wall).min(Duration::from_secs(4));
        // Timers may be late by a millisecond.
        tokio::time::advance(pause + Duration::from_millis(2)).await;
        what_blocks_ends().await;
        if inside.clock.now() > idle.next_attempt_at.wall + time::Duration::MILLISECOND {
            inside.until(|now| now.fetching || now.next_attempt_at != idle.next_attempt_at).await;
        }
    }
}

#[tokio::test]
async fn a_clock_two_hours_slow_does_not_keep_a_fresh_certificate_from_aws() {
    let inside = with_clock_off(-2 * HOUR, (-HOUR, 30 * 24 * HOUR), None).await;

    let live = inside.until(|now| now.phase == Phase::Live || now.trouble.is_some()).await;

    assert_eq!(statuses(&inside), [Some(403), Some(201)]);
    assert_eq!(live.trouble, None);
    assert!(inside.key_ids().await.iter().all(|id| *id == inside.stage.emulator.issued()[0].access_key_id));
}

#[tokio::test]
async fn a_clock_two_days_fast_does_not_end_a_certificate_before_its_time() {
    let inside = with_clock_off(48 * HOUR, (-HOUR, 24 * HOUR), None).await;

    // What AWS grants has ended by this host's clock; what matters is that it is asked.
    inside.until(|snapshot| !snapshot.fetching && snapshot.trouble.is_some()).await;

    assert_eq!(statuses(&inside)[..2], [Some(403), Some(201)]);
}

/// Once AWS has said what time it is, there is nothing to ask it.
async fn costs_one_call(life: (time::Duration, time::Duration), told: &str) {
    let inside = with_clock_off(time::Duration::ZERO, life, None).await;

    let idle = attempts_for(&inside, time::Duration::minutes(20)).await;

    let trouble = idle.trouble.unwrap();
    assert_eq!(statuses(&inside), [Some(403)], "{trouble}");
    assert_eq!(trouble.class(), Class::Misconfigured, "{trouble}");
    assert!(trouble.message().starts_with("the leaf in `"), "{trouble}");
    assert!(trouble.message().contains(told), "{trouble}");

    install(&inside.stage, (-HOUR, 24 * HOUR));
    let live = attempts_for(&inside, time::Duration::minutes(2)).await;
    assert_eq!(live.phase, Phase::Live);
    assert_eq!(statuses(&inside), [Some(403), Some(201)]);
}

#[test]
fn a_certificate_that_has_not_begun_by_awss_clock_either_costs_one_call() {
    in_order(costs_one_call((HOUR, 24 * HOUR), "is not valid before"));
}

#[test]
fn a_certificate_that_has_ended_by_awss_clock_too_costs_one_call() {
    in_order(costs_one_call((-2 * HOUR, -HOUR), "expired at"));
}

/// The leaf begins in 20 minutes by AWS's clock; this host's clock is right when AWS tells it so, and is set later on.
#[test]
fn a_clock_that_is_set_after_aws_has_told_the_time_is_asked_about_again() {
    in_order(async {
        let inside =
            with_clock_off(time::Duration::ZERO, (20 * time::Duration::MINUTE, 24 * HOUR), None).await;
        attempts_for(&inside, time::Duration::minutes(10)).await;
        assert_eq!(statuses(&inside), [Some(403)]);

        inside.clock.jump(-2 * HOUR);
        inside.stage.emulator.set_clock_offset(2 * HOUR);
        let idle = attempts_for(&inside, time::Duration::minutes(11)).await;

        assert_eq!(idle.phase, Phase::Live, "{:?}", idle.trouble);
        assert!(statuses(&inside).len() <= 5, "{:?}", statuses(&inside));
    });
}

#[tokio::test]
async fn while_aws_does_not_answer_both_are_told() {
    let inside = with_clock_off(-2 * HOUR, (-HOUR, 24 * HOUR), Some(Fault::Status(503))).await;

    let idle = inside.until(|snapshot| !snapshot.fetching && snapshot.trouble.is_some()).await;

    let trouble = idle.trouble.unwrap();
    assert_eq!(trouble.class(), Class::Transient, "{trouble}");
    assert!(trouble.message().contains("is not valid before"), "{trouble}");
    assert!(trouble.message().contains("by this host's clock; AWS, which uses its own clock"), "{trouble}");
    assert!(trouble.message().contains("503"), "{trouble}");
}
