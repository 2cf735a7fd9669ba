//! Real SDKs are the judges: boto3 and the AWS SDK for JavaScript v3, through every channel.
//!
//! Not part of `cargo test --workspace`, because it needs their packages: `tests/run` installs them and runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment")]
#![allow(dead_code, unused_imports, reason = "the stage is shared with tests/it, which uses all of it")]

#[path = "../it/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use support::Stage;
use support::process;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk");

fn boto3() -> Command {
    let mut command = Command::new(format!("{HERE}/.venv/bin/python"));
    command.arg(format!("{HERE}/credentials.py"));
    command
}

fn javascript() -> Command {
    let mut command = Command::new("node");
    command.arg(format!("{HERE}/credentials.mjs"));
    command
}

/// Runs an SDK with nothing in its environment but `variables`, and compares what it found with what was issued.
async fn finds_the_session(mut sdk: Command, stage: &Stage, variables: &[(&str, &str)]) {
    sdk.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", stage.path("nobody"));
    // boto3 reads the one, everybody else the other.
    sdk.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_REGION", "us-east-1").envs(variables.iter().copied());

    let ran = process::to_the_end(sdk).await;

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let found: [String; 4] = serde_json::from_str(&ran.stdout).unwrap();
    let issued = stage.emulator.issued();
    assert_eq!(issued.len(), 1, "one session for everybody");
    let (id, secret, token) =
        (&issued[0].access_key_id, &issued[0].secret_access_key, &issued[0].session_token);
    assert_eq!([&found[0], &found[1], &found[2]], [id, secret, token], "by way of {}", found[3]);
}

async fn through_imds(sdk: Command) {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let endpoint = format!("http://{}", daemon.http().await);

    finds_the_session(sdk, &stage, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]).await;
}

async fn through_the_container_endpoint(sdk: Command) {
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    let uri = format!("http://{}/v1/credentials/bedrock", daemon.http().await);
    let token_file = stage.path("run/bedrock.token");

    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file.to_str().unwrap()),
    ];
    finds_the_session(sdk, &stage, &variables).await;
}

async fn through_credential_process(sdk: Command) {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let profile = profile(&stage.path("anchord.toml"));
    stage.write("aws-config", &profile);

    finds_the_session(sdk, &stage, &[("AWS_CONFIG_FILE", stage.path("aws-config").to_str().unwrap())]).await;
}

async fn through_credential_process_without_a_daemon(sdk: Command) {
    let stage = Stage::new().await;
    stage.write("aws-config", &profile(&stage.path("anchord.toml")));

    finds_the_session(sdk, &stage, &[("AWS_CONFIG_FILE", stage.path("aws-config").to_str().unwrap())]).await;
}

fn profile(configuration: &Path) -> String {
    let program = env!("CARGO_BIN_EXE_anchord");
    let configuration = configuration.display();
    format!(
        "[default]\ncredential_process = {program} credential-process --config {configuration} --session bedrock\n"
    )
}

#[tokio::test]
async fn boto3_finds_the_session_through_imds() {
    through_imds(boto3()).await;
}

#[tokio::test]
async fn boto3_finds_the_session_through_the_container_endpoint() {
    through_the_container_endpoint(boto3()).await;
}

#[tokio::test]
async fn boto3_finds_the_session_through_credential_process() {
    through_credential_process(boto3()).await;
}

#[tokio::test]
async fn boto3_finds_the_session_without_a_daemon() {
    through_credential_process_without_a_daemon(boto3()).await;
}

#[tokio::test]
async fn javascript_finds_the_session_through_imds() {
    through_imds(javascript()).await;
}

#[tokio::test]
async fn javascript_finds_the_session_through_the_container_endpoint() {
    through_the_container_endpoint(javascript()).await;
}

#[tokio::test]
async fn javascript_finds_the_session_through_credential_process() {
    through_credential_process(javascript()).await;
}

#[tokio::test]
async fn javascript_finds_the_session_without_a_daemon() {
    through_credential_process_without_a_daemon(javascript()).await;
}
