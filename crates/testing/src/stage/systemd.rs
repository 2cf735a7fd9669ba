//! A stand-in for systemd: holds the sockets, keeps descriptors, hears notifications, starts daemons.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use tokio::sync::watch;

use super::Daemon;
use super::Stage;
use super::process;
use super::process::PATIENCE;

#[derive(Default)]
struct State {
    said: Vec<String>,
    kept: BTreeMap<String, Vec<OwnedFd>>,
    times_kept: usize,
}

/// Holds the sockets of one daemon after the other.
pub struct Systemd {
    /// The socket of HTTP.
    pub tcp: std::net::TcpListener,
    /// The path of the Unix socket.
    pub socket: PathBuf,
    unix: std::os::unix::net::UnixListener,
    notify: PathBuf,
    /// How many descriptors it keeps for the service; `None` is a systemd before 254, which does not say.
    pub store: Option<u32>,
    /// What the shell that starts a daemon does before it.
    pub prelude: &'static str,
    state: watch::Receiver<Arc<Mutex<State>>>,
}

impl Systemd {
    /// Sockets in the stage's folder and on a free port.
    pub fn new(stage: &Stage) -> Self {
        let (notify, socket) = (stage.path("notify.sock"), stage.path("passed.sock"));
        let notifications = UnixDatagram::bind(&notify).unwrap();
        let (sender, state) = watch::channel(Arc::new(Mutex::new(State::default())));
        std::thread::spawn(move || {
            while let Some((text, descriptors)) = receive(&notifications) {
                sender.send_modify(|state| take(&mut state.lock().unwrap(), &text, descriptors));
            }
        });
        Self {
            tcp: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            unix: std::os::unix::net::UnixListener::bind(&socket).unwrap(),
            socket,
            notify,
            store: Some(4),
            prelude: "",
            state,
        }
    }

    /// `host:port` of HTTP.
    pub fn http(&self) -> String {
        self.tcp.local_addr().unwrap().to_string()
    }

    /// Starts the daemon on the sockets, with what it left here before.
    ///
    /// A shell gives the descriptors their numbers; one in memory can be opened by its name.
    pub fn start(&self, stage: &Stage) -> Daemon {
        let mut script = format!(r#"{}LISTEN_PID=$$ exec "$0" "$@" 3<&0 4<&1"#, self.prelude);
        let mut names = vec!["http".to_owned(), "socket".to_owned()];
        let state = self.state.borrow();
        for (name, descriptor) in
            state.lock().unwrap().kept.iter().flat_map(|(name, all)| {
                all.iter().map(move |descriptor| (name.clone(), descriptor.as_raw_fd()))
            })
        {
            let number = 3 + names.len();
            script.push_str(&format!(" {number}</proc/{}/fd/{descriptor}", std::process::id()));
            names.push(name);
        }
        script.push_str(" </dev/null >/dev/null");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(process::program()).args(["run", "--config"]);
        command
            .arg(stage.path("anchord.toml"))
            .envs(process::home(stage.path("")))
            .env("NOTIFY_SOCKET", &self.notify);
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        if let Some(store) = self.store {
            command.env("FDSTORE", store.to_string());
        }
        command.stdin(Stdio::from(OwnedFd::from(self.tcp.try_clone().unwrap())));
        command.stdout(Stdio::from(OwnedFd::from(self.unix.try_clone().unwrap())));
        Daemon::of(command)
    }

    /// Waits until a state was kept for the `nth` time, from 1.
    pub async fn wait_for_kept(&self, nth: usize) {
        self.wait(|state| state.times_kept >= nth && state.kept.len() == 1).await;
    }

    /// Waits for the first notification in which `text` stands.
    pub async fn wait_for(&self, text: &str) -> String {
        self.wait(|state| state.said.iter().any(|said| said.contains(text))).await;
        let state = self.state.borrow();
        let state = state.lock().unwrap();
        state.said.iter().find(|said| said.contains(text)).cloned().unwrap()
    }

    async fn wait(&self, is_so: impl Fn(&State) -> bool) {
        let mut state = self.state.clone();
        let waited =
            tokio::time::timeout(PATIENCE, state.wait_for(|state| is_so(&state.lock().unwrap()))).await;
        assert!(waited.is_ok(), "it was never so; said: {:?}", self.state.borrow().lock().unwrap().said);
    }

    /// All that was said so far, in order.
    pub fn said(&self) -> Vec<String> {
        self.state.borrow().lock().unwrap().said.clone()
    }

    /// What is kept now.
    pub fn kept(&self) -> Vec<String> {
        self.state.borrow().lock().unwrap().kept.keys().cloned().collect()
    }

    /// Puts `content` in the place of what was kept.
    pub fn keep_instead(&self, content: &[u8]) {
        use std::io::Write as _;
        let descriptor = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(descriptor);
        file.write_all(content).unwrap();
        let state = self.state.borrow();
        let mut state = state.lock().unwrap();
        let name = state.kept.keys().next().unwrap().clone();
        state.kept.insert(name, vec![file.into()]);
    }
}

fn take(state: &mut State, text: &str, descriptors: Vec<OwnedFd>) {
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
    if text.lines().any(|line| line == "FDSTORE=1") {
        state.kept.entry(name.to_owned()).or_default().extend(descriptors);
        state.times_kept += 1;
    } else if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
        state.kept.remove(name);
    } else {
        state.said.push(text.to_owned());
    }
}

fn receive(notifications: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let length = rustix::net::recvmsg(notifications, &mut parts, &mut ancillary, flags).ok()?.bytes;
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Some((String::from_utf8_lossy(&text[..length]).into_owned(), descriptors))
}
