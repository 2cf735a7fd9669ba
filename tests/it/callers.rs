//! Who may use a session: real users, each with sockets of its own.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Gid;
use rustix::process::Uid;

use anchord_core::event;
use anchord_testing::stage::Stage;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;

/// In the settings by number, like all users here: no host has to have them.
const MEMBER: u32 = 1234;
const STRANGER: u32 = 4321;
const GROUP: u32 = 7777;

/// What a client saw: the status, and the body.
type Seen = (u16, String);

/// Runs `action` with the rights of a user. The process's other threads keep theirs.
fn as_user<T: Send + 'static>(uid: u32, groups: &[u32], action: impl FnOnce() -> T + Send + 'static) -> T {
    let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let as_it = move || {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        rustix::thread::set_thread_groups(&groups).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        action()
    };
    std::thread::spawn(as_it).join().unwrap()
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        not_played("requests of other users: only root can send them");
    }
    is_root
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, method: &str, path: &str, header: &str) -> Seen {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    // A connection that is refused may end with a reset.
    let _ = stream.read_to_string(&mut reply);
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), body.to_owned())
}

const TREE: &str = "/latest/meta-data/iam/security-credentials/";

/// Token, list and credentials, as far as the daemon lets the user come.
fn imds(uid: u32, address: &str) -> Seen {
    let address = address.to_owned();
    as_user(uid, &[], move || {
        let ask = |method: &str, path: &str, header: &str| {
            exchange(TcpStream::connect(&address).unwrap(), method, path, header)
        };
        let token = ask("PUT", "/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 300");
        if token.0 != 200 {
            return token;
        }
        let header = format!("x-aws-ec2-metadata-token: {}", token.1);
        let list = ask("GET", TREE, &header);
        if list.0 == 200 { ask("GET", &format!("{TREE}{}", list.1), &header) } else { list }
    })
}

fn container(uid: u32, address: &str, bearer: &str) -> Seen {
    let (address, header) = (address.to_owned(), format!("authorization: {bearer}"));
    as_user(uid, &[], move || {
        exchange(TcpStream::connect(&address).unwrap(), "GET", "/v1/credentials/bedrock", &header)
    })
}

fn socket(uid: u32, groups: &[u32], path: &Path, resource: &str) -> Seen {
    let (path, resource) = (path.to_owned(), resource.to_owned());
    as_user(uid, groups, move || {
        exchange(UnixStream::connect(&path).unwrap(), "GET", &format!("/v1/{resource}"), "accept: */*")
    })
}

const OWN: &str = "sessions/bedrock/credential-process";

/// A daemon of root's whose socket other users can reach.
fn configure(stage: &Stage, allow: &str) -> PathBuf {
    fs_err::set_permissions(stage.path(""), std::fs::Permissions::from_mode(0o711)).unwrap();
    fs_err::create_dir(stage.path("open")).unwrap();
    fs_err::set_permissions(stage.path("open"), std::fs::Permissions::from_mode(0o755)).unwrap();
    reconfigure(stage, allow);
    stage.path("open/anchord.sock")
}

fn reconfigure(stage: &Stage, allow: &str) {
    stage
        .configure(&format!("[socket]\npath = \"open/anchord.sock\"\n{}{allow}\n", stage.session("bedrock")));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whom_a_session_names_get_its_credentials_through_every_channel_and_no_others() {
    if !is_root() {
        return;
    }
    let stage = Stage::new().await;
    let path = configure(&stage, &format!("allow = {{ users = [\"{MEMBER}\"], groups = [\"{GROUP}\"] }}"));
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let key = stage.emulator.issued()[0].access_key_id.clone();
    let bearer = stage.bearer("bedrock");
    let gets = |seen: Seen| seen.0 == 200 && seen.1.contains(&key);

    assert!(gets(imds(0, &http)), "root");
    assert!(gets(imds(MEMBER, &http)));
    assert!(gets(socket(MEMBER, &[], &path, OWN)));
    assert!(gets(socket(STRANGER, &[GROUP], &path, OWN)), "a member of the group");
    assert!(gets(container(STRANGER, &http, &bearer)), "a bearer is an authority of its own");
    assert_eq!(socket(MEMBER, &[], &path, "sessions/bedrock/bearer"), (200, bearer));

    assert_eq!(imds(STRANGER, &http), (403, String::new()));
    assert_eq!(container(STRANGER, &http, "wrong").0, 401);
    for resource in [OWN, "status", "sessions/bedrock/bearer", "sessions/bedrock/settings", "none"] {
        let (status, body) = socket(STRANGER, &[], &path, resource);
        assert_eq!(status, 403, "{resource}");
        assert!(body.contains("do not allow user 4321") && !body.contains("bedrock"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_only_root_and_the_daemons_user_get_credentials() {
    if !is_root() {
        return;
    }
    let stage = Stage::new().await;
    let path = configure(&stage, "");
    let daemon = stage.daemon().await;
    let http = daemon.http().await;

    assert_eq!(imds(0, &http).0, 200);
    assert_eq!(imds(STRANGER, &http).0, 403);
    let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "nobody else can connect");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imds_token_of_another_user_is_of_no_use() {
    if !is_root() {
        return;
    }
    let stage = Stage::new().await;
    configure(&stage, &format!("allow = [\"user:{MEMBER}\"]"));
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let ask = |uid: u32, method: &'static str, path: &'static str, header: String| {
        let http = http.clone();
        as_user(uid, &[], move || exchange(TcpStream::connect(http).unwrap(), method, path, &header))
    };
    let life = "x-aws-ec2-metadata-token-ttl-seconds: 300".to_owned();
    let (_, token) = ask(MEMBER, "PUT", "/latest/api/token", life);

    let header = format!("x-aws-ec2-metadata-token: {token}");

    assert_eq!(ask(MEMBER, "GET", TREE, header.clone()).0, 200);
    assert_eq!(ask(STRANGER, "GET", TREE, header), (401, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_who_may_also_for_connections_that_are_open() {
    if !is_root() {
        return;
    }
    let stage = Stage::new().await;
    configure(&stage, "");
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let mut kept = as_user(MEMBER, &[], move || TcpStream::connect(http).unwrap());
    let mut token = || {
        kept.write_all(
            b"PUT /latest/api/token HTTP/1.1\r\nhost: localhost\r\nx-aws-ec2-metadata-token-ttl-seconds: 9\r\n\r\n",
        )
        .unwrap();
        let mut head = [0; 12];
        kept.read_exact(&mut head).unwrap();
        let mut rest = vec![0; 4096];
        let _ = kept.read(&mut rest).unwrap();
        String::from_utf8_lossy(&head[9..]).into_owned()
    };
    assert_eq!(token(), "403");

    for (nth, (allow, status)) in
        [(format!("allow = [\"user:{MEMBER}\"]"), "200"), (String::new(), "403")].into_iter().enumerate()
    {
        reconfigure(&stage, &allow);
        daemon.signal(rustix::process::Signal::HUP);
        daemon.wait_for_nth(event::CONFIG_RELOADED, nth + 1).await;
        assert_eq!(token(), status);
    }
    assert_eq!(stage.emulator.issued().len(), 1, "the session went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_runs_exec_status_and_credential_process_without_a_file_of_roots() {
    if !is_root() {
        return;
    }
    let stage = Stage::new().await;
    let path = configure(&stage, &format!("allow = [\"user:{MEMBER}\"]"));
    let daemon = stage.daemon().await;
    daemon.http().await;
    let key = stage.emulator.issued()[0].access_key_id.clone();
    let run = |uid: u32, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        let user = uid.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(process::program());
        command.args(arguments).env_clear().current_dir("/");
        command.env("ANCHORD_SOCKET_PATH", &path).env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    if run(MEMBER, &["--version"]).0 != Some(0) {
        return not_played("commands of other users: they may not run the program where it was built");
    }

    let (code, stdout, stderr) = run(MEMBER, &["credential-process", "--session", "bedrock"]);
    assert!(code == Some(0) && stdout.contains(&key), "{stderr}");
    let (code, stdout, stderr) = run(MEMBER, &["status"]);
    assert!(code == Some(0) && stdout.contains("bedrock: live"), "{stdout}{stderr}");
    let (code, stdout, stderr) = run(MEMBER, &["exec", "--", "env"]);
    assert!(code == Some(0), "{stderr}");
    let bearer = stage.bearer("bedrock");
    assert!(stdout.contains(&format!("AWS_CONTAINER_AUTHORIZATION_TOKEN={bearer}\n")), "the variable has it");
    assert!(!stdout.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), "a file of root's is of no use");

    for arguments in
        [&["credential-process", "--session", "bedrock"][..], &["status"], &["exec", "--", "env"]]
    {
        let (code, stdout, stderr) = run(STRANGER, arguments);
        assert!(code == Some(1) && stdout.is_empty(), "{arguments:?}: {stdout}");
        assert!(
            stderr.contains("do not allow user 4321") && stderr.contains("hint: ask the administrator"),
            "{stderr}"
        );
    }
}
