//! The certificate is renewed under a running daemon.

use anchord_core::event;
use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::PATIENCE;

/// A leaf whose serial number is `serial`.
fn leaf(stage: &Stage, serial: u8) -> Leaf {
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.serial = Some(vec![serial]);
    stage.root.leaf(&request).unwrap()
}

/// Later credentials end later: AWS's dates have whole seconds, and these tests are faster.
fn a_while_passes(stage: &Stage, serial: u8) {
    stage.emulator.set_clock_offset(time::Duration::seconds(i64::from(serial) * 2));
}

/// Puts the leaf with this serial number in the place of the one that is there.
fn renew(stage: &Stage, serial: u8) {
    a_while_passes(stage, serial);
    stage.install(&leaf(stage, serial));
}

/// Waits until the emulator holds an answer back.
async fn aws_is_asked(stage: &Stage) {
    let held = stage.emulator.wait_for_held(1);
    tokio::time::timeout(PATIENCE, held).await.expect("nobody asked AWS");
}

/// The serial numbers of the leaves that signed the requests so far, and what was answered.
fn signed_with(stage: &Stage) -> Vec<(String, Option<u16>)> {
    let requests = stage.emulator.requests();
    let serial = |credential: &String| credential.split('/').next().unwrap().to_owned();
    requests
        .iter()
        .map(|request| (request.credential.as_ref().map(serial).unwrap(), request.status))
        .collect()
}

fn made(serials: &[&str]) -> Vec<(String, Option<u16>)> {
    serials.iter().map(|serial| ((*serial).to_owned(), Some(201))).collect()
}

async fn key_id(stage: &Stage, daemon: &Daemon) -> String {
    let ids = [
        client::imds(&daemon.http().await).await.key_id(),
        client::container(&daemon.http().await, "bedrock", &stage.bearer("bedrock")).await.key_id(),
        client::socket(&stage.socket(), "bedrock").await.key_id(),
    ];
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    ids[0].clone()
}

/// A daemon that has its first credentials with leaf 1.
async fn started(stage: &Stage) -> Daemon {
    stage.install(&leaf(stage, 1));
    stage.daemon().await
}

#[tokio::test]
async fn each_renewed_certificate_renews_the_session_once() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    let mut ids = vec![key_id(&stage, &daemon).await];

    for (serial, nth) in [(2, 2), (3, 3)] {
        renew(&stage, serial);
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, nth).await;
        ids.push(key_id(&stage, &daemon).await);
    }

    assert_eq!(signed_with(&stage), made(&["1", "2", "3"]));
    let issued: Vec<_> = stage.emulator.issued().into_iter().map(|issued| issued.access_key_id).collect();
    assert_eq!(ids, issued);
    let output = daemon.stop().await.1;
    assert!(!output.contains("\"WARN\"") && !output.contains("\"ERROR\""), "{output}");
    stage.assert_no_secrets(&output, &[]);
}

#[tokio::test]
async fn old_credentials_are_handed_out_until_there_are_new_ones() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    let first = key_id(&stage, &daemon).await;
    stage.emulator.script([Fault::Hold]);

    renew(&stage, 2);
    aws_is_asked(&stage).await;
    assert_eq!(key_id(&stage, &daemon).await, first);
    stage.emulator.release();
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    assert_ne!(key_id(&stage, &daemon).await, first);
}

#[tokio::test]
async fn a_half_written_pair_is_told_and_taken_when_it_is_whole() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    let first = key_id(&stage, &daemon).await;
    let renewed = leaf(&stage, 2);
    a_while_passes(&stage, 2);

    stage.write("leaf.pem", renewed.certificate_pem());
    let line = daemon.wait_for(event::CERTIFICATE_REFUSED).await;
    assert!(line["error"].as_str().unwrap().contains("belongs to the private key"), "{line}");
    assert!(line["hint"].as_str().unwrap().contains("must come from the same request"), "{line}");
    assert_eq!(key_id(&stage, &daemon).await, first);
    stage.write("key.pem", &renewed.key_pem(KeyForm::Pkcs8).unwrap());
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    assert_ne!(key_id(&stage, &daemon).await, first);
    assert_eq!(signed_with(&stage), made(&["1", "2"]));
}

#[tokio::test]
async fn a_certificate_directory_that_disappears_is_told_and_service_goes_on() {
    let stage = Stage::of_short_sessions().await;
    let first = leaf(&stage, 1);
    let publish = |leaf: &Leaf| {
        fs_err::create_dir(stage.path("pki")).unwrap();
        stage.write("pki/leaf.pem", leaf.certificate_pem());
        stage.write("pki/key.pem", &leaf.key_pem(KeyForm::Pkcs8).unwrap());
    };
    publish(&first);
    let session =
        stage.session("bedrock").replace("leaf.pem", "pki/leaf.pem").replace("key.pem", "pki/key.pem");
    stage.configure(&session);
    let daemon = stage.daemon().await;
    let id = key_id(&stage, &daemon).await;

    fs_err::remove_dir_all(stage.path("pki")).unwrap();
    let line = daemon.wait_for(event::CERTIFICATE_REFUSED).await;
    assert!(line["error"].as_str().unwrap().contains("pki/key.pem`: No such file or directory"), "{line}");
    assert_eq!(line["session"], "bedrock");
    assert_eq!(key_id(&stage, &daemon).await, id);
    publish(&first);
    daemon.wait_for(event::CERTIFICATE_RECOVERED).await;
    assert_eq!(key_id(&stage, &daemon).await, id);

    fs_err::remove_dir_all(stage.path("pki")).unwrap();
    daemon.wait_for_nth(event::CERTIFICATE_REFUSED, 2).await;
    a_while_passes(&stage, 2);
    publish(&leaf(&stage, 2));
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    assert_eq!(signed_with(&stage), made(&["1", "2"]));
}

/// As kubelet publishes a secret, with cert-manager behind it.
#[tokio::test]
async fn a_kubernetes_secret_that_is_renewed_is_used() {
    let stage = Stage::of_short_sessions().await;
    let publish = |serial: u8| {
        a_while_passes(&stage, serial);
        let (leaf, stamp) = (leaf(&stage, serial), format!("..2026_03_11_12_00_0{serial}.1"));
        fs_err::create_dir(stage.path(&stamp)).unwrap();
        stage.write(&format!("{stamp}/tls.crt"), leaf.certificate_pem());
        stage.write(&format!("{stamp}/tls.key"), &leaf.key_pem(KeyForm::Pkcs8).unwrap());
        fs_err::os::unix::fs::symlink(&stamp, stage.path("..data_tmp")).unwrap();
        fs_err::rename(stage.path("..data_tmp"), stage.path("..data")).unwrap();
    };
    publish(1);
    for name in ["tls.crt", "tls.key"] {
        fs_err::os::unix::fs::symlink(format!("..data/{name}"), stage.path(name)).unwrap();
    }
    stage.configure(&stage.session("bedrock").replace("leaf.pem", "tls.crt").replace("key.pem", "tls.key"));
    let daemon = stage.daemon().await;

    publish(2);
    fs_err::remove_dir_all(stage.path("..2026_03_11_12_00_01.1")).unwrap();
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    assert_eq!(signed_with(&stage), made(&["1", "2"]));
}

#[tokio::test]
async fn a_daemon_without_a_certificate_starts_and_uses_the_one_that_comes() {
    let stage = Stage::of_short_sessions().await;
    fs_err::remove_file(stage.path("key.pem")).unwrap();
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    assert_eq!(client::imds(&http).await.status, 503);

    stage.install(&leaf(&stage, 1));
    daemon.wait_for(event::CERTIFICATE_LOADED).await;
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;

    assert_eq!(client::imds(&http).await.status, 200);
    assert_eq!(signed_with(&stage), made(&["1"]));
}

/// Its CA is not known to AWS yet, or the renewal went wrong: nothing that works is given up for it.
#[tokio::test]
async fn while_aws_refuses_the_new_certificate_the_previous_one_goes_on() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    let mut ids = vec![key_id(&stage, &daemon).await];
    stage.emulator.set_revoked("2", true);
    stage.emulator.script([Fault::Hold]);

    renew(&stage, 2);
    aws_is_asked(&stage).await;
    ids.push(key_id(&stage, &daemon).await);
    assert_eq!(ids[0], ids[1]);
    stage.emulator.release();
    let line = daemon.wait_for(event::CERTIFICATE_DENIED).await;
    assert!(line["error"].as_str().unwrap().contains("Untrusted Signing Certificate"), "{line}");
    assert!(line["hint"].as_str().unwrap().contains("does not chain to the trust anchor"), "{line}");
    assert_eq!((&line["serial"], &line["in_use"]), (&"2".into(), &"1".into()), "{line}");
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    ids.push(key_id(&stage, &daemon).await);
    assert_ne!(ids[1], ids[2]);

    // A session that is reloaded with other settings still knows what AWS has accepted.
    a_while_passes(&stage, 3);
    stage.configure(&format!("{}duration = \"30m\"\n", stage.session("bedrock")));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 3).await;

    let outcome = |serial: &str, status| (serial.to_owned(), Some(status));
    let both = [outcome("2", 403), outcome("1", 201)];
    assert_eq!(signed_with(&stage), [&[outcome("1", 201)], &both[..], &both[..]].concat());
}

/// The only session of `anchord status --json`, and how that ended.
async fn shown(stage: &Stage) -> (i32, serde_json::Value) {
    let status = stage.run(&["status", "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    (status.code, document["sessions"][0].clone())
}

#[tokio::test]
async fn status_tells_that_aws_refuses_the_new_certificate_while_the_old_one_goes_on() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    let (code, well) = shown(&stage).await;
    assert_eq!(
        (code, &well["consecutive_failures"], &well["certificate_trouble"]),
        (0, &0.into(), &().into())
    );
    assert_eq!((&well["role_arn"], &well["region"]), (&stage.role.as_str().into(), &"us-east-1".into()));
    let certificate = &well["certificate"];
    assert_eq!((&certificate["subject"], &certificate["serial"]), (&"CN=robot-7".into(), &"1".into()));
    assert!(certificate["not_after"].is_string() && certificate["days_left"].is_i64(), "{well}");
    assert!(well["last_success_at"].is_string(), "{well}");
    stage.emulator.set_revoked("2", true);

    renew(&stage, 2);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    let (code, ailing) = shown(&stage).await;
    assert_eq!((code, &ailing["phase"], &ailing["trouble"]), (3, &"live".into(), &().into()), "{ailing}");
    let trouble = &ailing["certificate_trouble"];
    assert_eq!(trouble["class"], "denied");
    assert!(trouble["hint"].as_str().unwrap().contains("does not chain to the trust anchor"), "{trouble}");
    assert_eq!(ailing["certificate"]["serial"], "1", "the one in use");
    let text = stage.run(&["status"]).await;
    assert_eq!(text.code, 3);
    for part in [
        "  role: arn:aws:iam::",
        ", Region us-east-1\n",
        "  certificate: CN=robot-7, serial 1, expires at ",
        "  last success: ",
        "  certificate, denied: AWS refuses the new certificate with serial 2; the previous one stays in use until ",
        "  hint: the leaf does not chain to the trust anchor",
    ] {
        assert!(text.stdout.contains(part), "{part} is not in:\n{}", text.stdout);
    }

    stage.emulator.set_revoked("2", false);
    renew(&stage, 3);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 3).await;
    assert_eq!(shown(&stage).await.0, 0);
}

#[tokio::test]
async fn status_tells_that_the_new_certificate_cannot_be_read_while_the_old_one_goes_on() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;

    stage.write("leaf.pem", "");
    daemon.wait_for(event::CERTIFICATE_REFUSED).await;

    let (code, ailing) = shown(&stage).await;
    assert_eq!((code, &ailing["phase"]), (1, &"live".into()), "{ailing}");
    assert_eq!(ailing["certificate_trouble"]["class"], "misconfigured");
    assert!(ailing["certificate_trouble"]["hint"].is_string(), "{ailing}");
    let text = stage.run(&["status"]).await;
    assert_eq!(text.code, 1);
    assert!(text.stdout.contains("\n  certificate, misconfigured: "), "{}", text.stdout);
}

#[tokio::test]
async fn status_tells_that_a_live_session_will_get_no_more_credentials() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    stage.emulator.set_revoked("1", true);
    stage.emulator.set_revoked("2", true);

    renew(&stage, 2);
    daemon.wait_for(event::CREDENTIALS_RENEWAL_FAILED).await;

    let (code, ailing) = shown(&stage).await;
    assert_eq!((code, &ailing["phase"], &ailing["consecutive_failures"]), (3, &"live".into(), &1.into()));
    assert_eq!(ailing["trouble"]["class"], "denied");
    assert!(ailing["failing_since"].is_string() && ailing["last_success_at"].is_string(), "{ailing}");
    let text = stage.run(&["status"]).await;
    assert!(text.stdout.contains("\n  failures in a row: 1, since "), "{}", text.stdout);
}

#[tokio::test]
async fn a_successor_says_that_its_certificate_is_bad_while_old_credentials_live() {
    let stage = Stage::in_memory().await;
    let mut daemon = started(&stage).await;
    let before = key_id(&stage, &daemon).await;
    daemon.wait_for(event::HANDOVER_WRITTEN).await;
    daemon.kill();
    fs_err::remove_file(stage.path("key.pem")).unwrap();

    let successor = stage.daemon().await;
    let line = successor.wait_for(event::CERTIFICATE_UNAVAILABLE).await;
    assert!(line["error"].as_str().unwrap().contains("key.pem`: No such file"), "{line}");
    assert_eq!(key_id(&stage, &successor).await, before);
    renew(&stage, 2);
    successor.wait_for(event::CREDENTIALS_RENEWED).await;

    assert_ne!(key_id(&stage, &successor).await, before);
    assert_eq!(signed_with(&stage), made(&["1", "2"]));
}

#[tokio::test]
async fn clients_that_never_stop_asking_notice_no_rotation() {
    let stage = Stage::of_short_sessions().await;
    let daemon = started(&stage).await;
    let (http, bearer) = (daemon.http().await, stage.bearer("bedrock"));
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let asking = tokio::spawn(async move {
        let mut ids = Vec::new();
        while stopped.try_recv().is_err() {
            let id = client::container(&http, "bedrock", &bearer).await.key_id();
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
        ids
    });

    for (serial, nth) in [(2, 2), (3, 3), (4, 4)] {
        renew(&stage, serial);
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, nth).await;
    }
    let last = key_id(&stage, &daemon).await;
    stop.send(()).unwrap();
    let ids = asking.await.unwrap();

    let issued: Vec<_> = stage.emulator.issued().into_iter().map(|issued| issued.access_key_id).collect();
    assert_eq!(issued.len(), 4);
    assert!(ids.iter().all(|id| issued.contains(id)), "{ids:?}");
    assert!(ids.len() >= 2, "nobody asked meanwhile: no proof");
    assert_eq!(issued.last(), Some(&last));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told_by_daemon_and_check() {
    let stage = Stage::of_short_sessions().await;
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.not_before -= time::Duration::days(60);
    request.not_after = request.not_before + time::Duration::days(67);
    stage.install(&stage.root.leaf(&request).unwrap());

    let daemon = stage.daemon().await;
    let line = daemon.wait_for(event::CERTIFICATE_ENDING).await;
    let checked = stage.run(&["config", "check"]).await;

    assert_eq!((&line["level"], &line["session"]), (&"WARN".into(), &"bedrock".into()));
    let left_seconds = line["left_seconds"].as_i64().unwrap();
    assert_eq!(left_seconds / 86400, 6, "{line}");
    let warning = "# session.bedrock: warning: the leaf `CN=robot-7` in `";
    assert!(
        checked.stdout.contains(warning) && checked.stdout.contains("expires in 6 days"),
        "{}",
        checked.stdout
    );
    assert_eq!(checked.code, 0);

    // One judgement for all.
    let sentence = checked.stdout.split("warning: ").nth(1).unwrap().split(", at ").next().unwrap();
    for verb in [&["certificate", "show"][..], &["certificate", "show", "--json"], &["check"], &["status"]] {
        let ran = stage.run(verb).await;
        assert!(ran.stdout.contains(sentence), "{sentence} is not what {verb:?} says:\n{ran:?}");
    }
    let (code, shown) = shown(&stage).await;
    assert_eq!((code, &shown["certificate"]["days_left"]), (0, &6.into()), "it works");
}
