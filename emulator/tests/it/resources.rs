//! What is refused to those who can sign: resources, roles and members, one test a check.

use anchord_emulator::Clock;
use serde_json::Value;
use serde_json::json;
use time::Duration;

use crate::support::Signed;
use crate::support::World;

const DENIED: &str = "AccessDeniedException";
const INVALID: &str = "ValidationException";
const NOT_FOUND: &str = "ResourceNotFoundException";

async fn invalid_member(name: &str, value: Value, message: &str) {
    let world = World::new().await;
    let request = world.draft().member(name, value).sign();

    world.refused(&request, (400, INVALID, message), message).await;
}

#[tokio::test]
async fn a_disabled_or_unknown_trust_anchor() {
    let world = World::new().await;
    let unknown = "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/none";
    let expected = (404, NOT_FOUND, "Trust anchor not found");
    let request = world.draft().member("trustAnchorArn", json!(unknown)).sign();
    world.refused(&request, expected, "does not exist").await;

    world.emulator.change(|setup| setup.trust_anchors[0].enabled = false);
    world.refused(&world.draft().sign(), expected, "is disabled").await;
}

#[tokio::test]
async fn a_disabled_or_unknown_profile() {
    let world = World::new().await;
    let unknown = "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/none";
    let expected = (404, NOT_FOUND, "Profile not found");
    let request = world.draft().member("profileArn", json!(unknown)).sign();
    world.refused(&request, expected, "does not exist").await;

    world.emulator.change(|setup| setup.profiles[0].enabled = false);
    world.refused(&world.draft().sign(), expected, "is disabled").await;
}

#[tokio::test]
async fn resources_of_another_region_or_account() {
    let world = World::new().await;
    for home in ["eu-west-1:123456789012", "eu-central-1:210987654321"] {
        let anchor =
            format!("arn:aws:rolesanywhere:{home}:trust-anchor/a1b2c3d4-5678-90ab-cdef-EXAMPLE11111");
        let profile = format!("arn:aws:rolesanywhere:{home}:profile/a1b2c3d4-5678-90ab-cdef-EXAMPLE22222");
        world.emulator.change(|setup| {
            let mut other = setup.trust_anchors[0].clone();
            other.arn.clone_from(&anchor);
            setup.trust_anchors.push(other);
            let mut other = setup.profiles[0].clone();
            other.arn.clone_from(&profile);
            setup.profiles.push(other);
        });
        let request = world.draft().member("trustAnchorArn", json!(anchor)).sign();
        world
            .refused(&request, (404, NOT_FOUND, "Trust anchor not found"), "another Region or account")
            .await;
        let request = world.draft().member("profileArn", json!(profile)).sign();
        world.refused(&request, (404, NOT_FOUND, "Profile not found"), "another Region or account").await;
    }
}

#[tokio::test]
async fn a_role_session_name_that_the_profile_does_not_accept() {
    let world = World::new().await;
    world.emulator.change(|setup| setup.profiles[0].accept_role_session_name = false);
    assert_eq!(world.send(&world.draft()).await.status, 201);

    let request = world.draft().member("roleSessionName", json!("name")).sign();
    let expected = (403, DENIED, "Not authorized to set roleSessionName.");
    world.refused(&request, expected, "does not accept role session names").await;
}

#[tokio::test]
async fn a_profile_that_requires_instance_properties() {
    let world = World::new().await;
    world.emulator.change(|setup| setup.profiles[0].require_instance_properties = true);
    let with = world.draft().member("instanceProperties", json!({ "rack": "7" }));
    assert_eq!(world.send(&with).await.status, 201);

    let message = "instanceProperties is missing, and the profile requires it";
    world.refused(&world.draft().sign(), (400, INVALID, message), "instanceProperties").await;
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed() {
    let world = World::new().await;
    let expected = (403, DENIED, "Unable to assume role");
    let role = "arn:aws:iam::123456789012:role/ExampleRole";

    let foreign = world.draft().member("roleArn", json!("arn:aws:iam::210987654321:role/ExampleRole")).sign();
    world.refused(&foreign, expected, "is of another account").await;

    world.emulator.set_trust_policy_refusal(role, true);
    world.refused(&world.draft().sign(), expected, "a trust policy that refuses").await;
    world.emulator.set_trust_policy_refusal(role, false);
    assert_eq!(world.send(&world.draft()).await.status, 201);

    world.emulator.change(|setup| setup.profiles[0].roles = vec![format!("{role}2")]);
    world.refused(&world.draft().sign(), expected, "is not one of the profile's").await;
}

#[tokio::test]
async fn a_session_longer_than_the_role_allows() {
    let world = World::new().await;
    world.emulator.change(|setup| setup.max_session_seconds = 899);

    let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role";
    world.refused(&world.draft().sign(), (400, INVALID, message), "MaxSessionDuration").await;
}

#[tokio::test]
async fn more_requests_in_a_second_than_the_quota() {
    let world = World::with(|setup| setup.requests_per_second = Some(2)).await;
    let now = world.emulator.now();
    world.emulator.change(|setup| setup.clock = Clock::at(now));
    assert_eq!(world.send(&world.draft()).await.status, 201);
    assert_eq!(world.send(&world.draft()).await.status, 201);

    let expected = (429, "ThrottlingException", "Rate exceeded");
    world.refused(&world.draft().sign(), expected, "2 requests a second").await;

    world.emulator.change(|setup| setup.clock = Clock::at(now + Duration::SECOND));
    assert_eq!(world.send(&world.draft()).await.status, 201);
}

#[tokio::test]
async fn members_outside_of_their_limits() {
    invalid_member("durationSeconds", json!(899), "durationSeconds is 899, not 900 to 43200").await;
    invalid_member("roleArn", Value::Null, "roleArn is missing").await;
    invalid_member(
        "profileArn",
        json!("arn:aws:iam::1:role/R"),
        "profileArn is no valid ARN: `arn:aws:iam::1:role/R`",
    )
    .await;
}

#[tokio::test]
async fn who_cannot_sign_is_not_told_what_exists() {
    let world = World::new().await;
    let mut request: Signed = world.draft().member("profileArn", json!("nonsense")).sign();
    request.set("host", "elsewhere");

    world.invalid_signature(&request, "does not verify").await;
}
