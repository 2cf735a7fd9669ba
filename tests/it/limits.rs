//! Limits that an operator or a container runtime has set too low: what is missing is told, and what can go on does.

use anchord_core::event;
use std::path::Path;
use std::process::Command;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::Systemd;
use anchord_testing::stage::client;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process::anchord;
use anchord_testing::stage::process::to_the_end;

/// The program, which may have `threads` threads. `None` where this host has no such limits for this user.
///
/// The limit counts all of a user's processes, so this is a user of its own: root has no limit, and in a user namespace
/// of one's own only what is in there counts.
fn with_threads(stage: &Stage, threads: u32, arguments: &[&str]) -> Option<Command> {
    let is_root = rustix::process::geteuid().is_root();
    let user = (1_000_000 + std::process::id() % 1_000_000 * 8 + threads).to_string();
    if is_root {
        let chown = Command::new("chown").args(["-R", &user]).arg(stage.path("")).status();
        assert!(chown.unwrap().success());
    }
    // The folder of the build may be closed to that user. Only now: a link would pass the owner on.
    let program = stage.path("anchord");
    let built = env!("CARGO_BIN_EXE_anchord");
    fs_err::hard_link(built, &program).or_else(|_| fs_err::copy(built, &program).map(drop)).unwrap();
    let limited = |program: &Path| {
        let mut command = Command::new(if is_root { "setpriv" } else { "unshare" });
        if is_root {
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        } else {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg("prlimit").arg(format!("--nproc={threads}")).arg("--").arg(program).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", stage.path(""));
        command
    };
    if !limited("true".as_ref()).output().is_ok_and(|output| output.status.success()) {
        not_played("this user cannot limit processes here");
        return None;
    }
    let mut command = limited(&program);
    command.args(arguments).arg("--config").arg(stage.path("anchord.toml"));
    Some(command)
}

const HINT: &str = "hint: raise the limit of processes and threads";

#[tokio::test]
async fn a_daemon_that_may_start_no_thread_says_what_is_missing() {
    for threads in [1, 2, 3] {
        let stage = Stage::new().await;
        let Some(command) = with_threads(&stage, threads, &["run"]) else { return };

        let ran = to_the_end(command).await;

        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr.contains("anchord: cannot start a thread: Resource temporarily unavailable"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains(HINT) && !ran.stderr.contains("bug"), "{ran:?}");
    }
}

/// The process, its log, a worker, and one for files.
#[tokio::test]
async fn a_daemon_serves_with_four_threads() {
    let stage = Stage::new().await;
    let Some(command) = with_threads(&stage, 4, &["run"]) else { return };

    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    let before = client::imds(&daemon.http().await).await.key_id();
    stage.install(&stage.leaf());
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    assert_ne!(client::imds(&daemon.http().await).await.key_id(), before, "the watcher works too");
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0, "{output}");
    assert!(!output.contains("bug"), "{output}");
}

#[tokio::test]
async fn credential_process_that_may_start_no_thread_says_what_is_missing() {
    for threads in [1, 2] {
        let stage = Stage::new().await;
        let Some(command) = with_threads(&stage, threads, &["credential-process"]) else { return };

        let ran = to_the_end(command).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("cannot start a thread: Resource temporarily unavailable"), "{ran:?}");
        assert!(ran.stderr.contains(HINT) && !ran.stderr.contains("bug"), "{ran:?}");
    }
}

/// The program in a shell that lets it write files of no more than `blocks` of 512 bytes.
fn with_file_size(blocks: u32, script: &str, arguments: &[&str]) -> Command {
    let plain = anchord();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -f {blocks}; {script}")).arg(plain.get_program()).args(arguments);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[tokio::test]
async fn a_daemon_that_may_write_no_file_goes_on_with_those_that_are_there() {
    let stage = Stage::in_memory().await;
    let first = stage.daemon().await;
    first.wait_for(event::HANDOVER_WRITTEN).await;
    first.stop().await;
    fs_err::remove_file(stage.path("run/state")).unwrap();
    let configuration = stage.path("anchord.toml");
    let arguments = ["run", "--config", configuration.to_str().unwrap()];

    let daemon = Daemon::of(with_file_size(0, r#"exec "$0" "$@""#, &arguments));
    daemon.wait_for(event::DAEMON_READY).await;

    let line = daemon.wait_for(event::HANDOVER_NOT_WRITTEN).await;
    assert!(line["error"].as_str().unwrap().contains("File too large"), "{line}");
    assert!(line["hint"].as_str().unwrap().contains("ulimit -f"), "{line}");
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    assert_eq!(client::socket(&stage.socket(), "bedrock").await.status, 200);
    daemon.stop().await;
}

/// systemd keeps a file in memory, for which the limit holds as well.
#[tokio::test]
async fn a_daemon_of_systemd_that_may_write_no_file_goes_on() {
    let stage = Stage::new().await;
    let mut systemd = Systemd::new(&stage);
    let first = systemd.start(&stage);
    first.wait_for(event::DAEMON_READY).await;
    first.stop().await;
    systemd.prelude = "ulimit -f 0; ";

    let daemon = systemd.start(&stage);
    daemon.wait_for(event::HANDOVER_NOT_WRITTEN).await;

    assert_eq!(client::imds(&systemd.http()).await.status, 200);
    daemon.stop().await;
}

/// Lines that do not fit are lost, and nothing else.
#[tokio::test]
async fn a_log_file_that_may_not_grow_ends_no_daemon() {
    let stage = Stage::new().await;
    let first = stage.daemon().await;
    first.stop().await;
    let (configuration, log) = (stage.path("anchord.toml"), stage.path("log"));
    let arguments = ["run", "--config", configuration.to_str().unwrap()];
    let script = format!(r#"exec "$0" "$@" 2>'{}'"#, log.display());

    let daemon = Daemon::of(with_file_size(1, &script, &arguments));
    // Of its log the test sees half a kilobyte.
    let asked = async {
        loop {
            let answered = tokio::net::UnixStream::connect(stage.socket()).await.is_ok();
            if answered && client::socket(&stage.socket(), "bedrock").await.status == 200 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(anchord_testing::stage::process::PATIENCE, asked).await.unwrap();

    let (code, _) = daemon.stop().await;
    assert_eq!(code, 0);
    assert_eq!(fs_err::metadata(log).unwrap().len(), 512, "the limit was reached");
}

#[tokio::test]
async fn credential_process_that_may_write_no_file_gives_credentials_without_keeping_them() {
    let stage = Stage::new().await;
    let configuration = stage.path("anchord.toml");
    let arguments = ["credential-process", "--config", configuration.to_str().unwrap()];
    let mut command = with_file_size(0, r#"exec "$0" "$@""#, &arguments);
    command.env("HOME", stage.path("")).env("XDG_RUNTIME_DIR", stage.path(""));

    let ran = to_the_end(command).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("AccessKeyId"), "{ran:?}");
}

#[tokio::test]
async fn credential_process_whose_output_does_not_fit_says_so() {
    let stage = Stage::new().await;
    let configuration = stage.path("anchord.toml");
    let arguments = ["credential-process", "--config", configuration.to_str().unwrap()];
    let script = format!(r#"exec "$0" "$@" >'{}'"#, stage.path("out").display());
    let mut command = with_file_size(0, &script, &arguments);
    command.env("HOME", stage.path(""));

    let ran = to_the_end(command).await;

    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("cannot write to stdout: File too large"), "{ran:?}");
}
