//! Sessions that begin with a user's own access keys.

use anchord_core::event;
use anchord_emulator::Service;

use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

async fn stage(keys: &str, more: &str) -> Stage {
    let stage = Stage::of_short_sessions().await;
    stage.write("keys", keys);
    configure(&stage, more);
    stage
}

fn configure(stage: &Stage, more: &str) {
    stage.configure(&format!(
        "[session.bedrock]\nsource = \"access-keys\"\naccess_keys = \"file:keys\"\nregion = \"us-east-1\"\n\
         sts_endpoint = \"{}\"\n{more}",
        stage.emulator.endpoint()
    ));
}

fn csv() -> String {
    format!("\u{feff}Access key ID,Secret access key\r\n{ID},{SECRET}\r\n")
}

#[tokio::test]
async fn a_users_keys_work_over_imds_and_never_leave_the_daemon() {
    let stage = stage(&csv(), "").await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;

    let imds = client::imds(&http).await;
    let container = client::container(&http, "bedrock", &stage.bearer("bedrock")).await;
    let token = client::imds_token(&http).await;

    let issued = stage.emulator.issued();
    assert_eq!((issued.len(), issued[0].action), (1, "GetSessionToken"));
    assert_eq!(imds.key_id(), issued[0].access_key_id);
    assert_eq!(imds.json()["Token"], issued[0].session_token.as_str());
    assert_eq!(container.key_id(), imds.key_id());
    assert_eq!(client::imds_list(&http, &token).await.body, "bedrock");
    let call = &stage.emulator.requests_to(Service::Sts)[0];
    assert_eq!((call.signer.as_deref(), call.parameter("DurationSeconds")), (Some(ID), Some("3600")));
    for reply in [&imds.body, &container.body] {
        assert!(!reply.contains(SECRET));
    }
    stage.assert_no_secrets(&daemon.output(), &[SECRET.into()]);
}

#[tokio::test]
async fn a_role_is_assumed_with_the_keys_themselves() {
    let role = "arn:aws:iam::210987654321:role/models";
    let stage = stage(&format!("{ID}:{SECRET}\n"), &format!("assume_role = [\"{role}\"]\n")).await;
    let daemon = stage.daemon().await;

    let imds = client::imds(&daemon.http().await).await;

    let issued = stage.emulator.issued();
    assert_eq!((issued.len(), issued[0].action, issued[0].role_arn.as_str()), (1, "AssumeRole", role));
    assert_eq!(imds.key_id(), issued[0].access_key_id);
    assert_eq!(imds.json()["AccountId"], "210987654321");
}

#[tokio::test]
async fn keys_can_be_handed_out_themselves_to_whoever_takes_them_without_a_token() {
    let stage = stage(
        &format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n"),
        "get_session_token = false\n[imds]\nenabled = false\n",
    )
    .await;
    let daemon = stage.daemon().await;

    let container = client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await;
    let process = stage.run(&["credential-process", "--session", "bedrock"]).await;

    assert_eq!(container.key_id(), ID);
    assert_eq!(container.json()["SecretAccessKey"], SECRET);
    assert_eq!(container.json()["Token"], "");
    let line: serde_json::Value = serde_json::from_str(&process.stdout).unwrap();
    assert_eq!(line["AccessKeyId"], ID);
    assert_eq!(line.get("SessionToken"), None);
    assert_eq!(stage.emulator.requests().len(), 0);
    stage.assert_no_secrets(&daemon.output(), &[SECRET.into()]);
}

#[tokio::test]
async fn a_users_keys_are_written_nowhere() {
    let stage = Stage::in_memory().await;
    stage.write("keys", &csv());
    configure(&stage, "get_session_token = false\n[imds]\nenabled = false\n");
    let daemon = stage.daemon().await;
    stage.run(&["credential-process", "--session", "bedrock"]).await;
    daemon.stop().await;

    let alone = stage.run(&["credential-process", "--session", "bedrock"]).await;

    assert!(alone.stdout.contains(SECRET), "{alone:?}");
    let (mut folders, mut looked_at) = (vec![stage.path("")], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && path != stage.path("keys") {
                looked_at += 1;
                let text = String::from_utf8_lossy(&fs_err::read(&path).unwrap()).into_owned();
                assert!(!text.contains(SECRET), "{}", path.display());
            }
        }
    }
    assert!(looked_at > 3, "{looked_at}");
}

#[tokio::test]
async fn imds_is_not_started_for_keys_without_a_token() {
    let stage = stage(&csv(), "get_session_token = false\n").await;

    let ran = stage.run(&["run"]).await;

    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("but its keys have no session token; hint: "), "{}", ran.stderr);
}

#[tokio::test]
async fn keys_that_aws_does_not_take_are_refused_with_what_to_do() {
    let wrong = stage(&format!("{ID}:{}", SECRET.replace('w', "v")), "").await;
    let unknown = stage(&format!("AKIAI44QH8DHBEXAMPLE:{SECRET}"), "").await;

    let wrong = wrong.run(&["credential-process", "--session", "bedrock"]).await;
    let unknown = unknown.run(&["credential-process", "--session", "bedrock"]).await;

    for (ran, kind) in [(&wrong, "SignatureDoesNotMatch"), (&unknown, "InvalidClientTokenId")] {
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains(kind) && ran.stderr.contains("; hint: "), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1);
        assert!(!ran.stderr.contains("bPxRfiCY"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_file_without_keys_is_told_by_name_and_mended_without_a_restart() {
    let stage = stage("nothing of use\n", "").await;
    let daemon = anchord_testing::stage::Daemon::unready(&stage.path("anchord.toml"));
    daemon.wait_for(event::LISTENER_STARTED).await;
    let told = daemon.wait_for_line("a fault", 1, |line| line["class"] == "misconfigured").await;
    stage.write("keys", &csv());

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;

    assert!(told.to_string().contains("/keys"), "{told}");
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
}

#[tokio::test]
async fn keys_that_are_exchanged_in_their_file_are_used_at_once() {
    let stage = stage(&csv(), "get_session_token = false\n[imds]\nenabled = false\n").await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let key_id = async || client::container(&http, "bedrock", &stage.bearer("bedrock")).await.key_id();
    assert_eq!(key_id().await, ID);

    stage.write("keys", "AKIAI44QH8DHBEXAMPLE:another/secret");
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    assert_eq!(key_id().await, "AKIAI44QH8DHBEXAMPLE");
    daemon.wait_for(event::ACCESS_KEYS_REPLACED).await;
    stage.assert_no_secrets(&daemon.output(), &[SECRET.into(), "another/secret".into()]);
}

#[tokio::test]
async fn a_wrong_clock_is_learned_from_the_first_refusal() {
    let stage = stage(&csv(), "").await;
    stage.emulator.set_clock_offset(time::Duration::HOUR);

    let ran = stage.run(&["credential-process", "--session", "bedrock"]).await;

    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(stage.emulator.requests_to(Service::Sts).len(), 2);
}

#[tokio::test]
async fn after_a_restart_the_keys_that_are_there_now_are_used_while_the_old_session_serves() {
    let stage = Stage::in_memory().await;
    stage.write("keys", &csv());
    configure(&stage, "");
    let first = stage.daemon().await;
    let held = client::imds(&first.http().await).await.key_id();
    first.stop().await;
    // Credentials of one second are alike, and the held ones stay.
    stage.emulator.set_clock_offset(time::Duration::seconds(2));

    let second = stage.daemon().await;
    stage.emulator.wait_for_requests(2).await;
    second.wait_for(event::CREDENTIALS_RENEWED).await;

    let issued = stage.emulator.issued();
    assert_eq!(issued[0].access_key_id, held);
    assert_eq!(client::imds(&second.http().await).await.key_id(), issued[1].access_key_id);
}

async fn reload(daemon: &anchord_testing::stage::Daemon) {
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;
}

#[tokio::test]
async fn keys_that_were_handed_out_themselves_are_not_shown_by_imds_after_a_reload() {
    let stage = stage(&csv(), "get_session_token = false\n[imds]\nenabled = false\n").await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    assert_eq!(client::container(&http, "bedrock", &stage.bearer("bedrock")).await.key_id(), ID);
    // STS cannot be had, so there is nothing by the new settings.
    stage.emulator.always_for(Service::Sts, Some(anchord_emulator::Fault::Status(503)));
    configure(&stage, "");

    reload(&daemon).await;

    let imds = client::imds(&http).await;
    assert_eq!((imds.status, imds.body.as_str()), (503, ""));
    assert_eq!(client::container(&http, "bedrock", &stage.bearer("bedrock")).await.status, 503);
}

#[tokio::test]
async fn keys_that_changed_together_with_the_settings_are_used_at_once() {
    let stage = stage(&csv(), "").await;
    let daemon = stage.daemon().await;
    stage.emulator.change(|setup| {
        let mut other = anchord_emulator::AccessKey::sample();
        other.access_key_id = "AKIAI44QH8DHBEXAMPLE".into();
        setup.access_keys.push(other);
    });
    stage.write("keys", &format!("AKIAI44QH8DHBEXAMPLE:{SECRET}"));
    // Nothing that decides whose credentials they are: the session goes on, and no attempt is due.
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write(
        "anchord.toml",
        &text.replace("region = \"us-east-1\"", "region = \"us-west-2\"\nsts_region = \"us-east-1\""),
    );

    reload(&daemon).await;
    stage.emulator.wait_for_requests(2).await;

    let signers: Vec<_> =
        stage.emulator.requests_to(Service::Sts).into_iter().filter_map(|call| call.signer).collect();
    assert_eq!(signers[..2], [ID, "AKIAI44QH8DHBEXAMPLE"]);
}

#[tokio::test]
async fn what_was_cached_of_other_keys_is_not_used() {
    let stage = stage(&csv(), "").await;
    let first = stage.run(&["credential-process", "--session", "bedrock"]).await;
    assert_eq!(first.code, 0, "{first:?}");
    stage.write("keys", "AKIAI44QH8DHBEXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

    let second = stage.run(&["credential-process", "--session", "bedrock"]).await;
    stage.write("keys", &csv());
    let third = stage.run(&["credential-process", "--session", "bedrock"]).await;

    assert_eq!((second.code, second.stdout.as_str()), (1, ""), "{second:?}");
    assert!(second.stderr.contains("InvalidClientTokenId"), "{second:?}");
    assert_eq!(third.code, 0, "a failure of other keys is not these keys': {third:?}");
}

#[tokio::test]
async fn a_refusal_ends_with_the_same_code_whichever_way_it_came() {
    let stage = stage(&format!("{ID}:{}", SECRET.replace('w', "v")), "").await;
    let key = ["bedrock", "api-key", "--session", "bedrock"];

    let made = stage.run(&key).await;
    let shared = stage.run(&key).await;
    let daemon = anchord_testing::stage::Daemon::unready(&stage.path("anchord.toml"));
    daemon.wait_for_line("a refusal", 1, |line| line["class"] == "denied").await;
    let by_daemon = stage.run(&key).await;

    for ran in [made, shared, by_daemon] {
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("SignatureDoesNotMatch"), "{ran:?}");
    }
}

#[tokio::test]
async fn an_api_key_of_keys_that_do_not_end_ends_when_it_says() {
    let stage =
        stage(&csv(), "duration = \"15m\"\nget_session_token = false\n[imds]\nenabled = false\n").await;

    let ran = stage.run(&["bedrock", "api-key", "--session", "bedrock", "--json"]).await;

    use base64::Engine as _;
    let printed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let key = printed["api_key"].as_str().unwrap().strip_prefix("bedrock-api-key-").unwrap();
    let url = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(key).unwrap()).unwrap();
    let lives = url.split("X-Amz-Expires=").nth(1).unwrap().split('&').next().unwrap();
    assert!(lives.parse::<u64>().unwrap() <= 900, "{lives}");
}
