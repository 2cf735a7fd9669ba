//! What somebody meets who has not configured anything yet, or one thing wrongly: a way out, in the last line.

use anchord_core::event;
use std::path::Path;
use std::process::Command;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

/// The program where this user has nothing, and where no daemon is but at this stage's socket.
fn newcomer(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = process::anchord();
    command.args(arguments).envs(process::home(stage.path("newcomer"))).current_dir(stage.path(""));
    command
}

fn updater(stage: &Stage) -> Command {
    let mut command = newcomer(stage, &["update", "--socket-path"]);
    command.arg(stage.socket());
    command
}

#[tokio::test]
async fn serve_without_flags_names_those_that_it_needs_and_no_file_that_it_does_not_read() {
    let stage = Stage::new().await;
    let mut command = newcomer(&stage, &["serve", "--port", "0"]);
    command.env("ANCHORD_CONFIG", stage.path("anchord.toml"));

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: give --certificate, --private-key, "), "{}", ran.stderr);
    assert!(ran.stderr.contains("`anchord run`"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(".toml") && !ran.stderr.contains("[session"), "{}", ran.stderr);
}

#[tokio::test]
async fn update_ends_where_nothing_says_which_session_is_meant() {
    let stage = Stage::new().await;
    let nothing = process::to_the_end(updater(&stage)).await;
    stage.configure(&format!(
        "[imds]\nsession = \"bedrock\"\n{}{}",
        stage.session("bedrock"),
        stage.session("other")
    ));
    let _daemon = stage.daemon().await;
    let several = process::to_the_end(updater(&stage)).await;
    let mut own = updater(&stage);
    own.arg("--config").arg(stage.path("anchord.toml"));
    let own = process::to_the_end(own).await;

    let told = |ran: &Ran, line: &str, hint: &str| {
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        let (first, rest) = ran.stderr.split_once('\n').unwrap();
        assert_eq!(first, format!("anchord: {line}"));
        assert!(rest.starts_with("  hint: ") && rest.contains(hint), "{}", ran.stderr);
        assert_eq!(rest.lines().count(), 1, "{}", ran.stderr);
    };
    told(&nothing, "no session is defined here, and no daemon runs", "--certificate");
    told(&several, "no session is selected, and there is not exactly one", "--session: bedrock, other");
    told(&own, "no session is selected, and there is not exactly one", "--session: bedrock, other");
}

/// Its only session needs no name.
#[tokio::test]
async fn update_goes_on_with_the_daemons_only_session() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;

    let mut command = updater(&stage);
    command.args(["--log-format", "json"]);

    let written = Daemon::of(command).wait_for(event::FILE_WRITTEN).await;

    assert_eq!(written["session"], "bedrock");
    assert!(stage.path("newcomer/.aws/credentials").exists());
}

#[tokio::test]
async fn update_ends_where_the_daemon_that_runs_has_no_such_session() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let another_role = "arn:aws:iam::123456789012:role/another";
    for (arguments, told, hint) in [
        (&["--session", "bedrok"][..], "there is no session `bedrok`", "the sessions are `bedrock`"),
        (&["--session", "bedrock", "--role-arn", another_role], "asked for: `role_arn`", "remove them from"),
        (&["--role-arn", another_role], "asked for: `role_arn`", "remove them from"),
    ] {
        let mut command = updater(&stage);
        command.args(arguments);

        let ran = process::to_the_end(command).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        let (first, rest) = ran.stderr.split_once('\n').unwrap();
        assert!(first.ends_with(told) && rest.starts_with(&format!("  hint: {hint}")), "{}", ran.stderr);
        assert_eq!(rest.lines().count(), 1, "{}", ran.stderr);
    }
}

#[tokio::test]
async fn update_ends_where_no_daemon_is_meant_and_waits_for_one_that_is() {
    let stage = Stage::new().await;
    let half = ["--session", "bedrock", "--role-arn", "arn:aws:iam::123456789012:role/r"];
    for arguments in [&half[..2], &half] {
        let mut command = updater(&stage);
        command.args(arguments).args(["--log-format", "json"]);
        let updater = Daemon::of(command);

        let told = updater.wait_for(event::CREDENTIALS_UNAVAILABLE).await;

        assert_eq!(told["session"], "bedrock");
        assert!(told["error"].as_str().unwrap().starts_with("no daemon runs"), "{told}");
        assert_eq!(updater.stop().await.0, 0);
    }
    let signs = ["/run/anchord/anchord.sock", "/etc/anchord/anchord.toml"];
    // A folder that this user may not enter may hold one.
    let may_be_here = |path: &&&str| !matches!(Path::new(path).try_exists(), Ok(false));
    if let Some(path) = signs.iter().find(may_be_here) {
        return anchord_testing::stage::not_played(&format!(
            "update without a sign of a daemon: {path} may be here"
        ));
    }
    for arguments in [&half[..2], &half] {
        let mut command = newcomer(&stage, &["update"]);
        command.args(arguments);

        let ran = process::to_the_end(command).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("anchord: no daemon runs"), "{}", ran.stderr);
        assert!(ran.stderr.contains("\n  hint: start the daemon"), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    }
}

#[tokio::test]
async fn what_config_check_refuses_comes_last_and_not_behind_defaults() {
    let stage = Stage::new().await;
    let checked = |stage: &Stage| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" config check --config anchord.toml 2>&1"]);
        shell.arg(env!("CARGO_BIN_EXE_anchord")).env_clear().envs(process::home(stage.path("newcomer")));
        shell.current_dir(stage.path(""));
        process::to_the_end(shell)
    };

    let good = checked(&stage).await;
    fs_err::remove_file(stage.path("key.pem")).unwrap();
    let bad = checked(&stage).await;

    assert_eq!(good.code, 0);
    assert!(good.stdout.contains("# default"), "{}", good.stdout);
    assert_eq!(bad.code, 1);
    assert!(!bad.stdout.contains("# default"), "{}", bad.stdout);
    assert!(bad.stdout.contains("session.bedrock.role_arn"), "{}", bad.stdout);
    let last: Vec<_> = bad.stdout.lines().rev().take(2).collect();
    assert!(
        last[1].starts_with("anchord: cannot read ") && last[0].starts_with("  hint: "),
        "{}",
        bad.stdout
    );
}

#[tokio::test]
async fn a_settings_file_or_a_session_in_the_place_of_an_argument_is_told_its_flag() {
    let stage = Stage::new().await;
    let file = stage.path("anchord.toml");
    let file = file.to_str().unwrap();
    for (arguments, told, hint) in [
        (&["check", file][..], "there is no such session", "`anchord check --config FILE`"),
        (&["check", "hunter2.toml"], "there is no such session", "`anchord check --config FILE`"),
        (
            &["check", "hunter2.toml", "--config", file],
            "there is no such session",
            "`anchord check --config FILE`",
        ),
        (
            &["certificate", "show", "bedrock", "--config", file],
            "no such file, but a session has that name",
            "`anchord certificate show --session bedrock`",
        ),
    ] {
        let ran = process::to_the_end(newcomer(&stage, arguments)).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with(&format!("anchord: {told}\n  hint: ")), "{}", ran.stderr);
        assert!(ran.stderr.contains(hint) && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    fs_err::copy(stage.path("leaf.pem"), stage.path("bedrock")).unwrap();
    let ran =
        process::to_the_end(newcomer(&stage, &["certificate", "show", "bedrock", "--config", file])).await;
    assert!(ran.stdout.contains("CN=robot-7"), "a file goes before a session: {ran:?}");
}

#[tokio::test]
async fn check_doubts_a_region_of_the_environment_that_no_partition_knows() {
    let stage = Stage::new().await;
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let mut command = newcomer(&stage, &["check", "--json", "--config", "anchord.toml"]);
        command.env(variable, "us-east1");

        let ran = process::to_the_end(command).await;

        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let steps = report["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["id"] == "environment.region-name").unwrap();
        assert_eq!(step["state"], "warning", "{step}");
        let what = format!("{variable}: no partition of AWS knows the Region us-east1");
        assert!(step.to_string().contains(&what), "{step}");
        assert!(step.to_string().contains("did you mean us-east-1?"), "{step}");
    }
}

/// The daemon alone starts it so. It leads no group of its own yet, so it ends none.
#[cfg(feature = "pkcs11")]
#[tokio::test]
async fn a_person_who_starts_the_process_that_holds_modules_is_told_why_it_ends() {
    let stage = Stage::new().await;

    let ran = process::to_the_end(newcomer(&stage, &["pkcs11-host", "module.so"])).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (70, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("cannot serve a PKCS#11 module: "), "{ran:?}");
}
