//! The main job: one session through every channel.

use crate::support::Stage;
use crate::support::client;

#[tokio::test]
async fn every_channel_hands_out_the_same_session() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;

    let imds = client::imds(&http).await;
    let container = client::container(&http, "bedrock", &stage.bearer("bedrock")).await;
    let socket = client::socket(&stage.socket(), "bedrock").await;
    let process = stage.run(&["credential-process", "--session", "bedrock"]).await;

    let issued = stage.emulator.issued();
    assert_eq!(issued.len(), 1);
    for reply in [&imds, &container, &socket] {
        assert_eq!(reply.key_id(), issued[0].access_key_id);
    }
    assert_eq!(imds.json()["Token"], issued[0].session_token.as_str());
    assert_eq!(imds.json()["SecretAccessKey"], issued[0].secret_access_key.as_str());
    assert_eq!((process.code, process.stderr.as_str()), (0, ""));
    assert_eq!(process.stdout.trim_end(), socket.body.trim_end());
    assert_eq!(process.stdout.matches('\n').count(), 1);
}

#[tokio::test]
async fn a_bearer_opens_its_own_session_alone() {
    let stage = Stage::new().await;
    stage.configure(&format!("[imds]\nsession = \"one\"\n{}{}", stage.session("one"), stage.session("two")));
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let (one, two) = (stage.bearer("one"), stage.bearer("two"));

    let own = client::container(&http, "two", &two).await.key_id();

    assert_ne!(client::container(&http, "one", &one).await.key_id(), own);
    assert_eq!(client::imds(&http).await.key_id(), client::container(&http, "one", &one).await.key_id());
    assert_eq!(client::container(&http, "two", &one).await.status, 401);
    assert_eq!(client::container(&http, "two", "").await.status, 401);
}

#[tokio::test]
async fn status_tells_what_is_held_and_no_secret() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;

    let text = stage.run(&["status"]).await;
    let json = stage.run(&["status", "--json"]).await;

    let id = &stage.emulator.issued()[0].access_key_id;
    assert_eq!(text.code, 0, "{text:?}");
    assert!(text.stdout.starts_with("anchord 0.1.0, 1 session\n"), "{}", text.stdout);
    assert!(text.stdout.contains(&format!("bedrock: live, {id} until ")), "{}", text.stdout);
    stage.assert_no_secrets(&format!("{}{}", text.stdout, json.stdout), &[]);
    assert!(serde_json::from_str::<serde_json::Value>(&json.stdout).is_ok());
}

#[tokio::test]
async fn status_ends_with_three_when_aws_refuses() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);
    let _daemon = stage.daemon().await;

    let ran = stage.run(&["status"]).await;

    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stdout.contains("bedrock: lapsed") && ran.stdout.contains("  denied: AWS answered 403"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("\n  hint: the role's trust policy refuses"), "{}", ran.stdout);
}

#[tokio::test]
async fn status_without_a_daemon_says_where_it_looked() {
    let stage = Stage::new().await;

    let ran = stage.run(&["status"]).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("anchord: no daemon listens on"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: start it with `anchord run`"), "{}", ran.stderr);
}

/// RSA and the chain header take other paths through signing than P-256 without intermediates.
#[tokio::test]
async fn every_algorithm_and_a_chain_are_accepted_by_the_emulators_own_verifier() {
    use anchord_emulator::KeyForm;
    use anchord_emulator::KeyKind;
    use anchord_emulator::LeafRequest;
    let stage = Stage::new().await;
    let intermediate = stage.root.intermediate("Issuing", KeyKind::Rsa2048).unwrap();
    let mut tables = "[imds]\nenabled = false\n".to_owned();
    for kind in KeyKind::ALL {
        let leaf = intermediate.leaf(&LeafRequest::new("robot-7", kind)).unwrap();
        let bundle = [intermediate.certificate_pem(), leaf.certificate_pem()].concat();
        stage.write(&format!("{kind}.pem"), &bundle);
        for (index, form) in KeyForm::ALL.iter().enumerate() {
            let Ok(key) = leaf.key_pem(*form) else { continue };
            stage.write(&format!("{kind}-{index}.key"), &key);
            let table = stage.session(&format!("{kind}-{index}"));
            tables.push_str(
                &table
                    .replace("leaf.pem", &format!("{kind}.pem"))
                    .replace("key.pem", &format!("{kind}-{index}.key")),
            );
        }
    }
    stage.configure(&tables);

    let daemon = stage.daemon().await;

    let ready = daemon.wait_for("Ready").await;
    assert_eq!(
        (ready["live"].as_u64(), ready["sessions"].as_u64()),
        (Some(21), Some(21)),
        "{}",
        daemon.output()
    );
    assert_eq!(stage.emulator.sessions_created(), 21);
}
