//! A passphrase that is typed in, on a terminal that script(1) makes.

use std::io::Read as _;
use std::io::Write as _;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
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

/// A verb on a terminal.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: Vec<u8>,
}

impl Terminal {
    fn of(stage: &Stage, verb: &str) -> Self {
        let anchord = env!("CARGO_BIN_EXE_anchord");
        // Nobody waits longer for what is never shown.
        let verb = format!(
            "timeout --foreground 60 {anchord} {verb} --config {}",
            stage.path("anchord.toml").display()
        );
        // Whoever runs tests in the background has them ignore Ctrl+C.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "script", "--quiet", "--return", "--command", &verb]);
        command.arg("/dev/null").env("HOME", stage.path(""));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (keyboard, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keyboard, screen, shown: Vec::new() }
    }

    /// Reads on until `text` is shown, once more if it was before.
    fn until(&mut self, text: &str) {
        let from = self.shown.len();
        while !self.shown[from..].ends_with(text.as_bytes()) {
            let mut byte = [0];
            let read = self.screen.read(&mut byte).unwrap();
            assert_eq!(read, 1, "{}", String::from_utf8_lossy(&self.shown));
            self.shown.push(byte[0]);
        }
    }

    fn hit(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// All that was shown, and whether the verb was content.
    fn ended(mut self) -> (String, bool) {
        self.screen.read_to_end(&mut self.shown).unwrap();
        (String::from_utf8(self.shown).unwrap(), self.child.wait().unwrap().success())
    }
}

/// All that the terminal shows while `typed` is typed into the prompt, and whether the verb was content.
fn show(stage: &Stage, typed: &str) -> (String, bool) {
    let mut terminal = Terminal::of(stage, "certificate show");
    // What is typed before the prompt would be thrown away.
    terminal.until(": ");
    terminal.hit(typed);
    terminal.ended()
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

/// The emulator has to answer while the test reads the screen.
#[tokio::test(flavor = "multi_thread")]
async fn update_asks_for_the_passphrase_once_and_ctrl_c_ends_it() {
    let stage = Stage::with(|setup| setup.profiles[0].duration_seconds = 68).await;
    encrypt(&stage);
    stage.configure(&format!("{}passphrase = \"prompt\"\n", stage.session("bedrock")));
    let mut terminal = Terminal::of(&stage, "update");

    terminal.until(": ");
    terminal.hit(&format!("{PASSPHRASE}\n"));
    // The second needs the key again.
    terminal.until("Credentials file written");
    terminal.until("Credentials file written");
    terminal.hit("\u{3}");

    let (shown, is_good) = terminal.ended();
    assert!(is_good && shown.contains("\"Stopped"), "{shown}");
    assert_eq!(shown.matches("Passphrase of").count(), 1, "{shown}");
    assert!(!shown.contains(PASSPHRASE) && stage.emulator.sessions_created() >= 2, "{shown}");
    let written = fs_err::read_to_string(stage.path(".aws/credentials")).unwrap();
    assert!(written.starts_with("[default]\naws_access_key_id = ASIA"));
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

/// `credential-process` without a daemon, and how it ended; `typed` is typed into its prompt, if there is one.
fn ask(stage: &Stage, passphrase: Option<&str>, typed: Option<&str>) -> (String, bool) {
    let anchord = env!("CARGO_BIN_EXE_anchord");
    let configuration = stage.path("anchord.toml").display().to_string();
    let verb = format!("{anchord} credential-process --session bedrock --config {configuration}");
    let mut command = match typed {
        Some(_) => Command::new("script"),
        None => Command::new("sh"),
    };
    match typed {
        Some(_) => command.args(["--quiet", "--return", "--command", &verb, "/dev/null"]),
        None => command.args(["-c", &verb]),
    };
    command.env("HOME", stage.path("")).env_remove("XDG_RUNTIME_DIR").env_remove("XDG_CACHE_HOME");
    command.envs(passphrase.map(|passphrase| ("ANCHORD_PASSPHRASE", format!("pass:{passphrase}"))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut byte = [0];
    // Credentials come without a prompt where there are some.
    while typed.is_some() && !shown.ends_with(b": ") && screen.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
    }
    if let Some(typed) = typed {
        // It may have ended.
        let _ = writeln!(keyboard, "{typed}");
    }
    screen.read_to_end(&mut shown).unwrap();
    (String::from_utf8(shown).unwrap(), child.wait().unwrap().success())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_typed_a_passphrase_is_not_asked_again_while_the_credentials_live() {
    let stage = Stage::new().await;
    encrypt(&stage);
    stage.configure(&format!("{}passphrase = \"prompt\"\n", stage.session("bedrock")));

    let (first, is_good) = tokio::task::block_in_place(|| ask(&stage, None, Some(PASSPHRASE)));
    assert!(is_good && first.starts_with("Passphrase of") && first.contains("ASIA"), "{first}");
    let (second, is_good) = tokio::task::block_in_place(|| ask(&stage, None, Some(PASSPHRASE)));

    assert!(is_good && !second.contains("Passphrase of") && second.contains("ASIA"), "{second}");
    assert_eq!(stage.emulator.sessions_created(), 1);
}

/// Typed, in a variable and in a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_costs_the_right_one_nothing() {
    for way in ["prompt", "variable", "file:passphrase"] {
        let stage = Stage::new().await;
        encrypt(&stage);
        let setting = if way == "variable" { String::new() } else { format!("passphrase = \"{way}\"\n") };
        stage.configure(&format!("{}{setting}", stage.session("bedrock")));
        let answer = |passphrase: &str| {
            stage.write("passphrase", passphrase);
            let typed = (way == "prompt").then_some(passphrase);
            let given = (way == "variable").then_some(passphrase);
            tokio::task::block_in_place(|| ask(&stage, given, typed))
        };

        let (refused, is_good) = answer("wrong");
        assert!(!is_good, "{way}: {refused}");
        let (given, is_good) = answer(PASSPHRASE);

        assert!(is_good && given.contains("ASIA"), "{way}: {given}");
        let kept = fs_err::read_dir(stage.path(".cache/anchord/cache")).unwrap();
        for entry in kept {
            let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains(PASSPHRASE) && !text.contains("wrong"), "{way}: {text}");
        }
    }
}
