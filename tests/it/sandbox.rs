//! The daemon's sandbox, seen from outside: what the kernel says of a running daemon, and what a reload may change.
//!
//! What an attacker inside it can still do is tried by `crates/sandbox/tests/probe.rs`. All other tests here run with
//! the sandbox on.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anchord_core::event;
use linux_raw_sys::general as raw;
use rustix::io::Errno;
use rustix::process::Signal;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompFilter;
use serde_json::Value;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;

const CHOWN: u64 = 1 << 0;
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const FOWNER: u64 = 1 << 3;

/// What the kernel says in a status file of /proc.
fn status(path: &Path) -> BTreeMap<String, String> {
    let text = fs_err::read_to_string(path).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// The status of each thread of the daemon.
fn threads(daemon: &Daemon) -> Vec<BTreeMap<String, String>> {
    let tasks = fs_err::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
    tasks.map(|task| status(&task.unwrap().path().join("status"))).collect()
}

fn set(status: &BTreeMap<String, String>, name: &str) -> u64 {
    u64::from_str_radix(&status[name], 16).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `None` where this kernel's Landlock does not have `part`.
async fn with_landlock(daemon: &Daemon, part: &str) -> Option<Value> {
    let entered = daemon.wait_for(event::SANDBOX_ENTERED).await;
    if entered["parts"].as_str().unwrap().contains(part) {
        return Some(entered);
    }
    not_played(&format!("{part}: {entered}"));
    None
}

#[tokio::test]
async fn each_thread_of_a_daemon_has_no_privileges_and_a_filter_of_calls() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    client::socket(&stage.socket(), "bedrock").await.key_id();

    for thread in threads(&daemon) {
        assert_eq!((thread["NoNewPrivs"].as_str(), thread["Seccomp"].as_str()), ("1", "2"), "{thread:?}");
        for name in ["CapEff", "CapPrm"] {
            let held = set(&thread, name);
            assert_eq!(held, if is_root() { held & DAC_READ_SEARCH } else { 0 }, "{name}");
        }
        assert_eq!((set(&thread, "CapInh"), set(&thread, "CapAmb")), (0, 0));
        if is_root() {
            assert_eq!(set(&thread, "CapBnd") & !DAC_READ_SEARCH, 0);
        }
    }
    let (_, output) = daemon.stop().await;
    assert_eq!(process::count_of(event::SANDBOX_INCOMPLETE, &output), 0, "{output}");
}

#[tokio::test]
async fn root_keeps_what_it_needs_to_write_files_of_users() {
    if !is_root() {
        return not_played("this user has no capabilities");
    }
    let stage = Stage::new().await;
    stage.configure(&format!(
        "{}[credentials_file.a]\npath = \"aws/credentials\"\n",
        stage.session("bedrock")
    ));

    let daemon = stage.daemon().await;

    let own = status(Path::new("/proc/self/status"));
    let needed = CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER;
    for thread in threads(&daemon) {
        assert_eq!(set(&thread, "CapEff"), set(&own, "CapEff") & needed);
    }
}

#[tokio::test]
async fn serve_is_in_the_same_sandbox() {
    let stage = Stage::new().await;
    let mut command = process::anchord();
    command.current_dir(stage.path("")).args(["serve", "--port=0", "--log-format=json"]);
    command.args(["--certificate=leaf.pem", "--private-key=key.pem", "--ca-file=tls-ca.pem"]);
    for line in stage.session("x").lines() {
        if let Some((key @ ("trust_anchor_arn" | "profile_arn" | "role_arn" | "endpoint"), value)) =
            line.split_once(" = ")
        {
            command.arg(format!("--{}={}", key.replace('_', "-"), value.trim_matches('"')));
        }
    }
    command.env("TMPDIR", stage.path(""));

    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    for thread in threads(&daemon) {
        assert_eq!((thread["NoNewPrivs"].as_str(), thread["Seccomp"].as_str()), ("1", "2"), "{thread:?}");
    }
    let (code, output) = daemon.stop().await;
    assert_eq!((code, process::count_of(event::SANDBOX_INCOMPLETE, &output)), (0, 0), "{output}");
}

#[tokio::test]
async fn a_sandbox_that_is_switched_off_is_told_and_leaves_the_daemon_as_it_was() {
    let stage = Stage::new().await;
    let mut command = process::anchord();
    command.args(["run", "--sandbox=false", "--config"]).arg(stage.path("anchord.toml"));
    let own = status(Path::new("/proc/self/status"));

    let daemon = Daemon::of(command);
    daemon.wait_for(event::SANDBOX_OFF).await;
    daemon.wait_for(event::DAEMON_READY).await;

    for thread in threads(&daemon) {
        for name in ["NoNewPrivs", "Seccomp", "CapEff", "CapBnd"] {
            assert_eq!(thread[name], own[name], "{name}");
        }
    }
}

#[tokio::test]
async fn the_command_of_exec_is_in_no_sandbox() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let mut command = process::anchord();
    command.arg("exec").arg("--config").arg(stage.path("anchord.toml")).args([
        "--",
        "cat",
        "/proc/self/status",
    ]);

    let ran = process::to_the_end(command).await;

    let own = status(Path::new("/proc/self/status"));
    stage.write("status", &ran.stdout);
    let inside = status(&stage.path("status"));
    for name in ["NoNewPrivs", "Seccomp", "CapEff", "CapBnd"] {
        assert_eq!(inside[name], own[name], "{name}");
    }
}

fn files(stage: &Stage, folders: &[&str]) -> String {
    let mut text = stage.session("bedrock");
    for folder in folders {
        text.push_str(&format!("[credentials_file.{folder}]\npath = \"{folder}/credentials\"\n"));
    }
    text
}

/// The directories of the stage belong to the runtime directory's parent, so these are elsewhere.
#[tokio::test]
async fn a_new_credentials_file_in_another_directory_waits_for_a_restart() {
    let (stage, elsewhere) = (Stage::new().await, tempfile::tempdir().unwrap());
    stage.configure(&files(&stage, &["a"]));
    let daemon = stage.daemon().await;
    daemon.wait_for(event::FILE_WRITTEN).await;
    if with_landlock(&daemon, "writes").await.is_none() {
        return;
    }
    let outside = elsewhere.path().join("aws/credentials");
    let table = format!("[credentials_file.b]\npath = {outside:?}\n");
    stage.configure(&format!("{}{table}", files(&stage, &["a", "c"])));

    daemon.signal(Signal::HUP);
    let told = daemon.wait_for(event::CONFIG_RESTART_NEEDED).await;

    assert_eq!(told["settings"], "credentials_file.b", "{told}");
    daemon.wait_for_nth(event::FILE_WRITTEN, 2).await;
    assert!(stage.path("c/credentials").exists() && !outside.exists());
    daemon.stop().await;
    let daemon = stage.daemon().await;
    daemon.wait_for_nth(event::FILE_WRITTEN, 3).await;
    assert!(outside.exists());
}

#[tokio::test]
async fn a_credentials_directory_that_was_replaced_waits_for_a_restart_and_says_so() {
    let (stage, elsewhere) = (Stage::new().await, tempfile::tempdir().unwrap());
    let folder = elsewhere.path().join("aws");
    let table = format!("[credentials_file.a]\npath = {:?}\n", folder.join("credentials"));
    stage.configure(&format!("{}{table}", stage.session("bedrock")));
    let daemon = stage.daemon().await;
    daemon.wait_for(event::FILE_WRITTEN).await;
    if with_landlock(&daemon, "writes").await.is_none() {
        return;
    }

    fs_err::remove_dir_all(&folder).unwrap();
    fs_err::create_dir(&folder).unwrap();
    stage.install(&stage.leaf());

    let told = daemon.wait_for(event::FILE_NOT_WRITTEN).await;
    assert!(told["hint"].as_str().unwrap().contains("restart the daemon"), "{told}");
}

#[tokio::test]
async fn an_endpoint_on_another_port_waits_for_a_restart_and_the_session_goes_on() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let before = client::socket(&stage.socket(), "bedrock").await.key_id();
    if with_landlock(&daemon, "ports").await.is_none() {
        return;
    }
    let other = "https://localhost:1";
    stage.configure(&stage.session("bedrock").replace(&stage.emulator.endpoint(), other));

    daemon.signal(Signal::HUP);
    let told = daemon.wait_for(event::CONFIG_RESTART_NEEDED).await;

    assert_eq!(told["settings"], "session.bedrock", "{told}");
    assert_eq!(client::socket(&stage.socket(), "bedrock").await.key_id(), before);
    stage.install(&stage.leaf());
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
}

#[tokio::test]
async fn a_reload_does_not_switch_the_sandbox() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &format!("sandbox = false\n{text}"));

    daemon.signal(Signal::HUP);
    let told = daemon.wait_for(event::CONFIG_RESTART_NEEDED).await;

    assert_eq!(told["settings"], "sandbox", "{told}");
}

/// The program where these calls fail, as on a kernel or in a container that does not have them. seccomp comes last,
/// because no filter can be added afterwards.
#[expect(unsafe_code, reason = "the filter has to be there before the program")]
fn without(calls: &[(u32, Errno)]) -> Command {
    let mut filters = Vec::new();
    for (call, errno) in calls {
        let action = SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
        let rules = [(i64::from(*call), Vec::new())].into();
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
        filters.push(BpfProgram::try_from(filter).unwrap());
    }
    let mut command = process::anchord();
    let install = move || {
        let installed = filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter));
        installed.map_err(|_| std::io::ErrorKind::Unsupported.into())
    };
    // SAFETY: it makes two system calls for each filter and allocates nothing unless they fail.
    unsafe { command.pre_exec(install) };
    command
}

#[tokio::test]
async fn what_the_kernel_lacks_or_refuses_is_told_and_the_daemon_serves_without_it() {
    let (stage, elsewhere) = (Stage::new().await, tempfile::tempdir().unwrap());
    let mut command =
        without(&[(raw::__NR_landlock_create_ruleset, Errno::NOSYS), (raw::__NR_seccomp, Errno::PERM)]);
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));

    let daemon = Daemon::of(command);

    let entered = daemon.wait_for(event::SANDBOX_ENTERED).await;
    assert_eq!(entered["parts"], "no_new_privs, capabilities", "{entered}");
    assert_eq!(entered["missing"], "Landlock: Function not implemented (os error 38)", "{entered}");
    let incomplete = daemon.wait_for(event::SANDBOX_INCOMPLETE).await;
    assert_eq!(incomplete["error"], "seccomp: Operation not permitted (os error 1)", "{incomplete}");
    daemon.wait_for(event::DAEMON_READY).await;
    client::socket(&stage.socket(), "bedrock").await.key_id();
    // Nothing limits writes, so nothing waits for a restart.
    let table = format!("[credentials_file.b]\npath = {:?}\n", elsewhere.path().join("aws/credentials"));
    stage.configure(&format!("{}{table}", stage.session("bedrock")));
    daemon.signal(Signal::HUP);
    daemon.wait_for(event::FILE_WRITTEN).await;
    assert_eq!(daemon.count(event::CONFIG_RESTART_NEEDED), 0, "{}", daemon.output());
}
