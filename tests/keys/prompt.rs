//! A passphrase that is typed in, on a terminal that script(1) makes.

use std::io::Read as _;
use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

use crate::support::Stage;

const PASSPHRASE: &str = "typed-5b1c-of-tests";

/// The session's key, encrypted by OpenSSL.
fn encrypt(stage: &Stage) {
    let arguments =
        ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", &format!("pass:{PASSPHRASE}"), "-in"];
    let (plain, encrypted) = (stage.path("key.pem"), stage.path("encrypted.pem"));
    let mut command = Command::new("openssl");
    assert!(command.args(arguments).arg(plain).arg("-out").arg(&encrypted).status().unwrap().success());
    fs_err::rename(encrypted, stage.path("key.pem")).unwrap();
}

/// All that the terminal shows while `typed` is typed into the prompt, and whether the verb was content.
fn show(stage: &Stage, typed: &str) -> (String, bool) {
    let anchord = env!("CARGO_BIN_EXE_anchord");
    let verb = format!("{anchord} certificate show --config {}", stage.path("anchord.toml").display());
    // Whoever runs tests in the background has them ignore Ctrl+C.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", "script", "--quiet", "--return", "--command", &verb, "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    // What is typed before the prompt would be thrown away.
    while !shown.ends_with(b": ") {
        let mut byte = [0];
        assert_eq!(screen.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    keyboard.write_all(typed.as_bytes()).unwrap();
    screen.read_to_end(&mut shown).unwrap();
    (String::from_utf8(shown).unwrap(), child.wait().unwrap().success())
}

#[tokio::test]
async fn a_passphrase_is_asked_for_and_not_shown() {
    let stage = Stage::new().await;
    encrypt(&stage);
    stage.configure(&format!("{}passphrase = \"prompt\"\n", stage.session("bedrock")));

    let (shown, is_good) = show(&stage, &format!("{PASSPHRASE}\n"));
    assert!(is_good && shown.starts_with("Passphrase of session bedrock: \r\n"), "{shown}");
    assert!(shown.contains("belongs to the leaf") && !shown.contains(PASSPHRASE), "{shown}");

    let (shown, is_good) = show(&stage, "wrong\n");
    assert!(!is_good && shown.contains("passphrase"), "{shown}");
    let (shown, is_good) = show(&stage, "half\u{3}");
    assert!(!is_good && !shown.contains("refused"), "Ctrl+C ends it: {shown}");
}

#[tokio::test]
async fn without_a_terminal_it_is_said_what_to_use_instead() {
    let stage = Stage::new().await;
    encrypt(&stage);
    stage.configure(&format!("{}passphrase = \"prompt\"\n", stage.session("bedrock")));
    let mut command = Command::new("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_anchord"), "certificate", "show", "--config"]);
    command.arg(stage.path("anchord.toml")).stdin(Stdio::null());

    let output = command.output().unwrap();

    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("passphrase has not been asked for"), "{shown}");
    assert!(shown.contains("needs a terminal; a service takes it from a file"), "{shown}");
}
