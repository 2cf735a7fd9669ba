//! Start, stop, and what a restart leaves as it was.

use anchord_core::event;
use anchord_emulator::Fault;
use rustix::process::Signal;

use anchord_testing::names_in;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process::anchord;
use anchord_testing::stage::process::count_of;

#[tokio::test]
async fn sigterm_and_sigint_end_the_daemon_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::new().await;
        let daemon = stage.daemon().await;

        daemon.signal(signal);
        let (code, output) = daemon.ended().await;

        assert_eq!(code, 0, "{output}");
        assert_eq!(count_of(event::DAEMON_STOPPED, &output), 1, "{output}");
        assert!(!stage.socket().exists());
    }
}

/// It would wait for 8 s, which is longer than a daemon takes to stop.
#[tokio::test]
async fn sigterm_answers_a_client_of_the_socket_that_waits_for_credentials() {
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Hold]);
    let daemon = Daemon::unready(&stage.path("anchord.toml"));
    stage.emulator.wait_for_held(1).await;
    let socket = stage.socket();
    let waiting = tokio::spawn(async move { client::socket(&socket, "bedrock").await });
    let connected = |line: &serde_json::Value| line["message"] == "Connected" && line["listener"] == "socket";
    daemon.wait_for_line("a connection", 1, connected).await;
    let stopped_at = std::time::Instant::now();

    let (code, output) = daemon.stop().await;

    assert_eq!(code, 0, "{output}");
    let reply = waiting.await.unwrap();
    let told = reply.json();
    assert_eq!((reply.status, &told["class"]), (503, &"transient".into()), "{told}");
    assert_eq!(told["message"], "the daemon is stopping", "{told}");
    // Far below the 5 s that requests under way have to finish.
    assert!(stopped_at.elapsed() < std::time::Duration::from_secs(4), "{:?}", stopped_at.elapsed());
    stage.emulator.release();
}

/// Environment variables with a bearer and SDKs that cache IMDS tokens for six hours outlive the daemon.
#[tokio::test]
async fn bearers_and_imds_tokens_survive_a_restart() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let (token, bearer) = (client::imds_token(&http).await, stage.bearer("bedrock"));
    // Killed, not stopped: a crash must not cost the tokens either.
    let mut daemon = daemon;
    daemon.kill();

    let successor = stage.daemon().await;
    let http = successor.http().await;

    assert_eq!(stage.bearer("bedrock"), bearer);
    assert_eq!(client::imds_list(&http, &token).await.status, 200);
    assert_eq!(client::container(&http, "bedrock", &bearer).await.status, 200);
}

#[tokio::test]
async fn aws_being_down_at_start_does_not_keep_the_daemon_from_serving_later() {
    let mut stage = Stage::new().await;
    stage.emulator.stop().await;
    let mut command = anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    let http = daemon.http().await;

    let early = client::imds(&http).await;
    stage.emulator.restart().await.unwrap();
    stage.emulator.wait_for_requests(1).await;

    assert_eq!((early.status, early.body.as_str()), (503, ""));
    let socket = client::socket(&stage.socket(), "bedrock").await;
    assert_eq!(socket.key_id(), client::imds(&http).await.key_id());
}

#[tokio::test]
async fn short_sessions_are_renewed_by_themselves() {
    let stage = Stage::with(|setup| setup.profiles[0].duration_seconds = 64).await;
    let daemon = stage.daemon().await;

    // Nobody asks; a 64-second session is due 60 s before its end.
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    let served = client::imds(&daemon.http().await).await.key_id();
    assert_ne!(served, stage.emulator.issued()[0].access_key_id, "{}", daemon.output());
}

#[tokio::test]
async fn no_core_file_is_made_of_the_daemon() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;

    let limits = fs_err::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();

    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
}

#[tokio::test]
async fn a_runtime_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("run")).unwrap();
    fs_err::set_permissions(stage.path("run"), std::fs::Permissions::from_mode(0o777)).unwrap();

    let ran = stage.run(&["run"]).await;

    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("is writable by other users")
            && ran.stderr.contains("hint: set `runtime_directory`"),
        "{}",
        ran.stderr
    );
}

/// As `/var/run` is a link to `/run`.
#[tokio::test]
async fn a_runtime_directory_behind_a_link_of_its_own_user_serves() {
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("real")).unwrap();
    std::os::unix::fs::symlink("real", stage.path("run")).unwrap();

    let daemon = stage.daemon().await;

    assert!(client::socket(&stage.socket(), "bedrock").await.key_id().starts_with("ASIA"));
    assert!(stage.path("real/bedrock.token").exists());
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0, "{output}");
    assert!(!stage.path("real/anchord.sock").exists(), "its socket goes with it");
}

/// Root would write its secrets into the link's target, and remove files there.
#[tokio::test]
async fn a_runtime_directory_behind_another_users_link_is_refused_and_its_target_left_alone() {
    const OTHER: u32 = 12345;
    if !rustix::process::geteuid().is_root() {
        return not_played("only root can make a link of another user");
    }
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("target")).unwrap();
    fs_err::write(stage.path("target/state"), "root's").unwrap();
    std::os::unix::fs::symlink("target", stage.path("run")).unwrap();
    std::os::unix::fs::lchown(stage.path("run"), Some(OTHER), Some(OTHER)).unwrap();

    let ran = stage.run(&["run"]).await;

    let link = stage.path("run").display().to_string();
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(&format!("`{link}` is a symbolic link of user {OTHER}")), "{}", ran.stderr);
    assert_eq!(names_in(&stage.path("target")), ["state"]);
    assert_eq!(fs_err::read_to_string(stage.path("target/state")).unwrap(), "root's");
}

/// Each would write its own state over the other's. Neither has a socket, which would show it at once.
#[tokio::test]
async fn a_second_daemon_in_one_runtime_directory_says_which_and_what_to_do() {
    let stage = Stage::new().await;
    stage.configure(&format!("[socket]\nenabled = false\n{}", stage.session("bedrock")));
    let mut first = stage.daemon().await;

    let second = Daemon::unready(&stage.path("anchord.toml"));
    second.wait_for(event::RUNTIME_DIRECTORY_IN_USE).await;
    let (code, output) = second.ended().await;

    assert_eq!(code, 1, "{output}");
    let said =
        format!("anchord: another daemon uses the runtime directory `{}`", stage.path("run").display());
    assert!(output.contains(&said), "{output}");
    assert!(output.contains("hint: stop it first") && output.contains("daemon.lock"), "{output}");
    assert_eq!(client::imds(&first.http().await).await.status, 200, "the first goes on");
    first.kill();
    stage.daemon().await;
}

/// `/dev/full` takes no byte; a reader that went away is another matter.
#[tokio::test]
async fn a_full_disk_under_stdout_is_told() {
    let mut command = anchord();
    command
        .arg("version")
        .stdout(fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap().into_file());

    let output = tokio::task::spawn_blocking(move || {
        command.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    });
    let output = output.await.unwrap();

    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("anchord: cannot write to stdout: No space left on device"), "{text}");
}
