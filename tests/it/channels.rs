//! The main job: one session through every channel.

use anchord_core::event;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

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

/// One session is well, and AWS refuses the other.
#[tokio::test]
async fn status_of_one_session_tells_of_no_other_and_ends_as_that_one_is() {
    let stage = Stage::new().await;
    let role = stage.role.replace(":role/", ":role/un");
    let refused = stage.session("bad").replace(&stage.role, &role);
    stage.emulator.set_trust_policy_refusal(&role, true);
    stage.configure(&format!("[imds]\nenabled = false\n{}{refused}", stage.session("good")));
    let _daemon = stage.daemon().await;
    let mut named = anchord_testing::stage::process::anchord();
    named.args(["status", "--session", "good", "--socket-path"]).arg(stage.socket());

    let good = stage.run(&["status", "--session", "good"]).await;
    let bad = stage.run(&["status", "--session=bad"]).await;
    let json = stage.run(&["status", "--json", "--session", "good"]).await;
    let unknown = stage.run(&["status", "--session", "other"]).await;
    let named = anchord_testing::stage::process::to_the_end(named).await;
    let stray = stage.run(&["status", "good"]).await;
    let mut command = anchord_testing::stage::process::anchord();
    command.args(["exec", "--config"]).arg(stage.path("anchord.toml")).args(["good", "--", "true"]);
    let command = anchord_testing::stage::process::to_the_end(command).await;

    for ran in [&good, &named] {
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stdout.contains("1 session\ngood: live") && !ran.stdout.contains("bad"), "{ran:?}");
    }
    assert_eq!(bad.code, 3, "{bad:?}");
    assert!(bad.stdout.contains("bad: lapsed") && !bad.stdout.contains("good"), "{bad:?}");
    let sessions = serde_json::from_str::<serde_json::Value>(&json.stdout).unwrap()["sessions"].take();
    assert_eq!((json.code, sessions.as_array().unwrap().len()), (0, 1), "{sessions}");
    assert_eq!(sessions[0]["name"], "good");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""), "{unknown:?}");
    assert!(unknown.stderr.contains("good, bad") || unknown.stderr.contains("bad, good"), "{unknown:?}");
    assert!(stray.code == 2 && stray.stderr.contains("`anchord status --session good`"), "{stray:?}");
    let line = "`anchord exec --session good -- COMMAND`";
    assert!(command.code == 2 && command.stderr.contains(line), "{command:?}");
}

#[tokio::test]
async fn variables_that_a_verb_does_not_use_are_no_mistake() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let mut command = anchord_testing::stage::process::anchord();
    command.args(["status", "--config"]).arg(stage.path("anchord.toml"));
    command
        .env("ANCHORD_DURATION", "2h")
        .env("ANCHORD_LISTEN", "127.0.0.1:1")
        .env("ANCHORD_LOG_LEVEL", "debug");

    let ran = anchord_testing::stage::process::to_the_end(command).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
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

    let ready = daemon.wait_for(event::DAEMON_READY).await;
    assert_eq!(
        (ready["live"].as_u64(), ready["sessions"].as_u64()),
        (Some(21), Some(21)),
        "{}",
        daemon.output()
    );
    assert_eq!(stage.emulator.sessions_created(), 21);
}
