//! Where certificates and keys come from, as messages show it.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a certificate or key came from. Displays as messages show it: a path in backticks, or words such as "the token
/// `pkcs11:token=robots`".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(OriginKind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginKind {
    File(PathBuf),
    Named(Arc<str>),
}

impl Origin {
    /// A file.
    pub fn file(path: &Path) -> Self {
        Self(OriginKind::File(path.into()))
    }

    /// A place without a path.
    pub fn named(words: impl Into<Arc<str>>) -> Self {
        Self(OriginKind::Named(words.into()))
    }

    /// Whether it is a file.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, OriginKind::File(_))
    }

    /// The path of a file, or the words; for fields of a log, which need no backticks.
    pub fn bare(&self) -> String {
        match &self.0 {
            OriginKind::File(path) => path.display().to_string(),
            OriginKind::Named(words) => words.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            OriginKind::File(path) => write!(formatter, "`{}`", path.display()),
            OriginKind::Named(words) => formatter.write_str(words),
        }
    }
}
