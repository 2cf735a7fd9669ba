//! SIGHUP: new settings take the place of old ones, and no client notices.

use anchord_core::event;
use anchord_emulator::Fault;
use rustix::process::Signal;
use serde_json::Value;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::Systemd;
use anchord_testing::stage::client;
use anchord_testing::stage::process::anchord;

async fn reload(daemon: &Daemon, nth: usize) -> Value {
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth(event::CONFIG_RELOADED, nth).await
}

async fn key_id(stage: &Stage, daemon: &Daemon, session: &str) -> String {
    client::container(&daemon.http().await, session, &stage.bearer(session)).await.key_id()
}

#[tokio::test]
async fn a_session_that_did_not_change_goes_on_beside_one_that_is_new() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon, "bedrock").await;
    let two =
        format!("[imds]\nsession = \"bedrock\"\n{}{}", stage.session("bedrock"), stage.session("batch"));
    stage.configure(&two);

    let line = reload(&daemon, 1).await;

    assert_eq!((&line["unchanged"], &line["added"]), (&1.into(), &"batch".into()), "{line}");
    let added = client::socket(&stage.socket(), "batch").await.key_id();
    assert_eq!(key_id(&stage, &daemon, "batch").await, added);
    assert_eq!(key_id(&stage, &daemon, "bedrock").await, before);
    assert_eq!(stage.emulator.sessions_created(), 2, "one each");
}

#[tokio::test]
async fn a_session_that_was_removed_is_gone_for_clients() {
    let stage = Stage::new().await;
    let two =
        format!("[imds]\nsession = \"bedrock\"\n{}{}", stage.session("bedrock"), stage.session("batch"));
    stage.configure(&two);
    let daemon = stage.daemon().await;
    stage.configure(&stage.session("bedrock"));

    let line = reload(&daemon, 1).await;

    assert_eq!(line["removed"], "batch", "{line}");
    let status = client::container(&daemon.http().await, "batch", &stage.bearer("batch")).await.status;
    assert_eq!(status, 401, "its bearer opens nothing any more");
    assert_eq!(client::socket(&stage.socket(), "batch").await.status, 404);
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
}

/// A client that has asked for the list asks for the document next, whatever happens between the two.
#[tokio::test]
async fn imds_answers_for_the_role_that_it_listed_just_before_a_reload() {
    let stage = Stage::new().await;
    let other = stage.session("other").replace(":role/", ":role/other-");
    let tables =
        |session: &str| format!("[imds]\nsession = \"{session}\"\n{}{other}", stage.session("bedrock"));
    stage.configure(&tables("bedrock"));
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let token = client::imds_token(&http).await;
    let listed = client::imds_list(&http, &token).await.body;

    stage.configure(&tables("other"));
    reload(&daemon, 1).await;
    let reply = client::imds_role(&http, &token, &listed).await;

    let (now, meant) = (client::imds(&http).await.key_id(), client::socket(&stage.socket(), "other").await);
    assert_eq!(reply.key_id(), meant.key_id(), "never of the session that IMDS is not to serve any more");
    assert_eq!(now, meant.key_id());
    assert_ne!(client::imds_list(&http, &token).await.body, listed);
}

#[tokio::test]
async fn every_mistake_of_a_new_configuration_is_told_and_the_old_one_goes_on() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon, "bedrock").await;

    stage.configure("[session.bedrock]\nduration = \"1s\"\ncolour = \"red\"\n");
    daemon.signal(Signal::HUP);
    let mistakes = [
        daemon.wait_for_nth(event::CONFIG_REFUSED, 1).await,
        daemon.wait_for_nth(event::CONFIG_REFUSED, 2).await,
        daemon.wait_for_nth(event::CONFIG_REFUSED, 3).await,
    ];
    stage.write("anchord.toml", "[session.bedrock\n");
    daemon.signal(Signal::HUP);
    let unparsable = daemon.wait_for_nth(event::CONFIG_REFUSED, 4).await;

    let text = format!("{mistakes:?}");
    for part in
        ["anchord.toml:9: [session.bedrock] lacks", "anchord.toml:10: `duration`", "anchord.toml:11: "]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(unparsable["mistake"].as_str().unwrap().contains("anchord.toml:1"), "{unparsable}");
    assert_eq!(key_id(&stage, &daemon, "bedrock").await, before);
    assert_eq!(client::imds(&daemon.http().await).await.key_id(), before);

    stage.configure(&stage.session("bedrock"));
    reload(&daemon, 1).await;
    assert_eq!(key_id(&stage, &daemon, "bedrock").await, before);
    assert_eq!(stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn a_configuration_file_that_is_gone_is_told_and_changes_nothing() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    fs_err::remove_file(stage.path("anchord.toml")).unwrap();

    daemon.signal(Signal::HUP);
    let line = daemon.wait_for(event::CONFIG_REFUSED).await;

    assert!(line["mistake"].as_str().unwrap().contains("anchord.toml"), "{line}");
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
}

/// Settings can be well formed and still not be usable.
#[tokio::test]
async fn settings_that_cannot_be_applied_change_nothing() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    stage.write("run/batch.token", "too short");
    let two = format!("[imds]\nsession = \"batch\"\n{}{}", stage.session("bedrock"), stage.session("batch"));
    stage.configure(&two);

    daemon.signal(Signal::HUP);
    let line = daemon.wait_for(event::CONFIG_REFUSED).await;

    let (mistake, hint) = (line["mistake"].as_str().unwrap(), line["hint"].as_str().unwrap());
    assert!(mistake.contains("run/batch.token") && hint.starts_with("remove"), "{line}");
    assert_eq!(client::socket(&stage.socket(), "batch").await.status, 404);
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    assert_eq!(stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn clients_of_a_changed_session_get_the_old_credentials_until_there_are_new_ones() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon, "bedrock").await;
    stage.emulator.script([Fault::Hold]);
    stage.configure(&format!("{}duration = \"30m\"\n", stage.session("bedrock")));

    let line = reload(&daemon, 1).await;
    stage.emulator.wait_for_held(1).await;

    assert_eq!(line["changed"], "bedrock", "{line}");
    assert_eq!(key_id(&stage, &daemon, "bedrock").await, before, "while AWS is asked");
    stage.emulator.release();
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    let after = key_id(&stage, &daemon, "bedrock").await;
    assert_ne!(after, before, "though they end earlier than the old ones");
    let issued = stage.emulator.issued();
    assert!(issued[1].expires_at < issued[0].expires_at);
    assert_eq!(issued[1].access_key_id, after);
}

/// Only the time-outs change, as when somebody helps a slow AWS; the attempt that hangs must not be waited out.
#[tokio::test]
async fn an_attempt_that_a_reload_interrupts_is_made_again_at_once() {
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Status(500), Fault::Hold]);
    let mut command = anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;
    stage.emulator.wait_for_held(1).await;
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("[upstream]", "[upstream]\nread_timeout = \"30s\""));

    let line = reload(&daemon, 1).await;

    assert_eq!(line["changed"], "bedrock", "{line}");
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    stage.emulator.release();
}

#[tokio::test]
async fn a_client_that_waits_during_a_reload_gets_what_the_new_session_brings() {
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Hold, Fault::Hold]);
    let mut command = anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    stage.emulator.wait_for_held(1).await;
    daemon.wait_for(event::DAEMON_READY).await;
    let (sent, arrived) = tokio::sync::oneshot::channel();
    let socket = stage.socket();
    let waiting =
        tokio::spawn(
            async move { client::socket_noting(&socket, "bedrock", || sent.send(()).unwrap()).await },
        );
    arrived.await.unwrap();
    stage.configure(&format!("{}duration = \"30m\"\n", stage.session("bedrock")));

    reload(&daemon, 1).await;
    stage.emulator.wait_for_requests(2).await;
    stage.emulator.release();

    let reply = waiting.await.unwrap();
    assert_eq!(reply.key_id(), stage.emulator.issued().last().unwrap().access_key_id);
}

/// Before that systemd would take the end of the reload for the end of the start.
#[tokio::test]
async fn a_reload_waits_until_the_start_is_over() {
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Hold]);
    let systemd = Systemd::new(&stage);
    let daemon = systemd.start(&stage);
    stage.emulator.wait_for_held(1).await;

    daemon.signal(Signal::HUP);
    stage.emulator.release();
    systemd.wait_for("; configuration reloaded").await;

    let said = systemd.said();
    let ready = said.iter().position(|text| text.contains("READY=1")).unwrap();
    let reloading = said.iter().position(|text| text.contains("RELOADING=1")).unwrap();
    assert!(ready < reloading, "{said:?}");
    assert!(said[ready].contains("1 of 1 sessions have credentials"), "{said:?}");
}

/// A pipe that nobody writes to stands for a file system that hangs.
#[tokio::test]
async fn a_file_that_hangs_a_reload_does_not_keep_the_daemon_from_ending() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let pipe = stage.path("pipe.pem");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("tls-ca.pem", "pipe.pem"));

    daemon.signal(Signal::HUP);
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    let (code, output) = daemon.stop().await;

    assert_eq!(code, 0, "{output}");
}

#[tokio::test]
async fn clients_keep_what_lives_when_aws_refuses_the_changed_session() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon, "bedrock").await;
    stage.emulator.always(Some(Fault::Denied { message: "not authorized".into() }));
    stage.configure(&format!("{}duration = \"30m\"\n", stage.session("bedrock")));

    reload(&daemon, 1).await;
    daemon.wait_for(event::CREDENTIALS_INHERITED).await;

    assert_eq!(key_id(&stage, &daemon, "bedrock").await, before);
    let status = stage.run(&["status"]).await.stdout;
    assert!(status.contains("from earlier settings"), "{status}");
}

/// Who pins another certificate does not trust this one any more, nor what was obtained with it.
#[tokio::test]
async fn a_new_pin_ends_what_was_obtained_with_another_certificate() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let pinned_to =
        |pin: &str| format!("{}certificate_fingerprint = [\"{pin}\"]\n", stage.session("bedrock"));
    let shown = stage.run(&["certificate", "show", "--json"]).await.stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let own = shown[0]["certificates"][0]["fingerprint"].as_str().unwrap().to_owned();
    let before = key_id(&stage, &daemon, "bedrock").await;

    stage.emulator.script([Fault::Hold]);
    stage.configure(&pinned_to(&own));
    reload(&daemon, 1).await;
    assert_eq!(key_id(&stage, &daemon, "bedrock").await, before, "its own pin changes nothing");
    stage.emulator.release();
    stage.configure(&pinned_to(&format!("sha256:{}", "00".repeat(32))));
    reload(&daemon, 2).await;

    daemon.wait_for(event::CREDENTIALS_DROPPED).await;
    let status = client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await.status;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn what_cannot_change_while_clients_know_it_is_named() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    let text = text.replace("runtime_directory = \"run\"", "runtime_directory = \"elsewhere\"");
    let text = text.replace("127.0.0.1:0", "127.0.0.1:1");
    stage.write("anchord.toml", &text);

    reload(&daemon, 1).await;
    let line = daemon.wait_for(event::CONFIG_RESTART_NEEDED).await;

    assert_eq!(line["settings"], "runtime_directory, http.listen, socket", "{line}");
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    assert!(!stage.path("elsewhere").exists());
}

#[tokio::test]
async fn the_authorities_and_the_log_level_are_read_again() {
    let stage = Stage::new().await;
    let good = stage.emulator.tls_ca_pem().to_owned();
    stage.write("tls-ca.pem", stage.root.certificate_pem());
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("\"trace\"", "\"info\""));
    let daemon = stage.daemon().await;
    assert!(!daemon.output().contains("\"DEBUG\""), "{}", daemon.output());
    assert_eq!(stage.emulator.sessions_created(), 0, "the server's authority is not known yet");

    stage.write("tls-ca.pem", &good);
    stage.write("anchord.toml", &text);
    let line = reload(&daemon, 1).await;

    assert_eq!(line["unchanged"], 1, "{line}");
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    client::imds(&daemon.http().await).await.key_id();
    daemon.wait_for_line("Answered", 1, |line| line["message"] == "Answered").await;
}

/// Renamed to `.previous` it stays good for the clients that have it.
#[tokio::test]
async fn a_bearer_is_changed_by_a_reload() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let old = stage.bearer("bedrock");
    fs_err::rename(stage.path("run/bedrock.token"), stage.path("run/bedrock.token.previous")).unwrap();

    reload(&daemon, 1).await;

    let (http, new) = (daemon.http().await, stage.bearer("bedrock"));
    assert_ne!(new, old);
    for bearer in [&new, &old] {
        assert_eq!(client::container(&http, "bedrock", bearer).await.status, 200);
    }
    fs_err::remove_file(stage.path("run/bedrock.token.previous")).unwrap();
    reload(&daemon, 2).await;
    assert_eq!(client::container(&http, "bedrock", &old).await.status, 401);
}

#[tokio::test]
async fn systemd_hears_when_a_reload_begins_and_how_it_ends() {
    let stage = Stage::new().await;
    let systemd = Systemd::new(&stage);
    let daemon = systemd.start(&stage);
    systemd.wait_for("READY=1").await;

    stage.write("anchord.toml", "nonsense");
    daemon.signal(Signal::HUP);
    let refused = systemd.wait_for("Refused the new configuration").await;
    let reloading = systemd.wait_for("RELOADING=1").await;

    assert!(refused.starts_with("READY=1\nSTATUS="), "{refused}");
    assert!(refused.contains("anchord.toml:1"), "{refused}");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(client::socket(&systemd.socket, "bedrock").await.status, 200);
    stage.configure(&stage.session("bedrock"));
    daemon.signal(Signal::HUP);
    let reloaded = systemd.wait_for("; configuration reloaded").await;
    assert_eq!(
        reloaded.trim_end(),
        "READY=1\nSTATUS=1 of 1 sessions have credentials; configuration reloaded"
    );
}
