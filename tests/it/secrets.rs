//! The canary: nothing that opens a door may be in any output, however talkative the log.

use anchord_core::event;
use anchord_emulator::Fault;
use anchord_emulator::Service;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

#[tokio::test]
async fn no_output_at_trace_holds_a_secret() {
    let stage = Stage::new().await;
    // A malformed, a partial and a refused answer come first: errors like to quote what they choked on.
    let denied = Fault::Denied { message: "Invalid signature".into() };
    stage.emulator.script([Fault::PartialCredentials, Fault::Truncated, denied]);
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let bearer = stage.bearer("bedrock");
    let token = client::imds_token(&http).await;
    // Denials and successes, through every channel.
    client::container(&http, "bedrock", &bearer).await;
    client::container(&http, "bedrock", &bearer[1..]).await;
    client::container(&http, "nobody", &bearer).await;
    client::imds_list(&http, &token).await;
    client::imds_list(&http, &token[1..]).await;
    client::tcp(&http, "GET", &format!("/latest/{token}?bearer={bearer}"), "host: evil.example").await;
    stage.emulator.always(None);
    let told = stage.run(&["status"]).await;
    let asked = stage.run(&["credential-process", "--session", "nobody"]).await;
    let checked = stage.run(&["config", "check"]).await;
    let (_, log) = daemon.stop().await;

    let output =
        [log, told.stdout, told.stderr, asked.stdout, asked.stderr, checked.stdout, checked.stderr].concat();
    assert!(output.contains(r#""level":"DEBUG""#) || output.contains(r#""level":"TRACE""#), "{output}");
    stage.assert_no_secrets(&output, &[token, bearer]);
}

#[tokio::test]
async fn no_secret_is_in_the_log_of_a_daemon_that_serves() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let token = client::imds_token(&http).await;

    assert_eq!(client::imds(&http).await.status, 200);
    assert_eq!(client::container(&http, "bedrock", &stage.bearer("bedrock")).await.status, 200);
    assert_eq!(client::socket(&stage.socket(), "bedrock").await.status, 200);
    let (_, log) = daemon.stop().await;

    assert_eq!(stage.emulator.issued().len(), 1);
    stage.assert_no_secrets(&log, &[token]);
}

/// AWS may answer a refused signature with the request as it should have been signed, session token included.
#[tokio::test]
async fn a_refusal_that_quotes_the_session_token_is_passed_on_without_it() {
    let stage = Stage::new().await;
    let endpoint = stage.emulator.endpoint();
    let step = "[[session.chained.assume_role]]\nrole_arn = \"arn:aws:iam::210987654321:role/models\"\n";
    let chained = format!("{}sts_endpoint = \"{endpoint}\"\n{step}", stage.session("chained"));
    stage.configure(&format!("[imds]\nsession = \"bedrock\"\n{}{chained}", stage.session("bedrock")));
    stage.emulator.always_for(Service::Sts, Some(Fault::SignatureRefused));
    stage.emulator.always_for(Service::Bedrock, Some(Fault::SignatureRefused));
    let daemon = Daemon::unready(&stage.path("anchord.toml"));
    daemon
        .wait_for_line("a refused role", 1, |line| line.to_string().contains("SignatureDoesNotMatch"))
        .await;
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;

    let call = ["bedrock", "invoke", "--session", "bedrock", "--endpoint-url", &endpoint, "--converse"];
    let invoked =
        stage.run(&[&call[..], &["--model-id", "anthropic.model", "--message", "Hi"]].concat()).await;
    let status = stage.run(&["status"]).await;
    let process = stage.run(&["credential-process", "--session", "chained"]).await;
    let (_, log) = daemon.stop().await;

    assert!(invoked.stderr.contains("InvalidSignatureException"), "{invoked:?}");
    assert!(process.stderr.contains("SignatureDoesNotMatch"), "{process:?}");
    let output = [log, invoked.stderr, status.stdout, status.stderr, process.stderr].concat();
    stage.assert_no_secrets(&output, &[]);
}

#[tokio::test]
async fn a_pin_and_a_passphrase_are_in_no_output_of_any_verb() {
    let (pin, passphrase) = ("canary-pin-5309", "canary-pass-8675");
    let stage = Stage::new().await;
    let uri = format!("pkcs11:token=robots?module-path=/nowhere.so&pin-value={pin}");
    let tables = [
        stage.session_of("bedrock", &format!("certificate = \"leaf.pem\"\nprivate_key = \"{uri}\"")),
        format!("{}passphrase = \"pass:{passphrase}\"\n", stage.session("batch")),
    ];
    stage.configure(&format!("[imds]\nenabled = false\n{}", tables.concat()));
    let daemon = stage.daemon().await;

    let mut output = String::new();
    for verb in [
        &["status"][..],
        &["config", "check"],
        &["certificate", "show"],
        &["certificate", "show", "--json"],
        &["certificate", "show", &uri],
        &["certificate", "show", &uri, "--json"],
        &["credential-process", "--session", "bedrock"],
    ] {
        let ran = stage.run(verb).await;
        output.push_str(&format!("{verb:?}").replace(&uri, ""));
        output.push_str(&ran.stdout);
        output.push_str(&ran.stderr);
    }
    output.push_str(&daemon.stop().await.1);

    assert!(output.contains("/nowhere.so"), "{output}");
    for secret in [pin, passphrase] {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}

/// The canary itself: it must sing when there is something to sing about.
#[tokio::test]
#[should_panic(expected = "a secret of")]
async fn the_canary_notices_a_session_token() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;

    let leak = stage.emulator.issued()[0].session_token.clone();

    stage.assert_no_secrets(&format!("log line with {leak} in it"), &[]);
}
