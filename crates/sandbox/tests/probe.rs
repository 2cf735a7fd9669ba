//! What a process in the sandbox can no longer do, and what it still can: each row is tried by a child process.
//!
//! Most rows bypass every library and make the system call itself, as injected code would.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::disallowed_methods, reason = "the child's task is in its environment")]
#![allow(clippy::print_stdout, reason = "the table is what the test is for")]
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::ToSocketAddrs as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anchord_sandbox as sandbox;
use anchord_sandbox::CapabilitySet;
use anchord_sandbox::Needs;
use anchord_sandbox::WriteRule;
use linux_raw_sys::general as raw;

/// What the child tries, on the stage that the parent has set.
type Attempt = fn(&Scene) -> io::Result<()>;

/// What must come of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Works,
    /// It fails with one of these errors.
    Fails(&'static [i32]),
    /// As [`Outcome::Fails`], where this kernel's Landlock has rules for ports and signals.
    FailsByNewLandlock(&'static [i32]),
}

use Outcome::Fails;
use Outcome::FailsByNewLandlock;
use Outcome::Works;

/// Where the child is: its own directory, another one, and what the parent listens on.
struct Scene {
    own: PathBuf,
    other: PathBuf,
    allowed_port: u16,
    other_port: u16,
    parent: u32,
}

const DENIED: &[i32] = &[libc::EPERM];
const BY_LANDLOCK: &[i32] = &[libc::EACCES];
const EITHER: &[i32] = &[libc::EPERM, libc::EACCES];

const IN_THE_DAEMON: &[(&str, Attempt, Outcome)] = &[
    ("start a program", |_| Err(Command::new("/bin/true").exec()), Fails(EITHER)),
    ("start a child process", |_| Command::new("/bin/true").spawn().map(drop), Fails(EITHER)),
    ("execute a file in memory", execute_memory, Fails(EITHER)),
    ("fork", |_| call(raw::__NR_clone, [17, 0, 0, 0, 0, 0]), Fails(DENIED)),
    ("clone3", |_| call(raw::__NR_clone3, [0; 6]), Fails(&[libc::ENOSYS])),
    (
        "thread in a new mount namespace",
        |_| call(raw::__NR_clone, [0x0003_0f00, 0, 0, 0, 0, 0]),
        Fails(DENIED),
    ),
    ("write a file elsewhere", |scene| write(&scene.other.join("file")), Fails(BY_LANDLOCK)),
    ("make a file elsewhere", |scene| write(&scene.other.join("new")), Fails(BY_LANDLOCK)),
    ("make a directory elsewhere", |scene| std::fs::create_dir(scene.other.join("new")), Fails(BY_LANDLOCK)),
    ("remove a file elsewhere", |scene| std::fs::remove_file(scene.other.join("file")), Fails(BY_LANDLOCK)),
    (
        "link to a file elsewhere",
        |scene| std::os::unix::fs::symlink("/", scene.own.join("link")),
        Fails(EITHER),
    ),
    (
        "move a file out",
        |scene| std::fs::rename(scene.own.join("file"), scene.other.join("new")),
        Fails(&[libc::EACCES, libc::EXDEV]),
    ),
    ("write to /etc", |_| write(Path::new("/etc/anchord-probe")), Fails(BY_LANDLOCK)),
    ("write to /dev/shm", |_| write(Path::new("/dev/shm/anchord-probe")), Fails(BY_LANDLOCK)),
    ("write to another device", |_| open_to_write("/dev/zero"), Fails(BY_LANDLOCK)),
    ("make a device", |scene| mknod(&scene.own), Fails(EITHER)),
    ("ptrace", |scene| call(raw::__NR_ptrace, [16, scene.parent.into(), 0, 0, 0, 0]), Fails(DENIED)),
    (
        "read another process's memory",
        |scene| call(raw::__NR_process_vm_readv, [scene.parent.into(), 0, 0, 0, 0, 0]),
        Fails(DENIED),
    ),
    ("take another process's descriptor", |_| call(raw::__NR_pidfd_getfd, [0; 6]), Fails(DENIED)),
    (
        "signal another process",
        |scene| call(raw::__NR_kill, [scene.parent.into(), 0, 0, 0, 0, 0]),
        Fails(DENIED),
    ),
    ("mount", |_| call(raw::__NR_mount, [0; 6]), Fails(DENIED)),
    ("unshare", |_| call(raw::__NR_unshare, [0x1000_0000, 0, 0, 0, 0, 0]), Fails(DENIED)),
    ("setns", |_| call(raw::__NR_setns, [0; 6]), Fails(DENIED)),
    ("chroot", |_| call(raw::__NR_chroot, [0; 6]), Fails(DENIED)),
    ("bpf", |_| call(raw::__NR_bpf, [0; 6]), Fails(DENIED)),
    ("io_uring", |_| call(raw::__NR_io_uring_setup, [0; 6]), Fails(DENIED)),
    ("userfaultfd", |_| call(raw::__NR_userfaultfd, [0; 6]), Fails(DENIED)),
    ("perf_event_open", |_| call(raw::__NR_perf_event_open, [0; 6]), Fails(DENIED)),
    ("load a kernel module", |_| call(raw::__NR_init_module, [0; 6]), Fails(DENIED)),
    ("kexec", |_| call(raw::__NR_kexec_load, [0; 6]), Fails(DENIED)),
    ("keyctl", |_| call(raw::__NR_keyctl, [0; 6]), Fails(DENIED)),
    ("set the clock", |_| call(raw::__NR_clock_settime, [0; 6]), Fails(DENIED)),
    ("another user", |_| call(raw::__NR_setuid, [0; 6]), Fails(DENIED)),
    ("capabilities back", |_| call(raw::__NR_capset, [0; 6]), Fails(DENIED)),
    ("dumpable again", |_| call(raw::__NR_prctl, [4, 1, 0, 0, 0, 0]), Fails(DENIED)),
    ("type into the terminal", |_| call(raw::__NR_ioctl, [0, 0x5412, 0, 0, 0, 0]), Fails(DENIED)),
    ("packet socket", |_| socket(17, 3, 0), Fails(DENIED)),
    ("raw socket", |_| socket(2, 3, 6), Fails(DENIED)),
    ("multipath TCP", |_| socket(2, 1, 262), Fails(DENIED)),
    ("SCTP", |_| socket(2, 1, 132), Fails(DENIED)),
    ("the kernel's crypto", |_| socket(38, 5, 0), Fails(DENIED)),
    ("virtual machine socket", |_| socket(40, 1, 0), Fails(DENIED)),
    ("audit by netlink", |_| socket(16, 3, 9), Fails(DENIED)),
    ("TCP Fast Open", |_| call(raw::__NR_sendto, [0, 0, 0, 0x2000_0000, 0, 0]), Fails(DENIED)),
    ("TCP Fast Open by sendmsg", |_| call(raw::__NR_sendmsg, [0, 0, 0x2000_0000, 0, 0, 0]), Fails(DENIED)),
    ("TCP Fast Open by an option", |_| call(raw::__NR_setsockopt, [0, 6, 30, 0, 0, 0]), Fails(DENIED)),
    ("connect to another port", |scene| connect(scene.other_port), FailsByNewLandlock(BY_LANDLOCK)),
    ("listen on another port", |scene| listen(scene.other_port), FailsByNewLandlock(BY_LANDLOCK)),
    ("abstract socket of another process", connect_abstract, FailsByNewLandlock(DENIED)),
    // What the daemon does.
    ("connect to a port of the settings", |scene| connect(scene.allowed_port), Works),
    ("listen on a port of the settings", |_| listen(0), Works),
    ("write a file of its own", |scene| write(&scene.own.join("file")), Works),
    ("replace a file of its own", replace, Works),
    ("write to a device of the settings", |_| open_to_write("/dev/null"), Works),
    ("a socket of its own", |scene| UnixListener::bind(scene.own.join("s")).map(drop), Works),
    ("a file in memory", |_| memory().map(drop), Works),
    ("read what others may read", |_| std::fs::read("/etc/passwd").map(drop), Works),
    ("a thread", |_| std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()), Works),
    ("look up a name", |_| ("localhost", 443).to_socket_addrs().map(drop), Works),
    ("ask for addresses", |_| socket(16, 3, 0), Works),
    ("ask about sockets", |_| socket(16, 3, 4), Works),
    ("options of sockets", |_| listener_with_options(), Works),
];

const BESIDE_FOREIGN_CODE: &[(&str, Attempt, Outcome)] = &[
    ("start a program", |_| Command::new("/bin/true").status().map(drop), Works),
    ("write a file", |scene| write(&scene.other.join("new")), Works),
    ("a thread", |_| std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()), Works),
    ("ptrace", |scene| call(raw::__NR_ptrace, [16, scene.parent.into(), 0, 0, 0, 0]), Fails(DENIED)),
    (
        "read another process's memory",
        |scene| call(raw::__NR_process_vm_readv, [scene.parent.into(), 0, 0, 0, 0, 0]),
        Fails(DENIED),
    ),
    ("mount", |_| call(raw::__NR_mount, [0; 6]), Fails(DENIED)),
    ("unshare", |_| call(raw::__NR_unshare, [0x1000_0000, 0, 0, 0, 0, 0]), Fails(DENIED)),
    (
        "process in a new user namespace",
        |_| call(raw::__NR_clone, [0x1000_0011, 0, 0, 0, 0, 0]),
        Fails(DENIED),
    ),
    ("bpf", |_| call(raw::__NR_bpf, [0; 6]), Fails(DENIED)),
    ("load a kernel module", |_| call(raw::__NR_init_module, [0; 6]), Fails(DENIED)),
    ("keyctl", |_| call(raw::__NR_keyctl, [0; 6]), Fails(DENIED)),
    #[cfg(target_arch = "x86_64")]
    ("getpid by the x32 ABI", |_| call(0x4000_0000 | raw::__NR_getpid, [0; 6]), Fails(DENIED)),
    ("packet socket", |_| socket(17, 3, 0), Fails(DENIED)),
    ("type into the terminal", |_| call(raw::__NR_ioctl, [0, 0x5412, 0, 0, 0, 0]), Fails(DENIED)),
];

#[expect(unsafe_code, reason = "no library makes these calls")]
fn call(number: u32, arguments: [u64; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: no pointer is given to a call that the sandbox does not refuse.
    match unsafe { libc::syscall(number.into(), a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn socket(family: u64, kind: u64, protocol: u64) -> io::Result<()> {
    call(raw::__NR_socket, [family, kind, protocol, 0, 0, 0])
}

fn write(path: &Path) -> io::Result<()> {
    std::fs::write(path, "x")
}

fn open_to_write(path: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().read(true).write(true).open(path).map(drop)
}

fn replace(scene: &Scene) -> io::Result<()> {
    let made = scene.own.join("made");
    write(&made)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(made, scene.own.join("file"))
}

fn connect(port: u16) -> io::Result<()> {
    TcpStream::connect(("127.0.0.1", port)).map(drop)
}

fn abstract_address(process: u32) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("anchord-probe-{process}")).unwrap()
}

fn connect_abstract(scene: &Scene) -> io::Result<()> {
    UnixStream::connect_addr(&abstract_address(scene.parent)).map(drop)
}

fn listen(port: u16) -> io::Result<()> {
    TcpListener::bind(("127.0.0.1", port)).map(drop)
}

fn listener_with_options() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    listener.set_ttl(1)
}

fn memory() -> io::Result<rustix::fd::OwnedFd> {
    Ok(rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::empty())?)
}

fn execute_memory(_: &Scene) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let file = memory()?;
    io::copy(&mut std::fs::File::open("/bin/true")?, &mut std::fs::File::from(file.try_clone()?))?;
    Err(Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())).exec())
}

fn mknod(own: &Path) -> io::Result<()> {
    let kind = rustix::fs::FileType::CharacterDevice;
    let place = rustix::fs::CWD;
    Ok(rustix::fs::mknodat(place, own.join("null"), kind, 0o600.into(), rustix::fs::makedev(1, 3))?)
}

const TASK: &str = "ANCHORD_PROBE";

/// In the child: enters the sandbox and makes one attempt. It does nothing in the parent.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let [table, row, own, other, allowed_port, other_port, parent] =
        task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let scene = Scene {
        own: own.into(),
        other: other.into(),
        allowed_port: allowed_port.parse().unwrap(),
        other_port: other_port.parse().unwrap(),
        parent: parent.parse().unwrap(),
    };
    let table = match table {
        "daemon" => {
            sandbox::enter(&needs(&scene));
            IN_THE_DAEMON
        }
        _ => {
            sandbox::contain_foreign_code();
            BESIDE_FOREIGN_CODE
        }
    };
    let (_, attempt, _) = table[row.parse::<usize>().unwrap()];
    let code = match attempt(&scene) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    println!("outcome={code}.");
}

fn needs(scene: &Scene) -> Needs {
    Needs {
        capabilities: CapabilitySet::empty(),
        writable: vec![WriteRule::Below(scene.own.clone()), WriteRule::File("/dev/null".into())],
        listens: BTreeSet::from([0]),
        connects: BTreeSet::from([scene.allowed_port]),
        abstract_sockets: false,
    }
}

/// Plays a table and returns the rows that came out otherwise.
fn play(name: &str, table: &[(&str, Attempt, Outcome)]) -> Vec<String> {
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let [allowed, other] = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let _abstract =
        (name == "daemon").then(|| UnixListener::bind_addr(&abstract_address(std::process::id())));
    let mut wrong = Vec::new();
    for (row, (what, _, expected)) in table.iter().enumerate() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            std::fs::write(folder.path().join("file"), "x").unwrap();
        }
        let [own, elsewhere] = folders.each_ref().map(|folder| folder.path().display().to_string());
        let parent = std::process::id();
        let task = format!("{name} {row} {own} {elsewhere} {allowed} {other} {parent}");
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(TASK, task);
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = text.split_once("outcome=").and_then(|(_, rest)| rest.split_once('.'));
        let code: Option<i32> = told.and_then(|(code, _)| code.parse().ok());
        let is_right = match (expected, code) {
            (Works, code) => code == Some(0),
            (Fails(errors), Some(code)) => errors.contains(&code),
            (FailsByNewLandlock(errors), Some(code)) => errors.contains(&code) || !is_landlock_new(),
            (_, None) => false,
        };
        let shown = code.map_or("no answer".into(), |code| match code {
            0 => "works".to_owned(),
            code => io::Error::from_raw_os_error(code).to_string(),
        });
        println!("{name:8} {what:38} {shown}");
        if !is_right {
            let error = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("{what}: {shown}, not {expected:?}; {text}{error}"));
        }
    }
    wrong
}

/// Whether this kernel's Landlock has rules about ports, signals and abstract sockets.
fn is_landlock_new() -> bool {
    const VERSION: u64 = 1;
    #[expect(unsafe_code, reason = "no library tells it without making a ruleset")]
    // SAFETY: with this flag the kernel reads no memory.
    let abi = unsafe { libc::syscall(raw::__NR_landlock_create_ruleset.into(), 0, 0, VERSION) };
    abi >= 6
}

#[test]
fn each_attempt_in_the_daemons_sandbox_comes_out_as_the_table_says() {
    let wrong = play("daemon", IN_THE_DAEMON);

    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn foreign_code_can_work_and_cannot_reach_the_rest_of_the_host() {
    let wrong = play("foreign", BESIDE_FOREIGN_CODE);

    assert!(wrong.is_empty(), "{wrong:#?}");
}
