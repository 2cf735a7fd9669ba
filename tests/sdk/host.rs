//! The daemon as systemd runs it, on a stage of its own.

use anchord_core::event;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;

use anchord_emulator::IssuedCredentials;
use serde_json::Value;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::Systemd;

/// What the daemons of one cell said, for whoever has to find out why it failed.
pub(crate) type Log = Arc<Mutex<String>>;

/// Sockets that outlive the daemon, and what one daemon leaves for the next.
pub(crate) struct Host {
    pub(crate) stage: Stage,
    systemd: Systemd,
    daemon: Option<Daemon>,
    log: Log,
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = &self.daemon {
            self.log.lock().unwrap().push_str(&daemon.output());
        }
    }
}

impl Host {
    /// A daemon that has credentials.
    pub(crate) async fn new(log: &Log) -> Self {
        Self::with(log, "").await
    }

    /// The same with more lines in its session.
    pub(crate) async fn with(log: &Log, lines: &str) -> Self {
        let mut host = Self::asleep(log).await;
        let configuration = fs_err::read_to_string(host.stage.path("anchord.toml")).unwrap();
        host.stage.write("anchord.toml", &(configuration + lines));
        host.start_ready().await;
        host
    }

    /// The same on IPv6, where this machine has it.
    pub(crate) async fn on_ipv6(log: &Log) -> Result<Self, String> {
        let mut host = Self::asleep(log).await;
        host.systemd.tcp =
            TcpListener::bind("[::1]:0").map_err(|error| format!("not run: no [::1] here: {error}"))?;
        host.start_ready().await;
        Ok(host)
    }

    /// Nobody serves yet.
    pub(crate) async fn asleep(log: &Log) -> Self {
        let stage = Stage::new().await;
        let systemd = Systemd::new(&stage);
        let socket = format!("[socket]\npath = {:?}\n", systemd.socket);
        stage.configure(&format!("{socket}{}", stage.session("bedrock")));
        Self { stage, systemd, daemon: None, log: Arc::clone(log) }
    }

    async fn start_ready(&mut self) {
        self.start();
        self.daemon().wait_for(event::DAEMON_READY).await;
        self.systemd.wait_for_kept(1).await;
    }

    pub(crate) fn start(&mut self) {
        self.daemon = Some(self.systemd.start(&self.stage));
    }

    /// Ends the daemon as `systemctl stop` does.
    pub(crate) async fn stop(&mut self) -> String {
        let (code, output) = self.daemon.take().unwrap().stop().await;
        self.log.lock().unwrap().push_str(&output);
        assert_eq!(code, 0, "{output}");
        output
    }

    /// Ends the daemon as the kernel does when memory runs out.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill();
        self.log.lock().unwrap().push_str(&daemon.output());
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.systemd.tcp.local_addr().unwrap()
    }

    /// What AWS gave first.
    pub(crate) fn first(&self) -> IssuedCredentials {
        self.stage.emulator.issued().remove(0)
    }

    /// Gives the daemon a reason to renew its credentials long before their end.
    pub(crate) fn renew_certificate(&self) {
        self.stage.install(&self.stage.leaf());
    }

    /// Waits until the daemon has renewed its credentials for the `nth` time, from 1.
    pub(crate) async fn renewed(&self, nth: usize) -> IssuedCredentials {
        let line = self.daemon().wait_for_nth(event::CREDENTIALS_RENEWED, nth).await;
        let mut issued = self.stage.emulator.issued().into_iter();
        issued.find(|set| line["access_key_id"] == *set.access_key_id).unwrap()
    }

    /// Waits until the daemon has handed out credentials for the `nth` time, from 1.
    pub(crate) async fn wait_for_handed_out(&self, nth: usize) {
        let handed_out = |line: &Value| {
            let path = line["path"].as_str().unwrap_or_default();
            let ends =
                ["/security-credentials/ExampleRole", "/v1/credentials/bedrock", "/credential-process"];
            line["message"] == "Answered"
                && line["status"] == 200
                && ends.iter().any(|end| path.ends_with(end))
        };
        self.daemon().wait_for_line("that it handed credentials out", nth, handed_out).await;
    }
}

/// The requests in a daemon's log.
pub(crate) fn answered(output: &str) -> Vec<Value> {
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "Answered").collect()
}
