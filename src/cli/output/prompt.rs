//! Asks for passphrases on the terminal.

use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::OnceLock;

use fs_err::File;
use rustix::termios;
use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;
use rustix::termios::SpecialCodeIndex;
use rustix::termios::Termios;

use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::secret::Secret;
use anchord_identity::Passphrase;

const INTERRUPT: u8 = 3;
/// The longest line that a terminal gives (N_TTY_BUF_SIZE).
const LONGEST: usize = 4096;

/// Asks for each passphrase that must be typed. If there is no terminal or no answer, the code that needs the passphrase
/// reports it.
pub(in crate::cli) fn ask_for_all(settings: &Settings) {
    settings.sessions.iter().for_each(ask);
}

/// The same for one session.
pub(in crate::cli) fn ask(session: &SessionSettings) {
    if let Some(answer) = unanswered(session) {
        ask_for(&format!("session `{}`", session.name), answer);
    }
}

/// The same for the key called `whose`.
pub(in crate::cli) fn ask_for(whose: &str, answer: &OnceLock<Secret<String>>) {
    if let Some(typed) = read(whose) {
        // Only this thread sets it.
        let _ = answer.set(typed);
    }
}

/// Copies the answers of sessions with the same names.
pub(in crate::cli) fn answer_as_before(settings: &Settings, before: &Settings) {
    for session in &settings.sessions {
        let known = before.sessions.iter().find(|known| known.name == session.name);
        if let (Some(answer), Some(Passphrase::Prompted(given))) =
            (unanswered(session), known.and_then(|known| known.identity()?.passphrase.as_ref()))
            && let Some(typed) = given.get()
        {
            let _ = answer.set(typed.clone());
        }
    }
}

fn unanswered(session: &SessionSettings) -> Option<&Arc<OnceLock<Secret<String>>>> {
    match &session.identity()?.passphrase {
        Some(Passphrase::Prompted(answer)) if answer.get().is_none() => Some(answer),
        _ => None,
    }
}

/// Reads one line from the controlling terminal without echo.
fn read(whose: &str) -> Option<Secret<String>> {
    let terminal = fs_err::OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    // A job in the background would be stopped for touching the terminal.
    if termios::tcgetpgrp(terminal.as_fd()) != Ok(rustix::process::getpgrp()) {
        return None;
    }
    let typed = {
        // Before the question, because changing the terminal's mode discards typed input.
        let _silence = Silence::over(&terminal)?;
        write!(&terminal, "Passphrase of {whose}: ").ok()?;
        line(&terminal)
    };
    // The typed line break was not shown either.
    writeln!(&terminal).ok()?;
    if matches!(typed, Err(Interrupted)) {
        // Does what Ctrl+C would have done, now that the terminal is restored.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT);
    }
    typed.ok()?
}

struct Interrupted;

/// What is typed up to the end of the line, which a terminal gives whole; nothing if that is not text, or the terminal
/// is gone.
fn line(mut terminal: &File) -> Result<Option<Secret<String>>, Interrupted> {
    let mut buffer = Secret::new(vec![0; LONGEST]);
    let length = buffer.change(|buffer| terminal.read(buffer)).unwrap_or(0);
    let typed = &buffer.expose()[..length];
    if typed.contains(&INTERRUPT) {
        return Err(Interrupted);
    }
    let text = std::str::from_utf8(typed).ok().map(|text| text.trim_end_matches('\n'));
    Ok(text.filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned())))
}

/// A terminal that shows nothing of what is typed, until the value is dropped.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn over(terminal: &'a File) -> Option<Self> {
        let before = termios::tcgetattr(terminal.as_fd()).ok()?;
        let mut silent = before.clone();
        // Without signals Ctrl+C is a character, and ends the line: a process that it killed would leave the terminal mute.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ICANON);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        termios::tcsetattr(terminal.as_fd(), OptionalActions::Flush, &silent).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing restored.
        let _ = termios::tcsetattr(self.terminal.as_fd(), OptionalActions::Flush, &self.before);
    }
}
