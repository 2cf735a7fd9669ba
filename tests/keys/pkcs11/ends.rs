//! The process that holds a module ends with its parent, whatever the module does.

use anchord_core::event;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;

use super::configure;
use super::holders;
use super::lines;
use super::one_key;
use crate::softhsm::Kind;
use crate::softhsm::SoftHsm;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;
use anchord_testing::stage::process::PATIENCE;

/// Ways in which the shim hangs.
const WAYS: [&str; 4] = ["hang-loading", "hang", "hang-signing", "stop"];

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never came: {what}"));
}

/// A process that has ended stays a zombie until its parent, or the parent of orphans, looks.
fn is_there(pid: Pid) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

pub(super) async fn wait_for_the_end_of(holder: Pid) {
    wait_until("the end of the process that holds the module", || !is_there(holder)).await;
}

/// The daemon of a session with a key in a module that hangs in one way, as soon as it hangs.
async fn daemon_that_hangs(stage: &Stage, hsm: &SoftHsm, way: &str) -> Daemon {
    hsm.let_shim(way, true);
    configure(stage, &stage.session_of("bedrock", &lines(&hsm.shim_uri("robots", "object=leaf"))));
    let daemon = hsm.daemon(stage).await;
    wait_until("a module that hangs", || hsm.path("hangs").exists()).await;
    daemon
}

#[tokio::test]
async fn no_process_of_a_hanging_module_outlives_a_daemon_that_is_killed_or_stopped() {
    for way in WAYS {
        for signal in [Signal::KILL, Signal::TERM] {
            let stage = Stage::new().await;
            let (hsm, _) = one_key(&stage, Kind::P256);
            let mut daemon = daemon_that_hangs(&stage, &hsm, way).await;
            let holders = holders(&daemon);
            assert!(!holders.is_empty(), "{way}");

            match signal {
                Signal::KILL => daemon.kill(),
                _ => _ = daemon.stop().await,
            }

            for holder in holders {
                wait_for_the_end_of(holder).await;
            }
        }
    }
}

#[tokio::test]
async fn no_process_of_a_hanging_module_outlives_credential_process() {
    for way in WAYS {
        let stage = Stage::new().await;
        let (hsm, _) = one_key(&stage, Kind::P256);
        hsm.let_shim(way, true);
        configure(&stage, &stage.session_of("bedrock", &lines(&hsm.shim_uri("robots", "object=leaf"))));

        let ran = hsm.verb(&stage, &["credential-process"]).await;

        assert_eq!(ran.code, 1, "{way}: {}", ran.stderr);
        assert!(ran.stderr.contains("did not answer"), "{way}: {}", ran.stderr);
        let module = hsm.shim().display().to_string();
        let holds_it = |pid: &i32| {
            fs_err::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&module))
        };
        let pids = fs_err::read_dir("/proc").unwrap();
        let pids = pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
        for holder in pids.filter(holds_it).filter_map(Pid::from_raw) {
            wait_for_the_end_of(holder).await;
        }
    }
}

/// The program as the daemon starts it to hold the shim, and the daemon's end of the connection.
fn start(hsm: &SoftHsm) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = process::anchord();
    hsm.tell(&mut command).arg("pkcs11-host").arg(hsm.shim()).stdin(OwnedFd::from(theirs));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    (child, ours)
}

/// Lets it use the module, which hangs.
fn ask(mut connection: &UnixStream) {
    let question = br#"{"number":1,"task":"Tokens","careful":false}"#;
    connection.write_all(&(question.len() as u32).to_be_bytes()).unwrap();
    connection.write_all(&[0; 4]).unwrap();
    connection.write_all(question).unwrap();
}

/// The thread that started it lives on, so the kernel does nothing.
#[tokio::test]
async fn the_process_ends_with_its_connection_wherever_the_module_hangs() {
    for way in ["hang-loading", "hang"] {
        let hsm = SoftHsm::with(&[]);
        hsm.let_shim(way, true);
        let (mut child, connection) = start(&hsm);
        ask(&connection);
        wait_until("a module that hangs", || hsm.path("hangs").exists()).await;

        drop(connection);

        wait_for_the_end_of(Pid::from_child(&child)).await;
        child.wait().unwrap();
    }
}

/// The number of the process that the module has started.
fn forked(hsm: &SoftHsm) -> Pid {
    let number = fs_err::read_to_string(hsm.path("forked")).unwrap();
    Pid::from_raw(number.parse().unwrap()).unwrap()
}

/// The host ends itself here; nothing else does.
#[tokio::test]
async fn what_a_module_has_started_ends_with_the_connection() {
    let hsm = SoftHsm::with(&[]);
    hsm.let_shim("fork", true);
    hsm.let_shim("hang", true);
    let (mut child, connection) = start(&hsm);
    ask(&connection);
    wait_until("a module that hangs", || hsm.path("hangs").exists()).await;
    let helper = forked(&hsm);
    assert!(is_there(helper));

    drop(connection);

    wait_for_the_end_of(helper).await;
    child.wait().unwrap();
}

/// The whole host is stopped, so the daemon alone can end what is there.
#[tokio::test]
async fn a_daemon_ends_what_a_module_has_started() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    hsm.let_shim("fork", true);
    let _daemon = daemon_that_hangs(&stage, &hsm, "stop").await;
    let helper = forked(&hsm);

    // The daemon gives a host up that does not answer.
    wait_for_the_end_of(helper).await;
}

/// The kernel kills the process that holds the module, which then can end nothing.
#[tokio::test]
async fn what_a_module_has_started_ends_with_a_daemon_that_is_killed_or_stopped() {
    for signal in [Signal::KILL, Signal::TERM] {
        let stage = Stage::new().await;
        let (hsm, _) = one_key(&stage, Kind::P256);
        hsm.let_shim("fork", true);
        let mut daemon = daemon_that_hangs(&stage, &hsm, "hang").await;
        let helper = forked(&hsm);
        assert!(is_there(helper));

        match signal {
            Signal::KILL => daemon.kill(),
            _ => _ = daemon.stop().await,
        }

        wait_for_the_end_of(helper).await;
    }
}

#[tokio::test]
async fn what_a_module_has_started_ends_with_the_process_that_holds_it() {
    let hsm = SoftHsm::with(&[]);
    hsm.let_shim("fork", true);
    hsm.let_shim("stop", true);
    let (mut child, connection) = start(&hsm);
    ask(&connection);
    wait_until("a module that hangs", || hsm.path("hangs").exists()).await;
    let helper = forked(&hsm);

    child.kill().unwrap();

    wait_for_the_end_of(helper).await;
    child.wait().unwrap();
}

/// The state and the parent of each process, as stat has them.
fn processes() -> Vec<(Pid, String, String)> {
    let pids = fs_err::read_dir("/proc").unwrap();
    let pids =
        pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
    let of = |pid: Pid| {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
        Some((pid, fields.next()?, fields.next()?))
    };
    pids.filter_map(of).collect()
}

/// The processes that `parent` has started, or has got as orphans.
pub(super) fn children(parent: u32) -> Vec<Pid> {
    let all = processes().into_iter();
    all.filter(|(_, _, of)| *of == parent.to_string()).map(|(pid, ..)| pid).collect()
}

fn is_zombie(pid: Pid) -> bool {
    processes().iter().any(|(other, state, _)| *other == pid && state == "Z")
}

/// The first process of a container becomes the parent of what others have left, and has to wait for it.
#[tokio::test]
async fn a_daemon_that_is_the_first_process_of_a_container_leaves_no_zombies_of_modules() {
    let in_a_container = |program: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            program,
        ]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    };
    if !in_a_container("true").output().is_ok_and(|output| output.status.success()) {
        return not_played("this user may have no processes of their own");
    }
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    hsm.let_shim("fork", true);
    hsm.let_shim("hang", true);
    configure(&stage, &stage.session_of("bedrock", &lines(&hsm.shim_uri("robots", "object=leaf"))));
    let mut command = in_a_container(process::anchord().get_program().to_str().unwrap());
    hsm.tell(&mut command).args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    wait_until("a module that hangs", || hsm.path("hangs").exists()).await;
    let only_child = |parent: u32| children(parent)[0].as_raw_pid().unsigned_abs();
    let first = only_child(daemon.id());
    let spawner = only_child(first);
    let holder = children(spawner)[0];

    // The daemon gives a host up that does not answer.
    wait_for_the_end_of(holder).await;

    wait_until("the end of all that was left", || {
        [first, spawner].into_iter().flat_map(children).all(|pid| !is_zombie(pid))
    })
    .await;
}

/// As scripts call it again and again.
#[tokio::test]
async fn what_a_module_has_started_does_not_outlive_credential_process() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    hsm.let_shim("fork", true);
    configure(&stage, &stage.session_of("bedrock", &lines(&hsm.shim_uri("robots", "object=leaf"))));

    let ran = hsm.verb(&stage, &["credential-process"]).await;

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    wait_for_the_end_of(forked(&hsm)).await;
}

#[tokio::test]
async fn a_module_sees_no_file_that_the_daemons_caller_left_open() {
    let hsm = SoftHsm::with(&[]);
    hsm.let_shim("hang-loading", true);
    let secret = hsm.path("secret");
    let left_open = fs_err::File::create(&secret).unwrap();
    rustix::io::fcntl_setfd(left_open.file(), rustix::io::FdFlags::empty()).unwrap();
    let (mut child, connection) = start(&hsm);
    drop(left_open);
    ask(&connection);
    wait_until("a module that hangs", || hsm.path("hangs").exists()).await;

    let open = fs_err::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let open: Vec<_> = open.filter_map(|entry| fs_err::read_link(entry.unwrap().path()).ok()).collect();

    assert!(!open.contains(&secret), "{open:?}");
    drop(connection);
    child.wait().unwrap();
}

/// The connection stays open, so nothing can be read from it.
#[tokio::test]
async fn the_process_ends_with_the_thread_that_started_it() {
    for way in ["hang-loading", "stop"] {
        let hsm = SoftHsm::with(&[]);
        hsm.let_shim(way, true);

        let (mut child, connection) = std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                let (child, connection) = start(&hsm);
                ask(&connection);
                while !hsm.path("hangs").exists() {
                    std::thread::yield_now();
                }
                (child, connection)
            });
            starting.join().unwrap()
        });

        wait_for_the_end_of(Pid::from_child(&child)).await;
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        drop(connection);
    }
}

#[tokio::test]
async fn a_module_does_not_see_the_secrets_in_the_daemons_environment() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    configure(&stage, &stage.session_of("bedrock", &lines(&hsm.uri("robots", "object=leaf"))));
    let mut command = process::anchord();
    let secrets = [("AWS_SECRET_ACCESS_KEY", "canary-1"), ("DATABASE_PASSWORD", "canary-2")];
    hsm.tell(command.envs(secrets)).args(["run", "--config"]).arg(stage.path("anchord.toml"));

    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    let holder = holders(&daemon)[0].as_raw_pid();
    let variables = fs_err::read_to_string(format!("/proc/{holder}/environ")).unwrap();
    let names: Vec<_> = variables.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    assert!(names.contains(&"SOFTHSM2_CONF") && names.contains(&"SHIM_MODULE"), "{names:?}");
    assert!(!variables.contains("canary"), "{names:?}");
}
