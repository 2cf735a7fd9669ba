//! More sessions than most hosts have.

use anchord_core::event;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;

use anchord_testing::stage::Stage;

/// The kernel gives a user 128 queues of file events, for all of the user's programs.
#[tokio::test]
async fn sessions_beyond_the_kernels_limit_hear_of_a_new_certificate_by_one_queue() {
    const SESSIONS: usize = 150;
    let stage = Stage::new().await;
    let mut tables = "[imds]\nenabled = false\n".to_owned();
    for number in 0..SESSIONS {
        tables.push_str(&stage.session(&format!("s{number}")));
    }
    stage.configure(&tables);
    let daemon = stage.daemon().await;

    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.serial = Some(vec![77]);
    stage.install(&stage.root.leaf(&request).unwrap());

    let using_it =
        |line: &serde_json::Value| line["event"] == event::CERTIFICATE_LOADED && line["serial"] == "77";
    daemon.wait_for_line("that each session uses it", SESSIONS, using_it).await;
    assert_eq!(daemon.count(event::WATCH_UNAVAILABLE), 0, "{}", daemon.output());
    // Root alone may look at the descriptors of a process whose memory nobody may see.
    if let Ok(descriptors) = fs_err::read_dir(format!("/proc/{}/fd", daemon.id())) {
        let targets = descriptors.filter_map(|entry| fs_err::read_link(entry.ok()?.path()).ok());
        assert_eq!(targets.filter(|target| target.ends_with("anon_inode:inotify")).count(), 1);
    } else {
        assert!(!rustix::process::geteuid().is_root());
    }
}
