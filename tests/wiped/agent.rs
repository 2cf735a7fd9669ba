//! What a SPIFFE agent gives.

use anchord_emulator::Authority;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::spiffe::Agent;
use anchord_emulator::spiffe::Svid;
use anchord_identity::Locator;
use anchord_identity::Source;
use anchord_identity::spiffe;

use super::both_ways;
use super::leaks_from;
use super::scalar;
use super::watch::known_as;

/// h2 reads into buffers of the crate `bytes`, which it shares with what it hands out: nobody else may overwrite them.
#[test]
fn of_a_spiffe_agents_keys_the_http_client_leaves_what_it_read() {
    const ID: &str = "spiffe://example.org/robot-7";
    let root = Authority::root("root", KeyKind::P256).unwrap();
    let mut request = LeafRequest::new("robot", KeyKind::P256);
    request.uris = vec![ID.to_owned()];
    let leaf = root.leaf(&request).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The agent has threads of its own, which are not watched.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let svids = vec![Svid::new(ID, &leaf, &root)];
    let agent = runtime.block_on(Agent::start(&folder.path().join("agent.sock"), svids)).unwrap();
    let place = spiffe::Agent { endpoint: agent.uri().parse().unwrap(), choice: spiffe::Choice::default() };
    let source = Source { certificate: Locator::Agent(place), private_key: None, ..Source::of_files("", "") };
    let canaries = both_ways(["scalar", "scalar, reversed"], scalar(leaf.key_pkcs8_der()));

    assert_eq!(leaks_from(canaries.into(), &source), [("scalar", known_as("bytes"))]);
}
