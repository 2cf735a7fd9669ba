//! What passes between the daemon and systemd. A shell stands in for systemd's part of the protocol.

use anchord_core::event;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use rustix::process::Signal;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::anchord;
use anchord_testing::stage::process::home;

#[tokio::test(flavor = "multi_thread")]
async fn ready_watchdog_and_stopping_are_notified() {
    let stage = Stage::new().await;
    let path = stage.path("notify.sock");
    let notifications = UnixDatagram::bind(&path).unwrap();
    let mut command = anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::of(command);
    notifications.set_read_timeout(Some(anchord_testing::stage::process::PATIENCE)).unwrap();
    let receive = || {
        let mut buffer = [0; 256];
        let length = notifications.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };

    let ready = receive();
    assert!(
        ready.contains("READY=1") && ready.contains("STATUS=1 of 1 sessions have credentials"),
        "{ready}"
    );
    assert_eq!(stage.emulator.sessions_created(), 1, "ready means that there are credentials");
    assert!(receive().contains("WATCHDOG=1"));
    daemon.signal(Signal::TERM);
    let stopping = std::iter::repeat_with(receive).find(|text| !text.contains("WATCHDOG=1")).unwrap();
    assert!(stopping.contains("STOPPING=1"), "{stopping}");
}

#[tokio::test]
async fn sockets_from_systemd_are_served_and_left_alone() {
    let stage = Stage::new().await;
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let path = stage.path("passed.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // A client that came before the daemon waits in the backlog.
    let early = std::net::TcpStream::connect(&address).unwrap();
    let mut command = Command::new("sh");
    let script = r#"LISTEN_FDS=2 LISTEN_PID=$$ exec "$0" "$@" 3<&0 4<&1 </dev/null >/dev/null"#;
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_anchord")).args(["run", "--config"]);
    command.arg(stage.path("anchord.toml")).envs(home(stage.path("")));
    command.stdin(Stdio::from(OwnedFd::from(tcp))).stdout(Stdio::from(OwnedFd::from(unix)));

    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    assert_eq!(daemon.http().await, address);
    assert_eq!(client::imds(&address).await.status, 200);
    assert_eq!(client::socket(&path, "bedrock").await.status, 200);
    assert!(daemon.output().contains(path.to_str().unwrap()), "the log names systemd's socket");
    assert!(!stage.socket().exists(), "no socket of its own beside the one that was passed");
    drop(early);
    daemon.stop().await;
    assert!(path.exists(), "systemd's socket is not the daemon's to remove");
}

/// Whether units can be examined here.
fn has_analyzer() -> bool {
    let is_there = Command::new("systemd-analyze").arg("--version").output().is_ok();
    // `tests/run` installs it and sets this, so that there it cannot be skipped.
    assert!(is_there || std::env::var_os("ANCHORD_TEST_ALL").is_none(), "systemd-analyze is missing");
    is_there
}

/// A copy of a unit, for they name `/usr/bin/anchord`, and this one the program that was built.
fn put(path: &Path, unit: &str) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, unit.replace("/usr/bin/anchord", env!("CARGO_BIN_EXE_anchord"))).unwrap();
}

fn shipped(name: &str) -> String {
    fs_err::read_to_string(format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Asserts that systemd has nothing to say against the units.
fn verify(manager: &str, units: &[PathBuf]) {
    let mut command = Command::new("systemd-analyze");
    // A user's manager has one.
    let runtime = tempfile::tempdir().unwrap();
    command.env("XDG_RUNTIME_DIR", runtime.path());
    let output = command.args([manager, "--man=no", "verify"]).args(units).output().unwrap();

    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // The unit says what an older systemd makes of this.
    let of_older_systemd = "Failed to parse service type, ignoring: notify-reload";
    let complaints: Vec<_> = text.lines().filter(|line| !line.ends_with(of_older_systemd)).collect();
    assert_eq!((output.status.success(), complaints), (true, Vec::new()));
}

#[test]
fn the_units_are_what_systemd_expects() {
    if !has_analyzer() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let units = ["anchord.service", "anchord.socket"].map(|name| {
        put(&folder.path().join(name), &shipped(name));
        folder.path().join(name)
    });

    verify("--system", &units);
}

/// The indented blocks of README.md that hold a unit, or a part of one.
fn blocks_of_the_readme() -> Vec<String> {
    let readme = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let indented = |line: &&str| line.starts_with("    ") || line.is_empty();
    let mut lines = readme.lines().peekable();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if line != "    [Service]" {
            continue;
        }
        let rest = std::iter::from_fn(|| lines.next_if(indented));
        let block: Vec<&str> = std::iter::once(line).chain(rest).map(str::trim).collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

#[test]
fn what_the_readme_adds_to_the_units_is_what_systemd_expects() {
    if !has_analyzer() {
        return;
    }
    let (own, drop_ins): (Vec<_>, Vec<_>) =
        blocks_of_the_readme().into_iter().partition(|block| block.contains("ExecStart="));
    assert!(own.len() == 1 && drop_ins.iter().any(|block| block.contains("ReadWritePaths=")), "{own:?}");

    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("anchord-update.service");
    put(&unit, &own[0]);
    verify("--user", &[unit]);
    for drop_in in drop_ins {
        let folder = tempfile::tempdir().unwrap();
        let units = ["anchord.service", "anchord.socket"].map(|name| {
            put(&folder.path().join(name), &shipped(name));
            folder.path().join(name)
        });
        put(&folder.path().join("anchord.service.d/override.conf"), &drop_in);
        verify("--system", &units);
    }
}

#[tokio::test]
async fn a_passed_socket_that_other_hosts_can_reach_is_refused_at_the_start() {
    let stage = Stage::new().await;
    let mut systemd = anchord_testing::stage::Systemd::new(&stage);
    systemd.tcp = std::net::TcpListener::bind("0.0.0.0:0").unwrap();

    let (code, said) = systemd.start(&stage).ended().await;

    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("systemd passed a socket on 0.0.0.0:") && said.contains("which other hosts can reach"),
        "{said}"
    );
    assert!(said.contains("hint: set `ListenStream=`"), "{said}");
}
