//! `anchord certificate show`.

use anchord_emulator::Authority;
use anchord_emulator::Clock;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use time::Duration;

use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

#[tokio::test]
async fn each_session_shows_its_certificate_and_whether_it_would_do() {
    let stage = Stage::new().await;
    let other = stage.session("other").replace("leaf.pem", "nowhere.pem");
    stage.configure(&format!("[imds]\nsession = \"bedrock\"\n{}{other}", stage.session("bedrock")));

    let both = stage.run(&["certificate", "show"]).await;
    let one = stage.run(&["certificate", "show", "--session", "bedrock"]).await;

    assert_eq!(both.code, 1);
    assert!(both.stdout.starts_with("session bedrock\n  leaf          CN=robot-7\n"), "{}", both.stdout);
    assert!(both.stdout.contains("session other\n  unreadable    cannot read `"), "{}", both.stdout);
    assert_eq!(one.code, 0, "{one:?}");
    assert!(one.stdout.contains("the EC private key belongs to the leaf"), "{}", one.stdout);
    assert!(one.stdout.contains("  trust anchor  must be `CN=Test root`"), "{}", one.stdout);
    stage.assert_no_secrets(&both.stdout, &[]);
}

#[tokio::test]
async fn a_file_is_shown_without_any_configuration() {
    let stage = Stage::new().await;
    let leaf = stage.path("leaf.pem");
    fs_err::remove_file(stage.path("anchord.toml")).unwrap();
    let show = |more: &[&str]| {
        let mut command = anchord_testing::stage::process::anchord();
        command.args(["certificate", "show"]).arg(&leaf).args(more);
        anchord_testing::stage::process::to_the_end(command)
    };

    let alone = show(&[]).await;
    assert_eq!(alone.code, 0, "{alone:?}");
    assert!(alone.stdout.contains("not given; name it with --private-key"), "{}", alone.stdout);
    let stranger = stage.leaf();
    stage.write("stranger.pem", &stranger.key_pem(KeyForm::Pkcs8).unwrap());
    let mismatched = show(&["--private-key", stage.path("stranger.pem").to_str().unwrap()]).await;
    assert_eq!(mismatched.code, 1);
    assert!(mismatched.stdout.contains("  refused       no certificate in"), "{}", mismatched.stdout);
}

#[tokio::test]
async fn machines_read_it_as_json() {
    let stage = Stage::new().await;

    let ran = stage.run(&["certificate", "show", "--json"]).await;

    let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown[0]["place"], "session bedrock");
    assert_eq!(shown[0]["acceptable"], true);
    assert_eq!(shown[0]["certificates"][0]["subject"], "CN=robot-7");
    assert_eq!(shown[0]["certificates"][0]["role"], "leaf");
}

/// AWS's guide demands the extension; whether AWS does is AWS's to say.
#[tokio::test]
async fn a_leaf_without_basic_constraints_is_told_once_and_left_to_aws() {
    let stage = Stage::new().await;
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.basic_constraints = false;
    stage.install(&stage.root.leaf(&request).unwrap());
    let told = "has no basicConstraints extension";

    let shown = stage.run(&["certificate", "show"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.stdout.contains("    usage       basicConstraints absent, digitalSignature"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains("  warning       the leaf in `") && shown.stdout.contains(told),
        "{}",
        shown.stdout
    );

    let checked = stage.run(&["check"]).await;
    assert!(checked.stdout.contains("  warning  certificate and key "), "{}", checked.stdout);
    assert!(checked.stdout.contains(told), "{}", checked.stdout);

    let daemon = stage.daemon().await;
    client::imds(&daemon.http().await).await;
    let (_, log) = daemon.stop().await;
    assert_eq!(log.matches(told).count(), 1, "{log}");

    stage.emulator.change(|setup| setup.readings.strict = true);
    let refused = stage.run(&["credential-process", "--session", "bedrock"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("`anchord certificate show`"), "{}", refused.stderr);
}

/// The trust anchor is the root of the other one of its two certificates.
#[tokio::test]
async fn a_leaf_below_a_cross_signed_intermediate_gets_credentials_through_either_root() {
    let stage = Stage::new().await;
    let other = Authority::root("Other root", KeyKind::P256).unwrap();
    let now = Clock::system().now();
    for (days, which) in [(1, "the later path"), (9999, "the first path")] {
        let issuing = other.intermediate("Issuing", KeyKind::P256).unwrap();
        let trusted = stage.root.cross_sign(&issuing, now + Duration::days(days)).unwrap();
        let leaf = issuing.leaf(&LeafRequest::new("robot-7", KeyKind::P256)).unwrap();
        stage.install(&leaf);
        stage.write("leaf.pem", &[leaf.certificate_pem(), issuing.certificate_pem(), trusted.pem()].concat());

        let shown = stage.run(&["certificate", "show"]).await;
        let ran = stage.run(&["credential-process"]).await;

        assert_eq!(ran.code, 0, "{which}: {}", ran.stderr);
        for name in ["`CN=Test root`", "`CN=Other root`", " or "] {
            assert!(shown.stdout.contains(name), "{name}: {}", shown.stdout);
        }
    }
}

/// German and Japanese CAs of old, and those of Windows, write such names.
#[tokio::test]
async fn a_name_in_teletex_or_bmp_letters_is_shown_selects_and_is_what_aws_sees() {
    let stage = Stage::new().await;
    let utf16: Vec<u8> = "Müller".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let leaf = stage.leaf();
    for (tag, name) in [(0x14, b"M\xfcller".as_slice()), (0x1e, &utf16)] {
        let oid: &[u8] = &[0x55, 4, 3];
        stage.install(&stage.root.with_subject(&leaf, &[(oid, tag, name)]).unwrap());
        let selected = format!("{}certificate_subject = \"CN=Müller\"\n", stage.session("bedrock"));
        stage.configure(&selected);

        let shown = stage.run(&["certificate", "show"]).await;
        let ran = stage.run(&["credential-process"]).await;
        let checked = stage.run(&["config", "check"]).await;

        assert!(shown.stdout.contains("  leaf          CN=Müller\n"), "{}", shown.stdout);
        assert_eq!((shown.code, ran.code), (0, 0), "{}", ran.stderr);
        assert!(checked.stdout.contains("CN=Müller"), "{}", checked.stdout);
    }
}
