//! A Rust program that keeps its session itself and hands it to the AWS SDK for Rust: `examples/with_aws_sdk`.

use std::process::Command;

use anchord_emulator::Service;

use crate::ROOM;
use crate::sdks;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SAID: &str = "Converse:       You said: Who is there?\nConverseStream: You said: Who is there?\n";

fn example(stage: &Stage) -> Command {
    let mut command = Command::new(sdks::built().join("debug/with_aws_sdk"));
    command.env_clear().current_dir(stage.path(""));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_offline() {
    let _place = ROOM.acquire().await.unwrap();
    let stage = Stage::new().await;

    let ran = process::to_the_end(example(&stage)).await;

    assert_eq!(ran.stdout, format!("{SAID}AWS was asked for credentials 1 time.\n"), "{}", ran.stderr);
    assert_eq!(ran.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_program_asks_models_with_a_session_of_the_daemons_file_and_without_a_daemon() {
    let _place = ROOM.acquire().await.unwrap();
    let stage = Stage::new().await;
    let mut command = example(&stage);
    command.args(["anchord.toml", "bedrock", MODEL]).env("AWS_REGION", "us-east-1");
    command.env("AWS_ENDPOINT_URL", stage.emulator.endpoint()).env("SSL_CERT_FILE", "tls-ca.pem");

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.stdout.as_str(), ran.code), (SAID, 0), "{}", ran.stderr);
    let emulator = &stage.emulator;
    let issued = emulator.issued().remove(0);
    let calls = emulator.requests_to(Service::Bedrock);
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert_eq!((call.status, call.signer.as_ref()), (Some(200), Some(&issued.access_key_id)), "{call:?}");
    }
    assert_eq!(emulator.sessions_created(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_roles_anywhere_refuses_reaches_the_programs_own_error() {
    let _place = ROOM.acquire().await.unwrap();
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);
    let mut command = example(&stage);
    command.args(["anchord.toml", "bedrock", MODEL]).env("AWS_REGION", "us-east-1");
    command.env("AWS_ENDPOINT_URL", stage.emulator.endpoint()).env("SSL_CERT_FILE", "tls-ca.pem");

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.stdout.as_str(), ran.code), ("", 1));
    assert!(ran.stderr.contains("trust policy") && ran.stderr.contains("hint: "), "{}", ran.stderr);
}
