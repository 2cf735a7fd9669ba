//! Inputs of this process: a variable, a systemd credential, a pipe.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::Locator;
use super::Source;
use crate::FileContent;
use crate::FileError;
use crate::Origin;
use crate::Passphrase;
use crate::file_content::MAX_BYTES;
use crate::passphrase::line_of;
use anchord_core::content;
use anchord_core::digest::sha256_hex;
use anchord_core::secret::Secret;

/// An input that other processes with the same settings may not have.
#[derive(Clone, PartialEq, Eq)]
pub struct ProcessInput {
    /// As the settings name it, such as `env:KEY`.
    spelled: String,
    holds: InputContent,
}

#[derive(Clone, PartialEq, Eq)]
enum InputContent {
    /// A file, which may change.
    File(PathBuf),
    /// Content that was read already.
    Content(Secret<Vec<u8>>),
    /// It does not exist, which is an error only when it is read.
    Nothing { why: String, hint: String },
}

impl ProcessInput {
    /// A file that the settings name differently, such as a credential.
    pub fn file(spelled: impl Into<String>, path: PathBuf) -> Self {
        Self { spelled: spelled.into(), holds: InputContent::File(path) }
    }

    /// Content that was read already.
    pub fn content(spelled: impl Into<String>, content: Secret<Vec<u8>>) -> Self {
        Self { spelled: spelled.into(), holds: InputContent::Content(content) }
    }

    /// An input that does not exist.
    pub fn nothing(spelled: impl Into<String>, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { spelled: spelled.into(), holds: InputContent::Nothing { why: why.into(), hint: hint.into() } }
    }

    /// As the settings name it, which is the same in every process.
    pub fn spelled(&self) -> &str {
        &self.spelled
    }

    /// As messages name it.
    pub(super) fn origin(&self) -> Origin {
        match &self.holds {
            InputContent::File(path) => Origin::file(path),
            InputContent::Content(_) | InputContent::Nothing { .. } => {
                Origin::named(format!("`{}`", self.spelled))
            }
        }
    }

    /// The error for a credential that does not exist, by its name: users do not know its path.
    fn missing(&self, error: FileError) -> FileError {
        match (&error, self.spelled.strip_prefix("credential:")) {
            (FileError::Read { source, .. }, Some(name)) if source.kind() == io::ErrorKind::NotFound => {
                let why = format!("systemd has passed no credential `{name}` to this process");
                let hint = format!("add `LoadCredential={name}:/path/to/it` to the unit");
                FileError::Absent { origin: Origin::named(format!("`{}`", self.spelled)), why, hint }
            }
            _ => error,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match &self.holds {
            InputContent::File(path) => Some(path),
            InputContent::Content(_) | InputContent::Nothing { .. } => None,
        }
    }

    /// The content, if it was read already.
    pub(super) fn held(&self) -> Option<&[u8]> {
        match &self.holds {
            InputContent::Content(content) => Some(content.expose()),
            InputContent::File(_) | InputContent::Nothing { .. } => None,
        }
    }

    /// Text that differs between inputs of the same name: a path, or a digest of the content.
    pub(crate) fn identifier(&self) -> String {
        match &self.holds {
            InputContent::File(path) => path.display().to_string(),
            InputContent::Content(content) => sha256_hex(content.expose()),
            InputContent::Nothing { .. } => String::new(),
        }
    }

    /// Its content.
    pub(crate) fn read(&self) -> Result<FileContent, FileError> {
        /// Only this process can read it.
        const PRIVATE: u32 = 0o600;
        match &self.holds {
            InputContent::File(path) => FileContent::read(path).map_err(|error| self.missing(error)),
            InputContent::Content(content) => FileContent::new(self.origin(), PRIVATE, content.clone()),
            InputContent::Nothing { why, hint } => {
                Err(FileError::Absent { origin: self.origin(), why: why.clone(), hint: hint.clone() })
            }
        }
    }

    /// The passphrase that came out of a pipe.
    fn into_passphrase(self) -> Passphrase {
        let (why, hint) = match self.read().map(|file| String::from_utf8(line_of(&file).expose().clone())) {
            Ok(Ok(text)) => return Passphrase::Given(Secret::new(text)),
            Ok(Err(_)) => ("it is not UTF-8".to_owned(), "name a regular file"),
            Err(error) => (error.to_string(), "check the program that should write into it"),
        };
        Passphrase::Absent { why: format!("`{}`: {why}", self.spelled), hint: hint.into() }
    }
}

/// Without its content.
impl fmt::Debug for ProcessInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ProcessInput").field(&self.spelled).field(&self.path()).finish()
    }
}

impl Source {
    /// Reads those of its files that are pipes, and keeps their content: a pipe can be read only once. For processes
    /// that load once and end.
    pub fn read_pipes(&mut self, pipes: &mut Pipes) {
        let places = [Some(&mut self.certificate), self.private_key.as_mut(), self.intermediates.as_mut()];
        for place in places.into_iter().flatten() {
            let Locator::File(path) = place else { continue };
            if let Some(handed) = pipes.take(path) {
                *place = Locator::Input(handed);
            }
        }
        if let Some(Passphrase::File(path)) = &self.passphrase
            && let Some(handed) = pipes.take(path)
        {
            self.passphrase = Some(handed.into_passphrase());
        }
    }
}

/// The pipes that a verb reads. Several settings may name one pipe, which is read once. All pipes share one deadline,
/// because their writers run at the same time.
pub struct Pipes {
    read: Vec<ProcessInput>,
    gives_up_at: Instant,
}

impl Default for Pipes {
    fn default() -> Self {
        Self::within(content::PATIENCE)
    }
}

impl Pipes {
    fn within(patience: Duration) -> Self {
        Self { read: Vec::new(), gives_up_at: Instant::now() + patience }
    }

    /// The content of the pipe at `path`; `None` if it is not a pipe.
    fn take(&mut self, path: &Path) -> Option<ProcessInput> {
        let spelled = path.display().to_string();
        if let Some(known) = self.read.iter().find(|known| known.spelled == spelled) {
            return Some(known.clone());
        }
        if !content::is_pipe(path) {
            return None;
        }
        let left = self.gives_up_at.saturating_duration_since(Instant::now());
        let handed = match content::read_pipe(path, MAX_BYTES, left) {
            Ok(content) => ProcessInput::content(spelled, content.bytes),
            Err(fault) => ProcessInput::nothing(
                spelled,
                fault.to_string(),
                "check the program that should write into it, or name a file",
            ),
        };
        self.read.push(handed.clone());
        Some(handed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use anchord_emulator::KeyKind;

    use super::*;
    use crate::support::key;
    use crate::support::leaf_of;
    use crate::support::now;
    use crate::support::root;
    use anchord_core::failure::Failure;

    fn given(spelled: &str, text: &str) -> Locator {
        Locator::Input(ProcessInput::content(spelled, Secret::new(text.as_bytes().to_vec())))
    }

    #[test]
    fn certificate_and_key_in_variables_make_an_identity() {
        let root = root();
        let leaf = leaf_of(&root, KeyKind::P256);
        let mut source = Source::of_files("", "");
        source.certificate = given("env:LEAF", leaf.certificate_pem());
        source.private_key = Some(given("env:KEY", &key(&leaf)));

        assert_eq!(source.load(now()).unwrap().identity.leaf(), leaf.certificate_der());

        source.certificate = given("env:LEAF", "words");
        let told = Failure::from(source.load(now()).unwrap_err()).to_string();
        assert!(told.starts_with("`env:LEAF` holds no certificate: it has no PEM section at all"), "{told}");
    }

    #[test]
    fn what_this_process_was_not_given_is_reported_by_its_name() {
        let mut source = Source::of_files("", "");
        source.certificate =
            Locator::Input(ProcessInput::nothing("env:LEAF", "the variable `LEAF` is not set", "set it"));
        source.private_key = None;

        let told = Failure::from(source.load(now()).unwrap_err()).to_string();

        assert_eq!(told, "`env:LEAF` is not available: the variable `LEAF` is not set; hint: set it");
    }

    #[test]
    fn a_credential_that_systemd_has_not_passed_is_reported_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut source = Source::of_files("", "");
        source.certificate =
            Locator::Input(ProcessInput::file("credential:leaf", folder.path().join("leaf")));
        source.private_key = None;

        let told = Failure::from(source.load(now()).unwrap_err()).to_string();

        assert_eq!(
            told,
            "`credential:leaf` is not available: systemd has passed no credential `leaf` to this process; \
             hint: add `LoadCredential=leaf:/path/to/it` to the unit"
        );
    }

    /// As `<(cat all.pem)` in a shell.
    #[test]
    fn one_pipe_that_is_named_twice_is_read_once() {
        let root = root();
        let leaf = leaf_of(&root, KeyKind::P256);
        let pipe_of = |text: &str| {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(text.as_bytes()).unwrap();
            (format!("/proc/self/fd/{}", reader.as_raw_fd()), reader)
        };
        let (both, _both) = pipe_of(&format!("{}{}", leaf.certificate_pem(), key(&leaf)));
        let (passphrase, _passphrase) = pipe_of("s3cret\n");
        let mut source = Source::of_files(&both, &both);
        source.passphrase = Some(Passphrase::File(passphrase.into()));

        let mut another = Source::of_files(&both, &both);
        let mut pipes = Pipes::default();
        source.read_pipes(&mut pipes);
        another.read_pipes(&mut pipes);

        assert_eq!(
            another.load(now()).unwrap().identity.leaf(),
            leaf.certificate_der(),
            "of another session"
        );
        assert_eq!(source.load(now()).unwrap().identity.leaf(), leaf.certificate_der());
        assert_eq!(source.load(now()).unwrap().warnings, [], "and again");
        assert_eq!(source.passphrase, Some(Passphrase::Given(Secret::new("s3cret".into()))));
    }

    /// They would wait for as many times as long as there are pipes.
    #[test]
    fn several_pipes_that_do_not_end_share_one_deadline() {
        let pipes: Vec<_> = (0..4).map(|_| io::pipe().unwrap()).collect();
        let path_of = |at: usize| PathBuf::from(format!("/proc/self/fd/{}", pipes[at].0.as_raw_fd()));
        let mut source = Source::of_files(path_of(0), path_of(1));
        source.intermediates = Some(Locator::File(path_of(2)));
        source.passphrase = Some(Passphrase::File(path_of(3)));
        let patience = Duration::from_millis(400);
        for (_, writer) in &pipes {
            let mut writer = writer;
            writer.write_all(b"a beginning").unwrap();
        }

        let started = Instant::now();
        source.read_pipes(&mut Pipes::within(patience));

        assert!(started.elapsed() < patience * 2, "{:?}", started.elapsed());
        let told = Failure::from(source.load(now()).unwrap_err()).to_string();
        assert!(told.contains("has not closed it in time"), "{told}");
    }

    #[test]
    fn another_key_in_a_variable_is_another_stamp() {
        let source =
            |key: &str| Source { private_key: Some(given("env:KEY", key)), ..Source::of_files("/none", "") };

        assert_ne!(source("a").stamps(), source("b").stamps());
        assert_eq!(source("a").facts(), source("b").facts());
    }
}
