//! Errors while building or reloading the daemon.

use std::io;
use std::path::PathBuf;

use super::SocketError;
use crate::assembly;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::private_file;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;
use anchord_core::trusted_path;
use anchord_frontend::files;

/// Why the daemon could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A bearer file or the token key cannot be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The runtime directory cannot be made.
    #[error("cannot make the runtime directory `{}`", path.display())]
    RuntimeDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may write into the runtime directory.
    #[error("the runtime directory `{}` is writable by other users (owner {owner}, mode {mode:04o})", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// Other users can lead the path of the runtime directory elsewhere.
    #[error(transparent)]
    Path(trusted_path::Error),
    /// Another daemon uses the runtime directory.
    #[error("another daemon uses the runtime directory `{}`", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The connection to AWS cannot be set up.
    #[error(transparent)]
    Assembly(#[from] assembly::Error),
    /// The sockets that systemd passed cannot be taken.
    #[error("cannot take the sockets that systemd passed")]
    Passed(#[source] io::Error),
    /// A bug of anchord.
    #[error("{0}")]
    Broken(String),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Socket(error) => error.reason(),
            Self::File(error) => error.reason(),
            Self::Assembly(error) => error.reason(),
            Self::RuntimeDirectory { .. } => Reason::FileUnwritable,
            Self::OpenDirectory { .. } => Reason::FileInsecure,
            Self::Path(error) => error.reason(),
            Self::InUse { .. } | Self::Passed(_) => Reason::AddressUnusable,
            Self::Broken(_) => Reason::Bug,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Socket(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Assembly(error) => error.hint(),
            Self::Path(error) => error.hint(),
            Self::RuntimeDirectory { .. } => Some(Text::of(&[
                Say("set "),
                Key("runtime_directory"),
                Say(" to a directory that the daemon's user can write to; "),
                Say(private_file::SANDBOX),
            ])),
            Self::OpenDirectory { .. } => Some(Text::of(&[
                Say("set "),
                Key("runtime_directory"),
                Say(" to a directory that only the daemon's user can write to"),
            ])),
            Self::InUse { path } => {
                let stop = format!(
                    "stop it first (`fuser -v {}/daemon.lock` shows the process), or set ",
                    path.display()
                );
                Some(Text::of(&[Say(&stop), Key("runtime_directory"), Say(" to another directory")]))
            }
            Self::Passed(_) | Self::Broken(_) => None,
        }
    }
}
