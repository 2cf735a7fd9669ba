//! Access keys that are rotated in their file, seen by the watcher.

use std::convert::Infallible;
use std::time::Duration;

use anchord_identity::Watcher;
use anchord_identity::Watches;
use tokio::sync::Notify;

use super::*;
use anchord_core::clock::Clock;
use anchord_testing::is_of;

const HOUR: Duration = Duration::from_secs(3600);
const QUIET: Duration = Duration::from_millis(250);

struct KeysBench {
    folder: Folder,
    keys: AccessKeys,
    changed: Arc<Notify>,
    log: Log,
    watching: tokio::task::JoinHandle<Infallible>,
}

impl KeysBench {
    /// A session that has signed with what is in its file, if anything, and is watched.
    async fn new(content: Option<&str>) -> Self {
        let folder = Folder::new();
        if let Some(content) = content {
            folder.write("keys", content);
        }
        let keys = AccessKeys::file(folder.path("keys"));
        let _ = keys.load().await;
        let (changed, log) = (Arc::default(), Log::start());
        let subject = Arc::new(WatchedKeys::new("web", keys.clone()));
        let watcher = Watcher::new(subject, Clock::system(), Arc::clone(&changed), Watches::default());
        let watching = tokio::spawn(async move { watcher.run().await });
        tokio::time::sleep(QUIET * 2).await;
        Self { folder, keys, changed, log, watching }
    }

    async fn is_told_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.changed.notified()).await.is_ok()
    }
}

impl Drop for KeysBench {
    fn drop(&mut self) {
        assert!(!self.watching.is_finished() || std::thread::panicking(), "the watcher has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_exchanged_are_told_once() {
    let bench = KeysBench::new(Some("AKIAONE:canary-one")).await;
    assert!(!bench.is_told_within(HOUR).await, "nothing has changed");
    for (content, id) in [("AKIATWO:canary-two", "AKIATWO"), ("AKIATWO:canary-three", "AKIATWO")] {
        bench.folder.write("keys", content);

        assert!(bench.is_told_within(QUIET * 2).await, "never told; log: {:?}", bench.log.news());
        let told = bench.log.news();
        assert!(told.len() == 1 && is_of(&told[0], "INFO", event::ACCESS_KEYS_REPLACED), "{told:?}");
        assert!(told[0].ends_with(&format!("session=\"web\" access_key_id=\"{id}\"")), "{told:?}");
        assert!(!bench.is_told_within(HOUR).await, "once is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_again_with_the_same_keys_is_no_news() {
    let bench = KeysBench::new(Some("AKIAONE:canary-one")).await;

    bench.folder.write("keys", "[default]\naws_access_key_id=AKIAONE\naws_secret_access_key=canary-one\n");

    assert!(!bench.is_told_within(HOUR).await);
    assert_eq!(bench.log.news(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_spoil_are_told_of_once_and_again_when_they_are_whole() {
    let bench = KeysBench::new(Some("AKIAONE:canary-one")).await;
    for _ in 0..2 {
        bench.folder.write("keys", "AKIAONE:");
        assert!(!bench.is_told_within(HOUR).await);
    }
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(is_of(&told[0], "WARN", event::ACCESS_KEYS_REFUSED), "{told:?}");
    assert!(told[0].contains("has no secret access key"), "{told:?}");

    bench.folder.write("keys", "AKIAONE:canary-one");

    assert!(!bench.is_told_within(HOUR).await, "the session has them");
    assert!(is_of(&bench.log.news()[0], "INFO", event::ACCESS_KEYS_RECOVERED));
}

#[tokio::test(start_paused = true)]
async fn a_session_without_keys_is_told_when_there_are_some() {
    let bench = KeysBench::new(None).await;
    assert_eq!(bench.log.news(), [""; 0], "the session's attempt has told it");

    bench.folder.write("keys", "AKIAONE:canary-one");

    assert!(bench.is_told_within(QUIET * 2).await, "never told; log: {:?}", bench.log.news());
    assert_eq!(bench.keys.load().await.unwrap().access_key_id, "AKIAONE");
}
