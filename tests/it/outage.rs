//! AWS goes away for the last half hour of a session's life, and comes back. The clock is ours.
//!
//! The daemon runs in this process on paused time, with real sockets and the real emulator; `credential-process`
//! is the shipped binary.

use std::ffi::OsString;
use std::time::Duration;

use anchord_config as config;
use anchord_config::Environment;
use anchord_core::clock::Clock;
use anchord_core::entropy::Jitter;
use anchord_core::event;
use anchord_runtime::assembly::Seams;
use anchord_runtime::daemon;
use anchord_runtime::daemon::Passed;
use anchord_session::Sessions;
use anchord_session::Snapshot;
use tokio::sync::oneshot;

use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

/// While a blocking task runs, paused time moves only when it is told to; sockets need real time to answer.
pub(crate) struct StillTime(Option<std::sync::mpsc::Sender<()>>);

impl StillTime {
    pub(crate) fn hold() -> Self {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || receiver.recv());
        tokio::time::pause();
        Self(Some(sender))
    }
}

impl Drop for StillTime {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// Plays a story on a runtime with one thread for calls that block, besides the one that holds the time: they end in
/// their order, as [`what_blocks_ends`] needs it.
pub(crate) fn in_order(story: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(2).build().unwrap().block_on(story);
}

/// Lets the calls that block end which tasks have started, and those that follow from them: while time is still, one
/// that lasts until the time is moved seems to hang.
pub(crate) async fn what_blocks_ends() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
}

pub(crate) fn settings(stage: &Stage) -> config::Settings {
    let arguments = [OsString::from("test"), "--config".into(), stage.path("anchord.toml").into()];
    let matches = clap::Command::new("test").args(config::arguments::all()).get_matches_from(arguments);
    let environment = Environment::from_iter([("HOME", stage.path("").to_str().unwrap())]);
    config::load(&matches, &environment).unwrap()
}

/// Moves the time on until `answer` is there: it may wait for the attempt after a short pause.
pub(crate) async fn while_time_passes<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = tokio::time::advance(Duration::from_millis(10)) => {}
        }
    }
}

/// The daemon inside this process.
pub(crate) struct Inside {
    pub(crate) stage: Stage,
    pub(crate) clock: Clock,
    pub(crate) http: String,
    pub(crate) bearer: String,
    pub(crate) sessions: Sessions,
    _stop: oneshot::Sender<()>,
    _still: StillTime,
}

impl Inside {
    pub(crate) async fn start() -> Self {
        let still = StillTime::hold();
        let clock = Clock::manual(Clock::system().now());
        let emulators = clock.clone();
        let stage =
            Stage::with(move |setup| setup.clock = anchord_emulator::Clock::new(move || emulators.now()))
                .await;
        let inside = Self::on(stage, clock, still).await;
        inside.stage.emulator.wait_for_requests(1).await;
        inside
    }

    /// On a stage that was set for this clock.
    pub(crate) async fn on(stage: Stage, clock: Clock, still: StillTime) -> Self {
        let seams = Seams { clock: clock.clone(), jitter: Jitter::fixed(0.0), ..Seams::real() };
        let daemon = daemon::build(&settings(&stage), &seams, Passed::default()).await.unwrap();
        let http = daemon.bound().http[0].to_string();
        let (bearer, sessions) = (stage.bearer("bedrock"), daemon.sessions());
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(daemon.run(async { _ = stopped.await }));
        Self { stage, clock, http, bearer, sessions, _stop: stop, _still: still }
    }

    /// Waits for a state of the session.
    pub(crate) async fn until(&self, is_so: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let mut snapshots = self.sessions.get("bedrock").unwrap().snapshots();
        snapshots.wait_for(is_so).await.unwrap().clone()
    }

    /// The key ids of the channels in this process: IMDS, container, socket.
    pub(crate) async fn key_ids(&self) -> [String; 3] {
        let imds = client::imds(&self.http).await;
        let container = client::container(&self.http, "bedrock", &self.bearer).await;
        let socket = client::socket(&self.stage.socket(), "bedrock").await;
        [imds.key_id(), container.key_id(), socket.key_id()]
    }

    pub(crate) async fn credential_process(&self) -> Ran {
        self.stage.run(&["credential-process", "--session", "bedrock"]).await
    }
}

#[tokio::test]
async fn no_client_notices_an_outage_and_all_recover_by_themselves() {
    let mut inside = Inside::start().await;
    let first = inside.key_ids().await[0].clone();
    let expires_at = inside.stage.emulator.issued()[0].expires_at;

    // Renewal would be due with 30 minutes left. AWS is gone a minute before.
    tokio::time::advance(Duration::from_secs(29 * 60)).await;
    assert!(inside.key_ids().await.iter().all(|id| *id == first));
    inside.stage.emulator.stop().await;
    let mut minutes = 0;
    while expires_at - inside.clock.now() > time::Duration::seconds(90) {
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(inside.key_ids().await.iter().all(|id| *id == first));
        minutes += 1;
    }
    assert!(minutes > 50, "the outage lasted {minutes} half minutes");
    assert_eq!(inside.credential_process().await.code, 0);

    tokio::time::advance(Duration::from_secs(35)).await;
    let token = client::imds_token(&inside.http).await;
    let list = client::imds_list(&inside.http, &token).await;
    assert_eq!((list.status, list.body.as_str()), (503, ""));
    let container = client::container(&inside.http, "bedrock", &inside.bearer).await;
    assert_eq!(container.status, 503);
    assert!(container.json()["code"].is_string() && container.json()["message"].is_string());
    let process = inside.credential_process().await;
    assert_eq!((process.code, process.stdout.as_str()), (1, ""));
    assert_eq!(process.stderr.lines().count(), 1, "{}", process.stderr);
    // "from" the host, or "within" the attempt's limit where the clock overtook the sockets.
    assert!(process.stderr.starts_with("anchord: no answer "), "{}", process.stderr);

    let before = inside.stage.emulator.requests().len();
    inside.stage.emulator.restart().await.unwrap();
    // Nobody asks: the session's own alarm has to bring it back.
    tokio::time::advance(Duration::from_secs(61)).await;
    inside.stage.emulator.wait_for_requests(before + 1).await;
    let socket = client::socket(&inside.stage.socket(), "bedrock").await.key_id();
    assert_ne!(socket, first);
    assert!(inside.key_ids().await.iter().all(|id| *id == socket));
    assert_eq!(inside.credential_process().await.code, 0);
}

/// IMDS clients list first; what they were told is available must still be there when they come for it.
#[tokio::test]
async fn what_the_list_called_available_stays_servable_for_half_a_minute() {
    let mut inside = Inside::start().await;
    inside.key_ids().await;
    let expires_at = inside.stage.emulator.issued()[0].expires_at;
    inside.stage.emulator.stop().await;
    let token = client::imds_token(&inside.http).await;

    let left = expires_at - inside.clock.now() - time::Duration::seconds(61);
    tokio::time::advance(left.unsigned_abs()).await;
    let list = client::imds_list(&inside.http, &token).await;
    tokio::time::advance(Duration::from_secs(25)).await;
    let path = format!("/latest/meta-data/iam/security-credentials/{}", list.body);
    let header = format!("x-aws-ec2-metadata-token: {token}");
    let credentials = client::tcp(&inside.http, "GET", &path, &header).await;
    let listed_again = while_time_passes(client::imds_list(&inside.http, &token)).await;

    assert_eq!((list.status, credentials.status, listed_again.status), (200, 200, 503));
}

/// The wrong clock is this host's: AWS's `Date` corrects the signature.
#[tokio::test]
async fn a_clock_that_is_wrong_does_not_keep_clients_without_credentials() {
    let stage = Stage::new().await;
    stage.emulator.set_clock_offset(time::Duration::minutes(20));

    let daemon = stage.daemon().await;

    let line = daemon.wait_for(event::CLOCK_WRONG).await;
    assert!(line["message"].as_str().unwrap().starts_with("The local clock is behind AWS's"), "{line}");
    assert!((1190..=1210).contains(&line["seconds"].as_i64().unwrap()), "{line}");
    let document = client::imds(&daemon.http().await).await.json();
    let statuses: Vec<_> = stage.emulator.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(403), Some(201)]);
    // One hour by this host's clock, not one hour and twenty minutes.
    let expires_at = anchord_core::clock::parse_rfc3339(document["Expiration"].as_str().unwrap()).unwrap();
    assert!(expires_at - Clock::system().now() <= time::Duration::HOUR);
}
