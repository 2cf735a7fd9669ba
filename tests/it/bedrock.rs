//! `anchord bedrock`: models called with a session's credentials.

mod bodies;
mod keys_and_lists;
mod streams;

use std::process::Command;

use anchord_emulator::Fault;
use anchord_emulator::LoggedRequest;
use anchord_emulator::Service;
use serde_json::Value;

use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const OPUS: &str = "anthropic.claude-3-opus-20240229-v1:0";
const BODY: &str = r#"{"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "canary in the coal mine"}]}"#;

/// `anchord bedrock invoke` of a model with more arguments, where the emulator plays Bedrock.
fn invoke(stage: &Stage, model: &str, more: &[&str]) -> Command {
    let mut command =
        bedrock(stage, &["invoke", "--model-id", model, "--endpoint-url", &stage.emulator.endpoint()]);
    command.args(more);
    command
}

fn bedrock(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = process::anchord();
    command.arg("bedrock").args(arguments).arg("--config").arg(stage.path("anchord.toml"));
    command.envs(process::home(stage.path(""))).current_dir(stage.path(""));
    command
}

async fn invoked(stage: &Stage, model: &str, more: &[&str]) -> Ran {
    let ran = process::to_the_end(invoke(stage, model, more)).await;
    let all = format!("{}\n", ran.stderr);
    stage.assert_no_secrets(&all, &[]);
    assert!(!all.contains("canary"), "what is sent is nobody's business: {all}");
    ran
}

fn calls(stage: &Stage) -> Vec<LoggedRequest> {
    stage.emulator.requests_to(Service::Bedrock)
}

/// What is printed when it goes wrong: one line, and one with the hint.
fn told(ran: &Ran, code: i32) -> (&str, &str) {
    let (line, hint, answer) = told_with_an_answer(ran, code);
    assert_eq!(answer, "", "{}", ran.stderr);
    (line, hint)
}

/// The same, and the answer below it that is billed all the same.
fn told_with_an_answer(ran: &Ran, code: i32) -> (&str, &str, &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
    let (line, hint) = ran.stderr.split_once('\n').unwrap();
    let (line, hint) =
        (line.strip_prefix("anchord: ").unwrap(), hint.strip_prefix("  hint: ").unwrap_or_default());
    let (hint, answer) = hint.split_once('\n').unwrap_or((hint, ""));
    (line, hint, answer)
}

#[tokio::test]
async fn a_model_is_invoked_with_the_sessions_credentials_and_its_answer_printed_as_it_is() {
    let stage = Stage::new().await;

    let ran = invoked(&stage, HAIKU, &["--body", BODY]).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["content"][0]["text"], "You said: canary in the coal mine");
    let call = &calls(&stage)[0];
    assert_eq!(call.model_id.as_deref(), Some(HAIKU));
    assert_eq!(call.signer.as_ref(), Some(&stage.emulator.issued()[0].access_key_id));
    assert_eq!(call.path, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke");
}

#[tokio::test]
async fn a_daemon_that_runs_gives_the_credentials() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;

    let ran = invoked(&stage, HAIKU, &["--converse", "--message", "Hi"]).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn everything_that_bedrock_calls_a_model_can_be_called() {
    let stage = Stage::new().await;
    let arn = |kind: &str| format!("arn:aws:bedrock:us-east-1:123456789012:{kind}");
    for model in [
        format!("us.{HAIKU}"),
        arn(&format!("inference-profile/us.{HAIKU}")),
        format!("arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"),
        arn("application-inference-profile/a1b2c3d4e5f6"),
        arn("provisioned-model/b1c2d3e4f5a6"),
        arn("custom-model/amazon.titan-text-express-v1:0:8k/c1d2e3f4a5b6"),
        arn("custom-model-deployment/d1e2f3a4b5c6"),
        arn("imported-model/e1f2a3b4c5d6"),
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/example-endpoint".into(),
    ] {
        let ran = invoked(&stage, &model, &["--converse", "--message", "Hi", "--output", "$..text"]).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (0, "You said: Hi\n"), "{model}: {}", ran.stderr);
        assert_eq!(calls(&stage).last().unwrap().model_id.as_ref(), Some(&model));
    }
}

#[tokio::test]
async fn a_model_that_the_call_cannot_reach_is_told_before_anything_is_sent() {
    let stage = Stage::new().await;
    let elsewhere = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.x";

    let ran = invoked(&stage, elsewhere, &["--converse", "--message", "hi"]).await;
    let (line, hint) = told(&ran, 2);
    assert_eq!(line, "the model is in eu-west-1, and the call would go to us-east-1");
    assert_eq!(hint, "call the model's own Region: `--region eu-west-1`");
    let ran = invoked(&stage, "a model", &["--converse", "--message", "hi"]).await;
    let (line, hint) = told(&ran, 2);
    assert_eq!(line, "the model id contains ' ', which is not allowed");
    assert!(hint.contains("anchord bedrock models"), "{hint}");
    for part in ["foundation-model/amazon.nova-lite-v1:0", "bedrock:provisioned-model-inference/x"] {
        let ran = invoked(&stage, part, &["--converse", "--message", "hi"]).await;
        let (line, hint) = told(&ran, 2);
        assert_eq!(line, "the text is neither a model id nor a whole ARN");
        assert!(
            hint.contains("the id alone: `amazon.nova-lite-v1:0`") || hint.contains("provisioned-model/x"),
            "{hint}"
        );
    }
    let key = fs_err::read_to_string(stage.path("key.pem")).unwrap();
    let key: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let mut check = process::anchord();
    check.arg("check");
    for mut command in [bedrock(&stage, &["invoke", "--body", "{}"]), check] {
        command.args(["--model-id", &key]);
        let ran = process::to_the_end(command).await;
        let (line, hint) = told(&ran, 2);
        assert_eq!(line, "--model-id: holds the content of a key or certificate");
        assert!(hint.contains("anchord bedrock models"), "{hint}");
    }
    assert!(stage.emulator.requests().is_empty());
}

#[tokio::test]
async fn what_a_user_says_is_a_call_of_converse_without_a_flag() {
    let stage = Stage::new().await;

    let ran = invoked(&stage, HAIKU, &["--message", "Hi", "--output", "$.output..text"]).await;
    let refused = invoked(&stage, HAIKU, &["--message", "Hi", "--accept", "text/plain"]).await;

    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "You said: Hi\n", ""));
    assert!(calls(&stage)[0].path.ends_with("/converse"), "{}", calls(&stage)[0].path);
    assert_eq!((refused.code, calls(&stage).len()), (2, 1), "Converse has one type: {}", refused.stderr);
}

#[tokio::test]
async fn a_message_may_begin_with_a_dash() {
    let stage = Stage::new().await;

    for (text, words) in [
        ("-x", &["--message", "-x"][..]),
        ("- one\n- two", &["--message", "- one\n- two"]),
        ("-----BEGIN X-----", &["--message", "-----BEGIN X-----"]),
        ("-", &["--message", "-"]),
        ("--stream", &["--message=--stream"]),
    ] {
        let ran = invoked(&stage, HAIKU, &[words, &["--output", "$.output..text"]].concat()).await;

        assert_eq!((ran.code, ran.stdout), (0, format!("You said: {text}\n")), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn an_endpoint_is_bedrocks_whether_flag_or_variable_names_it() {
    let stage = Stage::new().await;
    let endpoint = stage.emulator.endpoint();
    let nowhere = "http://localhost:4566";
    let say = ["invoke", "--model-id", HAIKU, "--message", "hi"];
    let flagged = |flag: &str| bedrock(&stage, &[&say[..], &[flag, &endpoint]].concat());
    let set = |verb: &[&str], variables: &[(&str, &str)]| {
        let mut command = bedrock(&stage, verb);
        command.envs(variables.iter().copied());
        command
    };

    for command in [
        flagged("--endpoint"),
        flagged("--endpoint-url"),
        bedrock(&stage, &["models", "--endpoint", &endpoint]),
        set(&say, &[("AWS_ENDPOINT_URL", &endpoint)]),
        set(&["models"], &[("AWS_ENDPOINT_URL", &endpoint)]),
        // The service's own goes first.
        set(&say, &[("AWS_ENDPOINT_URL", nowhere), ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &endpoint)]),
        set(&["models"], &[("AWS_ENDPOINT_URL", nowhere), ("AWS_ENDPOINT_URL_BEDROCK", &endpoint)]),
    ] {
        let shown = format!("{command:?}");
        let ran = process::to_the_end(command).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shown}");
    }
    let ran = process::to_the_end(set(&say, &[("AWS_ENDPOINT_URL", nowhere)])).await;
    assert!(
        told(&ran, 2).0.starts_with("AWS_ENDPOINT_URL: `http://localhost:4566` is not"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_time_out_may_be_none_and_a_number_alone_is_none_at_all() {
    let stage = Stage::new().await;

    let unlimited = invoked(&stage, HAIKU, &["--message", "hi", "--timeout", "-1"]).await;
    let bare = invoked(&stage, HAIKU, &["--message", "hi", "--timeout", "3000"]).await;

    assert_eq!((unlimited.code, unlimited.stderr.as_str()), (0, ""));
    let (line, hint) = told(&bare, 2);
    assert_eq!(line, "--timeout: the value has no unit");
    assert_eq!(hint, "write `3000ms` or `3000s`");
    assert_eq!(calls(&stage).len(), 1);
}

#[tokio::test]
async fn refusals_of_aws_say_what_to_do() {
    let stage = Stage::new().await;
    let converse = ["--converse", "--message", "hi"];

    let unknown = invoked(&stage, "anthropic.unknown-v1:0", &converse).await;
    let (line, hint) = told(&unknown, 3);
    assert!(line.starts_with("AWS answered 400 Bad Request ValidationException: The provided model identifier is invalid. (request id "), "{line}");
    assert_eq!(
        hint,
        "there is no such model in this Region: `anchord bedrock models` lists the available ones"
    );

    let disabled = invoked(&stage, OPUS, &converse).await;
    assert!(told(&disabled, 3).1.contains("Model access"), "{}", disabled.stderr);

    let malformed = invoked(&stage, HAIKU, &["--body", "{}"]).await;
    assert!(told(&malformed, 3).1.contains("`--converse`"), "{}", malformed.stderr);

    stage.emulator.set_denied("bedrock:InvokeModel", true);
    let denied = invoked(&stage, HAIKU, &converse).await;
    let (line, hint) = told(&denied, 3);
    assert!(line.contains("is not authorized to perform: bedrock:InvokeModel on resource"), "{line}");
    assert!(hint.starts_with("the role's policy must allow"), "{hint}");
}

#[tokio::test]
async fn keys_that_have_ended_or_are_unknown_are_told_apart() {
    let stage = Stage::with(|setup| setup.profiles[0].duration_seconds = 120).await;
    let converse = ["--converse", "--message", "hi"];
    assert_eq!(invoked(&stage, HAIKU, &converse).await.code, 0);

    // Less than what AWS tolerates of a clock, more than what is left of the keys.
    stage.emulator.set_clock_offset(time::Duration::seconds(130));
    let expired = invoked(&stage, HAIKU, &converse).await;
    let (line, hint) = told(&expired, 3);
    assert!(line.starts_with("AWS answered 403 Forbidden ExpiredTokenException"), "{line}");
    assert!(hint.starts_with("the session's credentials have expired: check `anchord status`"), "{hint}");

    stage.emulator.set_clock_offset(time::Duration::ZERO);
    stage.emulator.forget_issued();
    let unknown = invoked(&stage, HAIKU, &converse).await;
    assert!(told(&unknown, 3).0.contains("UnrecognizedClientException"), "{}", unknown.stderr);
}

#[tokio::test]
async fn a_wrong_local_clock_stops_no_call() {
    let stage = Stage::new().await;
    stage.emulator.set_clock_offset(time::Duration::minutes(10));

    let ran = invoked(&stage, HAIKU, &["--converse", "--message", "hi"]).await;

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let statuses: Vec<_> = calls(&stage).iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(403), Some(200)]);
}

#[tokio::test]
async fn a_throttled_call_is_repeated_only_if_that_was_asked_for() {
    let stage = Stage::new().await;
    let throttle = || Fault::Throttle { retry_after: Some(0) };
    let converse = ["--converse", "--message", "hi"];

    stage.emulator.script_for(Service::Bedrock, [throttle()]);
    let once = invoked(&stage, HAIKU, &converse).await;
    let (line, hint) = told(&once, 1);
    assert!(line.starts_with("AWS answered 429 Too Many Requests ThrottlingException"), "{line}");
    assert!(hint.contains("`bedrock invoke --retries`"), "{hint}");
    assert_eq!(calls(&stage).len(), 1);

    stage.emulator.script_for(Service::Bedrock, [throttle(), throttle()]);
    let repeated = invoked(&stage, HAIKU, &[&converse[..], &["--retries", "2"]].concat()).await;
    assert_eq!(repeated.code, 0, "{}", repeated.stderr);
    assert_eq!(calls(&stage).len(), 4);
}

#[tokio::test]
async fn headers_and_types_are_sent_and_signed() {
    let stage = Stage::new().await;
    let more = ["--body", BODY, "--header", "X-Amzn-Bedrock-Trace: ENABLED", "--accept", "application/json"];

    let ran = invoked(&stage, HAIKU, &more).await;

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = &calls(&stage)[0].header_names;
    for name in ["x-amzn-bedrock-trace", "accept", "content-type"] {
        assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{name}");
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_endpoint() {
    let stage = Stage::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = format!("https://{address}");
    let mut command = bedrock(&stage, &["invoke", "--model-id", HAIKU, "--converse", "--message", "hi"]);
    command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint);

    let ran = process::to_the_end(command).await;

    let (line, hint) = told(&ran, 1);
    assert!(line.starts_with(&format!("no answer from {address}: ")), "{line}");
    assert!(hint.starts_with("make sure that this host can reach the endpoint"), "{hint}");
}

#[tokio::test]
async fn a_region_that_no_partition_knows_is_told_before_it_is_called() {
    let stage = Stage::new().await;

    let ran = invoked(&stage, HAIKU, &["--converse", "--message", "hi", "--region", "us-esat-1"]).await;

    let warning =
        "anchord: warning: no partition of AWS knows the Region us-esat-1; hint: did you mean us-east-1?\n";
    assert!(ran.stderr.starts_with(warning), "{ran:?}");
    let model = "arn:aws:bedrock:us-esat-1:123456789012:inference-profile/us.x";
    let ran = invoked(&stage, model, &["--converse", "--message", "hi"]).await;
    assert!(ran.stderr.starts_with(warning), "{ran:?}");
    assert!(ran.stderr.contains("the model is in us-esat-1, and the call would go to us-east-1"), "{ran:?}");
    let sts = ["models", "--region", "us-east-1", "--sts-region", "us-esat-1"];
    let ran = process::to_the_end(bedrock(&stage, &sts)).await;
    let warning = warning.replace("no partition", "session bedrock, `sts_region`: no partition");
    assert!(ran.stderr.starts_with(&warning), "{ran:?}");
}

#[tokio::test]
async fn whoever_has_the_daemon_alone_says_which_region_is_meant() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let ask = || {
        let mut command = process::anchord();
        command.args(["bedrock", "invoke", "--session", "bedrock", "--converse", "--message", "hi"]);
        command.args(["--model-id", HAIKU, "--endpoint-url", &stage.emulator.endpoint(), "--ca-file"]);
        command.arg(stage.path("tls-ca.pem")).arg("--socket-path").arg(stage.socket());
        command.envs(process::home(stage.path("nobody")));
        command
    };

    let lost = process::to_the_end(ask()).await;
    assert_eq!(told(&lost, 1).1, "give `--region`, or set AWS_REGION");
    let mut flag = ask();
    flag.args(["--region", "us-east-1"]);
    let mut variable = ask();
    variable.env("AWS_REGION", "us-east-1");
    for command in [flag, variable] {
        let ran = process::to_the_end(command).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    }
    assert_eq!(calls(&stage).len(), 2);
}

#[tokio::test]
async fn what_is_no_answer_of_converse_is_neither_printed_nor_put_over_a_file() {
    let stage = Stage::new().await;
    stage.write("answer.json", "old");
    for (fault, code) in [(Fault::Malformed, 1), (Fault::EmptyCredentialSet, 1)] {
        stage.emulator.script_for(Service::Bedrock, [fault]);

        let converse = ["--converse", "--message", "Hi", "--output-file", "answer.json"];
        let ran = invoked(&stage, HAIKU, &converse).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran:?}");
        assert_eq!(fs_err::read_to_string(stage.path("answer.json")).unwrap(), "old");
    }
}

#[tokio::test]
async fn a_body_from_windows_and_one_from_a_pipe_are_read() {
    let stage = Stage::new().await;
    stage.write("body.json", &format!("\u{feff}{BODY}"));

    let file = invoked(&stage, HAIKU, &["--body-file", "body.json"]).await;
    let mut command = invoke(&stage, HAIKU, &["--body-file", "-"]);
    command.stdin(std::fs::File::from(fs_err::File::open(stage.path("body.json")).unwrap()));
    let pipe = process::to_the_end(command).await;

    assert_eq!((file.code, pipe.code), (0, 0), "{file:?} {pipe:?}");
    assert_eq!(file.stdout, pipe.stdout);
}

#[tokio::test]
async fn an_endpoint_that_a_variable_names_wrongly_is_told_with_the_variable() {
    let stage = Stage::new().await;
    let mut command = bedrock(&stage, &["invoke", "--model-id", HAIKU, "--body", BODY]);
    command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://localhost:4566");

    let ran = process::to_the_end(command).await;

    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("AWS_ENDPOINT_URL_BEDROCK_RUNTIME: "), "{ran:?}");
}

#[tokio::test]
async fn the_daemons_only_session_needs_no_name() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let mut command = process::anchord();
    command.args(["bedrock", "api-key", "--region", "us-east-1", "--socket-path"]).arg(stage.socket());
    command.envs(process::home(stage.path("nowhere")));

    let ran = process::to_the_end(command).await;

    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("bedrock-api-key-"), "{}", ran.stderr);
}
