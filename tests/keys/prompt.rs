//! A passphrase that is typed in.

use anchord_core::event;
use std::io::Read as _;
use std::io::Write as _;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use anchord_testing::stage::Stage;
use anchord_testing::stage::process;
use anchord_testing::stage::terminal;

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

/// A verb, and the person who uses it. Nothing is between them: a shell would have a say in how Ctrl+C ends.
struct Terminal {
    child: Child,
    person: std::fs::File,
    shown: Vec<u8>,
}

impl Terminal {
    /// Starts the program of `verb` with its arguments, the variables that it sets, and no others.
    fn of(verb: &Command) -> Self {
        let (person, programs) = terminal::pair();
        let programs = || std::fs::File::from(programs.try_clone().unwrap());
        // Whoever runs tests in the background has them ignore Ctrl+C; nobody waits longer for what is never shown.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "setsid", "--ctty", "timeout", "--foreground", "60"]);
        command.arg(verb.get_program()).args(verb.get_args()).env_clear();
        command.envs(verb.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdin(programs()).stdout(programs()).stderr(programs()).spawn().unwrap();
        Self { child, person, shown: Vec::new() }
    }

    /// Reads on until `text` is shown, once more if it was before; false if the verb ended first.
    fn shows(&mut self, text: &str) -> bool {
        let from = self.shown.len();
        let mut is_open = true;
        while is_open && !self.shown[from..].ends_with(text.as_bytes()) {
            is_open = self.read_one();
        }
        is_open
    }

    fn hit(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).unwrap();
    }

    /// All that was shown, and how the verb ended.
    fn ended(mut self) -> (String, ExitStatus) {
        while self.read_one() {}
        (String::from_utf8(self.shown).unwrap(), self.child.wait().unwrap())
    }

    fn read_one(&mut self) -> bool {
        let mut byte = [0];
        // EIO once no program has the other end any more.
        let read = self.person.read(&mut byte).unwrap_or(0);
        self.shown.extend_from_slice(&byte[..read]);
        read == 1
    }
}

/// A verb that reads the stage's configuration.
fn verb(stage: &Stage, words: &[&str]) -> Command {
    let mut command = process::anchord();
    command.args(words).arg("--config").arg(stage.path("anchord.toml")).envs(process::home(stage.path("")));
    command
}

/// All that the terminal shows while `typed` is typed into the prompt, and whether the verb was content.
fn show(stage: &Stage, typed: &str) -> (String, bool) {
    let mut terminal = Terminal::of(&verb(stage, &["certificate", "show"]));
    // What is typed before the prompt would be thrown away.
    terminal.shows(": ");
    terminal.hit(typed);
    let (shown, status) = terminal.ended();
    (shown, status.success())
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
    let mut terminal = Terminal::of(&verb(&stage, &["update"]));

    terminal.shows(": ");
    terminal.hit(&format!("{PASSPHRASE}\n"));
    // The second needs the key again.
    terminal.shows(event::FILE_WRITTEN);
    terminal.shows(event::FILE_WRITTEN);
    terminal.hit("\u{3}");

    let (shown, status) = terminal.ended();
    assert!(status.success() && shown.contains(event::UPDATE_STOPPED), "{status}: {shown}");
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
    assert!(shown.contains("could not ask for the private key's passphrase"), "{shown}");
    assert!(shown.contains("needs a terminal; a service takes it from a file"), "{shown}");
}

/// `credential-process` without a daemon, and whether it was content; `typed` is typed into its prompt, if there is one.
fn ask(stage: &Stage, passphrase: Option<&str>, typed: Option<&str>) -> (String, bool) {
    let mut command = verb(stage, &["credential-process", "--session", "bedrock"]);
    command.envs(passphrase.map(|passphrase| ("ANCHORD_PASSPHRASE", format!("pass:{passphrase}"))));
    let Some(typed) = typed else {
        let output = command.output().unwrap();
        return (String::from_utf8(output.stdout).unwrap(), output.status.success());
    };
    let mut terminal = Terminal::of(&command);
    // Credentials come without a prompt where there are some.
    if terminal.shows("Passphrase of session `bedrock`: ") {
        terminal.hit(&format!("{typed}\n"));
    }
    let (shown, status) = terminal.ended();
    (shown, status.success())
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
        let kept = fs_err::read_dir(stage.path(".runtime/anchord/cache")).unwrap();
        for entry in kept {
            let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains(PASSPHRASE) && !text.contains("wrong"), "{way}: {text}");
        }
    }
}
