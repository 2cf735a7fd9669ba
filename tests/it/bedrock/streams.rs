//! Answers that come in pieces.

use std::io::Read as _;
use std::process::Stdio;

use anchord_emulator::Fault;
use anchord_emulator::Service;
use serde_json::Value;
use serde_json::json;

use super::BODY;
use super::HAIKU;
use super::invoke;
use super::invoked;
use super::told_with_an_answer;
use anchord_testing::stage::Stage;

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
    let (line, _, answer) = told_with_an_answer(&missed, 1);
    assert_eq!(line, "the answer has no match for `$.x`");
    assert_eq!(answer, events.stdout, "as `--json` shows it");
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
            .starts_with("anchord: Bedrock ended the stream with ThrottlingException: Too many tokens"),
        "{}",
        exception.stderr
    );

    stage.emulator.script_for(Service::Bedrock, [Fault::StreamCut]);
    let cut = invoked(&stage, HAIKU, &stream).await;
    assert_eq!(cut.code, 1);
    assert!(cut.stdout.starts_with("You said:") && !cut.stdout.contains("four"), "{}", cut.stdout);
    assert!(
        cut.stderr.contains("ended before the model had finished") && cut.stderr.contains("\n  hint: "),
        "{}",
        cut.stderr
    );

    stage.emulator.script_for(Service::Bedrock, [Fault::StreamCut]);
    let unselected = invoked(&stage, HAIKU, &[&stream[..], &["--output", "$.metadata"]].concat()).await;
    assert_eq!((unselected.code, unselected.stdout.as_str()), (1, ""));
    assert!(unselected.stderr.contains("ended before the model had finished"), "{}", unselected.stderr);
    assert!(
        unselected.stderr.contains("\n{\"messageStart\":"),
        "what has come is billed: {}",
        unselected.stderr
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
async fn a_model_that_is_silent_for_too_long_is_given_up() {
    let stage = Stage::new().await;
    stage.emulator.script_for(Service::Bedrock, [Fault::StreamHold]);

    let ran =
        invoked(&stage, HAIKU, &["--stream", "--converse", "--message", "hi", "--timeout", "300ms"]).await;

    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("ended before the model had finished: nothing arrived for 0.3 s"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("hint: models may think for minutes: raise `--timeout`"), "{}", ran.stderr);
}
