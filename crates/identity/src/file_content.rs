//! The content of a file, or of a variable or pipe in place of a file.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::Origin;
use anchord_core::content;
use anchord_core::content::BYTE_ORDER_MARK;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::secret::Secret;
use anchord_core::text::Text;

/// Far more than any chain with its key, and small enough for memory.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The content and where it was read. It is secret, because a file may hold keys beside certificates.
#[derive(Debug)]
pub struct FileContent {
    pub(super) origin: Origin,
    pub(super) mode: u32,
    content: Secret<Vec<u8>>,
}

impl FileContent {
    /// Reads a whole file, up to [`MAX_BYTES`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::read_up_to(path, MAX_BYTES)
    }

    /// The same with another limit.
    pub(super) fn read_up_to(path: &Path, limit: u64) -> Result<Self, FileError> {
        let content = content::read(path, limit).map_err(|fault| FileError::of(path, fault))?;
        Self::new(Origin::file(path), content.mode, content.bytes)
    }

    /// Takes what was read from `origin`; an error if it is empty or not text in bytes.
    pub(super) fn new(origin: Origin, mode: u32, content: Secret<Vec<u8>>) -> Result<Self, FileError> {
        match content::text(content.expose()) {
            Err(source) => Err(FileError::WideText { origin, source }),
            Ok(text) if text.trim_ascii().is_empty() => Err(FileError::Empty { origin }),
            Ok(_) => Ok(Self { origin, mode, content }),
        }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &Secret<Vec<u8>> {
        &self.content
    }

    /// All of it, without a byte order mark.
    pub fn text(&self) -> &[u8] {
        let content = self.content.expose().as_slice();
        content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content)
    }

    /// A warning if its mode lets other users read it; `what` is what the file holds.
    pub fn open_to_others(&self, what: &str) -> Option<Notice> {
        let (origin, mode) = (&self.origin, self.mode & 0o7777);
        (mode & 0o027 != 0).then(|| {
            Notice::new(format!("the {what} {origin} is accessible to other users (mode {mode:04o})"))
                .hinting("run `chmod 0600` on it")
        })
    }
}

/// Why a file's content cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("`{}` is {kind}, not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: content::FileKind,
    },
    /// Text in UTF-16 or UTF-32.
    #[error("{origin} cannot be used: {source}")]
    WideText {
        /// Where.
        origin: Origin,
        /// What it is.
        source: content::WideText,
    },
    /// A variable or credential that this process was not given.
    #[error("{origin} is not available: {why}")]
    Absent {
        /// The place.
        origin: Origin,
        /// What is missing.
        why: String,
        /// What to do.
        hint: String,
    },
    /// A file holds nothing.
    #[error("{origin} is empty")]
    Empty {
        /// The file.
        origin: Origin,
    },
    /// A file is larger than any certificate chain.
    #[error("{origin} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        origin: Origin,
        /// The most that is read.
        limit: u64,
    },
}

impl FileError {
    fn of(path: &Path, fault: content::ReadError) -> Self {
        let origin = Origin::file(path);
        match fault {
            content::ReadError::System(source) => Self::Read { path: path.into(), source },
            content::ReadError::NotAFile(kind) => Self::NotAFile { path: path.into(), kind },
            content::ReadError::TooLarge { limit } => Self::TooLarge { origin, limit },
            content::ReadError::WideText(source) => Self::WideText { origin, source },
            content::ReadError::Silent(why) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, format!("it is a pipe, and {why}"));
                Self::Read { path: path.into(), source }
            }
        }
    }
}

impl Classify for FileError {
    fn reason(&self) -> Reason {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Reason::FileForbidden
            }
            Self::Read { .. } | Self::Absent { .. } => Reason::FileUnreadable,
            Self::NotAFile { .. } | Self::WideText { .. } | Self::Empty { .. } | Self::TooLarge { .. } => {
                Reason::FileUnusable
            }
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Read { source, path } => return Some(read_hint(source, path)),
            Self::NotAFile { kind: content::FileKind::Pipe, .. } => content::PIPE_HINT,
            Self::NotAFile { .. } => "name the file itself",
            Self::WideText { source, .. } => return Some(source.hint().into()),
            Self::Absent { hint, .. } => return Some(hint.clone().into()),
            Self::Empty { .. } => "if a program is still writing it, wait; otherwise restore its content",
            Self::TooLarge { .. } => "name the PEM file itself, not a bundle of all known roots",
        };
        Some(hint.into())
    }
}

fn read_hint(source: &io::Error, path: &Path) -> Text {
    match source.kind() {
        io::ErrorKind::NotFound => {
            content::spelling_hint(path).unwrap_or_else(|| "put the file there, or set the right path".into())
        }
        io::ErrorKind::PermissionDenied => {
            let folder = path.parent().unwrap_or(path).display();
            format!("let the daemon's user read it (and enter {folder})").into()
        }
        _ => "check the path and its file system".into(),
    }
}
