//! The secret that unlocks a key: a passphrase, a token's PIN or a TPM's authorization value.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use super::FileContent;
use super::FileError;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_core::text::Part;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Part::Set;
use anchord_core::text::Text;

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its variable or credential does not exist.
    #[error("the passphrase is missing: {why}")]
    Absent {
        /// What is missing.
        why: String,
        /// What to do.
        hint: Text,
    },
    /// It should be typed in, and was not asked for.
    #[error("anchord could not ask for the private key's passphrase")]
    NotAsked,
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::File(error) => error.reason(),
            Self::Absent { .. } | Self::NotAsked => Reason::SecretRefused,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::File(error) => error.hint(),
            Self::Absent { hint, .. } => Some(hint.clone()),
            Self::NotAsked => Some(Text::of(&[
                Set("passphrase", "prompt"),
                Say(" needs a terminal; a service takes it from a file or a systemd credential"),
            ])),
        }
    }
}

/// The hint if a key needs a passphrase.
pub(crate) const SET_IT: &[Part<'static>] =
    &[Say("set "), Key("passphrase"), Say(", such as "), Set("passphrase", "file:/etc/anchord/passphrase")];

/// Where a passphrase comes from. It is read again whenever a key is loaded, so that a changed file takes effect.
#[derive(Clone)]
pub enum Passphrase {
    /// A file without the line break at its end: a secret mounted by an orchestrator, or a systemd credential.
    File(PathBuf),
    /// Given with the settings: a variable, or the text itself.
    Given(Secret<String>),
    /// Its variable or credential does not exist. That is an error only if a key needs it.
    Absent {
        /// What is missing.
        why: String,
        /// What to do.
        hint: Text,
    },
    /// Asked for on the terminal; empty until then.
    Prompted(Arc<OnceLock<Secret<String>>>),
}

impl Passphrase {
    /// The passphrase itself.
    pub(super) fn read(&self) -> Result<Secret<Vec<u8>>, Error> {
        match self {
            Self::File(path) => Ok(line_of(&FileContent::read(path)?)),
            Self::Given(text) => Ok(Secret::new(text.expose().as_bytes().to_vec())),
            Self::Absent { why, hint } => Err(Error::Absent { why: why.clone(), hint: hint.clone() }),
            Self::Prompted(answer) => match answer.get() {
                Some(text) => Ok(Secret::new(text.expose().as_bytes().to_vec())),
                None => Err(Error::NotAsked),
            },
        }
    }
}

/// The text without the line break at its end.
pub(super) fn line_of(file: &FileContent) -> Secret<Vec<u8>> {
    let text = file.text();
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

/// Whether they come from the same place. Typed passphrases count as equal, because the user is asked again.
impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(path), Self::File(other)) => path == other,
            (Self::Given(text), Self::Given(other)) => text == other,
            (Self::Absent { why, .. }, Self::Absent { why: other, .. }) => why == other,
            (Self::Prompted(_), Self::Prompted(_)) => true,
            _ => false,
        }
    }
}

impl Eq for Passphrase {}

/// Like the comparison, it is the same before and after an answer, because caches are named after settings.
impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Given(text) => formatter.debug_tuple("Given").field(text).finish(),
            Self::Absent { why, .. } => formatter.debug_tuple("Absent").field(why).finish(),
            Self::Prompted(_) => formatter.write_str("Prompted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Folder;

    fn text(passphrase: &Passphrase) -> String {
        String::from_utf8(passphrase.read().unwrap().expose().clone()).unwrap()
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_part_of_it() {
        let folder = Folder::new();
        for (content, expected) in
            [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("a b \r\n", "a b "), ("x\n\n", "x\n")]
        {
            let path = folder.write("passphrase", content);

            assert_eq!(text(&Passphrase::File(path)), expected);
        }
    }

    #[test]
    fn what_was_not_typed_in_is_an_error_that_says_what_to_use() {
        let answer = Arc::new(OnceLock::new());
        let prompted = Passphrase::Prompted(Arc::clone(&answer));

        assert!(matches!(prompted.read(), Err(Error::NotAsked)));
        answer.set(Secret::new("s3cret".into())).unwrap();
        assert_eq!(text(&prompted), "s3cret");
    }

    #[test]
    fn settings_look_the_same_before_and_after_an_answer() {
        let answer = Arc::new(OnceLock::new());
        let prompted = Passphrase::Prompted(Arc::clone(&answer));

        let before = format!("{prompted:?}");
        answer.set(Secret::new("s3cret".into())).unwrap();

        assert_eq!(format!("{prompted:?}"), before);
    }

    #[test]
    fn a_passphrase_is_not_printed() {
        let printed = format!("{:?}", Passphrase::Given(Secret::new("s3cret".into())));

        assert!(!printed.contains("s3cret"), "{printed}");
    }
}
