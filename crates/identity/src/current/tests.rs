//! What is used and logged while files are good, bad and good again.

use anchord_emulator::Authority;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;

use super::*;
use crate::FileError;
use crate::support::Folder;
use crate::support::leaf_of;
use crate::support::now;
use crate::support::root;
use anchord_core::event;
use anchord_core::failure::Reason;
use anchord_testing::Log;
use anchord_testing::is_of;

struct Bench {
    folder: Folder,
    root: Authority,
    current: Current,
    log: Log,
}

impl Bench {
    /// A good pair in its folder, not read yet.
    fn new() -> Self {
        let (folder, root) = (Folder::new(), root());
        folder.install(&leaf_of(&root, KeyKind::P256));
        let current = Current::new("web", folder.source());
        Self { folder, root, current, log: Log::start() }
    }

    fn renew(&self) {
        self.folder.install(&leaf_of(&self.root, KeyKind::P256));
    }

    fn install_until(&self, not_after: OffsetDateTime) {
        let mut request = LeafRequest::new("robot-7", KeyKind::P256);
        request.not_after = not_after;
        self.folder.install(&self.root.leaf(&request).unwrap());
    }

    async fn load(&self) -> Result<Arc<Identity>, Error> {
        self.current.load(now()).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_reported_once_whoever_finds_it_and_again_after_a_recovery() {
    let bench = Bench::new();
    let mut used = bench.load().await.unwrap();
    let told = bench.log.news();
    assert!(is_of(&told[0], "INFO", event::CERTIFICATE_LOADED), "{told:?}");
    assert!(told[0].contains("session=\"web\" subject=\"CN=robot-7\""), "{told:?}");
    let certificate = fs_err::read(bench.folder.path("leaf.pem")).unwrap();

    for _ in 0..2 {
        bench.folder.write("leaf.pem", "-----BEGIN CERTIFICATE-----\nMII");
        assert!(Arc::ptr_eq(&bench.load().await.unwrap(), &used));
        assert_eq!(bench.current.look(now()).await, WatchOutcome::Unusable);
        bench.load().await.unwrap();
        let told = bench.log.news();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            is_of(&told[0], "WARN", event::CERTIFICATE_REFUSED)
                && told[0].contains("leaf.pem` is damaged in line 1: a section has no END line\"")
                && told[0].contains("hint=\"copy the file again"),
            "{told:?}"
        );

        bench.folder.write("leaf.pem", &certificate);
        assert_eq!(bench.current.look(now()).await, WatchOutcome::Unchanged);
        used = bench.load().await.unwrap();
        let told = bench.log.news();
        assert!(told.len() == 1 && is_of(&told[0], "INFO", event::CERTIFICATE_RECOVERED), "{told:?}");
    }
}

/// A token or a TPM judges a passphrase when it signs, so a wrong one is loaded like a right one.
#[tokio::test(start_paused = true)]
async fn a_key_is_taken_anew_although_its_certificate_is_the_same() {
    let bench = Bench::new();
    let leaf = leaf_of(&bench.root, KeyKind::P256);
    bench.folder.install(&leaf);
    let first = bench.load().await.unwrap();
    bench.log.news();

    bench.folder.write("key.pem", leaf.key_pem(KeyForm::Sec1).unwrap());
    let second = bench.load().await.unwrap();

    assert!(!Arc::ptr_eq(first.key(), second.key()));
    assert_eq!(bench.log.news(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn another_fault_is_reported_too() {
    let bench = Bench::new();
    bench.load().await.unwrap();
    bench.log.news();

    bench.folder.write("leaf.pem", "");
    bench.current.look(now()).await;
    bench.folder.write("leaf.pem", leaf_of(&bench.root, KeyKind::P256).certificate_pem());
    bench.load().await.unwrap();

    let told = bench.log.news();
    assert!(told[0].contains("is empty") && told[1].contains("belongs to the private key"), "{told:?}");
}

/// The session reports its failed attempt. Only the watcher can report that a file is now bad in another way.
#[tokio::test(start_paused = true)]
async fn without_an_identity_the_attempts_error_is_not_reported_twice() {
    let bench = Bench::new();
    bench.folder.write("leaf.pem", "");

    bench.load().await.unwrap_err();
    bench.current.look(now()).await;
    assert_eq!(bench.log.news(), [""; 0]);

    bench.folder.write("leaf.pem", "garbage");
    bench.current.look(now()).await;
    let told = bench.log.news();
    assert!(is_of(&told[0], "WARN", event::CERTIFICATE_UNAVAILABLE), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_session_signs_with_already_is_no_news() {
    let bench = Bench::new();

    assert_eq!(
        bench.current.look(now()).await,
        WatchOutcome::Unchanged,
        "its first attempt is still to come"
    );
    bench.load().await.unwrap();
    bench.renew();
    assert_eq!(bench.current.look(now()).await, WatchOutcome::Changed);
    assert_eq!(bench.current.look(now()).await, WatchOutcome::Unchanged, "it was told");
    bench.renew();
    bench.load().await.unwrap();
    assert_eq!(
        bench.current.look(now()).await,
        WatchOutcome::Unchanged,
        "its attempt was faster than the watcher"
    );
}

/// A session that goes on from its predecessor's credentials makes its first attempt much later.
#[tokio::test(start_paused = true)]
async fn a_session_is_told_of_changes_before_its_first_attempt_too() {
    let bench = Bench::new();

    assert_eq!(bench.current.look(now()).await, WatchOutcome::Unchanged);
    bench.renew();

    assert_eq!(bench.current.look(now()).await, WatchOutcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn files_that_become_good_are_news_to_a_session_that_had_none() {
    let bench = Bench::new();
    let certificate = fs_err::read(bench.folder.path("leaf.pem")).unwrap();
    fs_err::remove_file(bench.folder.path("leaf.pem")).unwrap();

    bench.load().await.unwrap_err();
    assert_eq!(bench.current.look(now()).await, WatchOutcome::Unusable);
    bench.folder.write("leaf.pem", &certificate);

    assert_eq!(bench.current.look(now()).await, WatchOutcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn another_chain_for_the_same_leaf_is_another_identity() {
    let bench = Bench::new();
    let issuing = bench.root.intermediate("Issuing", KeyKind::P256).unwrap();
    let leaf = leaf_of(&issuing, KeyKind::P256);
    bench.folder.install(&leaf);
    assert_eq!(bench.load().await.unwrap().intermediates().len(), 0);

    bench.folder.write("leaf.pem", [leaf.certificate_pem(), issuing.certificate_pem()].concat());

    assert_eq!(bench.current.look(now()).await, WatchOutcome::Changed);
    assert_eq!(bench.load().await.unwrap().intermediates().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_has_ended_is_not_kept() {
    let bench = Bench::new();
    bench.install_until(now() + time::Duration::HOUR);
    let not_after = bench.load().await.unwrap().not_after();
    fs_err::remove_file(bench.folder.path("key.pem")).unwrap();

    assert!(bench.current.load(not_after).await.is_ok());
    let error = bench.current.load(not_after + time::Duration::SECOND).await.unwrap_err();
    assert!(matches!(error, Error::File(FileError::Read { .. })), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_warning_about_files_that_are_used_is_reported_when_it_comes_up() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    bench.load().await.unwrap();
    bench.log.news();

    let open = std::fs::Permissions::from_mode(0o644);
    fs_err::set_permissions(bench.folder.path("key.pem"), open).unwrap();
    bench.current.look(now()).await;
    bench.load().await.unwrap();

    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("is accessible to other users (mode 0644)"), "{told:?}");
}

/// As on a network file system whose server is gone: a reader that hangs keeps the next ones from hanging too.
#[tokio::test(start_paused = true)]
async fn a_file_system_that_hangs_does_not_cost_the_identity_in_use() {
    let bench = Bench::new();
    let used = bench.load().await.unwrap();
    bench.log.news();
    let (end, hanging) = std::sync::mpsc::channel::<()>();
    bench.current.reader.read(std::time::Duration::ZERO, move || hanging.recv().is_err()).await.unwrap_err();

    assert!(Arc::ptr_eq(&bench.load().await.unwrap(), &used));
    let told = bench.log.news();
    assert!(told[0].contains("could not be read within 5 s"), "{told:?}");
    assert!(told[0].contains("hint=\"check whether its file system still answers\""), "{told:?}");

    drop(end);
    while bench.current.reader.read(PATIENCE, || ()).await.is_err() {
        tokio::task::yield_now().await;
    }
    bench.load().await.unwrap();
    assert!(is_of(&bench.log.news()[0], "INFO", event::CERTIFICATE_RECOVERED));
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_is_offered_until_it_ends() {
    let bench = Bench::new();
    bench.install_until(now() + time::Duration::HOUR);
    let first = bench.load().await.unwrap();
    assert!(bench.current.accepted_before(&first, now()).is_none(), "nothing was accepted yet");
    bench.current.accepted(&first);
    assert!(bench.current.accepted_before(&first, now()).is_none(), "there is no other");
    bench.renew();
    let second = bench.load().await.unwrap();

    let offered = bench.current.accepted_before(&second, now()).unwrap();
    assert!(Arc::ptr_eq(&offered, &first));
    assert!(bench.current.accepted_before(&second, first.not_after()).is_some());
    assert!(bench.current.accepted_before(&second, first.not_after() + time::Duration::SECOND).is_none());
    assert!(Arc::ptr_eq(&bench.current.in_use().unwrap(), &first));
    bench.current.accepted(&second);
    assert!(Arc::ptr_eq(&bench.current.in_use().unwrap(), &second));
}

/// The new certificate was issued for a shorter time than was left of the old one.
#[tokio::test(start_paused = true)]
async fn a_certificate_that_works_outlives_a_shorter_one_that_never_did() {
    let bench = Bench::new();
    let first = bench.load().await.unwrap();
    bench.current.accepted(&first);
    bench.install_until(now() + time::Duration::HOUR);
    bench.load().await.unwrap();

    let later = bench.current.load(now() + time::Duration::minutes(61)).await.unwrap();

    assert!(Arc::ptr_eq(&later, &first));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_new_certificate_is_reported_once_and_so_is_its_end() {
    let bench = Bench::new();
    let first = bench.load().await.unwrap();
    bench.current.accepted(&first);
    let refusal = |id: u32| {
        Failure::of(Reason::Refused, format!("AWS answered 403 ({id})"), Some("name the right CA".into()))
    };
    bench.renew();
    let second = bench.load().await.unwrap();
    bench.log.news();

    for id in 0..3 {
        bench.current.report_refusal(&second, &first, &refusal(id));
    }
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        is_of(&told[0], "WARN", event::CERTIFICATE_DENIED)
            && told[0].contains(&format!("serial=\"{}\"", second.serial()))
            && told[0].contains(&format!("in_use=\"{}\"", first.serial()))
            && told[0].contains("error=\"AWS answered 403 (0)\" hint=\"name the right CA\""),
        "{told:?}"
    );

    bench.current.accepted(&second);
    bench.current.accepted(&second);
    let told = bench.log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(is_of(&told[0], "INFO", event::CERTIFICATE_ACCEPTED), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_new_certificate_is_refused_the_end_of_both_matters() {
    let bench = Bench::new();
    let serials = || bench.current.links().into_iter().map(|link| link.serial).collect::<Vec<_>>();
    let first = bench.load().await.unwrap();
    bench.current.accepted(&first);
    bench.renew();
    let second = bench.load().await.unwrap();
    assert_eq!(serials(), [second.serial()]);

    let refusal = Failure::of(Reason::Refused, "no", None);
    bench.current.report_refusal(&second, &first, &refusal);
    assert_eq!(serials(), [second.serial(), first.serial()]);
    bench.current.accepted(&second);
    assert_eq!(serials(), [second.serial()]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_in_use_whose_time_has_passed_ails_before_an_attempt_fails_by_it() {
    let bench = Bench::new();
    bench.install_until(now() + time::Duration::HOUR);
    let used = bench.load().await.unwrap();
    bench.current.accepted(&used);
    let fault = |at| bench.current.fault(at).map(|fault| (fault.class(), fault.message().to_owned()));

    assert_eq!(fault(now()), None);
    let (class, told) = fault(now() + 2 * time::Duration::HOUR).unwrap();
    assert_eq!(class, anchord_core::failure::Class::Misconfigured);
    assert!(told.contains("leaf.pem` expired at "), "{told}");

    bench.renew();
    bench.load().await.unwrap();
    assert_eq!(fault(now() + 2 * time::Duration::HOUR), None, "the next attempt has another");
}

#[tokio::test(start_paused = true)]
async fn what_ails_the_newest_certificate_is_known_until_it_is_mended() {
    let bench = Bench::new();
    let first = bench.load().await.unwrap();
    bench.current.accepted(&first);
    let files = |name: &str| fs_err::read(bench.folder.path(name)).unwrap();
    let old = (files("leaf.pem"), files("key.pem"));
    bench.renew();
    let new = (files("leaf.pem"), files("key.pem"));
    let install = |(leaf, key): &(Vec<u8>, Vec<u8>)| {
        bench.folder.write("leaf.pem", leaf);
        bench.folder.write("key.pem", key);
    };
    let second = bench.load().await.unwrap();
    let ailment = || bench.current.fault(now()).map(|fault| (fault.class(), fault.to_string()));
    assert_eq!(ailment(), None);

    let refusal = Failure::of(Reason::Refused, "AWS answered 403", Some("name its CA".into()));
    bench.current.report_refusal(&second, &first, &refusal);
    let (class, told) = ailment().unwrap();
    let serial = second.serial();
    assert_eq!(class, anchord_core::failure::Class::Denied);
    assert!(told.starts_with(&format!("AWS refuses the new certificate with serial {serial};")), "{told}");
    assert!(told.contains("AWS answered 403") && told.contains("name its CA"), "{told}");

    bench.folder.write("leaf.pem", "");
    bench.load().await.unwrap();
    assert_eq!(
        ailment().unwrap().0,
        anchord_core::failure::Class::Misconfigured,
        "the newest fault goes first"
    );
    install(&new);
    bench.load().await.unwrap();
    assert_eq!(ailment().unwrap().1, told);
    install(&old);
    bench.load().await.unwrap();
    assert_eq!(ailment(), None, "the one that AWS accepts is back");
    install(&new);
    bench.load().await.unwrap();
    assert_eq!(ailment().unwrap().1, told);
    bench.current.accepted(&second);
    assert_eq!(ailment(), None);

    bench.current.report_sign_failure(&first, &Failure::of(Reason::InvalidSetting, "wrong PIN", None));
    assert!(ailment().unwrap().1.contains("the key does not sign; the previous one stays in use: wrong PIN"));
    bench.current.accepted(&second);
    assert_eq!(ailment(), None);
}
