//! What is deleted under a running daemon, by a cleaner of old files or by hand.

use anchord_core::event;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::Signal;

use anchord_testing::stage::Stage;
use anchord_testing::stage::Systemd;
use anchord_testing::stage::client;
use anchord_testing::stage::process::count_of;

/// In one step: the daemon makes its directory again as soon as the lock's file is gone, also in the middle of a removal.
fn delete_runtime_directory(stage: &Stage) {
    fs_err::rename(stage.path("run"), stage.path("run.deleted")).unwrap();
    fs_err::remove_dir_all(stage.path("run.deleted")).unwrap();
}

#[tokio::test]
async fn a_socket_that_was_deleted_comes_back_by_itself_with_its_mode() {
    let stage = Stage::new().await;
    stage.configure(&format!("[socket]\nmode = \"0660\"\n{}", stage.session("bedrock")));
    let daemon = stage.daemon().await;
    let before = client::socket(&stage.socket(), "bedrock").await.key_id();
    fs_err::remove_file(stage.socket()).unwrap();

    daemon.wait_for(event::LISTENER_SOCKET_REPLACED).await;

    assert_eq!(client::socket(&stage.socket(), "bedrock").await.key_id(), before);
    assert_eq!(fs_err::metadata(stage.socket()).unwrap().mode() & 0o777, 0o660);
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0, "{output}");
    assert!(!stage.socket().exists());
}

#[tokio::test]
async fn a_reload_makes_a_runtime_directory_that_was_deleted_again() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = client::imds(&daemon.http().await).await.key_id();
    let token = client::imds_token(&daemon.http().await).await;
    delete_runtime_directory(&stage);

    daemon.signal(Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;
    daemon.wait_for(event::LISTENER_SOCKET_REPLACED).await;

    assert_eq!(client::socket(&stage.socket(), "bedrock").await.key_id(), before);
    assert_eq!(fs_err::metadata(stage.path("run")).unwrap().mode() & 0o777, 0o700);
    let container = client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await;
    assert_eq!(container.key_id(), before, "with the bearer of the file that was made anew");
    // Clients keep their tokens, also through the next restart.
    daemon.stop().await;
    let successor = stage.daemon().await;
    assert_eq!(client::imds_list(&successor.http().await, &token).await.status, 200);
}

#[tokio::test]
async fn a_runtime_directory_that_was_deleted_comes_back_with_the_secrets_in_force() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let previous = stage.bearer("bedrock");
    fs_err::rename(stage.path("run/bedrock.token"), stage.path("run/bedrock.token.previous")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;
    let bearer = stage.bearer("bedrock");
    let files = ["bedrock.token", "bedrock.token.previous", "imds-token.key"];
    let files = files.map(|name| stage.path("run").join(name));
    let before = files.each_ref().map(|path| fs_err::read(path).unwrap());
    delete_runtime_directory(&stage);

    let line = daemon.wait_for(event::RUNTIME_DIRECTORY_RESTORED).await;

    assert_eq!(line["level"], "WARN", "{line}");
    assert_eq!(line["path"], stage.path("run").to_str().unwrap(), "{line}");
    assert_eq!(files.each_ref().map(|path| fs_err::read(path).unwrap()), before);
    assert!(files.iter().all(|path| fs_err::metadata(path).unwrap().mode() & 0o777 == 0o600));
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth(event::CONFIG_RELOADED, 2).await;
    for held in [&bearer, &previous] {
        assert_eq!(client::container(&daemon.http().await, "bedrock", held).await.status, 200);
    }
    let (_, output) = daemon.stop().await;
    assert_eq!(count_of(event::RUNTIME_DIRECTORY_RESTORED, &output), 1, "{output}");
    stage.assert_no_secrets(&output, &[bearer.clone(), previous.clone()]);
}

#[tokio::test]
async fn a_bearer_that_programs_hold_survives_a_reload_after_its_directory_was_deleted() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let bearer = stage.bearer("bedrock");
    delete_runtime_directory(&stage);

    daemon.signal(Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;

    assert_eq!(stage.bearer("bedrock"), bearer);
    assert_eq!(client::container(&daemon.http().await, "bedrock", &bearer).await.status, 200);
}

#[tokio::test]
async fn a_bearers_file_that_is_removed_alone_changes_that_bearer_at_the_next_reload() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let bearer = stage.bearer("bedrock");
    fs_err::remove_file(stage.path("run/bedrock.token")).unwrap();

    daemon.signal(Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;

    assert_ne!(stage.bearer("bedrock"), bearer);
    assert_eq!(client::container(&daemon.http().await, "bedrock", &bearer).await.status, 401);
    assert_eq!(daemon.count(event::RUNTIME_DIRECTORY_RESTORED), 0, "{}", daemon.output());
}

#[tokio::test]
async fn a_restart_after_the_runtime_directory_was_deleted_goes_on_though_aws_is_down() {
    let mut stage = Stage::in_memory().await;
    let daemon = stage.daemon().await;
    let bearer = stage.bearer("bedrock");
    let before = client::container(&daemon.http().await, "bedrock", &bearer).await.key_id();
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    delete_runtime_directory(&stage);

    daemon.wait_for_nth(event::HANDOVER_WRITTEN, 2).await;
    daemon.stop().await;
    stage.emulator.stop().await;
    let successor = stage.daemon().await;

    assert_eq!(client::container(&successor.http().await, "bedrock", &bearer).await.key_id(), before);
}

/// A second daemon finds a lock there as it did before.
#[tokio::test]
async fn a_runtime_directory_that_was_deleted_is_locked_again() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    delete_runtime_directory(&stage);
    daemon.signal(Signal::HUP);
    daemon.wait_for(event::LISTENER_SOCKET_REPLACED).await;

    let ran = stage.run(&["run"]).await;

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("another daemon listens on"), "{}", ran.stderr);
}

#[tokio::test]
async fn another_programs_socket_in_the_place_of_a_deleted_one_is_left_alone_and_told_once() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    fs_err::rename(stage.socket(), stage.path("run/moved.sock")).unwrap();
    let other = std::os::unix::net::UnixListener::bind(stage.socket()).unwrap();

    for nth in 1..=3 {
        daemon.signal(Signal::HUP);
        daemon.wait_for_nth(event::CONFIG_RELOADED, nth).await;
    }
    let line = daemon.wait_for(event::RUNTIME_DIRECTORY_NOT_RESTORED).await;

    assert!(line["error"].as_str().unwrap().ends_with("was replaced by another file"), "{line}");
    assert_eq!(daemon.count(event::RUNTIME_DIRECTORY_NOT_RESTORED), 1, "{}", daemon.output());
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0, "{output}");
    std::os::unix::net::UnixStream::connect(stage.socket()).unwrap();
    other.accept().unwrap();
}

#[tokio::test]
async fn a_socket_of_systemd_is_not_made_again() {
    let stage = Stage::new().await;
    let systemd = Systemd::new(&stage);
    let daemon = systemd.start(&stage);
    systemd.wait_for("READY=1").await;
    fs_err::remove_file(&systemd.socket).unwrap();

    daemon.signal(Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth(event::CONFIG_RELOADED, 2).await;

    assert!(!systemd.socket.exists() && !stage.socket().exists());
}
