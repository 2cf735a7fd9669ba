//! What becomes of data that cannot be printed.

use std::process::Command;

use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
/// Every verb that prints data.
const VERBS: [&[&str]; 11] = [
    &["credential-process", "--session", "bedrock"],
    &["status"],
    &["check"],
    &["config", "check"],
    &["certificate", "show"],
    &["bedrock", "api-key"],
    &["bedrock", "models"],
    &["bedrock", "invoke", "--model-id", HAIKU, "--converse", "--message", "hello"],
    &["read-certificate-data", "--certificate", "leaf.pem"],
    &["sign-string", "--private-key", "key.pem"],
    &["version"],
];

/// The verb with its stdout redirected so.
async fn ran(stage: &Stage, verb: &[&str], redirection: &str) -> Ran {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirection}")).arg(env!("CARGO_BIN_EXE_anchord"));
    command.args(verb).current_dir(stage.path("")).env_clear().env("PATH", "/usr/bin:/bin");
    command.envs(process::home(stage.path(""))).stdin(std::process::Stdio::null());
    for name in ["ANCHORD_STS_ENDPOINT", "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] {
        command.env(name, stage.emulator.endpoint());
    }
    process::to_the_end(command).await
}

#[tokio::test]
async fn data_that_cannot_be_written_is_a_failure_of_every_verb() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;

    for verb in VERBS {
        let takes_settings = !matches!(verb[0], "version" | "read-certificate-data" | "sign-string");
        let settings: &[&str] = if takes_settings { &["--config", "anchord.toml"] } else { &[] };
        let verb = [verb, settings].concat();
        for (redirection, reason) in
            [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
        {
            let ran = ran(&stage, &verb, redirection).await;
            assert_eq!(ran.code, 1, "{verb:?} {redirection}: {ran:?}");
            let told = format!("anchord: cannot write to stdout: {reason}");
            assert!(ran.stderr.contains(&told), "{verb:?} {redirection}: {ran:?}");
        }
        let unread = ran(&stage, &verb, ">/dev/null").await;
        assert_eq!(unread.code, 0, "{verb:?}: {unread:?}");
    }
}
