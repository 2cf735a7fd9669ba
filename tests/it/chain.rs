//! Sessions that go on from their first role to others.

use anchord_core::event;
use anchord_emulator::Fault;
use anchord_emulator::LoggedRequest;
use anchord_emulator::Role;
use anchord_emulator::Service;

use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

const MODELS: &str = "arn:aws:iam::210987654321:role/team/models";
const BATCH: &str = "arn:aws:iam::333333333333:role/batch";

fn steps(stage: &Stage, more: &str) -> String {
    format!(
        "{}sts_endpoint = \"{}\"\n[[session.bedrock.assume_role]]\nrole_arn = \"{MODELS}\"\n{more}\n\
         [[session.bedrock.assume_role]]\nrole_arn = \"{BATCH}\"\n",
        stage.session("bedrock"),
        stage.emulator.endpoint()
    )
}

fn calls(stage: &Stage) -> Vec<LoggedRequest> {
    let all = stage.emulator.requests();
    all.into_iter().filter(|call| call.status.is_some()).collect()
}

fn actions(calls: &[LoggedRequest]) -> Vec<&str> {
    calls.iter().filter_map(|call| call.action.as_deref()).collect()
}

#[tokio::test]
async fn a_chain_of_two_roles_gives_clients_the_last_one() {
    let stage = Stage::new().await;
    stage.emulator.change(|setup| {
        let role = Role {
            external_id: Some("7d2f".into()),
            required_tags: vec!["project".into()],
            ..Role::default()
        };
        setup.roles.insert(MODELS.into(), role);
    });
    stage.configure(&steps(
        &stage,
        "external_id = \"7d2f\"\ntags = { project = \"robots\", stage = \"live = well+\" }\ntransitive_tags = [\"project\"]\n\
         session_name = \"robot-7\"\nduration = \"30m\"",
    ));
    let daemon = stage.daemon().await;
    let http = daemon.http().await;

    let imds = client::imds(&http).await;
    let token = client::imds_token(&http).await;
    let process = stage.run(&["credential-process", "--session", "bedrock"]).await;

    let (issued, calls) = (stage.emulator.issued(), calls(&stage));
    assert_eq!(actions(&calls), ["CreateSession", "AssumeRole", "AssumeRole"]);
    assert_eq!(calls[1].signer.as_deref(), Some(issued[0].access_key_id.as_str()));
    assert_eq!(calls[2].signer.as_deref(), Some(issued[1].access_key_id.as_str()));
    assert_eq!(calls[1].parameter("RoleSessionName"), Some("robot-7"));
    assert_eq!(calls[1].parameter("DurationSeconds"), Some("1800"));
    assert_eq!(calls[1].parameter("Tags.member.2.Value"), Some("live = well+"));
    assert_eq!(calls[2].parameter("RoleSessionName"), Some("anchord-bedrock"));
    assert_eq!(imds.key_id(), issued[2].access_key_id);
    assert_eq!(imds.json()["AccountId"], "333333333333");
    assert_eq!(client::imds_list(&http, &token).await.body, "batch");
    assert!(process.stdout.contains(&issued[2].access_key_id), "{process:?}");
    stage.assert_no_secrets(&daemon.output(), &[]);
}

#[tokio::test]
async fn a_chain_is_renewed_from_its_beginning() {
    let stage = Stage::new().await;
    // The reserve is a minute: what lives for 64 s is renewed within seconds.
    stage.emulator.change(|setup| {
        setup.roles.insert(BATCH.into(), Role { grant_seconds: Some(64), ..Role::default() });
    });
    stage.configure(&steps(&stage, ""));
    let _daemon = stage.daemon().await;

    stage.emulator.wait_for_requests(6).await;

    let round = ["CreateSession", "AssumeRole", "AssumeRole"];
    assert_eq!(actions(&calls(&stage))[..6], [round, round].concat());
}

#[tokio::test]
async fn a_role_that_is_refused_is_named_and_its_owner_told_what_it_needs() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(BATCH, true);
    stage.configure(&steps(&stage, ""));
    let daemon = anchord_testing::stage::Daemon::unready(&stage.path("anchord.toml"));
    daemon.wait_for(event::LISTENER_STARTED).await;
    stage.emulator.wait_for_requests(3).await;
    daemon.wait_for_line("a failed attempt", 1, |line| line["class"] == "denied").await;

    let status = stage.run(&["status"]).await;

    assert_eq!(status.code, 3, "{status:?}");
    for word in [BATCH, "2 of 2", "sts:AssumeRole", "hint: "] {
        assert!(status.stdout.contains(word), "{word} is not in:\n{}", status.stdout);
    }
    let process = stage.run(&["credential-process", "--session", "bedrock"]).await;
    assert_eq!((process.code, process.stdout.as_str()), (1, ""));
    assert!(process.stderr.contains(BATCH), "{process:?}");
}

#[tokio::test]
async fn credentials_of_another_role_than_asked_for_are_never_handed_out() {
    for (service, told) in [
        (Service::RolesAnywhere, "AWS's answer is for `arn:aws:iam::333333333333:role/Other`"),
        (
            Service::Sts,
            "(step 1 of 2) could not be assumed: AWS's answer to AssumeRole is for `arn:aws:sts::3333",
        ),
    ] {
        let stage = Stage::new().await;
        stage.configure(&steps(&stage, ""));
        let other = "arn:aws:iam::333333333333:role/Other";
        stage.emulator.always_for(service, Some(Fault::AnotherRole(other.to_owned())));

        let process = stage.run(&["credential-process", "--session", "bedrock"]).await;

        assert_eq!(process.stdout, "", "{process:?}");
        assert_ne!(process.code, 0);
        assert!(process.stderr.contains(told) && process.stderr.contains("hint: "), "{process:?}");
    }
}

#[tokio::test]
async fn what_is_held_outlives_a_role_that_is_refused_later() {
    let stage = Stage::new().await;
    stage.emulator.change(|setup| {
        setup.roles.insert(BATCH.into(), Role { grant_seconds: Some(75), ..Role::default() });
    });
    stage.configure(&steps(&stage, ""));
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let first = client::imds(&http).await.key_id();
    stage.emulator.set_trust_policy_refusal(BATCH, true);

    daemon.wait_for_line("a refused renewal", 1, |line| line["class"] == "denied").await;

    assert_eq!(client::imds(&http).await.key_id(), first);
}

#[tokio::test]
async fn each_step_signs_for_the_region_whose_sts_it_asks() {
    let stage = Stage::with(|setup| setup.sts_region = "eu-west-1".into()).await;
    let text = steps(&stage, "sts_region = \"eu-west-1\"\nsts_endpoint = \"ENDPOINT\"").replace(
        &format!("role_arn = \"{BATCH}\"\n"),
        &format!("role_arn = \"{BATCH}\"\nsts_region = \"eu-west-1\"\nsts_endpoint = \"ENDPOINT\"\n"),
    );
    stage.configure(&text.replace("ENDPOINT", &stage.emulator.endpoint()));
    let _daemon = stage.daemon().await;

    let regions: Vec<_> = calls(&stage).iter().filter_map(|call| call.scope_region.clone()).collect();

    assert_eq!(regions, ["us-east-1", "eu-west-1", "eu-west-1"]);
    assert_eq!(stage.emulator.requests_to(Service::Sts).len(), 2);
}

#[tokio::test]
async fn without_a_daemon_the_chain_is_gone_through_once_and_cached() {
    let stage = Stage::new().await;
    stage.configure(&steps(&stage, ""));

    let first = stage.run(&["credential-process", "--session", "bedrock"]).await;
    let second = stage.run(&["credential-process", "--session", "bedrock"]).await;

    assert_eq!((first.code, &first.stdout), (0, &second.stdout), "{first:?}");
    assert!(first.stdout.contains(&stage.emulator.issued()[2].access_key_id));
    assert_eq!(stage.emulator.requests().len(), 3);
}

#[tokio::test]
async fn credentials_of_another_account_do_not_outlive_the_reload_that_changes_it() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    assert_eq!(client::imds(&http).await.json()["AccountId"], "123456789012");
    stage.emulator.set_trust_policy_refusal(BATCH, true);
    stage.configure(&steps(&stage, ""));

    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;

    assert_eq!(client::imds(&http).await.status, 503);
}
