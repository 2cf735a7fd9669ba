//! Clients that ask while the daemon has no credentials: what they wait for, and what they do not. The clock is ours,
//! and stands still unless a test moves it.

use std::time::Duration;

use anchord_core::clock::Clock;
use anchord_emulator::Fault;
use tokio::task::JoinHandle;

use crate::outage::Inside;
use crate::outage::StillTime;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::client::Reply;

/// A daemon in this process whose first requests to AWS meet `faults`.
async fn started_with(faults: impl IntoIterator<Item = Fault>) -> Inside {
    let still = StillTime::hold();
    let clock = Clock::manual(Clock::system().now());
    let emulators = clock.clone();
    let stage =
        Stage::with(move |setup| setup.clock = anchord_emulator::Clock::new(move || emulators.now())).await;
    stage.emulator.script(faults);
    Inside::on(stage, clock, still).await
}

/// A client of IMDS and one of the container endpoint, each with its list or document.
async fn two_clients(inside: &Inside) -> [JoinHandle<Reply>; 2] {
    let token = client::imds_token(&inside.http).await;
    let (http, bearer) = (inside.http.clone(), inside.bearer.clone());
    let imds = tokio::spawn(async move { client::imds_list(&http, &token).await });
    let http = inside.http.clone();
    let container = tokio::spawn(async move { client::container(&http, "bedrock", &bearer).await });
    has_decided(inside).await;
    [imds, container]
}

/// The daemon has met all requests that were sent before: it has answered many that were sent after them.
async fn has_decided(inside: &Inside) {
    for _ in 0..20 {
        client::imds_token(&inside.http).await;
    }
}

#[tokio::test]
async fn a_client_waits_800_ms_for_the_first_credentials_on_both_front_ends() {
    let inside = started_with([Fault::Hold]).await;
    inside.stage.emulator.wait_for_held(1).await;
    let clients = two_clients(&inside).await;

    tokio::time::advance(Duration::from_millis(800)).await;
    has_decided(&inside).await;
    assert!(clients.iter().all(|client| !client.is_finished()), "none was refused");
    inside.stage.emulator.release();

    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_client_that_comes_between_two_attempts_gets_what_the_second_brings() {
    let inside = started_with([Fault::Status(503)]).await;
    let failed = inside.until(|snapshot| snapshot.trouble.is_some()).await;
    let pause = failed.next_attempt_at.up - inside.clock.moment().up;
    let clients = two_clients(&inside).await;

    assert!(clients.iter().all(|client| !client.is_finished()), "none was refused");
    // Timers end with a millisecond.
    tokio::time::advance(pause.unsigned_abs() + Duration::from_millis(1)).await;

    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
    assert_eq!(inside.stage.emulator.requests().len(), 2);
}

#[tokio::test]
async fn a_client_waits_for_nothing_when_aws_has_denied_the_session() {
    let inside = started_with([Fault::Denied { message: "no".into() }]).await;
    inside.until(|snapshot| snapshot.trouble.is_some()).await;

    let clients = two_clients(&inside).await;

    assert!(clients.iter().all(JoinHandle::is_finished), "they wait");
    for client in clients {
        assert_eq!(client.await.unwrap().status, 503);
    }
}
