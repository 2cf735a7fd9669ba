//! Renewals as tools make them, seen by the watcher on real folders.
//!
//! Time is paused and moves only when nothing is left to do, so hours of polling cost nothing, and an event that the
//! kernel has is always seen before the next timer.

use anchord_emulator::Authority;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use rustix::io::Errno;

use super::*;
use crate::Current;
use crate::Source;
use crate::support::Folder;
use crate::support::key;
use crate::support::leaf_of;
use crate::support::now;
use crate::support::root;
use anchord_testing::Log;
use anchord_testing::is_of;

const HOUR: Duration = Duration::from_secs(3600);

/// No poll within the test: the kernel's word alone can help.
const EVENTS_ALONE: Pace = Pace { poll: HOUR, quiet: QUIET, restless: Duration::from_secs(2) };
const QUIET: Duration = Duration::from_millis(250);

struct Bench {
    folder: Folder,
    root: Authority,
    current: Arc<Current>,
    changed: Arc<Notify>,
    log: Log,
    watching: Option<tokio::task::JoinHandle<Infallible>>,
}

impl Bench {
    /// A session that signs with a good pair in its folder, and is not watched yet.
    async fn new() -> Self {
        let bench = Self::with(pair("leaf.pem", "key.pem"));
        bench.folder.install(&bench.leaf());
        bench.current.load(now()).await.unwrap();
        bench.log.news();
        bench
    }

    fn with(source: impl FnOnce(&Folder) -> Source) -> Self {
        let folder = Folder::new();
        let current = Arc::new(Current::new("web", source(&folder)));
        Self { folder, root: root(), current, changed: Arc::default(), log: Log::start(), watching: None }
    }

    fn leaf(&self) -> Leaf {
        leaf_of(&self.root, KeyKind::P256)
    }

    /// Watches from now on; returns when the first look is over.
    async fn watch(&mut self, change: impl FnOnce(&mut Watcher)) {
        let (current, changed) = (Arc::clone(&self.current), Arc::clone(&self.changed));
        let mut watcher = Watcher::new(current, Clock::system(), changed, Watches::default());
        change(&mut watcher);
        self.watching = Some(tokio::spawn(async move { watcher.run().await }));
        tokio::time::sleep(QUIET * 2).await;
    }

    async fn watch_by_events(&mut self) {
        self.watch(|watcher| watcher.pace = EVENTS_ALONE).await;
    }

    async fn is_told_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.changed.notified()).await.is_ok()
    }

    /// Fails unless the session is notified soon, and of this leaf.
    async fn assert_taken(&self, leaf: &Leaf) {
        assert!(self.is_told_within(QUIET * 2).await, "never told; log: {:?}", self.log.news());
        assert_eq!(self.current.in_use().unwrap().leaf(), leaf.certificate_der());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let ended = self.watching.as_ref().is_some_and(tokio::task::JoinHandle::is_finished);
        assert!(!ended || std::thread::panicking(), "the watcher has ended");
    }
}

/// The pair at these two places of a folder.
fn pair(certificate: &'static str, private_key: &'static str) -> impl FnOnce(&Folder) -> Source {
    move |folder| {
        let (certificate, private_key) = (folder.path(certificate), folder.path(private_key));
        Source::of_files(certificate, private_key)
    }
}

fn symlink(target: &str, at: &std::path::Path) {
    fs_err::os::unix::fs::symlink(target, at).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_is_taken_and_told_once() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    assert!(!bench.is_told_within(HOUR * 3).await, "nothing has changed");
    let renewed = bench.leaf();

    bench.folder.install(&renewed);

    bench.assert_taken(&renewed).await;
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(is_of(&told[0], "INFO", event::CERTIFICATE_LOADED), "{told:?}");
    assert!(!bench.is_told_within(HOUR * 3).await, "once is enough");
}

#[tokio::test(start_paused = true)]
async fn files_moved_over_the_old_ones_are_taken() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let renewed = bench.leaf();

    bench.folder.write("key.tmp", key(&renewed));
    bench.folder.write("leaf.tmp", renewed.certificate_pem());
    fs_err::rename(bench.folder.path("key.tmp"), bench.folder.path("key.pem")).unwrap();
    fs_err::rename(bench.folder.path("leaf.tmp"), bench.folder.path("leaf.pem")).unwrap();

    bench.assert_taken(&renewed).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_whose_key_comes_seconds_later_is_taken_with_it() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let renewed = bench.leaf();

    bench.folder.write("leaf.pem", renewed.certificate_pem());
    assert!(!bench.is_told_within(Duration::from_secs(5)).await);
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        is_of(&told[0], "WARN", event::CERTIFICATE_REFUSED) && told[0].contains("belongs to"),
        "{told:?}"
    );
    bench.folder.write("key.pem", key(&renewed));

    bench.assert_taken(&renewed).await;
}

/// Writing takes time, and a half-written pair is not read.
#[tokio::test(start_paused = true)]
async fn a_pair_is_looked_at_when_it_has_been_left_alone() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let renewed = bench.leaf();

    bench.folder.write("leaf.pem", renewed.certificate_pem());
    assert!(!bench.is_told_within(QUIET - Duration::from_millis(50)).await);
    bench.folder.write("key.pem", key(&renewed));

    bench.assert_taken(&renewed).await;
    let told = bench.log.news();
    assert!(told.len() == 1 && is_of(&told[0], "INFO", event::CERTIFICATE_LOADED), "{told:?}");
}

/// The writer has the file open for half a minute.
#[tokio::test(start_paused = true)]
async fn a_file_rewritten_in_place_is_looked_at_when_it_is_closed() {
    use std::io::Write as _;
    let mut bench = Bench::with(pair("leaf.pem", "key.pem"));
    let first = bench.leaf();
    bench.folder.install(&first);
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;
    bench.log.news();
    let renewed = bench.root.reissue(&first, &request()).unwrap();
    let (head, tail) = renewed.certificate_pem().split_at(100);

    let mut file = fs_err::File::create(bench.folder.path("leaf.pem")).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    assert!(!bench.is_told_within(Duration::from_secs(30)).await);
    assert_eq!(bench.log.news(), [""; 0]);
    file.write_all(tail.as_bytes()).unwrap();
    drop(file);

    bench.assert_taken(&renewed).await;
}

fn request() -> anchord_emulator::LeafRequest {
    anchord_emulator::LeafRequest::new("robot-7", KeyKind::P256)
}

/// Kubernetes' AtomicWriter: files are links through `..data`, and `..data` is swapped by a rename.
#[tokio::test(start_paused = true)]
async fn a_kubernetes_volume_that_is_swapped_is_taken_every_time() {
    let mut bench = Bench::with(pair("tls.crt", "tls.key"));
    let publish = |bench: &Bench, stamp: &str| {
        let leaf = bench.leaf();
        fs_err::create_dir(bench.folder.path(stamp)).unwrap();
        bench.folder.write(&format!("{stamp}/tls.crt"), leaf.certificate_pem());
        bench.folder.write(&format!("{stamp}/tls.key"), key(&leaf));
        symlink(stamp, &bench.folder.path("..data_tmp"));
        fs_err::rename(bench.folder.path("..data_tmp"), bench.folder.path("..data")).unwrap();
        leaf
    };
    publish(&bench, "..2026_03_11_1");
    symlink("..data/tls.crt", &bench.folder.path("tls.crt"));
    symlink("..data/tls.key", &bench.folder.path("tls.key"));
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;

    for round in 2..6 {
        let renewed = publish(&bench, &format!("..2026_03_11_{round}"));
        fs_err::remove_dir_all(bench.folder.path(&format!("..2026_03_11_{}", round - 1))).unwrap();
        bench.assert_taken(&renewed).await;
    }
    assert!(bench.log.news().iter().all(|line| is_of(line, "INFO", event::CERTIFICATE_LOADED)));
}

/// certbot: `live/name/cert.pem` is a link to `../../archive/name/cert1.pem`, replaced file by file.
#[tokio::test(start_paused = true)]
async fn certbots_links_are_followed_from_live_to_archive() {
    let mut bench = Bench::with(pair("live/x/cert.pem", "live/x/privkey.pem"));
    fs_err::create_dir_all(bench.folder.path("live/x")).unwrap();
    fs_err::create_dir_all(bench.folder.path("archive/x")).unwrap();
    let publish = |bench: &Bench, number: u32| {
        let leaf = bench.leaf();
        bench.folder.write(&format!("archive/x/cert{number}.pem"), leaf.certificate_pem());
        bench.folder.write(&format!("archive/x/privkey{number}.pem"), key(&leaf));
        for name in ["cert", "privkey"] {
            let at = bench.folder.path(&format!("live/x/{name}.pem"));
            let _ = fs_err::remove_file(&at);
            symlink(&format!("../../archive/x/{name}{number}.pem"), &at);
        }
        leaf
    };
    publish(&bench, 1);
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;

    for number in 2..4 {
        let renewed = publish(&bench, number);
        bench.assert_taken(&renewed).await;
    }
    let in_place = bench.leaf();
    bench.folder.write("archive/x/cert3.pem", in_place.certificate_pem());
    bench.folder.write("archive/x/privkey3.pem", key(&in_place));
    bench.assert_taken(&in_place).await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_a_link_may_be_swapped() {
    let mut bench = Bench::with(pair("now/leaf.pem", "now/key.pem"));
    let publish = |bench: &Bench, release: &str| {
        let leaf = bench.leaf();
        fs_err::create_dir(bench.folder.path(release)).unwrap();
        bench.folder.write(&format!("{release}/leaf.pem"), leaf.certificate_pem());
        bench.folder.write(&format!("{release}/key.pem"), key(&leaf));
        symlink(release, &bench.folder.path("next"));
        fs_err::rename(bench.folder.path("next"), bench.folder.path("now")).unwrap();
        leaf
    };
    publish(&bench, "release-1");
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;

    for release in ["release-2", "release-3"] {
        let renewed = publish(&bench, release);
        bench.assert_taken(&renewed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_disappears_is_reported_and_its_successor_is_taken() {
    let mut bench = Bench::with(pair("a/b/leaf.pem", "a/b/key.pem"));
    let publish = |bench: &Bench| {
        let leaf = bench.leaf();
        fs_err::create_dir_all(bench.folder.path("a/b")).unwrap();
        bench.folder.write("a/b/leaf.pem", leaf.certificate_pem());
        bench.folder.write("a/b/key.pem", key(&leaf));
        leaf
    };
    let first = publish(&bench);
    bench.current.load(now()).await.unwrap();
    bench.log.news();
    bench.watch_by_events().await;

    fs_err::remove_dir_all(bench.folder.path("a")).unwrap();
    assert!(!bench.is_told_within(Duration::from_secs(5)).await);
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(is_of(&told[0], "WARN", event::CERTIFICATE_REFUSED), "{told:?}");
    assert!(told[0].contains("a/b/key.pem`: No such file or directory"), "{told:?}");
    assert!(told[0].contains("hint=\"put the file there"), "{told:?}");

    fs_err::create_dir_all(bench.folder.path("a/b")).unwrap();
    bench.folder.write("a/b/leaf.pem", first.certificate_pem());
    bench.folder.write("a/b/key.pem", key(&first));
    assert!(!bench.is_told_within(Duration::from_secs(5)).await, "the same certificate is back");
    let told = bench.log.news();
    assert!(told.len() == 1 && is_of(&told[0], "INFO", event::CERTIFICATE_RECOVERED), "{told:?}");

    fs_err::remove_dir_all(bench.folder.path("a")).unwrap();
    let renewed = publish(&bench);
    bench.assert_taken(&renewed).await;
}

/// Another pair in a directory that replaces the old one atomically.
#[tokio::test(start_paused = true)]
async fn a_directory_that_is_exchanged_is_noticed() {
    let mut bench = Bench::with(pair("now/leaf.pem", "now/key.pem"));
    let publish = |bench: &Bench, at: &str| {
        let leaf = bench.leaf();
        fs_err::create_dir(bench.folder.path(at)).unwrap();
        bench.folder.write(&format!("{at}/leaf.pem"), leaf.certificate_pem());
        bench.folder.write(&format!("{at}/key.pem"), key(&leaf));
        leaf
    };
    publish(&bench, "now");
    bench.current.load(now()).await.unwrap();
    bench.watch_by_events().await;

    for round in 0..3 {
        let next = format!("next-{round}");
        let renewed = publish(&bench, &next);
        fs_err::rename(bench.folder.path("now"), bench.folder.path(&format!("old-{round}"))).unwrap();
        fs_err::rename(bench.folder.path(&next), bench.folder.path("now")).unwrap();
        bench.assert_taken(&renewed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_removed_is_reported() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;

    fs_err::remove_file(bench.folder.path("leaf.pem")).unwrap();
    tokio::time::sleep(QUIET * 2).await;

    let told = bench.log.news();
    assert!(
        is_of(&told[0], "WARN", event::CERTIFICATE_REFUSED) && told[0].contains("leaf.pem`: No such file"),
        "{told:?}"
    );
}

/// Root may read every file: where tests run as root, the mode is shown to be noticed by its warning alone.
#[tokio::test(start_paused = true)]
async fn a_change_of_permissions_is_noticed() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(bench.folder.path("key.pem"), permissions).unwrap();
    };

    mode(0o644);
    tokio::time::sleep(QUIET * 2).await;
    let told = bench.log.news();
    assert!(told[0].contains("is accessible to other users (mode 0644)"), "{told:?}");

    mode(0o000);
    tokio::time::sleep(QUIET * 2).await;
    let told = bench.log.news();
    if rustix::process::geteuid().is_root() {
        assert_eq!(told, [""; 0]);
    } else {
        assert!(
            told[0].contains("Permission denied") && is_of(&told[0], "WARN", event::CERTIFICATE_REFUSED),
            "{told:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_had_no_certificate_is_told_when_there_is_one() {
    let mut bench = Bench::with(pair("leaf.pem", "key.pem"));
    bench.current.load(now()).await.unwrap_err();
    bench.watch_by_events().await;
    assert_eq!(bench.log.news(), [""; 0], "the session's attempt has told it");
    let leaf = bench.leaf();

    bench.folder.install(&leaf);

    bench.assert_taken(&leaf).await;
}

/// The change is made through another name of the file, in a directory that is not watched.
#[tokio::test(start_paused = true)]
async fn what_the_kernel_does_not_tell_is_found_by_looking() {
    let mut bench = Bench::new().await;
    let elsewhere = Folder::new();
    let leaf = bench.root.reissue(&bench.leaf(), &request()).unwrap();
    bench.folder.install(&leaf);
    bench.current.load(now()).await.unwrap();
    fs_err::hard_link(bench.folder.path("leaf.pem"), elsewhere.path("leaf.pem")).unwrap();
    bench.watch(|_| {}).await;
    bench.log.news();
    let renewed = bench.root.reissue(&leaf, &request()).unwrap();

    fs_err::write(elsewhere.path("leaf.pem"), renewed.certificate_pem()).unwrap();

    assert!(!bench.is_told_within(Duration::from_secs(10)).await, "the kernel has told it: no proof");
    assert!(bench.is_told_within(Pace::default().poll).await);
    assert_eq!(bench.current.in_use().unwrap().leaf(), renewed.certificate_der());
}

#[tokio::test(start_paused = true)]
async fn without_inotify_it_is_reported_once_and_the_files_are_looked_at() {
    let mut bench = Bench::new().await;
    let none = || Watches::opened_by(|| Err(std::io::Error::from_raw_os_error(24)));
    bench.watch(|watcher| watcher.watches = none()).await;
    assert!(!bench.is_told_within(HOUR).await);
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        is_of(&told[0], "WARN", event::WATCH_UNAVAILABLE)
            && told[0].contains("Too many open files")
            && told[0].contains("max_user_instances")
            && told[0].contains("every_seconds=30"),
        "{told:?}"
    );
    let renewed = bench.leaf();

    bench.folder.install(&renewed);

    assert!(bench.is_told_within(Pace::default().poll + QUIET).await);
    assert_eq!(bench.current.in_use().unwrap().leaf(), renewed.certificate_der());
}

#[test]
fn an_error_of_watching_says_what_would_help() {
    let cases = [
        (Errno::NOSPC, "sysctl fs.inotify.max_user_watches"),
        (Errno::MFILE, "sysctl fs.inotify.max_user_instances"),
        (Errno::NFILE, "that of open files"),
        (Errno::ACCESS, "let the daemon's user list the directory"),
        (Errno::NOSYS, "anchord still notices a renewed certificate"),
    ];
    for (errno, hint) in cases {
        let error = WatchError::Directory { path: "/keys".into(), source: errno.into() };
        assert!(error.hint().contains(hint), "{errno}: {}", error.hint());
        assert_eq!(error.to_string(), "cannot watch `/keys`");
    }
}

/// No event and no other stamp can help here: what was wrong was the time.
#[tokio::test(start_paused = true)]
async fn files_that_could_not_be_used_are_tried_again_at_each_look() {
    let mut bench = Bench::with(pair("leaf.pem", "key.pem"));
    let mut request = request();
    request.not_before = now() + time::Duration::minutes(10);
    let early = bench.root.leaf(&request).unwrap();
    bench.folder.install(&early);
    let clock = Clock::manual(now());
    bench.current.load(clock.now()).await.unwrap();
    let told = bench.log.news();
    assert!(is_of(&told[0], "WARN", event::CERTIFICATE_NOT_VALID_LOCALLY), "{told:?}");
    let watchers = clock.clone();
    bench.watch(|watcher| watcher.clock = watchers).await;

    assert!(!bench.is_told_within(Duration::from_secs(9 * 60)).await);
    assert_eq!(bench.log.news(), [""; 0]);
    assert!(bench.is_told_within(Duration::from_secs(2 * 60)).await);
    assert_eq!(bench.current.in_use().unwrap().leaf(), early.certificate_der());
}

#[tokio::test(start_paused = true)]
async fn a_directory_where_files_come_and_go_does_not_keep_the_watcher_from_looking() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let renewed = bench.leaf();

    bench.folder.install(&renewed);
    let told = async {
        loop {
            bench.folder.write("other.txt", "");
            bench.folder.write("key.pem", key(&renewed));
            if bench.is_told_within(QUIET / 2).await {
                break;
            }
        }
    };

    tokio::time::timeout(Duration::from_secs(3), told).await.expect("it never looked");
}

#[tokio::test(start_paused = true)]
async fn other_files_of_the_directory_are_nobodys_concern() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let busy = async {
        for _ in 0..20 {
            bench.folder.write("other.txt", "");
            fs_err::remove_file(bench.folder.path("other.txt")).unwrap();
            tokio::time::sleep(QUIET / 2).await;
        }
    };
    let (current, changed) = (Arc::clone(&bench.current), Arc::clone(&bench.changed));
    let mut files = FileWatch::new(&Watcher::new(current, Clock::system(), changed, Watches::default()));
    files.survey().await;

    tokio::select! {
        () = busy => {}
        () = files.subscription.event() => panic!("another file's event was taken for one of ours"),
    }
}

/// The host sleeps for weeks; timers know nothing of it.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_certificate_is_reported_by_wall_time() {
    let mut bench = Bench::with(pair("leaf.pem", "key.pem"));
    let mut request = request();
    request.not_before = now() - time::Duration::days(60);
    request.not_after = now() + time::Duration::days(40);
    bench.folder.install(&bench.root.leaf(&request).unwrap());
    let clock = Clock::manual(now());
    bench.current.load(clock.now()).await.unwrap();
    bench.log.news();
    let watchers = clock.clone();
    bench.watch(|watcher| watcher.clock = watchers).await;
    assert_eq!(bench.log.news(), [""; 0]);

    let expected = [
        (11, "WARN", event::CERTIFICATE_ENDING),
        (24, "WARN", event::CERTIFICATE_ENDING),
        (6, "ERROR", event::CERTIFICATE_ENDED),
    ];
    for (days, level, event) in expected {
        clock.jump(time::Duration::days(days));
        tokio::time::sleep(HOUR).await;
        let told = bench.log.news();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(is_of(&told[0], level, event), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_that_ends_soon_is_reported_with_it() {
    let mut bench = Bench::new().await;
    bench.watch_by_events().await;
    let mut request = request();
    request.not_before = now() - time::Duration::days(60);
    request.not_after = now() + time::Duration::days(6);
    let ending = bench.root.leaf(&request).unwrap();

    bench.folder.install(&ending);

    bench.assert_taken(&ending).await;
    tokio::task::yield_now().await;
    let told = bench.log.news();
    assert!(is_of(&told[0], "INFO", event::CERTIFICATE_LOADED), "{told:?}");
    assert!(
        is_of(&told[1], "WARN", event::CERTIFICATE_ENDING) && told[1].contains("left_seconds=518"),
        "{told:?}"
    );
}

#[cfg(feature = "spiffe")]
mod agents;
