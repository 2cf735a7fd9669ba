//! A panic ends one attempt of one session, and nothing else.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anchord_aws::upstream::HttpReply;
use anchord_aws::upstream::Transport;
use anchord_aws::upstream::TransportError;
use anchord_core::issuer::BoxFuture;
use anchord_runtime::assembly;
use anchord_runtime::assembly::Seams;
use anchord_runtime::daemon;
use anchord_runtime::daemon::Passed;
use anchord_session::Freshness;
use anchord_session::Phase;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::outage::settings;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::PATIENCE;

/// Panics for calls to `localhost` while `armed`, and passes everything else on.
struct Panicking {
    real: Arc<dyn Transport>,
    armed: AtomicBool,
}

impl Transport for Panicking {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<HttpReply, TransportError>> {
        let is_bad = request.uri().host() == Some("localhost");
        assert!(!(is_bad && self.armed.load(Ordering::SeqCst)), "a deliberate panic");
        self.real.send(request)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_one_session_is_reported_and_repaired_and_no_other_session_notices() {
    let stage = Stage::new().await;
    let bad = stage.session("bad").replace("https://127.0.0.1", "https://localhost");
    stage.configure(&format!("[imds]\nsession = \"good\"\n{}{bad}", stage.session("good")));
    let settings = settings(&stage);
    let mut seams = Seams::real();
    let real = assembly::transport(&settings, &seams).unwrap();
    let panicking = Arc::new(Panicking { real, armed: AtomicBool::new(true) });
    seams.transport = Some(Arc::clone(&panicking) as Arc<dyn Transport>);
    let daemon = daemon::build(&settings, &seams, Passed::default()).await.unwrap();
    let (http, sessions) = (daemon.bound().http[0].to_string(), daemon.sessions());
    let (_stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(daemon.run(async { _ = stopped.await }));

    let bearer = |name: &str| stage.bearer(name);
    let refused = client::container(&http, "bad", &bearer("bad")).await;
    let good =
        sessions.get("good").unwrap().hand_out(Freshness::Full, Duration::from_secs(30)).await.unwrap();

    assert_eq!(refused.status, 503);
    let mut snapshots = sessions.get("bad").unwrap().snapshots();
    // The client's patience may end before the attempt does.
    let told = snapshots.wait_for(|snapshot| snapshot.trouble.is_some());
    let snapshot = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap().clone();
    assert!(snapshot.trouble.unwrap().message().contains("the attempt panicked"));
    assert_eq!(client::container(&http, "good", &bearer("good")).await.key_id(), good.access_key_id());

    panicking.armed.store(false, Ordering::SeqCst);
    let mended = sessions.get("bad").unwrap();
    let mut snapshots = mended.snapshots();
    let live = snapshots.wait_for(|snapshot| snapshot.phase == Phase::Live);
    tokio::time::timeout(PATIENCE, live).await.unwrap().unwrap();

    assert_eq!(mended.snapshot().phase, Phase::Live);
    assert_eq!(client::container(&http, "bad", &bearer("bad")).await.status, 200);
    let still = client::container(&http, "good", &bearer("good")).await;
    assert_eq!(still.key_id(), good.access_key_id(), "the good session was not disturbed");
}
