//! `anchord bedrock`: models called with a session's credentials.

use std::io::Read as _;
use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

use anchord::clock::Clock;
use anchord::upstream;
use anchord::upstream::Https;
use anchord::upstream::Limits;
use anchord_emulator::Fault;
use anchord_emulator::LoggedRequest;
use anchord_emulator::Model;
use anchord_emulator::ModelKind;
use anchord_emulator::Service;
use serde_json::Value;
use serde_json::json;

use crate::support::Ran;
use crate::support::Stage;
use crate::support::process;

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
    command.env("HOME", stage.path("")).current_dir(stage.path(""));
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
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
    let (line, hint) = ran.stderr.split_once('\n').unwrap();
    let (line, hint) =
        (line.strip_prefix("anchord: ").unwrap(), hint.strip_prefix("  hint: ").unwrap_or_default());
    assert!(hint.trim_end().lines().count() <= 1, "{}", ran.stderr);
    (line, hint.trim_end())
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
async fn an_answer_is_selected_from_by_json_paths() {
    let stage = Stage::new().await;
    let paths = [
        "--output",
        "$.output.message.content[0].text",
        "--output",
        "$.usage",
        "--output",
        "$.usage.inputTokens",
    ];

    let ran = invoked(&stage, HAIKU, &[&["--converse", "--message", "say hi"], &paths[..]].concat()).await;

    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "You said: say hi\n{\"inputTokens\":2,\"outputTokens\":4,\"totalTokens\":6}\n2\n")
    );
    let ran = invoked(&stage, HAIKU, &["--converse", "--message", "hi", "--output", "$.usage.cost"]).await;
    let (line, hint) = told(&ran, 1);
    assert_eq!(line, "the answer holds nothing at `$.usage.cost`");
    assert!(hint.starts_with("without `--output`"), "{hint}");
}

#[tokio::test]
async fn a_wrong_json_path_is_told_before_anything_is_sent() {
    let stage = Stage::new().await;

    let ran = invoked(&stage, HAIKU, &["--converse", "--message", "hi", "--output", "usage"]).await;

    let (line, hint) = told(&ran, 2);
    assert!(line.starts_with("--output: `usage` is not a JSONPath: at position"), "{line}");
    assert!(hint.contains("RFC 9535"), "{hint}");
    assert!(stage.emulator.requests().is_empty());
}

#[tokio::test]
async fn a_body_is_filled_in_from_variables_and_files() {
    let stage = Stage::new().await;
    stage.write("doc.txt", "line one\n\"line two\" {{n}}\n");
    stage.write(
        "body.json",
        r#"{"messages": [{"role": "user", "content": [{"text": "{{who}}: {{ doc }}"}]}], "inferenceConfig": {"maxTokens": {{n}}}}"#,
    );
    let more = [
        "--converse",
        "--body-file",
        "body.json",
        "--var",
        "who=a=b",
        "--var-file",
        "doc=doc.txt",
        "--var",
        "n=12",
    ];

    let ran = invoked(&stage, HAIKU, &more).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let sent = calls(&stage)[0].body.clone().unwrap();
    assert_eq!(sent["messages"][0]["content"][0]["text"], "a=b: line one\n\"line two\" {{n}}\n");
    assert_eq!(sent["inferenceConfig"]["maxTokens"], 12);
}

#[tokio::test]
async fn a_body_may_come_from_stdin_and_is_then_sent_literally_if_asked_to() {
    let stage = Stage::new().await;
    let mut child = invoke(&stage, HAIKU, &["--converse", "--body", "-", "--literal", "--output", "$..text"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let body = json!({"messages": [{"role": "user", "content": [{"text": "{{it}}"}]}]}).to_string();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();

    let ran = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();

    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "You said: {{it}}\n");
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_before_anything_is_sent() {
    let stage = Stage::new().await;
    stage.write("latin1.json", "");
    fs_err::write(stage.path("latin1.json"), b"{\"a\": \"\xe9\"}").unwrap();
    for (more, line, hint) in [
        (
            &["--body", "{\"a\": \"canary\",\n  b}"][..],
            "the body is not JSON at line 2, column 3",
            "--content-type",
        ),
        (&["--body", "{\"a\":\n\"{{name}}\"}"], "no value for `{{name}}` (line 2)", "--var NAME=VALUE"),
        (
            &["--body", "{}", "--var", "name=canary"],
            "variable `name` is used nowhere in the body",
            "{{name}}",
        ),
        (
            &["--body", "{\"a\": {{x}}}", "--var", "x=canary"],
            "`{{x}}` (line 1) stands outside of a string, and its value is not JSON",
            "\"{{x}}\"",
        ),
        (&["--body", "{\"a\": \"{{ x y }}\"}"], "the `{{` in line 1 begins no placeholder", "--literal"),
        (&["--body", "{}", "--var", "canary"], "--var: there is no name", "NAME=VALUE"),
        (&["--body", "\"{{a}}\"", "--var", "a=1", "--var", "a=2"], "variable `a` is given twice", "leave"),
        (&[], "the body is empty", "--body-file"),
        (&["--body-file", "latin1.json"], "the body is not UTF-8 from byte 7 on", "--content-type"),
        (
            &["--body", "{}", "--header", "Authorization:canary"],
            "the header `authorization` is not the caller's to set",
            "leave it out",
        ),
        (&["--body", "{}", "--timeout", "soon"], "--timeout: `soon` is not a duration", "1h30m"),
        (
            &["--body", "{}", "--endpoint-url", "http://localhost"],
            "`http://localhost` is not an endpoint",
            "TLS",
        ),
    ] {
        let mut command = bedrock(&stage, &["invoke", "--model-id", HAIKU]);
        command.args(more);
        let ran = process::to_the_end(command).await;

        let (told, advice) = told(&ran, 2);
        assert_eq!(told, line);
        assert!(advice.contains(hint), "{advice}");
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
    }
    let ran = invoked(&stage, HAIKU, &["--body-file", "nowhere.json"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.ends_with("nowhere.json`: No such file or directory (os error 2)\n"),
        "{}",
        ran.stderr
    );
    assert!(stage.emulator.requests().is_empty());
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
    assert_eq!(line, "the model id holds ' ', which no model id has");
    assert!(hint.contains("anchord bedrock models"), "{hint}");
    assert!(stage.emulator.requests().is_empty());
}

#[tokio::test]
async fn refusals_of_aws_say_what_to_do() {
    let stage = Stage::new().await;
    let converse = ["--converse", "--message", "hi"];

    let unknown = invoked(&stage, "anthropic.unknown-v1:0", &converse).await;
    let (line, hint) = told(&unknown, 3);
    assert!(line.starts_with("AWS answered 400 Bad Request ValidationException: The provided model identifier is invalid. (request id "), "{line}");
    assert_eq!(hint, "there is no such model in this Region: `anchord bedrock models` lists those there are");

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
    assert!(hint.starts_with("the session's credentials have ended: see `anchord status`"), "{hint}");

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
    assert!(hint.contains("`--retries`"), "{hint}");
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
async fn an_answer_can_be_kept_in_a_file() {
    let stage = Stage::new().await;
    stage.write("answer.json", "old");

    let ran = invoked(&stage, HAIKU, &["--body", BODY, "--output-file", "answer.json"]).await;

    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let answer: Value =
        serde_json::from_str(&fs_err::read_to_string(stage.path("answer.json")).unwrap()).unwrap();
    assert_eq!(answer["type"], "message");
    let ran = invoked(&stage, HAIKU, &["--body", BODY, "--output-file", "nowhere/answer.json"]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(calls(&stage).len(), 1, "which nobody pays for");
}

#[tokio::test]
async fn a_stream_is_printed_as_text_or_events_or_what_is_selected_of_them() {
    let stage = Stage::new().await;
    let text = "You said: a b c\n";

    let converse = invoked(&stage, HAIKU, &["--stream", "--converse", "--message", "a b c"]).await;
    assert_eq!((converse.code, converse.stdout.as_str(), converse.stderr.as_str()), (0, text, ""));
    let body = BODY.replace("canary in the coal mine", "a b c");
    let invoke = invoked(&stage, HAIKU, &["--stream", "--body", &body]).await;
    assert_eq!((invoke.code, invoke.stdout.as_str(), invoke.stderr.as_str()), (0, text, ""));

    let events = invoked(&stage, HAIKU, &["--stream", "--json", "--converse", "--message", "a"]).await;
    let lines: Vec<Value> = events.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"messageStart": {"role": "assistant"}}));
    assert_eq!(lines.last().unwrap()["metadata"]["usage"]["inputTokens"], 1);
    let paths = ["--output", "$.metadata.usage.outputTokens", "--output", "$.messageStop.stopReason"];
    let selected =
        invoked(&stage, HAIKU, &[&["--stream", "--converse", "--message", "a"], &paths[..]].concat()).await;
    assert_eq!((selected.code, selected.stdout.as_str()), (0, "end_turn\n3\n"));
    let missed =
        invoked(&stage, HAIKU, &["--stream", "--converse", "--message", "a", "--output", "$.x"]).await;
    assert_eq!(told(&missed, 1).0, "the answer holds nothing at `$.x`");
}

#[tokio::test]
async fn text_is_there_before_the_model_is_done() {
    let stage = Stage::new().await;
    stage.emulator.script_for(Service::Bedrock, [Fault::StreamHold]);
    let mut child = invoke(&stage, HAIKU, &["--stream", "--converse", "--message", "one two three four"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();

    let (mut stdout, first) = tokio::task::spawn_blocking(move || {
        let mut first = [0; 4];
        stdout.read_exact(&mut first).unwrap();
        (stdout, first)
    })
    .await
    .unwrap();
    assert_eq!(&first, b"You ");
    stage.emulator.wait_for_held(1).await;
    stage.emulator.release();

    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success());
        rest
    });
    assert_eq!(rest.await.unwrap(), "said: one two three four\n");
}

#[tokio::test]
async fn what_breaks_a_stream_off_is_told_after_what_was_said() {
    let stage = Stage::new().await;
    let stream = ["--stream", "--converse", "--message", "one two three four"];

    let kind = "throttlingException".to_owned();
    stage
        .emulator
        .script_for(Service::Bedrock, [Fault::StreamException { kind, message: "Too many tokens".into() }]);
    let exception = invoked(&stage, HAIKU, &stream).await;
    assert_eq!(exception.code, 1);
    assert!(
        exception.stdout.starts_with("You said:") && !exception.stdout.contains("four"),
        "{}",
        exception.stdout
    );
    assert!(
        exception
            .stderr
            .starts_with("anchord: Bedrock broke the stream off with ThrottlingException: Too many tokens"),
        "{}",
        exception.stderr
    );

    stage.emulator.script_for(Service::Bedrock, [Fault::StreamCut]);
    let cut = invoked(&stage, HAIKU, &stream).await;
    assert_eq!(cut.code, 1);
    assert!(cut.stdout.starts_with("You said:") && !cut.stdout.contains("four"), "{}", cut.stdout);
    assert!(
        cut.stderr.contains("ended before the model was done") && cut.stderr.contains("\n  hint: "),
        "{}",
        cut.stderr
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let stage = Stage::new().await;
    let mut child = invoke(&stage, HAIKU, &["--stream", "--converse", "--message", "a b c"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());

    let ran = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();

    assert_eq!((ran.status.code(), String::from_utf8(ran.stderr).unwrap().as_str()), (Some(0), ""));
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
    assert!(hint.starts_with("see that this host may reach the endpoint"), "{hint}");
}

#[tokio::test]
async fn models_and_profiles_are_listed() {
    let stage = Stage::new().await;
    let endpoint = stage.emulator.endpoint();

    let table = process::to_the_end(bedrock(&stage, &["models", "--endpoint-url", &endpoint])).await;
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        rows.contains(&vec![HAIKU, "Anthropic", "TEXT", "TEXT", "yes", "ON_DEMAND", "ACTIVE"]),
        "{}",
        table.stdout
    );
    let profile = format!("us.{HAIKU}");
    assert!(rows.contains(&vec![profile.as_str(), profile.as_str(), "ACTIVE"]), "{}", table.stdout);

    let listed =
        process::to_the_end(bedrock(&stage, &["models", "--json", "--endpoint-url", &endpoint])).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["region"], "us-east-1");
    assert_eq!(listed["foundation_models"].as_array().unwrap().len(), 3);
    let profiles = listed["inference_profiles"].as_array().unwrap();
    assert_eq!(
        profiles.iter().map(|profile| profile["type"].as_str().unwrap()).collect::<Vec<_>>(),
        ["APPLICATION", "SYSTEM_DEFINED"]
    );
}

#[tokio::test]
async fn profiles_are_listed_to_the_last_page() {
    let stage = Stage::with(|setup| {
        let profile = |number| Model::new(ModelKind::InferenceProfile, &format!("us.p{number}"), "Anybody");
        setup.models.extend((0..1500).map(profile));
    })
    .await;

    let endpoint = stage.emulator.endpoint();
    let ran = process::to_the_end(bedrock(&stage, &["models", "--json", "--endpoint-url", &endpoint])).await;

    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed["inference_profiles"].as_array().unwrap().len(), 1502);
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
        command.env("HOME", stage.path("nobody"));
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
async fn a_model_that_is_silent_for_too_long_is_given_up() {
    let stage = Stage::new().await;
    stage.emulator.script_for(Service::Bedrock, [Fault::StreamHold]);

    let ran =
        invoked(&stage, HAIKU, &["--stream", "--converse", "--message", "hi", "--timeout", "300ms"]).await;

    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("ended before the model was done: nothing came for 300ms"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: models may think for minutes: raise `--timeout`"), "{}", ran.stderr);
}

#[tokio::test]
async fn models_are_shown_even_where_profiles_may_not_be_listed() {
    let stage = Stage::new().await;
    stage.emulator.set_denied("bedrock:ListInferenceProfiles", true);

    let ran =
        process::to_the_end(bedrock(&stage, &["models", "--endpoint-url", &stage.emulator.endpoint()])).await;

    assert_eq!(ran.code, 3);
    assert!(
        ran.stdout.contains(HAIKU) && ran.stderr.contains("bedrock:ListInferenceProfiles"),
        "{}",
        ran.stderr
    );
}

/// What Bedrock answers to a list asked for with this key.
async fn status_with_bearer(stage: &Stage, key: &str) -> u16 {
    let tls = upstream::client_config(Some(&stage.path("tls-ca.pem")), &Clock::system()).unwrap();
    let https = Https::new(tls, Limits { connect: None, read: None }, None).unwrap();
    let request = http::Request::get(format!("{}/foundation-models", stage.emulator.endpoint()))
        .header("authorization", format!("Bearer {key}"));
    https.open(request.body(bytes::Bytes::new()).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_api_key_is_printed_alone_and_bedrock_takes_it() {
    let stage = Stage::new().await;

    let ran = process::to_the_end(bedrock(&stage, &["api-key"])).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let key = ran.stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("bedrock-api-key-") && !key.contains(char::is_whitespace));
    assert_eq!(status_with_bearer(&stage, key).await, 200);
    assert_eq!(status_with_bearer(&stage, &key.replace('A', "B")).await, 403);
    assert!(calls(&stage).iter().all(|call| call.is_bearer));
}

#[tokio::test]
async fn an_api_key_says_when_it_ends_and_warns_once_if_that_is_sooner_than_asked() {
    let stage = Stage::new().await;
    let ends_at = |ran: &Ran| {
        let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(printed["region"], "eu-west-1");
        assert!(printed["api_key"].as_str().unwrap().starts_with("bedrock-api-key-"));
        printed["expires_at"].as_str().unwrap().to_owned()
    };

    let short =
        process::to_the_end(bedrock(&stage, &["api-key", "--json", "--region", "eu-west-1", "--ttl", "15m"]))
            .await;
    assert_eq!((short.code, short.stderr.as_str()), (0, ""));
    let long =
        process::to_the_end(bedrock(&stage, &["api-key", "--json", "--region", "eu-west-1", "--ttl", "2h"]))
            .await;
    assert_eq!(long.code, 0);
    assert!(ends_at(&short) < ends_at(&long));
    assert_eq!(
        long.stderr,
        format!("anchord: warning: the key ends with the session's credentials, at {}\n", ends_at(&long))
    );
    for ttl in ["0s", "13h", "soon"] {
        let ran = process::to_the_end(bedrock(&stage, &["api-key", "--ttl", ttl])).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ttl}");
    }
}

#[tokio::test]
async fn without_credentials_there_is_no_key_and_no_call() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let key = process::to_the_end(bedrock(&stage, &["api-key"])).await;
    let (line, hint) = told(&key, 3);
    assert!(line.contains("Unable to assume role") && hint.contains("trust policy"), "{line}");
    let call = invoked(&stage, HAIKU, &["--converse", "--message", "hi"]).await;
    assert!(!call.stderr.is_empty() && call.stdout.is_empty());
    assert!(calls(&stage).is_empty());
}
