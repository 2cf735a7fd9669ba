//! `anchord check`: what a person reads when all is well, and for each thing that may be wrong.
//!
//! The whole output is kept in `snapshots/check`; `ANCHORD_TEST_BLESS=1` writes it anew.

use std::path::Path;
use std::process::Command;

use anchord_emulator::Authority;
use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::Service;
use serde_json::Value;

use crate::transport::ConnectProxy;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

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
        // A session is named after the leaf's serial number where nobody names it.
        _ if bare.contains(":assumed-role/ExampleRole/") => {
            format!("{}/SERIAL{rest}", bare.rsplit_once('/').unwrap().0)
        }
        _ if bare.starts_with("ASIA") => format!("KEY-ID{rest}"),
        _ => word.to_owned(),
    }
}

async fn check(name: &str, stage: &Stage) -> Ran {
    let ran = run(stage, &[]).await;
    assert_snapshot(name, stage, &ran);
    ran
}

async fn run(stage: &Stage, arguments: &[&str]) -> Ran {
    let mut command = prepared(stage);
    command.args(arguments);
    process::to_the_end(command).await
}

/// `anchord check` where the emulator plays all that AWS has.
fn prepared(stage: &Stage) -> Command {
    let mut command = process::anchord();
    command.args(["check", "--config"]).arg(stage.path("anchord.toml")).envs(process::home(stage.path("")));
    played(stage, &mut command);
    command
}

fn played(stage: &Stage, command: &mut Command) {
    for name in ["ANCHORD_STS_ENDPOINT", "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] {
        command.env(name, stage.emulator.endpoint());
    }
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

    assert_eq!(run(&stage, &[]).await.code, 0);

    assert_eq!(listed(), before);
}

#[tokio::test]
async fn one_session_may_be_looked_at_alone() {
    let stage = Stage::new().await;
    let sts = format!("sts_endpoint = \"{}\"\n", stage.emulator.endpoint());
    let other = stage.session("other").replace("leaf.pem", "nowhere.pem");
    stage.configure(&format!("[imds]\nsession = \"bedrock\"\n{}{sts}{other}{sts}", stage.session("bedrock")));
    let run = |arguments: &[&str]| {
        let mut command = prepared(&stage);
        command.env_remove("ANCHORD_STS_ENDPOINT").args(arguments);
        process::to_the_end(command)
    };

    let one = run(&["bedrock"]).await;
    let all = run(&[]).await;
    let unknown = run(&["bedrok"]).await;

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

    let ran = run(&stage, &["--json"]).await;

    assert_eq!(ran.code, 3);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["outcome"], &report["version"]),
        (&"failed".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let steps = report["sessions"][0]["steps"].as_array().unwrap();
    let call = steps.iter().find(|step| step["id"] == "create-session").unwrap();
    assert_eq!((&call["state"], &call["class"]), (&"failed".into(), &"denied".into()));
    assert_eq!(call["reason_code"], "role_refused");
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
    let ahead = run(&stage, &[]).await;
    stage.emulator.set_clock_offset(time::Duration::minutes(2));
    let little = run(&stage, &[]).await;

    assert_eq!(ahead.code, 1);
    assert!(ahead.stdout.contains("s ahead of AWS's"), "{}", ahead.stdout);
    assert_eq!(little.code, 0, "{}", little.stdout);
    assert!(little.stdout.contains("  warning  clock"), "{}", little.stdout);
}

#[tokio::test]
async fn a_certificate_is_judged_by_awss_clock() {
    let stage = Stage::new().await;
    stage.emulator.set_clock_offset(2 * time::Duration::HOUR);
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.not_before += 2 * time::Duration::HOUR;
    stage.install(&stage.root.leaf(&request).unwrap());

    let ran = run(&stage, &[]).await;

    assert_eq!(ran.code, 1, "the clock is wrong");
    assert!(ran.stdout.contains("  ok       certificate and key "), "{}", ran.stdout);
    assert!(ran.stdout.contains("  failed   clock "), "{}", ran.stdout);
    assert!(ran.stdout.contains("  ok       CreateSession "), "{}", ran.stdout);
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
async fn behind_a_proxy_names_are_its_business() {
    let stage = Stage::new().await;
    let proxy = ConnectProxy::start().await;
    let mut command = prepared(&stage);
    command.env("HTTPS_PROXY", format!("http://user:canary@{}", proxy.address));

    let ran = process::to_the_end(command).await;

    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("the proxy looks it up"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(&format!("the proxy {} accepts connections", proxy.address)),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("canary"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_proxy_that_nobody_answers_is_told_without_its_login() {
    let stage = Stage::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    drop(listener);
    let mut command = prepared(&stage);
    command.env("HTTPS_PROXY", format!("http://user:canary@{proxy}"));

    let ran = process::to_the_end(command).await;

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
    let mut command = prepared(&stage);
    let shadows = [
        ("AWS_ACCESS_KEY_ID", "AKIACANARY"),
        ("AWS_SECRET_ACCESS_KEY", "canary"),
        ("AWS_PROFILE", "gone"),
        ("AWS_BEARER_TOKEN_BEDROCK", "canary"),
        ("HTTP_PROXY", "http://user:canary@proxy.example"),
    ];
    command.envs(shadows);

    let ran = process::to_the_end(command).await;

    assert_snapshot("environment", &stage, &ran);
    assert!(!ran.stdout.to_ascii_lowercase().contains("canary"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_command_that_is_run_by_exec_is_well_placed() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let mut command = process::anchord();
    let configuration = stage.path("anchord.toml");
    command.args(["exec", "--config"]).arg(&configuration).arg("--").arg(env!("CARGO_BIN_EXE_anchord"));
    command.args(["check", "--config"]).arg(&configuration).envs(process::home(stage.path("")));
    played(&stage, &mut command);

    let ran = process::to_the_end(command).await;

    assert_eq!(ran.code, 0);
    let found = "SDKs started here take credentials from this daemon (container endpoint)";
    assert!(ran.stdout.contains(found), "{}", ran.stdout);
    assert!(ran.stdout.contains("ok       daemon "), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nok: 0 failed"), "{}", ran.stdout);
}

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const MODELS: &str = "arn:aws:iam::210987654321:role/models";

#[tokio::test]
async fn the_roles_of_a_chain_are_gone_through_one_by_one() {
    let stage = Stage::new().await;
    let chain = format!("[[session.bedrock.assume_role]]\nrole_arn = \"{MODELS}\"\nexternal_id = \"7d2f\"\n");
    stage.configure(&format!("{}{chain}", stage.session("bedrock")));
    assert_eq!(check("chain", &stage).await.code, 0);

    stage.emulator.set_trust_policy_refusal(MODELS, true);
    assert_eq!(check("chain-refused", &stage).await.code, 3);

    let fault = Fault::Denied { message: "The security token is invalid".into() };
    stage.emulator.always_for(Service::Sts, Some(fault));
    assert_eq!(check("sts-refused", &stage).await.code, 3);
}

#[tokio::test]
async fn a_users_keys_are_looked_at_up_to_who_the_user_is() {
    let stage = Stage::new().await;
    let session =
        "[session.bedrock]\nsource = \"access-keys\"\naccess_keys = \"file:keys\"\nregion = \"us-east-1\"\n";
    stage.configure(session);
    stage.write("keys", &format!("AKIAIOSFODNN7EXAMPLE:{SECRET}\n"));

    let good = check("access-keys", &stage).await;
    stage.write("keys", "nothing of the kind");
    let bad = check("access-keys-unusable", &stage).await;

    assert_eq!((good.code, bad.code), (0, 1));
    assert!(!good.stdout.contains(SECRET));
}

#[tokio::test]
async fn a_model_that_is_named_is_called_and_what_is_denied_explained() {
    let stage = Stage::new().await;
    let call = async |name: &str, model: &str| {
        let ran = run(&stage, &["--model-id", model]).await;
        assert_snapshot(name, &stage, &ran);
        ran.code
    };

    assert_eq!(call("model", HAIKU).await, 0);
    assert_eq!(call("model-unknown", "anthropic.claude-9").await, 3);
    stage.emulator.set_denied("bedrock:InvokeModel", true);
    assert_eq!(call("model-denied", HAIKU).await, 3);
    stage.emulator.set_denied("bedrock:ListFoundationModels", true);
    let unneeded = check("models-denied", &stage).await;
    let misspelt = run(&stage, &["--model-id", "two words"]).await;

    assert_eq!(unneeded.code, 0, "nobody said that the session is for Bedrock");
    assert_eq!((misspelt.code, misspelt.stdout.as_str()), (2, ""));
}

#[tokio::test]
async fn a_second_endpoint_is_asked_too() {
    let stage = Stage::new().await;
    let second = Stage::with(|setup| {
        let text = |arn: &str| arn.replace("us-east-1", "eu-west-1");
        setup.region = "eu-west-1".into();
        setup.trust_anchors[0].arn = text(&setup.trust_anchors[0].arn);
        setup.profiles[0].arn = text(&setup.profiles[0].arn);
    })
    .await;
    let roots = [stage.emulator.tls_ca_pem(), second.emulator.tls_ca_pem()].concat();
    stage.write("tls-ca.pem", &roots);
    let table = stage.session("bedrock");
    let arn = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().replace("us-east-1", "eu-west-1")
    };
    stage.configure(&format!(
        "{table}fallback_trust_anchor_arn = \"{}\"\nfallback_profile_arn = \"{}\"\nfallback_endpoint = \"{}\"\n",
        arn("trust_anchor_arn"),
        arn("profile_arn"),
        second.emulator.endpoint()
    ));

    let ran = run(&stage, &[]).await;

    // The second account has another root, so it refuses; the first one is as ever.
    assert_eq!(ran.code, 3, "{}", ran.stdout);
    assert!(ran.stdout.contains("  ok       CreateSession "), "{}", ran.stdout);
    assert!(ran.stdout.contains("  failed   fallback: CreateSession "), "{}", ran.stdout);
    assert!(ran.stdout.contains("  ok       GetCallerIdentity "), "{}", ran.stdout);
}

/// Monitoring may look for them.
#[tokio::test]
async fn a_key_in_a_variable_of_the_sdks_is_not_shown_and_the_report_stays_whole() {
    let stage = Stage::new().await;
    let key = fs_err::read_to_string(stage.path("key.pem")).unwrap();
    let mut command = process::anchord();
    command.args(["check", "--json", "--config"]).arg(stage.path("anchord.toml"));
    command.envs(process::home(stage.path(""))).env("AWS_PROFILE", &key);

    let ran = process::to_the_end(command).await;

    stage.assert_no_secrets(&format!("{}{}", ran.stdout, ran.stderr), &[]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let steps = report["steps"].to_string();
    assert!(steps.contains("AWS_PROFILE names the profile `(PEM text, which is not shown)"), "{report:#}");
}

#[tokio::test]
async fn the_ids_of_steps_stay_as_they_are() {
    let stage = Stage::new().await;
    let chain = format!("[[session.bedrock.assume_role]]\nrole_arn = \"{MODELS}\"\n");
    stage.configure(&format!("{}{chain}", stage.session("bedrock")));

    let ran = run(&stage, &["--json", "--model-id", HAIKU]).await;

    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let ids = |steps: &Value| {
        let steps = steps.as_array().unwrap().iter();
        steps.map(|step| step["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&report["steps"]), ["configuration", "daemon", "environment", "environment.region"]);
    let probed = ["roles-anywhere", "sts", "bedrock", "bedrock-runtime"];
    let probes = probed.map(|id| ["name", "connect", "https"].map(|step| format!("{id}.{step}")));
    let expected: Vec<_> = ["certificate", "validity", "chain", "identity"].map(str::to_owned).into();
    let calls = [
        "clock",
        "create-session",
        "caller-identity",
        "assume-role.1",
        "caller-identity.1",
        "bedrock-models",
        "bedrock-converse",
    ];
    let expected = [expected, probes.concat(), calls.map(str::to_owned).into()].concat();
    assert_eq!(ids(&report["sessions"][0]["steps"]), expected);
}

#[tokio::test]
async fn what_answers_in_awss_place_is_named_and_nothing_in_aws_is_blamed() {
    let stage = Stage::new().await;
    stage.emulator.always_for(Service::RolesAnywhere, Some(Fault::Html(403)));

    let ran = check("portal", &stage).await;

    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn credentials_that_have_ended_are_none() {
    let stage = Stage::new().await;
    stage.emulator.always_for(Service::RolesAnywhere, Some(Fault::Expired));

    let ran = check("expired-credentials", &stage).await;

    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn keys_that_are_handed_out_themselves_need_no_sts() {
    let stage = Stage::new().await;
    stage.write("keys", "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    stage.configure(
        "[imds]\nenabled = false\n[session.bedrock]\nsource = \"access-keys\"\naccess_keys = \"file:keys\"\n\
         get_session_token = false\nregion = \"us-east-1\"\n",
    );
    stage.emulator.set_denied("sts:GetCallerIdentity", true);

    let ran = check("bare-keys", &stage).await;

    assert_eq!(ran.code, 0);
}

#[tokio::test]
async fn a_user_without_sessions_is_told_what_the_daemons_lead_to() {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    let mut command = process::anchord();
    command.args(["check", "--socket-path"]).arg(stage.socket()).envs(process::home(stage.path("nowhere")));
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{http}/v1/credentials"));
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", stage.path("run/bedrock.token"));

    let ran = process::to_the_end(command).await;

    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("this user's settings define no session; the daemon's sessions are bedrock"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("SDKs started here take credentials from this daemon"), "{}", ran.stdout);
}
