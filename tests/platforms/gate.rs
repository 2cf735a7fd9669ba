//! Stands between an SDK and the daemon and spoils the answers that have credentials, while it is told to.
//!
//! `ANCHORD_SDK_REFUSAL` tries another refusal than the daemon's: a status with an empty body ("404 Not Found"), "close",
//! which ends the connection, or "hold:900", which passes the daemon's answer that many milliseconds late.
//!
//! What it does and what it has spoiled are in files, which the shell script reads that stands before
//! `anchord credential-process`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::channels::Channel;
use crate::host::Host;
use crate::programs::Variables;
use crate::relay;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All passes.
    Open,
    /// What the daemon answers without credentials: 503, or a helper that fails.
    Refuse,
    /// Half of an answer, as complete.
    Cut,
}

impl Mode {
    fn text(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refuse => "refuse",
            Self::Cut => "cut",
        }
    }
}

#[derive(Clone)]
struct Files {
    mode: PathBuf,
    spoiled: PathBuf,
}

pub(crate) struct Gate {
    files: Files,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// An open gate before `host`, and what an SDK is told so that it asks through it.
    pub(crate) async fn before(host: &Host, channel: Channel) -> (Self, Variables) {
        let stage = &host.stage;
        let files = Files { mode: stage.path("gate"), spoiled: stage.path("spoiled") };
        fs_err::write(&files.spoiled, "").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(serve(listener, host.address(), files.clone()));
        let gate = Self { files, task };
        gate.set(Mode::Open);
        let variables = channel.variables(stage, &authority, "");
        if channel == Channel::Process {
            gate.stand_before_helper(host);
        }
        (gate, variables)
    }

    /// Puts a script before the command of the profile.
    fn stand_before_helper(&self, host: &Host) {
        let profile = host.stage.path("aws-config");
        let text = fs_err::read_to_string(&profile).unwrap();
        let (head, command) = text.split_once(" = ").unwrap();
        let (mode, spoiled) = (self.files.mode.display(), self.files.spoiled.display());
        let script = format!(
            "case $(cat {mode}) in\n\
             refuse) echo >>{spoiled}; echo 'anchord: no credentials at the moment' >&2; exit 1;;\n\
             cut) echo >>{spoiled}; printf '%s' '{CUT}'; exit 0;;\nesac\nexec {command}"
        );
        host.stage.write("helper.sh", &script);
        let script = host.stage.path("helper.sh");
        fs_err::write(profile, format!("{head} = sh {}\n", script.display())).unwrap();
    }

    pub(crate) fn set(&self, mode: Mode) {
        // In one step: a script may be reading it.
        let next = self.files.mode.with_extension("next");
        fs_err::write(&next, mode.text()).unwrap();
        fs_err::rename(next, &self.files.mode).unwrap();
    }

    /// How many answers it has spoiled.
    pub(crate) fn spoiled(&self) -> usize {
        fs_err::read(&self.files.spoiled).unwrap().len()
    }
}

const CUT: &str = r#"{"Version":1,"Code":"Success","AccessKeyId":"ASIACUT"#;

async fn serve(listener: TcpListener, daemon: SocketAddr, files: Files) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass(client, daemon, files.clone()));
    }
}

async fn pass(client: TcpStream, daemon: SocketAddr, files: Files) {
    let mut client = BufReader::new(client);
    while let Some(request) = relay::head(&mut client).await {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let spoiled = spoiled(path, &fs_err::read_to_string(&files.mode).unwrap_or_default());
        if spoiled.is_some() {
            let mut file = fs_err::OpenOptions::new().append(true).open(&files.spoiled).unwrap();
            std::io::Write::write_all(&mut file, b"\n").unwrap();
        }
        let answer = match spoiled {
            Some(late) if late.starts_with("hold:") => {
                let milliseconds = late["hold:".len()..].parse().unwrap();
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                relay::ask(daemon, &request).await
            }
            Some(close) if close == "close" => None,
            Some(answer) => Some(answer.into_bytes()),
            None => relay::ask(daemon, &request).await,
        };
        let Some(answer) = answer else { return };
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// What is answered instead of the daemon's answer.
fn spoiled(path: &str, mode: &str) -> Option<String> {
    let imds = path.contains("/security-credentials");
    let list = path.trim_end_matches('/').ends_with("/security-credentials");
    let credentials = imds || path.starts_with("/v1/credentials");
    let other = std::env::var("ANCHORD_SDK_REFUSAL").ok().filter(|_| credentials && mode == "refuse");
    if let Some(other) = other {
        let is_status = other.starts_with(|first: char| first.is_ascii_digit());
        return Some(if is_status { answer(&other, "") } else { other });
    }
    match mode {
        "refuse" if imds => Some(answer("503 Service Unavailable", "")),
        "refuse" if credentials => Some(answer(
            "503 Service Unavailable",
            r#"{"code":"Unavailable","message":"no credentials at the moment; check anchord's log for the reason"}"#,
        )),
        "cut" if credentials && !list => Some(answer("200 OK", CUT)),
        _ => None,
    }
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}
