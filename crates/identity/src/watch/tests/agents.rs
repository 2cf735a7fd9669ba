//! Rotations as a SPIFFE agent makes them, seen by the watcher.

use anchord_emulator::spiffe;

use super::*;
use crate::Locator;
use crate::spiffe::Agent;
use crate::spiffe::Choice;

fn of_agent(folder: &Folder) -> Source {
    let endpoint = format!("unix://{}", folder.path("agent.sock").display()).parse().unwrap();
    let certificate = Locator::Agent(Agent { endpoint, choice: Choice::default() });
    Source { certificate, private_key: None, ..Source::of_files("", "") }
}

fn svids(bench: &Bench, leaf: &Leaf) -> Vec<spiffe::Svid> {
    vec![spiffe::Svid::new("spiffe://example.org/robot-7", leaf, &bench.root)]
}

async fn agent(bench: &Bench, leaf: &Leaf) -> spiffe::Agent {
    spiffe::Agent::start(&bench.folder.path("agent.sock"), svids(bench, leaf)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rotated_svid_is_taken_without_waiting_for_quiet_and_told_once() {
    let mut bench = Bench::with(of_agent);
    let agent = agent(&bench, &bench.leaf()).await;
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;
    tokio::time::sleep(QUIET * 2).await;
    bench.log.news();
    for _ in 0..3 {
        let renewed = bench.leaf();

        agent.rotate(svids(&bench, &renewed));

        assert!(bench.is_told_within(QUIET / 10).await, "never told; log: {:?}", bench.log.news());
        assert_eq!(bench.current.in_use().unwrap().leaf(), renewed.certificate_der());
        let told = bench.log.news();
        assert!(told.len() == 1 && is_of(&told[0], "INFO", event::CERTIFICATE_LOADED), "{told:?}");
        assert!(!bench.is_told_within(HOUR / 2).await, "once is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_pushes_without_end_is_asked_four_times_a_second() {
    let mut bench = Bench::with(of_agent);
    let agent = agent(&bench, &bench.leaf()).await;
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;
    let (leaf, before) = (bench.leaf(), agent.streams());

    for _ in 0..500 {
        agent.rotate(svids(&bench, &leaf));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let asked = agent.streams() - before;
    assert!((15..=25).contains(&asked), "{asked} in 5 s");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_appears_later_is_asked_when_it_does() {
    let mut bench = Bench::with(of_agent);
    bench.current.load(now()).await.unwrap_err();
    bench.watch_by_events().await;
    assert!(!bench.is_told_within(HOUR).await);
    let leaf = bench.leaf();

    let _agent = agent(&bench, &leaf).await;

    assert!(bench.is_told_within(Duration::from_secs(31)).await, "log: {:?}", bench.log.news());
    assert_eq!(bench.current.in_use().unwrap().leaf(), leaf.certificate_der());
}
