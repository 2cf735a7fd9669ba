//! A client's program while it runs, and what it has printed.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::mpsc;

/// Some import for seconds what they need, on a machine that is busy with others of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// Killed with the value.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    output: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts `command` without any variable but `PATH` and its own; its two outputs become one.
    pub(crate) fn start(command: &Command) -> Self {
        let mut joined = Command::new("sh");
        joined.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(command.get_program()).args(command.get_args());
        joined.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        joined.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            joined.current_dir(folder);
        }
        let mut child = joined.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, output: String::new() }
    }

    /// What it prints next, if it prints more.
    async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await;
        let line = line.unwrap_or_else(|_| panic!("it neither ends nor says more:\n{}", self.output))?;
        self.output.push_str(&line);
        self.output.push('\n');
        Some(line)
    }

    /// The rest of the first line that begins with `head`.
    pub(crate) async fn told(&mut self, head: &str) -> Result<String, String> {
        while let Some(line) = self.line().await {
            if let Some(rest) = line.strip_prefix(head) {
                return Ok(rest.to_owned());
            }
        }
        Err(format!("it never says {head:?}:\n{}", self.output))
    }

    pub(crate) async fn ended(mut self) -> Ended {
        while self.line().await.is_some() {}
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Ended { code, output: std::mem::take(&mut self.output) }
    }
}

/// How a program has ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
}

impl Ended {
    /// The pieces of text that it has shown.
    pub(crate) fn pieces(&self) -> Vec<String> {
        let pieces = self.output.lines().filter_map(|line| line.strip_prefix("piece: "));
        pieces.map(|piece| serde_json::from_str(piece).unwrap()).collect()
    }

    /// Whether it ended well, with this text.
    pub(crate) fn check(&self, expected: &str) -> Result<(), String> {
        let text = self.pieces().concat();
        if self.code == 0 && text == expected {
            return Ok(());
        }
        Err(format!("it ended with {} and {text:?}:\n{}", self.code, self.output))
    }
}
