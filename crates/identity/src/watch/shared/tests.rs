//! Many watchers and one queue of file events.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;

use super::*;
use crate::Current;
use crate::Source;
use crate::support::Folder;
use crate::support::key;
use crate::support::leaf_of;
use crate::support::now;
use crate::support::root;
use crate::watch::Pace;
use crate::watch::Watcher;
use anchord_core::clock::Clock;
use anchord_testing::Log;
use anchord_testing::is_of;

const SESSIONS: usize = 40;
const HOUR: Duration = Duration::from_secs(3600);
const QUIET: Duration = Duration::from_millis(250);

/// One of many sessions, whose files are in `folder` and have its number in their names.
struct Member {
    current: Arc<Current>,
    changed: Arc<Notify>,
    _watching: tokio::task::JoinHandle<Infallible>,
}

impl Member {
    async fn start(certificate: PathBuf, private_key: PathBuf, watches: &Watches) -> Self {
        let current = Arc::new(Current::new("web", Source::of_files(certificate, private_key)));
        current.load(now()).await.unwrap();
        let changed = Arc::<Notify>::default();
        let (watched, told) = (Arc::clone(&current), Arc::clone(&changed));
        let mut watcher = Watcher::new(watched, Clock::system(), told, watches.clone());
        watcher.pace = Pace { poll: HOUR, quiet: QUIET, restless: QUIET * 8 };
        Self { current, changed, _watching: tokio::spawn(async move { watcher.run().await }) }
    }

    async fn is_told_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.changed.notified()).await.is_ok()
    }
}

static OPENED: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(start_paused = true)]
async fn many_watchers_share_one_queue_and_each_hears_of_its_own_files() {
    let (folder, root) = (Folder::new(), root());
    let install = |number: usize, leaf: &Leaf| {
        // Two sessions a folder, so that some share a directory and some do not.
        let place = format!("{}/{number}", number / 2);
        folder.write(&format!("{place}-key.pem"), key(leaf));
        folder.write(&format!("{place}-leaf.pem"), leaf.certificate_pem());
    };
    let watches = Watches::opened_by(|| {
        OPENED.fetch_add(1, Ordering::SeqCst);
        inotify::open()
    });
    let mut members = Vec::new();
    for number in 0..SESSIONS {
        let place = format!("{}/{number}", number / 2);
        let _ = fs_err::create_dir(folder.path(&(number / 2).to_string()));
        install(number, &leaf_of(&root, KeyKind::P256));
        let (certificate, private_key) = (format!("{place}-leaf.pem"), format!("{place}-key.pem"));
        members.push(Member::start(folder.path(&certificate), folder.path(&private_key), &watches).await);
    }
    tokio::time::sleep(QUIET * 2).await;

    for number in [7, 0, SESSIONS - 1] {
        let renewed = leaf_of(&root, KeyKind::P256);
        install(number, &renewed);

        assert!(members[number].is_told_within(QUIET * 2).await, "{number} heard nothing");
        assert_eq!(members[number].current.in_use().unwrap().leaf(), renewed.certificate_der());
    }
    // What one session of a folder leaves behind, the other goes on hearing of.
    members.remove(6);
    let renewed = leaf_of(&root, KeyKind::P256);
    install(7, &renewed);
    assert!(members[6].is_told_within(QUIET * 2).await);

    for (index, member) in members.iter().enumerate() {
        assert!(
            !member.is_told_within(Duration::from_millis(1)).await,
            "{index} was told of another's files"
        );
    }
    assert_eq!(OPENED.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_queue_one_warning_is_for_all() {
    let log = Log::start();
    let watches = Watches::opened_by(|| Err(io::Error::from_raw_os_error(24)));
    let ears: Vec<_> = (0..5).map(|_| watches.listen()).collect();

    for _ in 0..3 {
        for ear in &ears {
            let trouble = ear.begin().unwrap_err();
            ear.tell(Some(&trouble), Duration::from_secs(30));
        }
    }

    let told = log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(is_of(&told[0], "WARN", event::WATCH_UNAVAILABLE), "{told:?}");
}

/// A listener to the entry `name` of `directory`.
fn listen_to(ear: &Subscription, directory: &Path, name: &str) -> Arc<OwnedFd> {
    let queue = ear.begin().unwrap();
    let number = inotify::watch(&queue, directory).unwrap();
    ear.finish(&queue, [(number, HashSet::from([name.into()]))].into());
    queue
}

async fn hears(ear: &Subscription) -> bool {
    tokio::time::timeout(Duration::from_millis(1), ear.event()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn what_changes_between_the_beginning_and_the_end_of_a_survey_is_heard_at_its_end() {
    let folder = Folder::new();
    let watches = Watches::default();
    let (ear, other) = (watches.listen(), watches.listen());
    listen_to(&other, folder.root(), "leaf.pem");

    let queue = ear.begin().unwrap();
    let number = inotify::watch(&queue, folder.root()).unwrap();
    folder.write("leaf.pem", "");
    assert!(hears(&other).await, "the event has been read");
    ear.finish(&queue, [(number, HashSet::from(["leaf.pem".into()]))].into());

    assert!(hears(&ear).await);
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_watched_until_the_last_who_listens_has_gone() {
    let folder = Folder::new();
    let watches = Watches::default();
    let (first, second, third) = (watches.listen(), watches.listen(), watches.listen());
    listen_to(&first, folder.root(), "leaf.pem");
    listen_to(&second, folder.root(), "leaf.pem");

    drop(first);
    folder.write("leaf.pem", "");
    assert!(hears(&second).await);

    // While another survey may just have added it, it is not removed from the queue.
    let queue = third.begin().unwrap();
    let number = inotify::watch(&queue, folder.root()).unwrap();
    drop(second);
    third.finish(&queue, [(number, HashSet::from(["leaf.pem".into()]))].into());
    while hears(&third).await {}
    folder.write("leaf.pem", "");
    assert!(hears(&third).await);
    drop(third);
    tokio::task::yield_now().await;

    assert!(rustix::fs::inotify::remove_watch(&*queue, number).is_err(), "it was still watched");
}

/// As on a network file system whose server is gone: one survey begins and does not end.
#[tokio::test(start_paused = true)]
async fn a_survey_that_hangs_keeps_no_directory_of_others_watched() {
    let folder = Folder::new();
    let watches = Watches::default();
    let (hanging, other) = (watches.listen(), watches.listen());
    let queue = hanging.begin().unwrap();
    tokio::time::sleep(PATIENCE).await;

    for rotation in 0..3 {
        let directory = folder.path(&format!("..{rotation}"));
        fs_err::create_dir(&directory).unwrap();
        listen_to(&other, &directory, "leaf.pem");
    }
    drop(other);

    assert!(watches.0.lock().idle.is_empty());
    for rotation in 0..3 {
        let directory = folder.path(&format!("..{rotation}"));
        let added = rustix::fs::inotify::WatchFlags::CREATE | rustix::fs::inotify::WatchFlags::MASK_CREATE;
        rustix::fs::inotify::add_watch(&*queue, &directory, added).expect("it was still watched");
    }
}

#[tokio::test(start_paused = true)]
async fn a_survey_that_ends_late_is_made_anew_if_its_directory_was_taken_off() {
    for is_read_before_its_end in [true, false] {
        let folder = Folder::new();
        let watches = Watches::default();
        let (late, other) = (watches.listen(), watches.listen());
        listen_to(&other, folder.root(), "leaf.pem");
        let queue = late.begin().unwrap();
        let number = inotify::watch(&queue, folder.root()).unwrap();
        tokio::time::sleep(PATIENCE).await;

        drop(other);
        if is_read_before_its_end {
            while watches.0.lock().surveys[&late.id].missed.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        late.finish(&queue, [(number, HashSet::from(["leaf.pem".into()]))].into());

        assert!(hears(&late).await, "{is_read_before_its_end}");
        listen_to(&late, folder.root(), "leaf.pem");
        while hears(&late).await {}
        folder.write("leaf.pem", "");
        assert!(hears(&late).await, "{is_read_before_its_end}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_events_wake_everybody() {
    let (folder, watches) = (Folder::new(), Watches::default());
    let (first, second) = (watches.listen(), watches.listen());
    listen_to(&first, folder.root(), "leaf.pem");
    listen_to(&second, folder.root(), "other.pem");

    watches.0.lock().dispatch(&FileEvent::LOST);

    assert!(hears(&first).await && hears(&second).await);
}

/// A survey that blocks may be the first to want a queue when the runtime is ending.
#[test]
fn a_runtime_that_ends_meanwhile_stops_no_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ear, handle) = (Watches::default().listen(), runtime.handle().clone());
    runtime.shutdown_background();

    let _inside = handle.enter();
    // There may be a queue or not; what matters is that this ends.
    let _ = ear.begin();
    let _ = ear.begin();
}

#[tokio::test(start_paused = true)]
async fn after_the_queue_has_failed_everybody_looks_and_another_is_opened() {
    let (folder, watches) = (Folder::new(), Watches::default());
    let ear = watches.listen();
    let before = listen_to(&ear, folder.root(), "leaf.pem");

    watches.0.lock().reader.as_mut().unwrap().task.abort_all();
    assert!(hears(&ear).await);

    let after = listen_to(&ear, folder.root(), "leaf.pem");
    assert!(!Arc::ptr_eq(&before, &after));
    folder.write("leaf.pem", "");
    assert!(hears(&ear).await);
}
