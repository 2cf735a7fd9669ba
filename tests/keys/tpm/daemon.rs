//! The daemon with keys in swtpm: credentials from the emulator, whatever happens to the TPM.

use anchord_core::event;
use anchord_emulator::Certificate;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use serde_json::Value;

use super::HANDLE;
use super::OWNER;
use super::swtpm::Kind;
use super::swtpm::Made;
use super::swtpm::Swtpm;
use crate::load::Load;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

/// A certificate for a key of the TPM; each with another serial number.
fn certify(stage: &Stage, made: &Made) -> Certificate {
    stage.root.leaf_for(&made.public_key, &LeafRequest::new("robot-7", KeyKind::P256)).unwrap()
}

/// A session of this name whose certificate is `NAME.pem`, and whose key is where it is said.
fn session(stage: &Stage, name: &str, private_key: &str, address: &str, passphrase: &str) -> String {
    let table = stage.session(name).replace("\"leaf.pem\"", &format!("\"{name}.pem\""));
    let table = table.replace("\"key.pem\"", &format!("{private_key:?}"));
    let passphrase = match passphrase {
        "" => String::new(),
        name => format!("passphrase = \"file:{}\"\n", stage.path(name).display()),
    };
    format!("{table}tpm = {address:?}\n{passphrase}")
}

/// A key at [`HANDLE`] with this authorization value, certified, and the session that uses it.
struct Scene {
    stage: Stage,
    tpm: Swtpm,
    made: Made,
}

impl Scene {
    async fn new() -> Self {
        let (stage, mut tpm) = (Stage::new().await, Swtpm::start());
        let made = tpm.make(Kind::P256, "s3cret");
        tpm.persist(&made, HANDLE);
        stage.write("passphrase", "s3cret\n");
        stage.write("bedrock.pem", certify(&stage, &made).pem());
        let private_key = format!("tpm:{HANDLE}");
        stage.configure(&session(&stage, "bedrock", &private_key, &tpm.address(), "passphrase"));
        Self { stage, tpm, made }
    }

    async fn is_served(&self, daemon: &Daemon) -> bool {
        client::container(&daemon.http().await, "bedrock", &self.stage.bearer("bedrock")).await.status == 200
    }

    /// Puts another certificate for the same key in the place of the one that is there.
    fn renew(&self, serial: i64) {
        // Later credentials end later: AWS's dates have whole seconds, and these tests are faster.
        self.stage.emulator.set_clock_offset(time::Duration::seconds(serial * 2));
        self.stage.write("bedrock.pem", certify(&self.stage, &self.made).pem());
    }
}

/// The line in which an error says `words`.
async fn error(daemon: &Daemon, words: &str) -> Value {
    daemon
        .wait_for_line(words, 1, |line| line["error"].as_str().is_some_and(|error| error.contains(words)))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_gives_credentials_from_a_handle_and_from_a_file() {
    let (stage, mut tpm) = (Stage::new().await, Swtpm::start());
    stage.write("passphrase", "s3cret\n");
    let (mut tables, mut names) = (String::new(), Vec::new());
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        for (half, auth) in ["", "s3cret"].into_iter().enumerate() {
            let made = tpm.make(kind, auth);
            let handle = format!("{:#x}", 0x8100_0010 + 2 * number + half);
            tpm.persist(&made, &handle);
            let passphrase = if auth.is_empty() { "" } else { "passphrase" };
            let [at_handle, in_file] = ["handle", "file"].map(|place| format!("{place}-{number}-{half}"));
            let key_file = format!("{in_file}.key");
            stage.write(&key_file, &tpm.key_file(&made, OWNER));
            for (name, private_key) in [(at_handle, format!("tpm:{handle}")), (in_file, key_file)] {
                stage.write(&format!("{name}.pem"), certify(&stage, &made).pem());
                tables.push_str(&session(&stage, &name, &private_key, &tpm.address(), passphrase));
                names.push(name);
            }
        }
    }
    stage.configure(&format!("{tables}[imds]\nenabled = false\n"));

    let daemon = stage.daemon().await;
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, names.len()).await;

    for name in &names {
        let reply = client::container(&daemon.http().await, name, &stage.bearer(name)).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
    }
    let output = daemon.stop().await.1;
    stage.assert_no_secrets(&output, &["s3cret".into()]);
    assert_eq!(tpm.lockout_counter(), 0);
    assert_eq!(tpm.loaded(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_costs_one_attempt_and_a_corrected_one_is_taken() {
    let scene = Scene::new().await;
    scene.stage.write("passphrase", "wrong\n");
    let daemon = scene.stage.daemon().await;

    let line = error(&daemon, "refused the authorization value of the key").await;
    error(&daemon, "does not try it again").await;

    assert!(line["hint"].as_str().unwrap().contains("correct `passphrase`"), "{line}");
    assert!(!scene.is_served(&daemon).await);
    assert_eq!(scene.tpm.lockout_counter(), 1);
    scene.stage.write("passphrase", "s3cret\n");
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert!(scene.is_served(&daemon).await);
    assert_eq!(scene.tpm.lockout_counter(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_another_key_is_refused_and_the_right_one_taken() {
    let mut scene = Scene::new().await;
    let other = scene.tpm.make(Kind::P384, "");
    scene.stage.write("bedrock.pem", certify(&scene.stage, &other).pem());
    let daemon = scene.stage.daemon().await;

    error(&daemon, "belongs to the private key").await;
    scene.renew(1);

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert!(scene.is_served(&daemon).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_that_comes_late_is_waited_for() {
    let mut scene = Scene::new().await;
    scene.tpm.kill();
    let daemon = scene.stage.daemon().await;

    let line = error(&daemon, "cannot open the TPM").await;
    assert!(line["hint"].as_str().unwrap().contains("start the emulator"), "{line}");
    scene.tpm.restart();

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
    assert!(scene.is_served(&daemon).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_there_says_where_to_look() {
    let scene = Scene::new().await;
    let private_key = format!("tpm:{HANDLE}");
    let device = format!("device:{}", scene.stage.path("tpmrm9").display());
    scene.stage.configure(&session(&scene.stage, "bedrock", &private_key, &device, "passphrase"));

    let ran = scene.stage.run(&["credential-process"]).await;

    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("cannot open the TPM") && ran.stderr.contains("/dev/tpm*"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_certificates_are_renewed_or_that_the_tpm_went_and_came() {
    let mut scene = Scene::new().await;
    let daemon = scene.stage.daemon().await;
    let mut load = Load::start(&scene.stage, &daemon).await;

    scene.renew(1);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    load.answered(100).await;
    // Looked at before the power cut, for a TPM counts that as an attempt too.
    assert_eq!(scene.tpm.lockout_counter(), 0);
    scene.tpm.kill();
    scene.renew(2);
    let line = error(&daemon, "cannot open the TPM").await;
    load.answered(100).await;
    scene.tpm.restart();
    scene.renew(3);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 3).await;
    load.answered(100).await;

    assert_eq!(line["event"], event::CERTIFICATE_REFUSED);
    load.end().await;
}

#[tokio::test]
async fn a_key_in_a_tpm_is_shown_beside_its_certificate() {
    let scene = Scene::new().await;

    let ran = scene.stage.run(&["certificate", "show"]).await;

    assert_eq!(ran.code, 0, "{ran:?}");
    for part in ["CN=robot-7", "TPM", "belongs to the leaf"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    scene.stage.write("bedrock.pem", scene.stage.leaf().certificate_pem());
    let ran = scene.stage.run(&["certificate", "show"]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("belongs to the private key in the TPM at handle"), "{}", ran.stdout);
}

/// A TPM judges the value when a key signs, so a wrong one is loaded like a right one.
#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_that_is_spoiled_under_load_costs_no_client_anything() {
    let scene = Scene::new().await;
    let daemon = scene.stage.daemon().await;
    let mut load = Load::start(&scene.stage, &daemon).await;

    scene.stage.write("passphrase", "mistyped\n");
    scene.renew(1);
    let line = daemon.wait_for(event::CERTIFICATE_UNUSABLE).await;
    assert!(line["error"].as_str().unwrap().contains("authorization value"), "{line}");
    load.answered(50).await;
    scene.stage.write("passphrase", "s3cret\n");
    scene.renew(2);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 3).await;

    load.end().await;
    assert_eq!(scene.tpm.lockout_counter(), 1);
}
