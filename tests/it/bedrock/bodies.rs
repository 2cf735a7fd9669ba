//! What is sent, and what is kept of the answer.

use std::io::Write as _;
use std::process::Stdio;

use anchord_emulator::Fault;
use anchord_emulator::Service;
use serde_json::Value;
use serde_json::json;

use super::BODY;
use super::HAIKU;
use super::bedrock;
use super::calls;
use super::invoke;
use super::invoked;
use super::told;
use super::told_with_an_answer;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;
use anchord_testing::stage::terminal;

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
    let (line, hint, answer) = told_with_an_answer(&ran, 1);
    assert_eq!(line, "the answer has no match for `$.usage.cost`");
    assert!(hint.starts_with("leave out `--output`"), "{hint}");
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["output"]["message"]["content"][0]["text"], "You said: hi");
}

#[tokio::test]
async fn a_billed_answer_that_cannot_go_where_it_should_is_printed_on_stderr_as_it_is() {
    let stage = Stage::new().await;
    let say = ["--message", "hi"];
    let invoked = |more: &[&str]| {
        let command = invoke(&stage, HAIKU, &[&say[..], more].concat());
        process::to_the_end(command)
    };

    let some = ["--output", "$.usage.inputTokens", "--output", "$.usage.cost"];
    let half = invoked(&some).await;
    assert_eq!((half.code, half.stdout.as_str()), (1, "1\n"));
    assert!(half.stderr.contains("\n{\"") && half.stderr.contains("You said: hi"), "{}", half.stderr);

    let kept = invoked(&["--output", "$.nothing", "--output-file", "answer.json"]).await;
    assert_eq!((kept.code, kept.stdout.as_str()), (1, ""));
    assert!(!kept.stderr.contains("You said: hi"), "it is in the file: {}", kept.stderr);
    assert!(fs_err::read_to_string(stage.path("answer.json")).unwrap().contains("You said: hi"));

    let unwritable = invoked(&["--output-file", "/dev/full"]).await;
    assert_eq!((unwritable.code, unwritable.stdout.as_str()), (1, ""));
    assert!(unwritable.stderr.contains("You said: hi"), "{}", unwritable.stderr);

    stage.emulator.script_for(Service::Bedrock, [Fault::Malformed]);
    let malformed = invoked(&["--output", "$.usage"]).await;
    assert_eq!((malformed.code, malformed.stdout.as_str()), (1, ""));
    assert!(malformed.stderr.trim_end().lines().count() > 2, "{}", malformed.stderr);

    for more in [&[][..], &["--output", "$.usage"], &["--stream"]] {
        let mut shell = std::process::Command::new("sh");
        let command = invoke(&stage, HAIKU, &[&say[..], more].concat());
        shell
            .args(["-c", "exec \"$0\" \"$@\" >/dev/full"])
            .arg(command.get_program())
            .args(command.get_args());
        shell.env_clear().env("PATH", "/usr/bin:/bin").envs(process::home(stage.path("")));
        let full = process::to_the_end(shell).await;
        assert_eq!(full.code, 1, "{}", full.stderr);
        // Of a stream the rest is left, event by event.
        assert!(
            full.stderr.contains("You said: hi") || full.stderr.contains("{\"messageStop\":"),
            "{}",
            full.stderr
        );
    }
}

/// Such as a `jq` that ended at once, for its program was wrong, while the model was thinking.
#[tokio::test]
async fn a_billed_answer_that_nothing_reads_is_printed_on_stderr() {
    let stage = Stage::new().await;
    for (more, code, is_left) in [
        (&[][..], 1, true),
        (&["--output", "$.usage"], 1, true),
        (&["--output-file", "answer.json", "--output", "$.usage"], 0, false),
        // It is broken off, as for a reader that leaves in its middle.
        (&["--stream"], 0, false),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = invoke(&stage, HAIKU, &[&["--message", "hi"], more].concat());
        command.stdout(writer).stderr(Stdio::piped()).stdin(Stdio::null());

        let child = command.spawn().unwrap();
        let ran = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();

        let stderr = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{more:?}: {stderr}");
        assert_eq!(stderr.contains("You said: hi"), is_left, "{more:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_wrong_json_path_is_told_before_anything_is_sent() {
    let stage = Stage::new().await;

    let ran = invoked(&stage, HAIKU, &["--converse", "--message", "hi", "--output", "usage"]).await;

    let (line, hint) = told(&ran, 2);
    assert!(line.starts_with("--output: the value is not a JSONPath: at position"), "{line}");
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

/// The emulator's model understands JSON alone, and says so once the signature has been verified.
#[tokio::test]
async fn a_body_that_is_not_text_is_sent_as_it_is() {
    let stage = Stage::new().await;
    fs_err::write(stage.path("body.png"), b"\x89PNG\r\n{{\xff").unwrap();

    let ran = invoked(&stage, HAIKU, &["--content-type", "image/png", "--body-file", "body.png"]).await;

    assert!(told(&ran, 3).0.contains("ValidationException: Malformed input request"), "{}", ran.stderr);
}

#[tokio::test]
async fn nobody_is_kept_waiting_at_a_terminal_for_a_body() {
    let stage = Stage::new().await;
    let (_person, programs) = terminal::pair();
    let mut command = invoke(&stage, HAIKU, &["--converse"]);
    command.stdin(std::fs::File::from(programs));

    let ran = process::to_the_end(command).await;

    let (line, hint) = told(&ran, 2);
    assert_eq!(line, "no body is given");
    assert!(hint.contains("`--message`"), "{hint}");
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
        (&["--body", "{}", "--var", "name=canary"], "the body does not use the variable `name`", "{{name}}"),
        (
            &["--body", "{\"a\": {{x}}}", "--var", "x=canary"],
            "`{{x}}` (line 1) is outside of a string, and its value is not JSON",
            "\"{{x}}\"",
        ),
        (
            &["--body", "{\"a\": \"{{ x y }}\"}"],
            "the `{{` in line 1 does not begin a placeholder",
            "--literal",
        ),
        (&["--body", "{}", "--var", "canary"], "--var: the value has no name", "NAME=VALUE"),
        (&["--body", "\"{{a}}\"", "--var", "a=1", "--var", "a=2"], "variable `a` is given twice", "leave"),
        (&[], "the body is empty", "--body-file"),
        (&["--body-file", "latin1.json"], "the body is not UTF-8 at byte 7", "--content-type"),
        (
            &["--body", "{}", "--header", "Authorization:canary"],
            "the header `authorization` cannot be set",
            "leave it out",
        ),
        (&["--message", " "], "the message is empty", "without text"),
        (&["--message", "{{it}}", "--var", "it="], "the message is empty", "without text"),
        // The value was forgotten, and a call would be billed.
        (&["--message", "--stream"], "--message has no value", "--message=VALUE"),
        (&["--body", "--converse"], "--body has no value", "--body=VALUE"),
        (&["--body", "{}", "--timeout", "soon"], "--timeout: the value is not a duration", "1h30m"),
        (
            &["--body", "{}", "--endpoint-url", "http://localhost"],
            "--endpoint-url: the value is not an endpoint",
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
