//! stderr that takes nothing: a hung journal, docker's blocking log driver, a reader that has gone.

use anchord_core::event;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::PipeReader;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::Child;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::PATIENCE;
use anchord_testing::stage::process::anchord;

/// A daemon with a pipe as stderr, which is read only when the test says so; killed with the value.
struct Piped {
    child: Child,
    stderr: BufReader<PipeReader>,
    http: String,
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Piped {
    /// Reads until the daemon is ready, and not further.
    fn start(stage: &Stage) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = anchord();
        command.args(["run", "--config"]).arg(stage.path("anchord.toml")).stderr(writer);
        let child = command.spawn().unwrap();
        let mut daemon = Self { child, stderr: BufReader::new(reader), http: String::new() };
        daemon.http = daemon.read_until(event::LISTENER_STARTED)["address"].as_str().unwrap().into();
        daemon.read_until(event::DAEMON_READY);
        daemon
    }

    fn read_until(&mut self, event: &str) -> Value {
        let mut lines = self.stderr.by_ref().lines().map_while(Result::ok);
        let found = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            (line["event"] == event).then_some(line)
        });
        found.unwrap_or_else(|| panic!("the daemon never said {event}"))
    }

    /// Fills the pipe up, by another door than the daemon's, for that must not find its own non-blocking.
    fn block(&self) {
        let pipe = format!("/proc/self/fd/{}", self.stderr.get_ref().as_raw_fd());
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut pipe = fs_err::OpenOptions::new().write(true).custom_flags(flags).open(pipe).unwrap();
        while pipe.write(&[b'\n'; 4096]).is_ok() {}
        while pipe.write(b"\n").is_ok() {}
    }

    async fn term_ends_it(mut self) -> Option<i32> {
        let id = Pid::from_child(&self.child);
        rustix::process::kill_process(id, Signal::TERM).unwrap();
        // The pipe stays open until then.
        let mut ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        let ended_in_time = tokio::time::timeout(Duration::from_secs(10), &mut ended).await;
        if ended_in_time.is_err() {
            rustix::process::kill_process(id, Signal::KILL).unwrap();
            ended.await.unwrap();
            panic!("TERM was ignored");
        }
        ended_in_time.unwrap().unwrap().code()
    }
}

async fn every_channel_answers(stage: &Stage, http: &str) {
    let answers = async {
        let first = client::imds(http).await.key_id();
        let others = [
            client::container(http, "bedrock", &stage.bearer("bedrock")).await.key_id(),
            client::socket(&stage.socket(), "bedrock").await.key_id(),
        ];
        assert_eq!([&first, &first], others.each_ref());
        let status = stage.run(&["status"]).await;
        assert_eq!(status.code, 0, "{status:?}");
    };
    tokio::time::timeout(PATIENCE, answers).await.expect("nothing answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_log_nobody_reads_serves_and_ends() {
    let stage = Stage::new().await;
    let daemon = Piped::start(&stage);

    daemon.block();

    // More than once: each worker that waits for the log is one fewer.
    for _ in 0..3 {
        every_channel_answers(&stage, &daemon.http).await;
    }
    assert_eq!(daemon.term_ends_it().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_nobody_read_are_counted_when_somebody_reads_again() {
    const CONNECTIONS: usize = 1500;
    let stage = Stage::new().await;
    let mut daemon = Piped::start(&stage);
    daemon.block();

    let path = format!("/{}", "long/".repeat(40));
    let asking = (0..CONNECTIONS).map(|_| client::tcp(&daemon.http, "GET", &path, "accept: */*"));
    let asked = futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(asking), 32);
    let answered = futures_util::StreamExt::count(asked);
    assert_eq!(tokio::time::timeout(PATIENCE, answered).await.expect("nothing answers"), CONNECTIONS);

    let lost = daemon.read_until(event::LOG_LOST);
    assert_eq!(lost["level"], "WARN");
    assert!(lost["lines"].as_u64().is_some_and(|lines| lines > 0), "{lost}");
    every_channel_answers(&stage, &daemon.http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_log_reader_has_gone_serves_and_ends() {
    let stage = Stage::new().await;
    let mut daemon = Piped::start(&stage);

    daemon.stderr = BufReader::new(std::io::pipe().unwrap().0);

    every_channel_answers(&stage, &daemon.http).await;
    assert_eq!(daemon.term_ends_it().await, Some(0));
}
