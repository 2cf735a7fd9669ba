//! SDKs as programs that stay alive: a line in is a question, a line of JSON out is what the SDK holds at that moment.
//!
//! So it is the SDK's own cache that decides when to ask again, by a clock that the test moves.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anchord_emulator::IssuedCredentials;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::presigned;
use crate::sdks;
use crate::sdks::Sdk;
use anchord_testing::stage::process;
use anchord_testing::stage::process::PATIENCE;

/// What an SDK would sign with.
pub(crate) enum Shown {
    Keys {
        id: String,
        secret: String,
        token: String,
    },
    /// A URL signed with them: the AWS CLI of this version shows keys in no other way.
    Presigned(String),
    /// What a request shows that was signed with them, which is all that some clients show.
    Signed {
        id: String,
        token: String,
    },
}

impl Shown {
    /// Whether these are exactly the credentials that AWS issued.
    pub(crate) fn are(&self, issued: &IssuedCredentials) -> bool {
        match self {
            Self::Keys { id, secret, token } => {
                [id, secret, token]
                    == [&issued.access_key_id, &issued.secret_access_key, &issued.session_token]
            }
            Self::Presigned(url) => presigned::is_signed_with(url, issued),
            Self::Signed { id, token } => [id, token] == [&issued.access_key_id, &issued.session_token],
        }
    }

    pub(crate) fn id(&self) -> String {
        match self {
            Self::Keys { id, .. } | Self::Signed { id, .. } => id.clone(),
            Self::Presigned(url) => presigned::id(url),
        }
    }
}

/// Variables of an environment.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// The clock that an SDK sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Real,
    /// It can be moved.
    Movable,
}

/// An SDK in a program or, for the AWS CLI, its commands one after the other.
pub(crate) struct Program {
    sdk: Sdk,
    variables: Variables,
    home: PathBuf,
    /// Where a movable clock's offset is; where nothing is remembered, there is no use for one.
    offset: Option<PathBuf>,
    running: Option<Running>,
}

impl Program {
    /// Starts `sdk` with nothing in its environment but `variables` and what every program has. `folder` is its own.
    pub(crate) async fn start(
        sdk: Sdk,
        clock: Clock,
        variables: Variables,
        folder: &Path,
    ) -> Result<Self, String> {
        let home = folder.join("home");
        fs_err::create_dir_all(&home).unwrap();
        let offset = (clock == Clock::Movable && sdk.remembers()).then(|| folder.join("offset"));
        if let Some(offset) = &offset {
            fs_err::write(offset, "+0s\n").unwrap();
        }
        let mut program = Self { sdk, variables, home, offset, running: None };
        if sdk.remembers() {
            let mut running = Running::start(program.command())?;
            running.answer().await?;
            program.running = Some(running);
        }
        Ok(program)
    }

    fn command(&self) -> Command {
        let mut command = self.sdk.command();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(process::home(&self.home));
        // A Region for whose S3 the AWS CLI signs with SigV4. boto3 reads the one variable, everybody else the other.
        command.env("AWS_DEFAULT_REGION", "eu-central-1").env("AWS_REGION", "eu-central-1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let Some(offset) = &self.offset else { return command };
        command.env("FAKETIME_TIMESTAMP_FILE", offset).env("FAKETIME_NO_CACHE", "1");
        if self.sdk.asks_libc_for_time() {
            command.env("LD_PRELOAD", sdks::clock_library());
        }
        if !self.sdk.counts_life_by_the_monotonic_clock() {
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }

    /// What the SDK would sign with now, or its error.
    pub(crate) async fn get(&mut self) -> Result<Shown, String> {
        let Some(running) = &mut self.running else { return self.presign().await };
        let answer = running.ask().await?;
        let field = |name: &str| answer[name].as_str().map(str::to_owned);
        match (field("id"), field("secret"), field("token")) {
            (Some(id), Some(secret), Some(token)) => Ok(Shown::Keys { id, secret, token }),
            (Some(id), None, Some(token)) => Ok(Shown::Signed { id, token }),
            _ => Err(field("error").unwrap_or_else(|| format!("no complete keys: {answer}"))),
        }
    }

    async fn presign(&mut self) -> Result<Shown, String> {
        let mut command = self.command();
        command.args(["s3", "presign", "s3://bucket/key"]).stdin(Stdio::null());
        let ran = process::to_the_end(command).await;
        if ran.code == 0 { Ok(Shown::Presigned(ran.stdout.trim().to_owned())) } else { Err(ran.stderr) }
    }

    /// What the program has written to its standard error.
    pub(crate) fn complaints(&self) -> String {
        self.running.as_ref().map(|running| running.complaints.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Moves the SDK's clock, and nobody else's, to `instant`.
    pub(crate) fn move_clock_to(&self, instant: OffsetDateTime) {
        let Some(file) = &self.offset else {
            assert!(!self.sdk.remembers(), "this program was started with the real clock");
            return;
        };
        let offset = (instant - OffsetDateTime::now_utc()).whole_seconds();
        // In one step: the SDK may be reading it.
        let next = file.with_extension("next");
        fs_err::write(&next, format!("{offset:+}s\n")).unwrap();
        fs_err::rename(next, file).unwrap();
    }
}

/// The version that runs, as the SDK itself tells it.
pub(crate) async fn version(sdk: Sdk) -> Result<String, String> {
    let mut command = sdk.command();
    if sdk.remembers() {
        let hello = Running::start(command)?.answer().await?;
        return hello["version"].as_str().map(str::to_owned).ok_or_else(|| format!("no version: {hello}"));
    }
    command.arg("--version");
    let ran = process::to_the_end(command).await;
    let version = ran.stdout.strip_prefix("aws-cli/").and_then(|rest| rest.split(' ').next());
    version.map(str::to_owned).ok_or_else(|| format!("{ran:?}"))
}

struct Running {
    child: Child,
    questions: Option<ChildStdin>,
    answers: mpsc::UnboundedReceiver<String>,
    complaints: Arc<Mutex<String>>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Drop for Running {
    /// No more questions, and the program ends by itself. One that has to be killed leaves libfaketime's shared memory.
    fn drop(&mut self) {
        self.questions.take();
        // Some finish their retries first.
        let _ = tokio::task::block_in_place(|| self.ended.recv_timeout(Duration::from_secs(15)));
        self.kill();
    }
}

impl Running {
    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("{command:?}: {error}; tests/run makes it"))?;
        let questions = child.stdin.take();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, answers) = mpsc::unbounded_channel();
        let (ending, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
            drop(ending);
        });
        let complaints = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&complaints);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                told.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Ok(Self { child, questions, answers, complaints, ended })
    }

    async fn ask(&mut self) -> Result<Value, String> {
        let asked = self.questions.as_mut().map(|questions| questions.write_all(b"get\n"));
        match asked {
            Some(Ok(())) => self.answer().await,
            _ => Err(self.ended_by("it asks for nothing more")),
        }
    }

    async fn answer(&mut self) -> Result<Value, String> {
        match tokio::time::timeout(PATIENCE, self.answers.recv()).await {
            Ok(Some(line)) => serde_json::from_str(&line).map_err(|_| format!("not JSON: {line}")),
            Ok(None) => Err(self.ended_by("it ended")),
            Err(_) => Err(self.ended_by("it never answered")),
        }
    }

    fn ended_by(&mut self, what: &str) -> String {
        let status = self.kill();
        format!("{what} ({status}): {}", self.complaints.lock().unwrap())
    }

    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}
