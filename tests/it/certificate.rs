//! `anchord certificate show`.

use anchord_emulator::KeyForm;

use crate::support::Stage;

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
        let mut command = crate::support::process::anchord();
        command.args(["certificate", "show"]).arg(&leaf).args(more);
        crate::support::process::to_the_end(command)
    };

    let alone = show(&[]).await;
    assert_eq!(alone.code, 0, "{alone:?}");
    assert!(alone.stdout.contains("none was named"), "{}", alone.stdout);
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
