//! The program: what it prints, what it writes, and how it ends.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;

use crate::support::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_anchord-emulator");

/// Starts the program and reads its lines up to `ready`.
async fn start(arguments: &[&str]) -> (Child, HashMap<String, String>) {
    let (child, values, _) = start_to_talk(arguments).await;
    (child, values)
}

/// The same, with the lines that follow.
async fn start_to_talk(
    arguments: &[&str],
) -> (Child, HashMap<String, String>, Lines<BufReader<ChildStdout>>) {
    let mut program = Command::new(PROGRAM);
    program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = program.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut values = HashMap::new();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        match line.split_once('=') {
            Some((name, value)) => values.insert(name.to_owned(), value.to_owned()),
            None => break,
        };
    }
    (child, values, lines)
}

async fn terminate(mut child: Child) -> Option<i32> {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    child.wait().await.unwrap().code()
}

#[tokio::test]
async fn it_prints_and_writes_what_a_client_must_be_told() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = directory.path().join("demo");
    fs_err::create_dir(&wanted).unwrap();
    fs_err::write(wanted.join("key.pem"), "an older one, readable by all").unwrap();

    let regions = ["--region", "eu-west-3", "--bedrock-region", "eu-central-1"];
    let (child, values) = start(&[&regions[..], &["--directory", wanted.to_str().unwrap()]].concat()).await;

    assert_eq!(values["region"], "eu-west-3");
    assert_eq!((&*values["sts_region"], &*values["bedrock_region"]), ("eu-west-3", "eu-central-1"));
    let keys = fs_err::read_to_string(&values["access_keys"]).unwrap();
    assert!(keys.starts_with("AKIAIOSFODNN7EXAMPLE:"), "{keys}");
    assert!(values["profile_arn"].starts_with("arn:aws:rolesanywhere:eu-west-3:123456789012:profile/"));
    let mode = fs_err::metadata(&values["private_key"]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let leaf = fs_err::read(&values["certificate"]).unwrap();
    assert_eq!(CertificateDer::pem_slice_iter(&leaf).count(), 2);
    let ca = fs_err::read_to_string(&values["ca_file"]).unwrap();
    let address = values["endpoint"].strip_prefix("https://").unwrap();
    assert!(Client::reach(address, &ca, "127.0.0.1").await.is_ok());
    let written = fs_err::read_to_string(wanted.join("values.env")).unwrap();
    assert!(written.starts_with(&format!("endpoint=https://{address}\n")), "{written}");

    assert_eq!(terminate(child).await, Some(0));
}

#[tokio::test]
async fn commands_on_stdin_change_what_is_played_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        ["--control", "--second-region", "us-west-2", "--directory", directory.path().to_str().unwrap()];
    let (mut child, values, mut lines) = start_to_talk(&arguments).await;
    let ca = fs_err::read_to_string(&values["ca_file"]).unwrap();
    let authorities: Vec<&str> = ca.split_inclusive("-----END CERTIFICATE-----\n").collect();
    for (endpoint, authority) in ["endpoint", "second_endpoint"].iter().zip(authorities) {
        let address = values[*endpoint].strip_prefix("https://").unwrap();
        assert!(Client::reach(address, authority, "127.0.0.1").await.is_ok(), "{endpoint}");
    }
    let leaf = fs_err::read(&values["certificate"]).unwrap();
    let mut stdin = child.stdin.take().unwrap();

    for (command, answer) in [
        ("leaf", "{\"done\":null}"),
        ("first fault unavailable=1", "{\"done\":null}"),
        ("second fault nonsense", "{\"error\":\"`nonsense` is no fault; --help lists them\"}"),
        ("first reading no-date", "{\"done\":null}"),
        ("second clock 60", "{\"done\":null}"),
        ("first issued 0", "{\"done\":[]}"),
        ("first requests 0", "{\"done\":[]}"),
        ("first another 900", "-1\"}"),
        ("nonsense", "{\"error\":\"`nonsense` is no command\"}"),
    ] {
        stdin.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let line = lines.next_line().await.unwrap().unwrap();
        assert!(line.ends_with(answer), "{command}: {line}");
    }
    assert_ne!(fs_err::read(&values["certificate"]).unwrap(), leaf);

    drop(stdin);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_wrong_argument_is_a_usage_error() {
    for arguments in [
        ["--fault", "nonsense"],
        ["--reading", "nonsense"],
        ["--session-seconds", "0"],
        ["--listen", "nowhere"],
    ] {
        let mut program = Command::new(PROGRAM);
        let output = program.args(arguments).output().await.unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let output = Command::new(PROGRAM).args(["--listen", &address]).output().await.unwrap();

    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with(&format!("anchord-emulator: cannot listen on {address}: ")), "{text}");
}
