//! `anchord check`: what a person reads when all is well, and for each thing that may be wrong.
//!
//! The whole output is kept in `snapshots/check`; `ANCHORD_TEST_BLESS=1` writes it anew.

use std::path::Path;

use anchord_emulator::Authority;
use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use serde_json::Value;

use crate::support::Ran;
use crate::support::Stage;

/// Fails unless `ran` is what is kept under `name`, as far as it is the same each time.
fn assert_snapshot(name: &str, stage: &Stage, ran: &Ran) {
    assert_eq!(ran.stderr, "", "{name}");
    stage.assert_no_secrets(&ran.stdout, &[]);
    let shown = format!("exit code {}\n{}", ran.code, steady(stage, &ran.stdout));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/check").join(name);
    let path = path.with_extension("txt");
    if std::env::var_os("ANCHORD_TEST_BLESS").is_some() {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, &shown).unwrap();
    }
    let kept = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(shown == kept, "{} differs; shown is:\n{shown}\nkept is:\n{kept}", path.display());
}

/// Without what no two runs share: folders, ports, instants, identifiers.
fn steady(stage: &Stage, text: &str) -> String {
    let folder = stage.path("").display().to_string();
    let folder = folder.trim_end_matches('/');
    let address = stage.emulator.address().to_string();
    let text = text.replace(folder, "/FOLDER").replace(&address, "127.0.0.1:PORT");
    let text = text.replace(&format!("anchord {}", env!("CARGO_PKG_VERSION")), "anchord VERSION");
    // `Date` has whole seconds.
    let text = text.replace(" 599 s ", " 600 s ").replace(" 601 s ", " 600 s ");
    let words: Vec<_> = text.split_inclusive([' ', '\n', ')']).map(steady_word).collect();
    words.concat()
}

fn steady_word(word: &str) -> String {
    let bare = word.trim_end_matches([' ', '\n', ')', ',', ';']);
    let rest = &word[bare.len()..];
    let is_instant = bare.len() == 20 && bare.starts_with("20") && bare.ends_with('Z');
    let is_request_id = bare.len() == 36 && bare.bytes().filter(|byte| *byte == b'-').count() == 4;
    match bare {
        _ if is_instant => format!("INSTANT{rest}"),
        _ if is_request_id => format!("REQUEST-ID{rest}"),
        _ if bare.starts_with("ASIA") => format!("KEY-ID{rest}"),
        _ => word.to_owned(),
    }
}

async fn check(name: &str, stage: &Stage) -> Ran {
    let ran = stage.run(&["check"]).await;
    assert_snapshot(name, stage, &ran);
    ran
}

#[tokio::test]
async fn where_all_is_well_each_step_says_what_it_found() {
    let stage = Stage::new().await;

    let ran = check("good", &stage).await;

    assert_eq!(ran.code, 0);
    assert_eq!(stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn the_doctor_leaves_nothing_behind() {
    let stage = Stage::new().await;
    let listed = || {
        let entries = fs_err::read_dir(stage.path("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listed();

    assert_eq!(stage.run(&["check"]).await.code, 0);

    assert_eq!(listed(), before);
}

#[tokio::test]
async fn one_session_may_be_looked_at_alone() {
    let stage = Stage::new().await;
    let other = stage.session("other").replace("leaf.pem", "nowhere.pem");
    stage.configure(&format!("[imds]\nsession = \"bedrock\"\n{}{other}", stage.session("bedrock")));

    let one = stage.run(&["check", "bedrock"]).await;
    let all = stage.run(&["check"]).await;
    let unknown = stage.run(&["check", "bedrok"]).await;

    assert_eq!(one.code, 0, "{}", one.stdout);
    assert!(!one.stdout.contains("session other"), "{}", one.stdout);
    assert_eq!(all.code, 1);
    assert!(all.stdout.contains("\nsession bedrock\n") && all.stdout.contains("\nsession other\n"));
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("the sessions are bedrock, other"), "{}", unknown.stderr);
}

#[tokio::test]
async fn machines_read_it_as_json() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let ran = stage.run(&["check", "--json"]).await;

    assert_eq!(ran.code, 3);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["outcome"], &report["version"]),
        (&"failed".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let steps = report["sessions"][0]["steps"].as_array().unwrap();
    let call = steps.iter().find(|step| step["id"] == "create-session").unwrap();
    assert_eq!((&call["state"], &call["class"]), (&"failed".into(), &"denied".into()));
    let statement = &call["suggestions"]["trust_policy_statement"];
    assert_eq!(statement["Principal"]["Service"], "rolesanywhere.amazonaws.com");
}

#[tokio::test]
async fn each_refusal_of_a_request_is_explained() {
    let stage = Stage::new().await;
    stage.emulator.always(Some(Fault::Denied { message: "Invalid signature".into() }));
    check("invalid-signature", &stage).await;

    let stage = Stage::new().await;
    stage.emulator.always(Some(Fault::Throttle { retry_after: Some(7) }));
    check("throttled", &stage).await;

    let stage = Stage::with(|setup| {
        setup.profiles[0].duration_seconds = 43200;
        setup.max_session_seconds = 3600;
    })
    .await;
    stage.configure(&format!("{}duration = \"12h\"\n", stage.session("bedrock")));
    check("validation", &stage).await;

    let stage = Stage::new().await;
    let elsewhere = stage.session("bedrock").replace("us-east-1", "eu-west-1");
    stage.configure(&elsewhere);
    check("wrong-region", &stage).await;
}

#[tokio::test]
async fn each_refusal_of_a_role_or_profile_is_explained() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);
    check("unable-to-assume-role", &stage).await;

    let stage = Stage::with(|setup| setup.profiles[0].accept_role_session_name = false).await;
    stage.configure(&format!("{}role_session_name = \"robot\"\n", stage.session("bedrock")));
    check("role-session-name", &stage).await;

    let stage = Stage::with(|setup| setup.profiles[0].enabled = false).await;
    check("profile-disabled", &stage).await;

    let stage = Stage::with(|setup| setup.trust_anchors[0].enabled = false).await;
    check("trust-anchor-disabled", &stage).await;
}

#[tokio::test]
async fn a_certificate_that_aws_does_not_trust_is_explained_with_what_was_sent() {
    let stage = Stage::new().await;
    let stranger = Authority::root("Other root", KeyKind::P256).unwrap();
    stage.install(&stranger.leaf(&LeafRequest::new("robot-7", KeyKind::P256)).unwrap());
    check("untrusted", &stage).await;

    let stage = Stage::new().await;
    let issuing = stage.root.intermediate("Issuing CA", KeyKind::P256).unwrap();
    stage.install(&issuing.leaf(&LeafRequest::new("robot-7", KeyKind::P256)).unwrap());
    check("missing-intermediate", &stage).await;
}

#[tokio::test]
async fn a_wrong_clock_is_told_with_its_direction() {
    let stage = Stage::new().await;

    stage.emulator.set_clock_offset(time::Duration::minutes(10));
    check("clock-behind", &stage).await;
    stage.emulator.set_clock_offset(-time::Duration::minutes(10));
    let ahead = stage.run(&["check"]).await;
    stage.emulator.set_clock_offset(time::Duration::minutes(2));
    let little = stage.run(&["check"]).await;

    assert_eq!(ahead.code, 1);
    assert!(ahead.stdout.contains("s ahead of AWS's"), "{}", ahead.stdout);
    assert_eq!(little.code, 0, "{}", little.stdout);
    assert!(little.stdout.contains("  warning  clock"), "{}", little.stdout);
}

#[tokio::test]
async fn a_network_that_fails_is_told_where_it_ends() {
    let mut stage = Stage::new().await;
    stage.emulator.stop().await;
    check("no-answer", &stage).await;

    let stage = Stage::new().await;
    stage.write("tls-ca.pem", stage.root.certificate_pem());
    check("wrong-ca", &stage).await;
}

#[tokio::test]
async fn a_proxy_that_nobody_answers_is_told_without_its_login() {
    let stage = Stage::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    drop(listener);
    let mut command = crate::support::process::anchord();
    command.args(["check", "--config"]).arg(stage.path("anchord.toml"));
    command.env("HTTPS_PROXY", format!("http://user:canary@{proxy}"));

    let ran = crate::support::process::to_the_end(command).await;

    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains(&format!("cannot connect to the proxy {proxy}")), "{}", ran.stdout);
    assert!(!ran.stdout.contains("canary"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_before_anything_is_sent() {
    let stage = Stage::new().await;
    stage.write("key.pem", &stage.leaf().key_pem(KeyForm::Pkcs8).unwrap());
    check("wrong-key", &stage).await;

    let stage = Stage::new().await;
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.not_after = request.not_before + time::Duration::MINUTE;
    stage.install(&stage.root.leaf(&request).unwrap());
    check("expired", &stage).await;

    let stage = Stage::new().await;
    fs_err::remove_file(stage.path("key.pem")).unwrap();
    check("unreadable", &stage).await;
    assert_eq!(stage.emulator.sessions_created(), 0);
}

#[tokio::test]
async fn a_key_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    fs_err::set_permissions(stage.path("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();

    let ran = check("open-key", &stage).await;

    assert_eq!(ran.code, 0);
}

#[tokio::test]
async fn every_mistake_of_the_configuration_is_a_step() {
    let stage = Stage::new().await;
    let session =
        stage.session("bedrock").replace("certificate =", "certifcate =").replace(":role/", ":user/");
    stage.configure(&session);

    let ran = check("configuration", &stage).await;

    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn variables_that_keep_sdks_from_the_daemon_are_told_and_their_values_are_not() {
    let stage = Stage::new().await;
    let mut command = crate::support::process::anchord();
    command.args(["check", "--config"]).arg(stage.path("anchord.toml")).env("HOME", stage.path(""));
    let shadows = [
        ("AWS_ACCESS_KEY_ID", "AKIACANARY"),
        ("AWS_SECRET_ACCESS_KEY", "canary"),
        ("AWS_PROFILE", "gone"),
        ("AWS_BEARER_TOKEN_BEDROCK", "canary"),
        ("HTTP_PROXY", "http://user:canary@proxy.example"),
    ];
    command.envs(shadows);

    let ran = crate::support::process::to_the_end(command).await;

    assert_snapshot("environment", &stage, &ran);
    assert!(!ran.stdout.to_ascii_lowercase().contains("canary"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_command_that_is_run_by_exec_is_well_placed() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let mut command = crate::support::process::anchord();
    let configuration = stage.path("anchord.toml");
    command.args(["exec", "--config"]).arg(&configuration).arg("--").arg(env!("CARGO_BIN_EXE_anchord"));
    command.args(["check", "--config"]).arg(&configuration).env("HOME", stage.path(""));

    let ran = crate::support::process::to_the_end(command).await;

    assert_eq!(ran.code, 0);
    let found = "ok       environment                 SDKs started here take credentials from this daemon";
    assert!(ran.stdout.contains(found), "{}", ran.stdout);
    assert!(ran.stdout.contains("ok       daemon "), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nok: 0 failed"), "{}", ran.stdout);
}
