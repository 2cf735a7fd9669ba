//! Keys in PKCS#11 tokens: SoftHSM, p11-kit, and modules that misbehave.

mod ends;

use anchord_core::event;
use anchord_emulator::KeyForm;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

use crate::load::Load;
use crate::softhsm::Kind;
use crate::softhsm::PIN;
use crate::softhsm::SoftHsm;
use crate::softhsm::WRONG_PIN;
use crate::softhsm::leaf;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

/// The lines of a session whose certificate is in `leaf.pem` and whose key a URI names.
fn lines(key: &str) -> String {
    lines_with(&format!("certificate = \"leaf.pem\"\nprivate_key = \"{key}\""), PIN)
}

fn lines_with(places: &str, pin: &str) -> String {
    format!("{places}\npassphrase = \"pass:{pin}\"")
}

/// One key in one token, its certificate in `leaf.pem`.
fn one_key(stage: &Stage, kind: Kind) -> (SoftHsm, Vec<u8>) {
    let hsm = SoftHsm::with(&["robots"]);
    let public_key = hsm.generate("robots", "leaf", "01", kind);
    stage.write("leaf.pem", leaf(stage, &public_key, 1).pem());
    (hsm, public_key)
}

/// Several sessions; IMDS would have room for one.
fn configure(stage: &Stage, sessions: &str) {
    stage.configure(&format!("{sessions}[imds]\nenabled = false\n"));
}

async fn status(stage: &Stage, daemon: &Daemon, session: &str) -> u16 {
    client::container(&daemon.http().await, session, &stage.bearer(session)).await.status
}

/// The first line of the log whose error says `what`.
async fn trouble(daemon: &Daemon, what: &str) -> Value {
    let says = |line: &Value| line["error"].as_str().is_some_and(|error| error.contains(what));
    daemon.wait_for_line(&format!("{what:?}"), 1, says).await
}

fn assert_hint(line: &Value, hint: &str) {
    assert!(line["hint"].as_str().is_some_and(|text| text.contains(hint)), "{line}");
}

#[tokio::test]
async fn every_kind_of_key_serves_credentials_with_its_certificate_in_the_token_or_a_file() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots", "others"]);
    let mut tables = String::new();
    let mut sessions = Vec::new();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let (label, id) = (format!("{kind:?}"), format!("0{number}"));
        let public_key = hsm.generate("robots", &label, &id, kind);
        let certificate = leaf(&stage, &public_key, number as u8 + 1);
        stage.write(&format!("{label}.pem"), certificate.pem());
        hsm.put_certificate("robots", &label, &id, certificate.der());
        let uri = hsm.uri("robots", &format!("object={label}"));
        let by_id = hsm.uri("robots", &format!("id=%0{number};type=private"));
        for (name, places) in [
            ("token", format!("certificate = \"{uri}\"")),
            ("file", format!("certificate = \"{label}.pem\"\nprivate_key = \"{by_id}\"")),
        ] {
            let session = format!("{}-{name}", label.to_lowercase());
            tables.push_str(&stage.session_of(&session, &lines_with(&places, PIN)));
            sessions.push(session);
        }
    }
    configure(&stage, &tables);

    let daemon = hsm.daemon(&stage).await;

    for session in &sessions {
        assert_eq!(status(&stage, &daemon, session).await, 200, "{session}: {}", daemon.output());
    }
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0);
    stage.assert_no_secrets(&output, &[PIN.into()]);
}

#[tokio::test]
async fn a_key_that_was_imported_is_found_by_its_certificates_label() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots"]);
    let pair = stage.leaf();
    hsm.import("robots", "key", "0a", &pair.key_pem(KeyForm::Pkcs8).unwrap());
    hsm.put_certificate("robots", "certificate of robot 7", "0a", pair.certificate_der());
    let uri = hsm.uri("robots", "object=certificate%20of%20robot%207;type=cert");
    stage.configure(&stage.session_of("bedrock", &lines_with(&format!("certificate = \"{uri}\""), PIN)));

    let daemon = hsm.daemon(&stage).await;

    assert_eq!(status(&stage, &daemon, "bedrock").await, 200, "{}", daemon.output());
}

#[tokio::test]
async fn a_wrong_pin_is_given_to_the_token_once_by_all_sessions_together() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    let key = hsm.shim_uri("robots", "object=leaf");
    let places = format!("certificate = \"leaf.pem\"\nprivate_key = \"{key}\"\npassphrase = \"file:pin\"");
    stage.write("pin", WRONG_PIN);
    configure(&stage, &["one", "two", "three"].map(|name| stage.session_of(name, &places)).concat());

    let daemon = hsm.daemon(&stage).await;
    let refused = trouble(&daemon, "refused the PIN: C_Login says PinIncorrect").await;
    assert_hint(&refused, "set the right PIN");
    trouble(&daemon, "refused this PIN before").await;
    // Each session tries again by itself.
    daemon.wait_for_line("a second attempt", 6, |line| line["error"].as_str().is_some()).await;
    assert_eq!(hsm.logins(), ["1"]);
    assert!(hsm.listed().contains("user PIN count low"), "{}", hsm.listed());

    stage.write("pin", PIN);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 3).await;
    assert_eq!(hsm.logins(), ["1", "1"]);
    assert!(!hsm.listed().contains("user PIN count low"));
    stage.assert_no_secrets(&daemon.stop().await.1, &[PIN.into(), WRONG_PIN.into()]);
}

#[tokio::test]
async fn no_pin_at_all_is_tried_where_a_wrong_one_would_lock_the_token() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    hsm.let_shim("final-try", true);
    stage.configure(&stage.session_of("bedrock", &lines(&hsm.shim_uri("robots", "object=leaf"))));

    let daemon = hsm.daemon(&stage).await;

    let told = trouble(&daemon, "would lock its PIN at the next wrong one").await;
    assert_hint(&told, "pkcs11-tool --login --test");
    assert!(hsm.logins().is_empty());
    hsm.let_shim("final-try", false);
    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_until_the_right_one_is_there() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots"]);
    let mut sessions = String::new();
    let mut own = Vec::new();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let session = format!("{kind:?}").to_lowercase();
        let public_key = hsm.generate("robots", &session, &format!("0{number}"), kind);
        let other = hsm.generate("robots", &format!("other-{session}"), &format!("1{number}"), kind);
        stage.write(&format!("{session}.pem"), leaf(&stage, &other, 1).pem());
        let key = hsm.uri("robots", &format!("object={session}"));
        let places = format!("certificate = \"{session}.pem\"\nprivate_key = \"{key}\"");
        sessions.push_str(&stage.session_of(&session, &lines_with(&places, PIN)));
        own.push((session, public_key));
    }
    configure(&stage, &sessions);

    let daemon = hsm.daemon(&stage).await;

    for (session, public_key) in &own {
        let is_told = |line: &Value| {
            let error = line["error"].as_str().unwrap_or_default();
            line["session"] == **session && error.contains("belongs to the private key in")
        };
        daemon.wait_for_line(session, 1, is_told).await;
        stage.write(&format!("{session}.pem"), leaf(&stage, public_key, 2).pem());
    }
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, own.len()).await;
    stage.assert_no_secrets(&daemon.stop().await.1, &[PIN.into()]);
}

#[tokio::test]
async fn what_is_missing_is_told_with_what_is_there() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    stage.write("text.so", "no library\n");
    let module = |path: &str| format!("pkcs11:token=robots;object=leaf?module-path={path}");
    let nowhere = lines_with(
        &format!("certificate = \"leaf.pem\"\nprivate_key = \"{}\"", hsm.uri("robots", "object=leaf")),
        PIN,
    )
    .replace(&format!("\npassphrase = \"pass:{PIN}\""), "");
    let text = stage.path("text.so");
    for (places, said, hint) in [
        (
            lines(&module("/nowhere/module.so")),
            "cannot find the PKCS#11 module `/nowhere/module.so`",
            "install the token's software",
        ),
        (lines(&module(text.to_str().unwrap())), "text.so` is not a PKCS#11 module", "shared library"),
        (
            lines(&hsm.uri("humans", "object=leaf")),
            "no token matches `pkcs11:token=humans;object=leaf",
            "plug it in",
        ),
        (lines(&hsm.uri("robots", "object=twig")), "available: `leaf` (id %01)", "`object` or `id`"),
        (nowhere, "needs a PIN", "passphrase"),
    ] {
        stage.configure(&stage.session_of("bedrock", &places));

        let ran = hsm.verb(&stage, &["credential-process"]).await;

        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stderr.contains(hint), "{said}, {hint}: {}", ran.stderr);
        stage.assert_no_secrets(&ran.stderr, &[PIN.into()]);
    }
}

#[tokio::test]
async fn a_module_that_is_installed_later_is_used_without_a_restart() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    let path = stage.path("module.so");
    stage.configure(
        &stage.session_of("bedrock", &lines(&format!("pkcs11:object=leaf?module-path={}", path.display()))),
    );
    let daemon = hsm.daemon(&stage).await;
    trouble(&daemon, "cannot find the PKCS#11 module").await;

    stage.write("module.so", "half of it");
    trouble(&daemon, "is not a PKCS#11 module").await;
    fs_err::remove_file(&path).unwrap();
    fs_err::os::unix::fs::symlink(hsm.module(), &path).unwrap();

    daemon.wait_for(event::CREDENTIALS_RENEWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_taken_out_and_put_back_under_load() {
    let stage = Stage::new().await;
    let (hsm, public_key) = one_key(&stage, Kind::P256);
    stage.configure(&stage.session_of("bedrock", &lines(&hsm.uri("robots", "object=leaf"))));
    let daemon = hsm.daemon(&stage).await;
    let mut load = Load::start(&stage, &daemon).await;

    hsm.take_out();
    stage.emulator.set_clock_offset(time::Duration::seconds(2));
    stage.write("leaf.pem", leaf(&stage, &public_key, 2).pem());
    trouble(&daemon, "no token matches").await;
    load.answered(100).await;
    hsm.put_back();
    stage.write("leaf.pem", leaf(&stage, &public_key, 3).pem());
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    load.answered(100).await;

    load.end().await;
}

/// The token is logged in all the while, with the PIN that is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_is_spoiled_under_load_is_told_and_costs_no_client_anything() {
    let stage = Stage::new().await;
    let (hsm, public_key) = one_key(&stage, Kind::P256);
    let places = format!(
        "certificate = \"leaf.pem\"\nprivate_key = \"{}\"\npassphrase = \"file:pin\"",
        hsm.shim_uri("robots", "object=leaf")
    );
    stage.write("pin", PIN);
    stage.configure(&stage.session_of("bedrock", &places));
    let daemon = hsm.daemon(&stage).await;
    let mut load = Load::start(&stage, &daemon).await;

    stage.write("pin", WRONG_PIN);
    let line = daemon.wait_for(event::CERTIFICATE_REFUSED).await;
    assert_hint(&line, "set the right PIN");
    load.answered(50).await;
    stage.write("pin", PIN);
    daemon.wait_for(event::CERTIFICATE_RECOVERED).await;
    stage.emulator.set_clock_offset(time::Duration::seconds(2));
    stage.write("leaf.pem", leaf(&stage, &public_key, 2).pem());
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

    load.end().await;
}

/// Two keys that nothing tells apart: the token signs with one, and the certificate is the other's.
#[tokio::test]
async fn a_signature_of_another_key_is_not_sent() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots"]);
    hsm.generate("robots", "leaf", "01", Kind::P256);
    let stranger = stage.leaf();
    hsm.put_certificate("robots", "leaf", "01", stranger.certificate_der());
    hsm.remove("robots", "pubkey", "leaf");
    let places = format!("certificate = \"{}\"", hsm.uri("robots", "object=leaf"));
    stage.configure(&stage.session_of("bedrock", &lines_with(&places, PIN)));

    let daemon = hsm.daemon(&stage).await;

    let line = trouble(&daemon, "has signed with another key than the certificate's").await;
    assert_hint(&line, "give each key in the token an id of its own");
    assert!(stage.emulator.requests().is_empty());
}

#[tokio::test]
async fn what_is_in_a_token_is_shown_without_its_pin() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots"]);
    let public_key = hsm.generate("robots", "leaf", "01", Kind::P384);
    hsm.put_certificate("robots", "leaf", "01", leaf(&stage, &public_key, 7).der());
    let uri = format!("{}&pin-value={PIN}", hsm.uri("robots", "object=leaf"));

    let good = hsm.verb(&stage, &["certificate", "show", &uri]).await;
    let wrong = hsm.verb(&stage, &["certificate", "show", &uri.replace(PIN, WRONG_PIN)]).await;

    assert_eq!(good.code, 0, "{good:?}");
    for part in
        ["the token `pkcs11:token=robots;object=leaf", "EC P-384", "belongs to the leaf", "`pin-value`"]
    {
        assert!(good.stdout.contains(part), "{part}: {}", good.stdout);
    }
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.contains("CN=robot-7") && wrong.stdout.contains("PIN"), "{}", wrong.stdout);
    for output in [good.stdout, good.stderr, wrong.stdout, wrong.stderr] {
        assert!(!output.contains(PIN) && !output.contains(WRONG_PIN), "{output}");
    }
}

/// Nothing tells of a change in a token, so it is looked at every 30 s, and whenever the PIN's file changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_and_certificate_in_the_token_are_used_under_load() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots"]);
    let put = |serial: u8| {
        let public_key = hsm.generate("robots", "leaf", "01", Kind::P256);
        hsm.put_certificate("robots", "leaf", "01", leaf(&stage, &public_key, serial).der());
        stage.emulator.set_clock_offset(time::Duration::seconds(i64::from(serial) * 2));
        stage.write("pin", PIN);
    };
    put(1);
    let places = format!("certificate = \"{}\"\npassphrase = \"file:pin\"", hsm.uri("robots", "object=leaf"));
    stage.configure(&stage.session_of("bedrock", &places));
    let daemon = hsm.daemon(&stage).await;
    let mut load = Load::start(&stage, &daemon).await;

    for serial in 2..5 {
        for kind in ["cert", "pubkey", "privkey"] {
            hsm.remove("robots", kind, "leaf");
        }
        put(serial);
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, usize::from(serial)).await;
        load.answered(50).await;
    }

    load.end().await;
    let credentials = stage.emulator.requests().into_iter().map(|request| request.credential.unwrap());
    let serials: Vec<_> =
        credentials.map(|credential| credential.split('/').next().unwrap().to_owned()).collect();
    assert_eq!(serials, ["1", "2", "3", "4"]);
}

/// The processes that hold a module for this daemon. Its spawner has started them.
fn holders(daemon: &Daemon) -> Vec<Pid> {
    let hosts = |parent: u32| ends::children(parent).into_iter().filter(|pid| is_called("pkcs11-host", *pid));
    let (spawners, own): (Vec<Pid>, Vec<Pid>) =
        hosts(daemon.id()).partition(|pid| is_called("--spawner", *pid));
    let set_apart = spawners.into_iter().flat_map(|spawner| hosts(spawner.as_raw_pid().unsigned_abs()));
    own.into_iter().chain(set_apart).collect()
}

fn is_called(word: &str, pid: Pid) -> bool {
    let line = fs_err::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_pid()));
    line.is_ok_and(|line| line.split('\0').any(|argument| argument == word))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_holds_the_module_may_be_killed_under_load() {
    let stage = Stage::new().await;
    let (hsm, public_key) = one_key(&stage, Kind::P256);
    stage.configure(&stage.session_of("bedrock", &lines(&hsm.uri("robots", "object=leaf"))));
    let daemon = hsm.daemon(&stage).await;
    let mut load = Load::start(&stage, &daemon).await;

    for round in 2..6_u8 {
        let holders = holders(&daemon);
        assert_eq!(holders.len(), 1, "{holders:?}");
        rustix::process::kill_process(holders[0], Signal::KILL).unwrap();
        stage.emulator.set_clock_offset(time::Duration::seconds(i64::from(round) * 2));
        stage.write("leaf.pem", leaf(&stage, &public_key, round).pem());
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, usize::from(round)).await;
        load.answered(50).await;
    }

    load.end().await;
    let output = daemon.stop().await.1;
    assert!(!output.contains("\"WARN\"") || !output.contains("crashed"), "{output}");
}

#[tokio::test]
async fn the_process_that_holds_the_module_ends_with_the_daemon_and_not_before() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    stage.configure(&stage.session_of("bedrock", &lines(&hsm.uri("robots", "object=leaf"))));
    let mut daemon = hsm.daemon(&stage).await;
    let holder = holders(&daemon)[0];

    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        rustix::process::kill_process(holder, signal).unwrap();
    }
    assert_eq!(status(&stage, &daemon, "bedrock").await, 200);
    assert_eq!(holders(&daemon), [holder]);
    daemon.kill();

    ends::wait_for_the_end_of(holder).await;
}

#[tokio::test]
async fn a_module_that_crashes_or_hangs_costs_its_own_session_alone() {
    for (behave, said) in [
        ("crash", "has crashed (signal: 11 (SIGSEGV)"),
        ("crash-signing", "has crashed (signal: 11 (SIGSEGV)"),
        ("hang", "did not answer within 4 s"),
        ("hang-signing", "did not answer within 4 s"),
    ] {
        let stage = Stage::new().await;
        let (hsm, _) = one_key(&stage, Kind::P256);
        hsm.let_shim(behave, true);
        let key = hsm.shim_uri("robots", "object=leaf");
        stage.write("token.pem", &fs_err::read_to_string(stage.path("leaf.pem")).unwrap());
        stage.install(&stage.leaf());
        let places = format!("certificate = \"token.pem\"\nprivate_key = \"{key}\"");
        let tables = [stage.session_of("token", &lines_with(&places, PIN)), stage.session("file")];
        configure(&stage, &tables.concat());

        let daemon = hsm.daemon(&stage).await;

        assert_eq!(status(&stage, &daemon, "file").await, 200, "{behave}");
        trouble(&daemon, said).await;
        hsm.let_shim(behave, false);
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
        assert_eq!(status(&stage, &daemon, "token").await, 200, "{behave}");
    }
}

#[tokio::test]
async fn sixty_four_sessions_sign_at_once_in_four_tokens() {
    let stage = Stage::new().await;
    let labels = ["t0", "t1", "t2", "t3"];
    let hsm = SoftHsm::with(&labels);
    for (label, kind) in labels.into_iter().zip(Kind::ALL) {
        let public_key = hsm.generate(label, "leaf", "01", kind);
        hsm.put_certificate(label, "leaf", "01", leaf(&stage, &public_key, 7).der());
    }
    let place = |number: usize| format!("certificate = \"{}\"", hsm.uri(labels[number % 4], "object=leaf"));
    let session = |number| stage.session_of(&format!("s{number}"), &lines_with(&place(number), PIN));
    configure(&stage, &(0..64).map(session).collect::<String>());

    let daemon = hsm.daemon(&stage).await;
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 64).await;

    for number in 0..64 {
        assert_eq!(status(&stage, &daemon, &format!("s{number}")).await, 200, "s{number}");
    }
    assert_eq!(holders(&daemon).len(), 1);
    let output = daemon.stop().await.1;
    assert!(!output.contains("\"WARN\""), "{output}");
}

#[tokio::test]
async fn without_a_module_p11_kit_finds_the_token() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P384);
    stage.configure(&stage.session_of("bedrock", &lines("pkcs11:token=robots;object=leaf")));

    let daemon = hsm.daemon(&stage).await;

    assert_eq!(status(&stage, &daemon, "bedrock").await, 200, "{}", daemon.output());
}

#[tokio::test]
async fn a_key_that_always_wants_the_pin_is_given_it_for_each_signature() {
    for (kind, way) in [(Kind::Rsa2048, None), (Kind::P256, Some("in-parts"))] {
        let stage = Stage::new().await;
        let hsm = SoftHsm::with(&["robots"]);
        let public_key = hsm.generate_with("robots", "leaf", "01", kind, &["--always-auth"]);
        stage.write("leaf.pem", leaf(&stage, &public_key, 1).pem());
        way.into_iter().for_each(|way| hsm.let_shim(way, true));
        stage.configure(&stage.session_of("bedrock", &lines(&hsm.shim_uri("robots", "object=leaf"))));

        let daemon = hsm.daemon(&stage).await;
        stage.emulator.set_clock_offset(time::Duration::seconds(2));
        stage.write("leaf.pem", leaf(&stage, &public_key, 2).pem());
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;

        assert_eq!(hsm.logins(), ["1", "2", "2"], "{kind:?}");
    }
}

#[tokio::test]
async fn what_softhsm_cannot_do_with_an_ec_key_that_always_wants_the_pin_is_told() {
    let stage = Stage::new().await;
    let hsm = SoftHsm::with(&["robots"]);
    let public_key = hsm.generate_with("robots", "leaf", "01", Kind::P256, &["--always-auth"]);
    stage.write("leaf.pem", leaf(&stage, &public_key, 1).pem());
    stage.configure(&stage.session_of("bedrock", &lines(&hsm.uri("robots", "object=leaf"))));

    let ran = hsm.verb(&stage, &["credential-process"]).await;

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("can sign with this key only in a single call"), "{}", ran.stderr);
}

/// What the kernel says of a process.
fn of_kernel(pid: Pid, name: &str) -> String {
    let text = fs_err::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_module_has_a_sandbox_of_its_own_beside_the_daemons() {
    const SYS_ADMIN_PTRACE_AND_MODULE: u64 = 1 << 21 | 1 << 19 | 1 << 16;
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    configure(&stage, &stage.session_of("bedrock", &lines(&hsm.uri("robots", "object=leaf"))));

    let daemon = hsm.daemon(&stage).await;

    for holder in holders(&daemon) {
        assert_eq!(
            (of_kernel(holder, "NoNewPrivs").as_str(), of_kernel(holder, "Seccomp").as_str()),
            ("1", "2")
        );
        let held = u64::from_str_radix(&of_kernel(holder, "CapEff"), 16).unwrap();
        assert_eq!(held & SYS_ADMIN_PTRACE_AND_MODULE, 0, "{held:x}");
    }
    let spawners = ends::children(daemon.id());
    assert!(spawners.iter().any(|spawner| is_called("--spawner", *spawner)), "{spawners:?}");
}

#[tokio::test]
async fn a_module_that_no_setting_named_at_the_start_waits_for_a_restart() {
    let stage = Stage::new().await;
    let (hsm, _) = one_key(&stage, Kind::P256);
    let in_token = |uri: &str| stage.session_of("bedrock", &lines(uri));
    let in_files = stage.leaf();
    stage.write("file-leaf.pem", in_files.certificate_pem());
    stage.write("file-key.pem", &in_files.key_pem(KeyForm::Pkcs8).unwrap());
    let files =
        stage.session_of("bedrock", "certificate = \"file-leaf.pem\"\nprivate_key = \"file-key.pem\"");
    // First there is no spawner, then one for another module.
    for (at_start, later) in [
        (files.clone(), in_token(&hsm.uri("robots", "object=leaf"))),
        (in_token(&hsm.uri("robots", "object=leaf")), in_token(&hsm.shim_uri("robots", "object=leaf"))),
    ] {
        configure(&stage, &at_start);
        let daemon = hsm.daemon(&stage).await;
        let before = client::socket(&stage.socket(), "bedrock").await.key_id();

        configure(&stage, &later);
        daemon.signal(Signal::HUP);
        let told = daemon.wait_for(event::CONFIG_RESTART_NEEDED).await;

        assert_eq!(told["settings"], "session.bedrock", "{told}");
        assert_eq!(client::socket(&stage.socket(), "bedrock").await.key_id(), before);
        daemon.stop().await;
        let successor = hsm.daemon(&stage).await;
        client::socket(&stage.socket(), "bedrock").await.key_id();
        successor.stop().await;
    }
}
