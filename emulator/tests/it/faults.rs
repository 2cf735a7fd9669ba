//! Each fault does over the wire what its name says.

use std::io::ErrorKind;
use std::time::Duration;

use anchord_emulator::DateHeader;
use anchord_emulator::Fault;

use crate::support::Answer;
use crate::support::Client;
use crate::support::World;

async fn meet(fault: Fault) -> (World, Answer) {
    let world = World::new().await;
    world.emulator.script([fault]);
    let answer = world.send(&world.draft()).await;
    (world, answer)
}

#[tokio::test]
async fn throttle_answers_429_and_may_say_when_to_come_back() {
    let (world, answer) = meet(Fault::Throttle { retry_after: Some(7) }).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "7"));
    assert_eq!(answer.header("x-amzn-errortype"), "ThrottlingException");
    assert_eq!(world.emulator.requests()[0].fault, Some(Fault::Throttle { retry_after: Some(7) }));

    let (_, answer) = meet(Fault::Throttle { retry_after: None }).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, ""));
}

#[tokio::test]
async fn unavailable_says_when_to_come_back() {
    let (_, answer) = meet(Fault::Unavailable { retry_after: 1 }).await;

    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.header("x-amzn-errortype"), "InternalServerException");
}

#[tokio::test]
async fn status_has_a_json_body_and_html_has_not() {
    let (_, answer) = meet(Fault::Status(500)).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (500, "InternalServerException"));
    assert_eq!(answer.json()["message"], "Internal failure");

    let (_, answer) = meet(Fault::Html(503)).await;
    assert_eq!((answer.status, answer.header("content-type")), (503, "text/html"));
    assert_eq!((answer.header("x-amzn-errortype"), answer.header("x-amzn-requestid")), ("", ""));
    assert!(answer.body.starts_with(b"<html>"));
}

#[tokio::test]
async fn denied_says_what_it_is_told() {
    let (_, answer) = meet(Fault::Denied { message: "Because".to_owned() }).await;

    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, "AccessDeniedException"));
    assert_eq!(answer.json()["message"], "Because");
}

#[tokio::test]
async fn reset_resets_the_connection() {
    let world = World::new().await;
    world.emulator.script([Fault::Reset]);
    let mut client = Client::connect(&world.emulator).await.unwrap();

    let error = client.send(&world.draft().sign()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(world.emulator.requests()[0].status, None);
}

#[tokio::test]
async fn truncated_sends_less_than_it_announces_and_closes() {
    let world = World::new().await;
    world.emulator.script([Fault::Truncated]);
    let mut client = Client::connect(&world.emulator).await.unwrap();
    client.write(&world.draft().sign()).await.unwrap();

    let answer = client.read_to_end().await.unwrap();

    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("content-length"), (answer.body.len() + 100).to_string());
    assert!(answer.json()["credentialSet"].is_array());
}

#[tokio::test]
async fn bad_answers_are_bad_in_their_own_ways() {
    let (_, answer) = meet(Fault::Malformed).await;
    assert_eq!(answer.status, 201);
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());

    let (_, answer) = meet(Fault::EmptyCredentialSet).await;
    assert_eq!((answer.status, answer.json()["credentialSet"].as_array().unwrap().len()), (201, 0));

    let (_, answer) = meet(Fault::PartialCredentials).await;
    let credentials = answer.json()["credentialSet"][0]["credentials"].clone();
    assert!(credentials.get("sessionToken").is_none() && credentials["accessKeyId"].is_string());

    let (_, answer) = meet(Fault::Expired).await;
    assert!(answer.json()["credentialSet"][0]["credentials"]["sessionToken"].is_string());

    let other = "arn:aws:iam::210987654321:role/path/Other";
    let (world, answer) = meet(Fault::AnotherRole(other.to_owned())).await;
    let set = answer.json()["credentialSet"][0].clone();
    assert_eq!(set["roleArn"], other);
    let session = set["assumedRoleUser"]["arn"].as_str().unwrap();
    assert!(session.starts_with("arn:aws:sts::210987654321:assumed-role/Other/"), "{session}");
    assert_eq!(world.emulator.sessions_created(), 1, "the credentials are good");

    let (world, answer) = meet(Fault::Oversized).await;
    assert!(answer.status == 201 && answer.body.len() > 4 << 20);
    assert_eq!(world.emulator.sessions_created(), 0);
}

#[tokio::test]
async fn hold_keeps_the_answer_until_it_is_released() {
    let world = World::new().await;
    world.emulator.script([Fault::Hold, Fault::Hold]);
    let request = world.draft().sign();

    let (one, other, ()) = tokio::join!(world.deliver(&request), world.deliver(&request), async {
        world.emulator.wait_for_held(2).await;
        world.emulator.release();
    });

    assert_eq!((one.status, other.status), (201, 201));
    assert_eq!(world.emulator.sessions_created(), 2);
}

#[tokio::test(start_paused = true)]
async fn slow_answers_after_its_pause() {
    let world = World::new().await;
    world.emulator.script([Fault::Slow(Duration::from_secs(3600))]);
    let started = tokio::time::Instant::now();

    let answer = world.send(&world.draft()).await;

    assert_eq!(answer.status, 201);
    assert!(started.elapsed() >= Duration::from_secs(3600));
}

#[tokio::test]
async fn close_answers_and_closes() {
    let world = World::new().await;
    world.emulator.script([Fault::Close]);
    let mut client = Client::connect(&world.emulator).await.unwrap();

    let answer = client.send(&world.draft().sign()).await.unwrap();

    assert_eq!((answer.status, answer.header("connection")), (201, "close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn the_script_comes_before_always_and_each_fault_once() {
    let world = World::new().await;
    world.emulator.script([Fault::Status(500), Fault::Status(502)]);
    world.emulator.always(Some(Fault::Status(503)));

    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.send(&world.draft()).await.status);
    }
    world.emulator.always(None);
    statuses.push(world.send(&world.draft()).await.status);

    assert_eq!(statuses, [500, 502, 503, 503, 201]);
}

#[tokio::test]
async fn a_refusal_may_have_another_date_or_none_while_successes_have_theirs() {
    let world = World::new().await;
    let refused = Fault::Denied { message: "Because".to_owned() };
    let dates = async |date| {
        world.emulator.set_date_header(date);
        world.emulator.script([refused.clone()]);
        let refusal = world.send(&world.draft()).await;
        let success = world.send(&world.draft()).await;
        assert_eq!((refusal.status, success.status), (403, 201));
        (refusal.header("date").to_owned(), success.header("date").to_owned())
    };

    let (refusal, success) = dates(DateHeader::Always).await;
    assert!(refusal.ends_with(" GMT") && success.ends_with(" GMT"));
    let (refusal, success) = dates(DateHeader::NotOnRefusals).await;
    assert_eq!((refusal.as_str(), success.is_empty()), ("", false));
    let (refusal, success) = dates(DateHeader::OffOnRefusals(time::Duration::days(366))).await;
    assert_ne!(refusal[..16], success[..16], "another day");
    assert_eq!(dates(DateHeader::Never).await, (String::new(), String::new()));
}
