//! `anchord exec`: what the command finds.

use std::collections::BTreeMap;
use std::process::Command;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process;

/// `anchord exec` with these flags and variables, becoming `command`.
async fn exec(stage: &Stage, flags: &[&str], variables: &[(&str, &str)], command: &[&str]) -> Ran {
    process::to_the_end(prepared(stage, flags, variables, command)).await
}

fn prepared(stage: &Stage, flags: &[&str], variables: &[(&str, &str)], command: &[&str]) -> Command {
    let mut prepared = process::anchord();
    prepared.arg("exec").arg("--config").arg(stage.path("anchord.toml")).args(flags).arg("--").args(command);
    prepared.envs(process::home(stage.path(""))).envs(variables.iter().copied());
    prepared
}

fn variables(ran: &Ran) -> BTreeMap<String, String> {
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let pairs = ran.stdout.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn start() -> (Stage, Daemon, String) {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let http = daemon.http().await;
    (stage, daemon, http)
}

#[tokio::test]
async fn a_session_that_is_set_otherwise_here_is_refused_for_the_daemon_has_its_own() {
    let (stage, _daemon, _) = start().await;

    let role = "arn:aws:iam::123456789012:role/Another";
    let by_flag = exec(&stage, &["--session", "bedrock", "--role-arn", role], &[], &["env"]).await;
    let by_variable = exec(&stage, &[], &[("ANCHORD_ROLE_ARN", role)], &["env"]).await;
    let as_it_is = exec(&stage, &["--role-arn", &stage.role], &[], &["env"]).await;
    stage.configure(&format!("{}assume_role = [\"{role}\"]\n", stage.session("bedrock")));
    let by_file = exec(&stage, &[], &[], &["env"]).await;

    for (ran, option) in [(by_flag, "role_arn"), (by_variable, "role_arn"), (by_file, "assume_role")] {
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        let told = format!(
            "anchord: the daemon's session `bedrock` has other settings than asked for: `{option}`\n  hint: "
        );
        assert!(ran.stderr.starts_with(&told), "{ran:?}");
    }
    assert!(variables(&as_it_is).contains_key("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
}

#[tokio::test]
async fn the_command_finds_the_daemon_and_nothing_that_hides_it() {
    let (stage, _daemon, http) = start().await;
    let shadows = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_PROFILE", "work"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/other"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "other"),
        ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-other"),
        ("HTTPS_PROXY", "http://proxy.example:3128"),
        ("OTHER", "stays"),
    ];

    let found = variables(&exec(&stage, &["--session", "bedrock"], &shadows, &["env"]).await);

    assert_eq!(found["AWS_CONTAINER_CREDENTIALS_FULL_URI"], format!("http://{http}/v1/credentials/bedrock"));
    let bearer = fs_err::read_to_string(&found["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).unwrap();
    assert_eq!(client::container(&http, "bedrock", &bearer).await.status, 200);
    assert_eq!(
        (found["AWS_REGION"].as_str(), found["AWS_DEFAULT_REGION"].as_str()),
        ("us-east-1", "us-east-1")
    );
    assert_eq!(found["NO_PROXY"], "127.0.0.1,localhost");
    assert_eq!(
        (found["HTTPS_PROXY"].as_str(), found["OTHER"].as_str()),
        ("http://proxy.example:3128", "stays")
    );
    let aws: Vec<_> = found.keys().filter(|name| name.starts_with("AWS_")).collect();
    assert_eq!(aws.len(), 5, "{aws:?}");
}

/// SDKs from before autumn 2023 do not know the file: restic of Debian 12 sent its requests unsigned.
#[tokio::test]
async fn an_sdk_that_does_not_know_the_tokens_file_finds_the_bearer_itself() {
    let (stage, _daemon, http) = start().await;
    let other = [("AWS_CONTAINER_AUTHORIZATION_TOKEN", "other")];

    let both = variables(&exec(&stage, &[], &other, &["env"]).await);
    let file_alone = variables(&exec(&stage, &["--token-file-only"], &other, &["env"]).await);

    let bearer = &both["AWS_CONTAINER_AUTHORIZATION_TOKEN"];
    assert_eq!(client::container(&http, "bedrock", bearer).await.status, 200);
    assert_eq!(*bearer, fs_err::read_to_string(&both["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).unwrap());
    assert!(!file_alone.contains_key("AWS_CONTAINER_AUTHORIZATION_TOKEN"), "{file_alone:?}");
    assert!(file_alone.contains_key("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
}

#[tokio::test]
async fn a_token_file_without_a_bearer_is_told_and_never_repeated() {
    let (stage, _daemon, _) = start().await;
    for content in ["", "canary\n", "canary one", "\u{1b}canary"] {
        stage.write("run/bedrock.token", content);

        let ran = exec(&stage, &[], &[], &["env"]).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{content:?}");
        assert!(ran.stderr.contains("bedrock.token` does not contain a token"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_token_file_that_is_a_pipe_or_a_link_is_refused_at_once() {
    let (stage, _daemon, _) = start().await;
    let path = stage.path("run/bedrock.token");
    fs_err::rename(&path, stage.path("elsewhere")).unwrap();
    let make_pipe = || {
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    let make_link = || fs_err::os::unix::fs::symlink(stage.path("elsewhere"), &path).unwrap();
    let cases: [(&dyn Fn(), &str); 2] = [(&make_pipe, "a pipe"), (&make_link, "a symbolic link")];

    for (make, kind) in cases {
        make();
        let ran = exec(&stage, &[], &[], &["env"]).await;
        fs_err::remove_file(&path).unwrap();

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{kind}");
        let told = format!("bedrock.token`: it is {kind}, not a regular file\n  hint: remove it and restart");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_file_whose_default_profile_has_credentials_is_hidden_and_no_other() {
    let (stage, _daemon, _) = start().await;
    fs_err::create_dir(stage.path(".aws")).unwrap();
    stage.write(".aws/config", "[default]\nregion = eu-west-1\n[profile a]\naws_access_key_id = AKIA\n");
    stage.write(".aws/credentials", "[work]\naws_access_key_id = AKIA\naws_secret_access_key = s\n");

    let harmless = variables(&exec(&stage, &[], &[], &["env"]).await);
    stage.write(".aws/credentials", "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s\n");
    let keys = variables(&exec(&stage, &[], &[], &["env"]).await);
    stage.write(".aws/config", "[default]\nsso_session = corp\n");
    let both = variables(&exec(&stage, &[], &[], &["env"]).await);

    let hidden = |found: &BTreeMap<String, String>| {
        ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"]
            .map(|name| found.get(name).map(String::as_str) == Some("/dev/null"))
    };
    assert_eq!(hidden(&harmless), [false, false]);
    assert_eq!(hidden(&keys), [true, false]);
    assert_eq!(hidden(&both), [true, true]);
}

#[tokio::test]
async fn the_command_gets_an_api_key_for_bedrock_beside_the_daemon() {
    let (stage, _daemon, http) = start().await;
    let flags = ["--bedrock-api-key", "--ttl", "15m"];

    let found = variables(&exec(&stage, &flags, &[("AWS_BEARER_TOKEN_BEDROCK", "old")], &["env"]).await);

    assert!(found["AWS_BEARER_TOKEN_BEDROCK"].starts_with("bedrock-api-key-"), "{found:?}");
    assert_eq!(found["AWS_CONTAINER_CREDENTIALS_FULL_URI"], format!("http://{http}/v1/credentials/bedrock"));
    assert_eq!(stage.emulator.sessions_created(), 1, "the daemon's");
}

#[tokio::test]
async fn a_region_that_cannot_be_is_told_before_a_key_is_made_for_another() {
    let (stage, _daemon, _) = start().await;

    let ran = exec(&stage, &["--bedrock-api-key"], &[("AWS_REGION", "Ireland!")], &["env"]).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("AWS_REGION: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: set AWS_REGION to a Region"), "{}", ran.stderr);
}

/// Its SDKs would call a host that does not exist.
#[tokio::test]
async fn a_region_that_no_partition_knows_is_told_before_the_command_begins() {
    let (stage, _daemon, _) = start().await;

    for (flags, variables) in
        [(&["--region", "us-esat-1"][..], &[][..]), (&[], &[("AWS_REGION", "us-esat-1")][..])]
    {
        let ran = exec(&stage, flags, variables, &["true"]).await;

        assert_eq!(ran.code, 0, "{ran:?}");
        let warning = "anchord: warning: no partition of AWS knows the Region us-esat-1; hint: did you mean us-east-1?\n";
        assert_eq!(ran.stderr, warning);
    }
}

#[tokio::test]
async fn the_commands_exit_code_is_ours() {
    let (stage, _daemon, _) = start().await;
    stage.write("not-executable", "#!/bin/sh\n");
    let not_executable = stage.path("not-executable");

    let own = exec(&stage, &[], &[], &["sh", "-c", "echo \"$1\"; exit 7", "sh", "--flag"]).await;
    let missing = exec(&stage, &[], &[], &["no-such-command-here"]).await;
    let unrunnable = exec(&stage, &[], &[], &[not_executable.to_str().unwrap()]).await;

    assert_eq!((own.code, own.stdout.as_str()), (7, "--flag\n"));
    assert_eq!(missing.code, 127);
    assert!(missing.stderr.starts_with("anchord: cannot run `no-such-command-here`"), "{}", missing.stderr);
    assert_eq!(unrunnable.code, 126, "{}", unrunnable.stderr);
}

#[tokio::test]
async fn what_is_missing_is_told_before_anything_runs() {
    let stage = Stage::new().await;
    let nobody = exec(&stage, &[], &[], &["env"]).await;
    let _daemon = stage.daemon().await;
    let unknown = exec(&stage, &["--socket-path", stage.socket().to_str().unwrap()], &[], &[]).await;
    fs_err::remove_file(stage.path("run/bedrock.token")).unwrap();
    let no_token = exec(&stage, &["--token-file-only"], &[], &["env"]).await;
    let ttl = exec(&stage, &["--bedrock-api-key", "--ttl", "soon"], &[], &["env"]).await;

    assert_eq!((nobody.code, nobody.stdout.as_str()), (1, ""));
    assert!(
        nobody.stderr.contains("no daemon listens on") && nobody.stderr.contains("hint: start it"),
        "{}",
        nobody.stderr
    );
    assert_eq!(unknown.code, 2, "a command is needed");
    assert_eq!((no_token.code, no_token.stdout.as_str()), (1, ""));
    assert!(
        no_token.stderr.contains("bedrock.token") && no_token.stderr.contains("hint:"),
        "{}",
        no_token.stderr
    );
    assert_eq!((ttl.code, ttl.stdout.as_str()), (2, ""));
    assert!(ttl.stderr.contains("--ttl: the value is not a duration"), "{}", ttl.stderr);
}

/// As for a user who has no settings, and shares the system's daemon.
#[tokio::test]
async fn without_settings_the_sessions_are_the_daemons() {
    let stage = Stage::new().await;
    let other = stage.session("other");
    stage.configure(&format!("[imds]\nsession = \"bedrock\"\n{}{other}", stage.session("bedrock")));
    stage.write("empty.toml", "");
    let _daemon = stage.daemon().await;
    let run = |more: &[&str]| {
        let mut command = process::anchord();
        command.args(["exec", "--config"]).arg(stage.path("empty.toml")).arg("--socket-path");
        command.arg(stage.socket()).args(more).args(["--", "env"]);
        process::to_the_end(command)
    };

    let one = run(&["--session", "other"]).await;
    let which = run(&[]).await;
    let unknown = run(&["--session", "third"]).await;

    let found = variables(&one);
    assert!(found["AWS_CONTAINER_CREDENTIALS_FULL_URI"].ends_with("/v1/credentials/other"), "{found:?}");
    assert!(!found.contains_key("AWS_REGION"), "which nobody knows");
    assert!(which.stderr.contains("the sessions are bedrock, other"), "{}", which.stderr);
    assert!(unknown.stderr.contains("has no session `third`"), "{}", unknown.stderr);
}
