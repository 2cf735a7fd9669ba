//! Reads files whole, up to a limit, without waiting.
//!
//! Every file that a user names is read here. The path may lead to a device that has no end, to a pipe that nothing
//! writes to, or to the socket of a server that is gone; a plain read would hang or fill the memory. Text may begin
//! with the byte order mark that Windows programs write, which must not hide the first line.

use std::fmt;
use std::fs::FileType;
use std::fs::Metadata;
use std::io;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::OFlags;
use tokio::time::Instant;

use crate::failure::system_reason;
use crate::secret::Secret;
use crate::text::Text;

/// A file's content. It is secret, because any file may hold a key.
#[derive(Debug)]
pub struct RawContent {
    /// The whole content.
    pub bytes: Secret<Vec<u8>>,
    /// The file's permissions.
    pub mode: u32,
}

/// Why a file cannot be read. The text completes "cannot read `PATH`: …".
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error(transparent)]
    System(io::Error),
    /// The path leads to a directory, a pipe, a device or the like.
    #[error("it is {0}, not a regular file")]
    NotAFile(FileKind),
    /// The file is larger than any file of its kind.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Nothing writes to the pipe, or its writers do not close it.
    #[error("it is a pipe, and {0}")]
    Silent(&'static str),
    /// The text is UTF-16 or UTF-32.
    #[error(transparent)]
    WideText(#[from] WideText),
}

impl ReadError {
    /// What the user can do, if that is more than to name another file.
    pub fn hint(&self, path: &Path) -> Option<Text> {
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::NotFound => spelling_hint(path),
            Self::NotAFile(FileKind::Pipe) => Some(PIPE_HINT.into()),
            Self::WideText(wide) => Some(wide.hint().into()),
            Self::System(_) | Self::NotAFile(_) | Self::TooLarge { .. } | Self::Silent(_) => None,
        }
    }
}

/// What to do about a pipe that would have to be read more than once.
pub const PIPE_HINT: &str = "a pipe can be read only once: name a regular file";

/// What to do about a missing file if its path looks like something else: a URL, a variable, `~`, or standard input.
pub fn spelling_hint(path: &Path) -> Option<Text> {
    if path.starts_with("/run/credentials") {
        return Some("let systemd pass it to this unit: `LoadCredential=NAME:PATH`".into());
    }
    if path.ends_with("-") {
        return Some("for standard input write /dev/stdin".into());
    }
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    parts.find_map(|part| hint_on(&part)).map(Text::from)
}

/// What to write instead, if this part of a path does not look like a file's name.
fn hint_on(part: &str) -> Option<&'static str> {
    let scheme = part.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| is_scheme(scheme));
    match (part.chars().next()?, scheme) {
        ('~', _) => Some(
            "write the whole path, such as /home/NAME/FILE; only a shell replaces `~`, and not after `=` or in a file",
        ),
        ('$', _) => Some(
            "write the whole path: `$VARIABLE` is not expanded here; for a value in a variable write env:VARIABLE",
        ),
        ('%', _) => Some("write the whole path: only systemd replaces `%`, and only in units"),
        (_, Some(scheme)) if scheme.eq_ignore_ascii_case("file") => {
            Some("write the path alone, without `file:`")
        }
        (_, Some(_)) => Some(
            "write a path; for a certificate or a key also env:VARIABLE, credential:NAME, pkcs11:…, tpm:… or spiffe:…, \
             in lower case; nothing is fetched from URLs",
        ),
        _ => None,
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
}

/// What a path leads to if that is not a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A pipe, named or anonymous.
    Pipe,
    /// A socket.
    Socket,
    /// A device such as `/dev/zero` or a terminal.
    Device,
    /// A symbolic link, where links are not followed.
    Link,
    /// Another special file.
    Other,
}

impl FileKind {
    /// The kind of a file; `None` for a regular one.
    pub fn of(found: FileType) -> Option<Self> {
        match () {
            () if found.is_file() => None,
            () if found.is_dir() => Some(Self::Directory),
            () if found.is_fifo() => Some(Self::Pipe),
            () if found.is_symlink() => Some(Self::Link),
            () if found.is_socket() => Some(Self::Socket),
            () if found.is_char_device() || found.is_block_device() => Some(Self::Device),
            () => Some(Self::Other),
        }
    }

    /// The same by the kernel's word for it.
    pub fn of_type(found: rustix::fs::FileType) -> Option<Self> {
        use rustix::fs::FileType as Type;
        match found {
            Type::RegularFile => None,
            Type::Directory => Some(Self::Directory),
            Type::Fifo => Some(Self::Pipe),
            Type::Symlink => Some(Self::Link),
            Type::Socket => Some(Self::Socket),
            Type::CharacterDevice | Type::BlockDevice => Some(Self::Device),
            Type::Unknown => Some(Self::Other),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Directory => "a directory",
            Self::Pipe => "a pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Link => "a symbolic link",
            Self::Other => "a special file",
        })
    }
}

/// Reads a regular file whole.
///
/// # Errors
/// If it is not a regular file, cannot be read, or is larger than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<RawContent, ReadError> {
    let (file, found) = open(path, OFlags::empty())?;
    // Allocated at full length: a buffer that grows leaves copies of a key in memory.
    let expected = usize::try_from(found.len().min(limit)).unwrap_or_default();
    let mut bytes = Secret::new(Vec::with_capacity(expected + 1));
    let read = bytes.change(|bytes| file.take(limit.saturating_add(1)).read_to_end(bytes)).map_err(system)?;
    if read as u64 > limit {
        Err(ReadError::TooLarge { limit })
    } else {
        Ok(RawContent { bytes, mode: found.mode() })
    }
}

/// Reads a regular file as UTF-8 text, without its byte order mark.
///
/// # Errors
/// Those of [`read`], or if the text is UTF-16 or UTF-32.
pub fn read_text(path: &Path, limit: u64) -> Result<Secret<Vec<u8>>, ReadError> {
    let content = read(path, limit)?;
    let bytes = content.bytes.expose();
    let text = text(bytes)?;
    Ok(if text.len() == bytes.len() { content.bytes } else { Secret::new(text.to_vec()) })
}

/// Opens a regular file for reading. Nothing else is opened: opening a pipe or a device may hang or have effects.
///
/// # Errors
/// If it is not a regular file, or cannot be opened.
pub fn open(path: &Path, flags: OFlags) -> Result<(fs_err::File, Metadata), ReadError> {
    let follows = !flags.contains(OFlags::NOFOLLOW);
    let found = if follows { fs_err::metadata(path) } else { fs_err::symlink_metadata(path) };
    refuse_others(&found.map_err(system)?)?;
    // The path may lead elsewhere by now. Only the open file cannot be replaced, so it is checked again below.
    let flags = flags | OFlags::NONBLOCK;
    let mut options = fs_err::OpenOptions::new();
    let opened = options.read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(system)?;
    let found = file.metadata().map_err(system)?;
    refuse_others(&found)?;
    Ok((file, found))
}

fn refuse_others(found: &Metadata) -> Result<(), ReadError> {
    FileKind::of(found.file_type()).map_or(Ok(()), |kind| Err(ReadError::NotAFile(kind)))
}

fn system(error: io::Error) -> ReadError {
    ReadError::System(system_reason(&error))
}

/// Whether a path leads to a pipe, such as `/dev/fd/63`.
pub fn is_pipe(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Reads a pipe until its writers close it, for at most `patience`. A pipe can be read only once.
///
/// # Errors
/// If nothing writes to it, its writers do not close it in time, or it gives more than `limit` bytes.
pub fn read_pipe(path: &Path, limit: u64, patience: Duration) -> Result<RawContent, ReadError> {
    let gives_up_at = Instant::now() + patience;
    let mut options = fs_err::OpenOptions::new();
    let opened = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let mut pipe = opened.map_err(system)?;
    let found = pipe.metadata().map_err(system)?;
    if !found.file_type().is_fifo() {
        refuse_others(&found)?;
    }
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    // Allocated at full length, as in `read`.
    let mut bytes = Secret::new(vec![0; room]);
    let mut length = 0;
    let mut has_writer = is_ready(&pipe, patience);
    while length < room {
        // Checked in each round: a writer that sends a byte now and then is never silent, but does not end either.
        if Instant::now() >= gives_up_at {
            return Err(ReadError::Silent("its writer has not closed it in time"));
        }
        match bytes.change(|bytes| pipe.read(&mut bytes[length..])) {
            Ok(0) if length == 0 && !has_writer => return Err(ReadError::Silent("nothing writes to it")),
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                has_writer = true;
                is_ready(&pipe, gives_up_at.saturating_duration_since(Instant::now()));
            }
            Err(error) => return Err(system(error)),
        }
    }
    bytes.change(|bytes| bytes.truncate(length));
    if length == room {
        Err(ReadError::TooLarge { limit })
    } else {
        Ok(RawContent { bytes, mode: found.mode() })
    }
}

/// How long reading a pipe may take. A program that fetches a key from a vault takes a second or two.
pub const PATIENCE: Duration = Duration::from_secs(9);

/// Waits until the pipe can be read, for a second at most and no longer than `patience`.
fn is_ready(pipe: &fs_err::File, patience: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pipe.file().as_fd(), PollFlags::IN)];
    let most = Timespec::try_from(patience.min(Duration::from_secs(1))).ok();
    rustix::event::poll(&mut fds, most.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Text in UTF-16 or UTF-32. Its name includes the byte order if no byte order mark says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is text in {name}{}", writers(.name))]
pub struct WideText {
    /// The encoding's name for `iconv`.
    name: &'static str,
}

fn writers(name: &str) -> &'static str {
    if name.starts_with("UTF-16") { ", as PowerShell and Windows editors write it" } else { "" }
}

impl WideText {
    /// What the user can do.
    pub fn hint(self) -> String {
        format!("convert it: iconv -f {} -t UTF-8 OLD > NEW", self.name)
    }

    /// The encoding of `bytes`, if they are such text.
    fn of(bytes: &[u8]) -> Option<Self> {
        let are_letters =
            |pair: [u8; 2]| pair.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        let name = match *bytes {
            // Before UTF-16: the marks of UTF-32 begin with those of UTF-16.
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
            // Without a mark: `iconv -t UTF-16LE` writes none.
            [first, 0, 0, 0, second, 0, 0, 0, ..] if are_letters([first, second]) => "UTF-32LE",
            [0, 0, 0, first, 0, 0, 0, second, ..] if are_letters([first, second]) => "UTF-32BE",
            [first, 0, second, 0, ..] if are_letters([first, second]) => "UTF-16LE",
            [0, first, 0, second, ..] if are_letters([first, second]) => "UTF-16BE",
            _ => return None,
        };
        Some(Self { name })
    }
}

/// The byte order mark that Windows programs write before UTF-8 text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The text in `bytes`, without its byte order mark.
///
/// # Errors
/// If the text is UTF-16 or UTF-32.
pub fn text(bytes: &[u8]) -> Result<&[u8], WideText> {
    match WideText::of(bytes) {
        Some(wide) => Err(wide),
        None => Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)),
    }
}

#[cfg(test)]
mod tests;
