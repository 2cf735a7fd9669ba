//! Many clients at once.

use std::sync::Arc;

use anchord_emulator::Fault;
use rustix::process::Resource;
use rustix::process::Rlimit;
use tokio::sync::Semaphore;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Reply;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::anchord;

const CLIENTS: u32 = 1000;

/// SDKs try again after a 503; this one does so at once and for as long as it takes.
async fn until_it_succeeds<F: Future<Output = Reply>>(ask: impl Fn() -> F, arrived: &Semaphore) -> String {
    let mut first = true;
    loop {
        let reply = ask().await;
        if reply.status != 503 {
            return reply.key_id();
        }
        if std::mem::take(&mut first) {
            arrived.add_permits(1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_at_a_cold_daemon_cause_one_create_session() {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let stage = Stage::new().await;
    // The daemon stays cold until every client has arrived.
    stage.emulator.script([Fault::Hold]);
    let mut command = anchord();
    command.args(["run", "--config"]).arg(stage.path("anchord.toml")).args([
        "--log-level",
        "info",
        "--read-timeout",
        "none",
    ]);
    let daemon = Daemon::of(command);
    let http: Arc<str> = daemon.http().await.into();
    stage.emulator.wait_for_held(1).await;
    let (socket, bearer): (Arc<_>, Arc<str>) = (stage.socket().into(), stage.bearer("bedrock").into());

    let arrived = Arc::new(Semaphore::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (http, socket, bearer) = (Arc::clone(&http), Arc::clone(&socket), Arc::clone(&bearer));
            let arrived = Arc::clone(&arrived);
            tokio::spawn(async move {
                match number % 3 {
                    0 => until_it_succeeds(|| client::imds(&http), &arrived).await,
                    1 => until_it_succeeds(|| client::container(&http, "bedrock", &bearer), &arrived).await,
                    _ => {
                        let first =
                            client::socket_noting(&socket, "bedrock", || arrived.add_permits(1)).await;
                        if first.status == 200 {
                            return first.key_id();
                        }
                        until_it_succeeds(|| client::socket(&socket, "bedrock"), &arrived).await
                    }
                }
            })
        })
        .collect();
    let _all = arrived.acquire_many(CLIENTS).await.unwrap();
    stage.emulator.release();

    let expected = &stage.emulator.issued()[0].access_key_id;
    for client in clients {
        assert_eq!(&client.await.unwrap(), expected);
    }
    assert_eq!(stage.emulator.sessions_created(), 1);
    assert_eq!(stage.emulator.requests().len(), 1);
}
