//! Demonstrates anchord offline: an emulated AWS, new certificates, the daemon, its three channels, and a model.
//!
//! `cargo run --release --example demo` keeps running, so that you can try your own SDK. `-- --once` ends after the
//! check. The daemon is the real program. The demonstration builds it first, because cargo builds an example without
//! programs.
#![allow(clippy::print_stdout, reason = "a demonstration prints what it does")]

use std::error::Error;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;

use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::Setup;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

type Outcome<T> = Result<T, Box<dyn Error>>;

const REGION: &str = "us-east-1";
const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";

fn main() -> ExitCode {
    let once = std::env::args_os().skip(1).any(|argument| argument == "--once");
    let outcome =
        tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(demo(once)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("The demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the program beside this one, in the same profile, and returns its path.
fn build_anchord() -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    let profile =
        this.parent().and_then(Path::parent).ok_or("the demonstration is not where cargo builds examples")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bin", "anchord", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(target) = profile.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    match cargo.status()?.success() {
        true => Ok(profile.join("anchord")),
        false => Err("cargo could not build anchord".into()),
    }
}

async fn demo(once: bool) -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("anchord-demo-").tempdir()?;
    let (emulator, configuration) = set_the_stage(folder.path()).await?;
    println!(
        "1. An emulated AWS (IAM Roles Anywhere, STS, Bedrock) listens on {} (TLS).",
        emulator.endpoint()
    );
    println!("2. A CA, an intermediate and a leaf with a P-256 key are in {}.", folder.path().display());

    let daemon = Daemon::start(&configuration, folder.path())?;
    let http = daemon.address().await?;
    println!("3. The daemon runs as process {} and serves {http}.", daemon.child.id());

    let imds = through_imds(&http).await?;
    println!("4. IMDSv2 gave          {imds}");
    let token_file = folder.path().join("run/demo.token");
    let container = through_container(&http, &token_file).await?;
    println!("5. Container endpoint   {container}");
    let process = daemon.credential_process()?;
    println!("6. credential-process   {process}");

    let sessions = emulator.sessions_created();
    let answer = daemon.ask_a_model(&emulator.endpoint(), "Who is there?")?;
    println!("7. bedrock invoke       {answer}");
    if imds != container || container != process || sessions != 1 {
        return Err(format!("three channels should share one session; {sessions} were created").into());
    }
    println!("All of them used the same session: AWS was asked for credentials {sessions} time.\n");
    if !once {
        invite(&http, &token_file, &daemon);
        asked_to_end().await?;
    }
    Ok(())
}

/// Waits for Ctrl-C, `kill`, or the end of the terminal, so that the daemon and the key do not stay behind.
async fn asked_to_end() -> Outcome<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// Starts the emulator, and writes certificates and the daemon's configuration.
async fn set_the_stage(folder: &Path) -> Outcome<(Emulator, PathBuf)> {
    let root = Authority::root("Demo root", KeyKind::P256)?;
    let intermediate = root.intermediate("Demo intermediate", KeyKind::P256)?;
    let leaf = intermediate.leaf(&LeafRequest::new("demo.example", KeyKind::P256))?;
    let setup = Setup::sample(REGION, &root);
    let (trust_anchor, profile, role) = (setup.trust_anchor_arn(), setup.profile_arn(), setup.role_arn());
    let emulator = Emulator::start(setup).await?;

    fs_err::write(
        folder.join("leaf.pem"),
        [leaf.certificate_pem(), intermediate.certificate_pem()].concat(),
    )?;
    write_private(&folder.join("key.pem"), &leaf.key_pem(KeyForm::Pkcs8)?)?;
    fs_err::write(folder.join("tls-ca.pem"), emulator.tls_ca_pem())?;
    let configuration = folder.join("anchord.toml");
    let text = format!(
        r#"runtime_directory = "run"

[http]
listen = ["127.0.0.1:0"]

[upstream]
ca_file = "tls-ca.pem"

[session.demo]
certificate = "leaf.pem"
private_key = "key.pem"
trust_anchor_arn = "{trust_anchor}"
profile_arn = "{profile}"
role_arn = "{role}"
endpoint = "{}"
"#,
        emulator.endpoint()
    );
    fs_err::write(&configuration, text)?;
    Ok((emulator, configuration))
}

fn write_private(path: &Path, text: &str) -> Outcome<()> {
    use std::io::Write as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs_err::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A command without the user's environment, because a proxy or an ANCHORD_… variable would change the result.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}

/// The daemon's process. Dropping the value ends it.
struct Daemon {
    child: Child,
    program: PathBuf,
    configuration: PathBuf,
    log: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(configuration: &Path, folder: &Path) -> Outcome<Self> {
        let program = build_anchord()?;
        let log = folder.join("daemon.log");
        let stderr: std::fs::File = fs_err::File::create(&log)?.into();
        let child = clean(&program)
            .args(["run", "--config"])
            .arg(configuration)
            .stderr(stderr)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { child, program, configuration: configuration.into(), log })
    }

    fn verb(&self, words: &[&str]) -> Outcome<std::process::Output> {
        let mut command = clean(&self.program);
        command.args(words).arg("--config").arg(&self.configuration);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// The daemon's address, from its status as soon as its socket answers.
    async fn address(&self) -> Outcome<String> {
        for _ in 0..100 {
            let status = self.verb(&["status", "--json"])?;
            if let Ok(status) = serde_json::from_slice::<Value>(&status.stdout) {
                let address = status["listeners"]["http"][0].as_str().ok_or("the status names no address")?;
                return Ok(address.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the daemon did not start:\n{}", fs_err::read_to_string(&self.log)?).into())
    }

    fn credential_process(&self) -> Outcome<String> {
        let output = self.verb(&["credential-process", "--session", "demo"])?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        key_id(&serde_json::from_slice(&output.stdout)?)
    }

    fn ask_a_model(&self, endpoint: &str, question: &str) -> Outcome<String> {
        let model = ["--model-id", MODEL, "--converse", "--message", question];
        let output = ["--output", "$.output.message.content[0].text", "--endpoint-url", endpoint];
        let output = self.verb(&[&["bedrock", "invoke"], &model[..], &output[..]].concat())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().into()),
            false => Err(String::from_utf8_lossy(&output.stderr).into()),
        }
    }
}

async fn through_imds(http: &str) -> Outcome<String> {
    let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 300";
    let token = exchange(http, "PUT", "/latest/api/token", ttl).await?;
    let token = format!("x-aws-ec2-metadata-token: {token}");
    let tree = "/latest/meta-data/iam/security-credentials/";
    let role = exchange(http, "GET", tree, &token).await?;
    let document = exchange(http, "GET", &format!("{tree}{role}"), &token).await?;
    key_id(&serde_json::from_str(&document)?)
}

async fn through_container(http: &str, token_file: &Path) -> Outcome<String> {
    let bearer = format!("authorization: {}", fs_err::read_to_string(token_file)?);
    let document = exchange(http, "GET", "/v1/credentials/demo", &bearer).await?;
    key_id(&serde_json::from_str(&document)?)
}

/// Sends one request in plain HTTP/1.1, so that a reader needs to know no HTTP library.
async fn exchange(http: &str, method: &str, path: &str, header: &str) -> Outcome<String> {
    let address = http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{header}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or("the reply has no body")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(format!("{method} {path} was answered `{status}` {body}").into());
    }
    Ok(body.to_owned())
}

fn key_id(document: &Value) -> Outcome<String> {
    Ok(document["AccessKeyId"].as_str().ok_or("the response has no AccessKeyId")?.to_owned())
}

fn invite(http: &str, token_file: &Path, daemon: &Daemon) {
    println!(
        "Now try your own SDK (the keys are the emulator's; AWS does not know them). In another terminal:

  # container credentials: the most robust channel
  export AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION}
  export AWS_CONTAINER_CREDENTIALS_FULL_URI={http}/v1/credentials/demo
  export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={token_file}
  python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'
  curl -H \"Authorization: $(cat {token_file})\" {http}/v1/credentials/demo

  # or IMDSv2
  export AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION}
  export AWS_EC2_METADATA_SERVICE_ENDPOINT={http}

  # or in ~/.aws/config
  [profile demo]
  region = {REGION}
  credential_process = {program} credential-process --config {configuration} --session demo

Ctrl-C ends the demonstration and removes its files.",
        token_file = token_file.display(),
        program = daemon.program.display(),
        configuration = daemon.configuration.display(),
    );
}
