//! The shipped binary as child processes, whose output is waited for instead of slept on.

use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;

use super::Stage;
use anchord_core::event;

/// No test waits longer for anything; one that gets here has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where cargo has put the program: above the test programs.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("anchord")
}

/// The program, without any variable but `PATH`.
pub fn anchord() -> Command {
    let mut command = Command::new(program());
    // Nothing of the machine that runs the tests may reach the program.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// Variables by which nothing of this machine's user is found: a home, and the folder of a login session in it.
pub fn home(path: impl AsRef<Path>) -> [(&'static str, PathBuf); 2] {
    let path = path.as_ref();
    [("HOME", path.to_path_buf()), ("XDG_RUNTIME_DIR", path.join(".runtime"))]
}

/// The program where the server of homes is gone: in the home's place (`home` in the stage's folder) is a file system
/// that never answers, which nobody else sees. `None` where this user may have no mounts of their own.
pub fn with_a_home_that_hangs(stage: &Stage) -> Option<Command> {
    fs_err::create_dir(stage.path("home")).unwrap();
    let mounted = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hangs home \
                   || exit 99; exec \"$@\"";
    let in_it = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", program]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.current_dir(stage.path("")).env_clear().env("PATH", path).envs(home(stage.path("home")));
        command
    };
    let may_mount = in_it("true").output().is_ok_and(|output| output.status.success());
    may_mount.then(|| in_it(program().to_str().unwrap()))
}

/// How a verb ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code, or -1 after a signal.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a verb with this configuration and home, to its end.
pub async fn run(configuration: &Path, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = anchord();
    command.args(arguments).arg("--config").arg(configuration).envs(home(folder));
    to_the_end(command).await
}

/// What does not end is killed: a test ends only after the threads that wait for it.
pub async fn to_the_end(mut command: Command) -> Ran {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = Pid::from_child(&child);
    let mut waiting = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    match tokio::time::timeout(PATIENCE, &mut waiting).await {
        Ok(output) => output.unwrap().into(),
        Err(_) => {
            let _ = rustix::process::kill_process(id, Signal::KILL);
            let ran = Ran::from(waiting.await.unwrap());
            panic!("{command:?} did not end by itself: {ran:?}")
        }
    }
}

/// How many lines of `output`, which is a log, are of `event`.
pub fn count_of(event: &str, output: &str) -> usize {
    output.matches(&format!("{event:?}")).count()
}

/// A running daemon; killed with the value.
pub struct Daemon {
    child: Child,
    lines: watch::Receiver<Arc<Mutex<Vec<Arc<str>>>>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts `anchord run`, and waits until it is ready.
    pub async fn start(configuration: &Path) -> Self {
        let daemon = Self::unready(configuration);
        daemon.wait_for(event::DAEMON_READY).await;
        daemon
    }

    /// The same, which may never be ready.
    pub fn unready(configuration: &Path) -> Self {
        let mut command = anchord();
        command.args(["run", "--config"]).arg(configuration);
        Self::of(command)
    }

    /// Starts `command`, which ends up as a daemon that logs JSON to stderr.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = watch::channel(Arc::new(Mutex::new(Vec::new())));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sender.send_modify(|lines| lines.lock().unwrap().push(line.into()));
            }
        });
        Self { child, lines }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that was written so far.
    pub fn output(&self) -> String {
        self.lines.borrow().lock().unwrap().join("\n")
    }

    /// The first log line of `event`, an id of `anchord_core::event`.
    pub async fn wait_for(&self, event: &str) -> Value {
        self.wait_for_nth(event, 1).await
    }

    /// The `nth` log line of `event`, from 1.
    pub async fn wait_for_nth(&self, event: &str, nth: usize) -> Value {
        self.wait_for_line(event, nth, |line| line["event"] == event).await
    }

    /// How many log lines of `event` there are so far.
    pub fn count(&self, event: &str) -> usize {
        count_of(event, &self.output())
    }

    /// The `nth` log line, from 1, that is `wanted`; `what` names it where it never comes.
    pub async fn wait_for_line(&self, what: &str, nth: usize, wanted: impl Fn(&Value) -> bool) -> Value {
        let parsed = |line: &str| serde_json::from_str::<Value>(line).ok().filter(&wanted);
        self.nth_line(nth, parsed).await.unwrap_or_else(|| self.never_said(what))
    }

    /// The rest of the first line that begins with `head`, for what is no log.
    pub async fn told(&self, head: &str) -> String {
        let rest = |line: &str| line.strip_prefix(head).map(str::to_owned);
        self.nth_line(1, rest).await.unwrap_or_else(|| self.never_said(head))
    }

    /// What `read` makes of the `nth` line, from 1, of which it makes something. Each line is read once, and never while
    /// the daemon's log waits for it: a log that is not taken loses lines.
    async fn nth_line<T>(&self, nth: usize, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut log = self.lines.clone();
        let (mut seen, mut left) = (0, nth);
        let found = async {
            loop {
                let is_running = log.has_changed().is_ok();
                let new: Vec<Arc<str>> = log.borrow_and_update().lock().unwrap()[seen..].to_vec();
                seen += new.len();
                for read in new.iter().filter_map(|line| read(line)) {
                    left -= 1;
                    if left == 0 {
                        return Some(read);
                    }
                }
                if !is_running {
                    return None;
                }
                // An error says that no line follows; those before it are looked through once more.
                let _ = log.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok().flatten()
    }

    fn never_said(&self, what: &str) -> ! {
        panic!("the daemon never said {what}; it said:\n{}", self.output())
    }

    /// `host:port` of its HTTP listener.
    pub async fn http(&self) -> String {
        let line = self.wait_for(event::LISTENER_STARTED).await;
        line["address"].as_str().unwrap().to_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills it, as the kernel does when memory runs out.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: the exit code and everything it said.
    pub async fn ended(mut self) -> (i32, String) {
        let mut lines = self.lines.clone();
        let closed = async { while lines.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, closed).await.expect("the daemon never ended");
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.output())
    }

    /// Ends it with SIGTERM: the exit code and everything it said.
    pub async fn stop(self) -> (i32, String) {
        self.signal(Signal::TERM);
        self.ended().await
    }
}
