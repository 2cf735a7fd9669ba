//! What a restart leaves as it was: credentials and IMDS tokens, in systemd's hands or in a file in memory.

use anchord_core::event;
use anchord_emulator::Fault;
use rustix::process::Signal;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::Systemd;
use anchord_testing::stage::client;

async fn key_id(stage: &Stage, daemon: &Daemon) -> String {
    client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await.key_id()
}

#[tokio::test]
async fn a_successor_serves_the_same_credentials_without_asking_aws() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;

    let successor = stage.daemon().await;

    assert_eq!(key_id(&stage, &successor).await, before);
    assert_eq!(stage.emulator.sessions_created(), 1);
    successor.wait_for(event::HANDOVER_TAKEN).await;
}

/// A process that is killed has no last words: what is left is written at each renewal.
#[tokio::test]
async fn a_daemon_that_was_killed_leaves_as_much_as_one_that_was_stopped() {
    let mut stage = Stage::in_memory().await;
    let mut daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.kill();
    stage.emulator.stop().await;

    let successor = stage.daemon().await;

    assert_eq!(key_id(&stage, &successor).await, before, "AWS is down, and nobody notices");
}

/// Many sessions that renew together are one write, which an orderly end does not wait for.
#[tokio::test]
async fn a_daemon_that_is_stopped_leaves_what_it_was_given_a_moment_ago() {
    let mut stage = Stage::in_memory().await;
    let sessions: Vec<_> = (0..400).map(|number| stage.session(&format!("s{number}"))).collect();
    stage.configure(&format!("[imds]\nenabled = false\n{}", sessions.concat()));
    let ask =
        async |daemon: &Daemon, bearer: &str| client::container(&daemon.http().await, "s0", bearer).await;
    let daemon = Daemon::unready(&stage.path("anchord.toml"));
    daemon.http().await;
    let bearer = stage.bearer("s0");
    // Hundreds of sessions start at once, so the first requests may come too early.
    let mut first = ask(&daemon, &bearer).await;
    for _ in 0..30 {
        if first.status == 200 {
            break;
        }
        first = ask(&daemon, &bearer).await;
    }
    daemon.stop().await;
    stage.emulator.stop().await;

    let successor = Daemon::unready(&stage.path("anchord.toml"));

    assert_eq!(ask(&successor, &bearer).await.key_id(), first.key_id());
}

#[tokio::test]
async fn only_its_owner_can_read_what_a_daemon_leaves_in_a_file() {
    use std::os::unix::fs::MetadataExt as _;
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;

    daemon.wait_for(event::HANDOVER_WRITTEN).await;

    assert_eq!(fs_err::metadata(stage.path("run/state")).unwrap().mode() & 0o777, 0o600);
    let (_, output) = daemon.stop().await;
    stage.assert_no_secrets(&output, &[]);
}

#[tokio::test]
async fn credentials_are_not_left_on_a_disk() {
    let stage = Stage::new().await;
    assert!(!stage.is_in_memory(), "this test needs a disk under the temporary folder");
    let daemon = stage.daemon().await;

    let line = daemon.wait_for(event::HANDOVER_OFF).await;

    assert!(line["why"].as_str().unwrap().ends_with("is not on an in-memory file system (tmpfs)"), "{line}");
    daemon.stop().await;
    assert!(!stage.path("run/state").exists());
}

#[tokio::test]
async fn what_is_damaged_is_told_and_costs_one_create_session() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    let good = fs_err::read(stage.path("run/state")).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let cases: [(&[u8], &str); 5] = [
        (&flipped, "it is damaged: its checksum does not match"),
        (&good[..good.len() - 1], "it is damaged: its checksum does not match"),
        (b"", "it is not in the format of this version"),
        (b"anchord state 1\n", "it is damaged"),
        (b"anchord state 2\n{}", "it is not in the format of this version"),
    ];
    for (asked, (content, message)) in cases.into_iter().enumerate() {
        fs_err::write(stage.path("run/state"), content).unwrap();

        let daemon = stage.daemon().await;

        let line = daemon.wait_for(event::HANDOVER_LOST).await;
        assert!(line["error"].as_str().unwrap().starts_with(message), "{line}");
        assert!(line["place"].as_str().unwrap().ends_with("run/state"), "{line}");
        assert!(!line["hint"].as_str().unwrap().is_empty(), "{line}");
        key_id(&stage, &daemon).await;
        assert_eq!(stage.emulator.sessions_created(), asked + 2);
        let (_, output) = daemon.stop().await;
        stage.assert_no_secrets(&output, &[]);
    }
}

#[tokio::test]
async fn what_others_could_have_written_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    fs_err::set_permissions(stage.path("run/state"), std::fs::Permissions::from_mode(0o666)).unwrap();

    let daemon = stage.daemon().await;

    let line = daemon.wait_for(event::HANDOVER_LOST).await;
    assert!(line["error"].as_str().unwrap().contains("is accessible to other users (mode 666)"), "{line}");
    assert_eq!(stage.emulator.sessions_created(), 2);
}

#[tokio::test]
async fn credentials_of_other_settings_are_not_used() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    stage.configure(&format!("{}duration = \"30m\"\n", stage.session("bedrock")));

    let daemon = stage.daemon().await;

    daemon.wait_for(event::HANDOVER_OTHER_SETTINGS).await;
    assert_ne!(key_id(&stage, &daemon).await, before);
}

/// Another authority may vouch for another AWS.
#[tokio::test]
async fn credentials_that_were_obtained_through_other_authorities_are_not_used() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    stage.write("other-ca.pem", stage.emulator.tls_ca_pem());
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("tls-ca.pem", "other-ca.pem"));

    let daemon = stage.daemon().await;

    daemon.wait_for(event::HANDOVER_OTHER_SETTINGS).await;
    assert_ne!(key_id(&stage, &daemon).await, before);
}

/// What the successor finds must be noted under the settings that made it, not under those of a later reload.
#[tokio::test]
async fn a_reload_with_other_authorities_obtains_credentials_through_them() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    stage.emulator.script([Fault::Hold]);
    stage.write("other-ca.pem", stage.emulator.tls_ca_pem());
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("tls-ca.pem", "other-ca.pem"));

    daemon.signal(Signal::HUP);
    stage.emulator.wait_for_held(1).await;

    assert_eq!(key_id(&stage, &daemon).await, before, "while AWS is asked");
    stage.emulator.release();
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    assert_ne!(key_id(&stage, &daemon).await, before);
}

#[tokio::test]
async fn where_clients_use_the_credentials_makes_no_other_session() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    stage.configure(&format!("{}region = \"us-west-2\"\n", stage.session("bedrock")));

    let daemon = stage.daemon().await;

    assert_eq!(key_id(&stage, &daemon).await, before);
}

#[tokio::test]
async fn a_certificate_that_was_renewed_meanwhile_is_used_though_the_old_credentials_live() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    stage.install(&stage.leaf());
    stage.emulator.script([Fault::Hold]);

    let daemon = stage.daemon().await;
    stage.emulator.wait_for_held(1).await;

    assert_eq!(key_id(&stage, &daemon).await, before, "served while AWS is asked");
    stage.emulator.release();
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert_ne!(key_id(&stage, &daemon).await, before);
}

/// The second daemon never read a certificate, and still knows which one the credentials came from.
#[tokio::test]
async fn a_certificate_that_was_renewed_before_a_second_restart_is_used_too() {
    let stage = Stage::in_memory().await;
    for _ in 0..2 {
        let daemon = stage.daemon().await;
        daemon.wait_for(event::HANDOVER_WRITTEN).await;
        daemon.stop().await;
    }
    assert_eq!(stage.emulator.sessions_created(), 1);
    stage.install(&stage.leaf());
    // Within one second AWS's dates, which have no fraction, would show no longer life.
    stage.emulator.set_clock_offset(time::Duration::seconds(5));

    let daemon = stage.daemon().await;

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert_eq!(stage.emulator.sessions_created(), 2, "{}", daemon.output());
}

#[tokio::test]
async fn removing_the_token_key_ends_all_imds_tokens_at_the_next_restart() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let token = client::imds_token(&daemon.http().await).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    fs_err::remove_file(stage.path("run/imds-token.key")).unwrap();

    let daemon = stage.daemon().await;

    assert_eq!(client::imds_list(&daemon.http().await, &token).await.status, 401);
}

#[tokio::test]
async fn systemd_keeps_credentials_and_tokens_for_the_successor() {
    let mut stage = Stage::new().await;
    let systemd = Systemd::new(&stage);
    let daemon = systemd.start(&stage);
    daemon.wait_for(event::DAEMON_READY).await;
    let token = client::imds_token(&systemd.http()).await;
    let before = client::imds(&systemd.http()).await.key_id();
    systemd.wait_for_kept(1).await;
    daemon.stop().await;
    stage.emulator.stop().await;
    // Not even the runtime directory is left.
    fs_err::remove_dir_all(stage.path("run")).unwrap();

    let successor = systemd.start(&stage);
    successor.wait_for(event::DAEMON_READY).await;

    assert_eq!(client::imds(&systemd.http()).await.key_id(), before);
    assert_eq!(client::imds_list(&systemd.http(), &token).await.status, 200, "clients keep tokens for hours");
    assert!(!stage.path("run/state").exists(), "no file beside systemd's descriptor");
}

/// AWS does not answer, so that nothing but the token key is there to be kept.
#[tokio::test]
async fn tokens_of_an_imds_that_a_reload_switched_on_survive_a_restart() {
    let mut stage = Stage::new().await;
    stage.emulator.stop().await;
    let with_imds = |enabled: bool| format!("[imds]\nenabled = {enabled}\n{}", stage.session("bedrock"));
    stage.configure(&with_imds(false));
    let systemd = Systemd::new(&stage);
    let daemon = systemd.start(&stage);
    daemon.wait_for(event::DAEMON_READY).await;
    stage.configure(&with_imds(true));
    daemon.signal(Signal::HUP);
    systemd.wait_for("; configuration reloaded").await;
    let token = client::imds_token(&systemd.http()).await;
    systemd.wait_for_kept(1).await;
    daemon.stop().await;
    // It is not the file that saves them.
    fs_err::remove_dir_all(stage.path("run")).unwrap();

    let successor = systemd.start(&stage);
    successor.wait_for(event::DAEMON_READY).await;

    assert_eq!(
        client::imds_list(&systemd.http(), &token).await.status,
        503,
        "the token is good, AWS is not there"
    );
}

#[tokio::test]
async fn systemd_is_asked_to_forget_what_was_renewed() {
    let stage = Stage::with(|setup| setup.profiles[0].duration_seconds = 64).await;
    let systemd = Systemd::new(&stage);
    let mut daemon = systemd.start(&stage);

    systemd.wait_for_kept(2).await;
    daemon.kill();

    assert_eq!(systemd.kept().len(), 1, "one state, whatever the moment of the end: {:?}", systemd.kept());
    let successor = systemd.start(&stage);
    successor.wait_for(event::HANDOVER_TAKEN).await;
    systemd.wait_for_kept(3).await;
    assert_eq!(systemd.kept().len(), 1, "{:?}", systemd.kept());
}

#[tokio::test]
async fn a_damaged_descriptor_is_told_and_replaced() {
    let stage = Stage::new().await;
    let systemd = Systemd::new(&stage);
    let daemon = systemd.start(&stage);
    systemd.wait_for_kept(1).await;
    daemon.stop().await;
    systemd.keep_instead(b"anchord state 1\nnonsense");

    let daemon = systemd.start(&stage);

    daemon.wait_for(event::HANDOVER_LOST).await;
    daemon.wait_for(event::DAEMON_READY).await;
    assert_eq!(client::imds(&systemd.http()).await.status, 200);
    systemd.wait_for_kept(2).await;
}

/// Before version 254 systemd does not say whether it keeps descriptors; `/run` is in memory everywhere.
#[tokio::test]
async fn an_older_systemd_finds_the_state_in_the_runtime_directory() {
    let stage = Stage::in_memory().await;
    let mut systemd = Systemd::new(&stage);
    systemd.store = None;
    let daemon = systemd.start(&stage);
    daemon.wait_for(event::DAEMON_READY).await;
    let before = client::imds(&systemd.http()).await.key_id();
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.signal(Signal::TERM);
    daemon.ended().await;

    let successor = systemd.start(&stage);
    successor.wait_for(event::DAEMON_READY).await;

    assert_eq!(client::imds(&systemd.http()).await.key_id(), before);
}
