//! A mistake in the settings that an operator takes back: what the right settings had made is found again.

use anchord_core::event;
use anchord_emulator::Fault;
use rustix::process::Signal;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

/// A session's table with a trust anchor that AWS does not know.
fn mistaken(stage: &Stage) -> String {
    stage.session("bedrock").replace(":trust-anchor/", ":trust-anchor/00000000-")
}

async fn reload(stage: &Stage, daemon: &Daemon, tables: &str, nth: usize) {
    stage.configure(tables);
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth(event::CONFIG_RELOADED, nth).await;
}

async fn ask(stage: &Stage, daemon: &Daemon) -> client::Reply {
    client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await
}

#[tokio::test]
async fn a_mistake_that_is_taken_back_by_a_restart_costs_no_client_its_credentials() {
    let stage = Stage::in_memory().await;
    let mut daemon = stage.daemon().await;
    let before = ask(&stage, &daemon).await.key_id();
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    reload(&stage, &daemon, &mistaken(&stage), 1).await;
    daemon.wait_for(event::CREDENTIALS_INHERITED).await;
    assert_eq!(ask(&stage, &daemon).await.key_id(), before);
    daemon.kill();

    stage.configure(&stage.session("bedrock"));
    stage.emulator.always(Some(Fault::Status(503)));
    let successor = stage.daemon().await;

    assert_eq!(ask(&stage, &successor).await.key_id(), before);
    let status = stage.run(&["status"]).await.stdout;
    assert!(!status.contains("from earlier settings"), "{status}");
}

#[tokio::test]
async fn a_mistake_that_is_taken_back_by_a_reload_costs_no_call() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = ask(&stage, &daemon).await.key_id();
    reload(&stage, &daemon, &mistaken(&stage), 1).await;
    daemon.wait_for(event::CREDENTIALS_INHERITED).await;

    reload(&stage, &daemon, &stage.session("bedrock"), 2).await;

    daemon.wait_for(event::CREDENTIALS_RESUMED).await;
    assert_eq!(ask(&stage, &daemon).await.key_id(), before);
    let status = stage.run(&["status"]).await.stdout;
    assert!(!status.contains("from earlier settings"), "{status}");
    assert_eq!(stage.emulator.sessions_created(), 1);
}

/// The restart meets the mistake, the reload after it takes it back.
#[tokio::test]
async fn a_daemon_that_starts_with_the_mistake_keeps_them_without_handing_them_out() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let before = ask(&stage, &daemon).await.key_id();
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.stop().await;
    stage.configure(&mistaken(&stage));
    for _ in 0..2 {
        let daemon = stage.daemon().await;
        assert_eq!(ask(&stage, &daemon).await.status, 503);
        daemon.wait_for(event::HANDOVER_WRITTEN).await;
        daemon.stop().await;
    }
    let daemon = stage.daemon().await;
    stage.emulator.always(Some(Fault::Status(503)));

    reload(&stage, &daemon, &stage.session("bedrock"), 1).await;

    assert_eq!(ask(&stage, &daemon).await.key_id(), before);
}

#[tokio::test]
async fn credentials_of_another_account_wait_for_their_own_settings() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = ask(&stage, &daemon).await.key_id();
    stage.emulator.always(Some(Fault::Status(503)));
    let elsewhere = stage.session("bedrock").replace(&stage.role, "arn:aws:iam::999999999999:role/other");

    reload(&stage, &daemon, &elsewhere, 1).await;
    daemon.wait_for(event::CREDENTIALS_DROPPED).await;
    assert_eq!(ask(&stage, &daemon).await.status, 503);
    reload(&stage, &daemon, &stage.session("bedrock"), 2).await;

    assert_eq!(ask(&stage, &daemon).await.key_id(), before);
}

/// A pin says that the other certificate is not trusted any more. Taking the pin away does not bring its credentials back.
#[tokio::test]
async fn what_a_pin_has_ended_does_not_come_back_with_the_settings() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    ask(&stage, &daemon).await.key_id();
    stage.emulator.always(Some(Fault::Status(503)));
    let pin = format!("certificate_fingerprint = [\"sha256:{}\"]\n", "00".repeat(32));

    reload(&stage, &daemon, &mistaken(&stage), 1).await;
    ask(&stage, &daemon).await.key_id();
    reload(&stage, &daemon, &format!("{}{pin}", mistaken(&stage)), 2).await;
    reload(&stage, &daemon, &stage.session("bedrock"), 3).await;
    assert_eq!(ask(&stage, &daemon).await.status, 503, "taken back by a reload");
    daemon.stop().await;
    let successor = stage.daemon().await;

    assert_eq!(ask(&stage, &successor).await.status, 503, "taken back by a restart");
}
