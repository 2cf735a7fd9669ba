//! Why the daemon could not be built. Once it runs, nothing here happens any more.

use std::io;
use std::path::PathBuf;

use super::SocketError;
use anchord_aws::upstream::RootsError;
use anchord_aws::upstream::TransportError;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_frontend::files;

/// Why the daemon could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be had.
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
    #[error("the runtime directory `{}` can be written by others (owner {owner}, mode {mode:04o})", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// Another daemon uses the runtime directory.
    #[error("another daemon uses the runtime directory `{}`", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There are no roots to trust.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The HTTPS client cannot be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The proxy of the environment cannot be used. Its text is left out: it may hold a password.
    #[error("HTTPS_PROXY or ALL_PROXY {what}")]
    Proxy {
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The sockets that systemd passed cannot be taken.
    #[error("cannot take the sockets that systemd passed")]
    Passed(#[source] io::Error),
    /// Something of ours failed.
    #[error("{0}")]
    Broken(String),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Socket(error) => error.reason(),
            Self::File(error) => error.reason(),
            Self::Roots(error) => error.reason(),
            Self::RuntimeDirectory { .. } => Reason::FileUnwritable,
            Self::OpenDirectory { .. } => Reason::FileInsecure,
            Self::InUse { .. } | Self::Passed(_) => Reason::AddressUnusable,
            Self::Transport(_) => Reason::Misconfigured,
            Self::Proxy { .. } => Reason::InvalidSetting,
            Self::Broken(_) => Reason::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Socket(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Roots(error) => error.hint(),
            Self::RuntimeDirectory { .. } => {
                Some("set `runtime_directory` to a folder that the daemon's user may write".into())
            }
            Self::OpenDirectory { .. } => Some(
                "set `runtime_directory` to a folder of the daemon's own, which nobody else may write to"
                    .into(),
            ),
            Self::InUse { path } => Some(format!(
                "stop it first (`fuser -v {}/daemon.lock` shows which it is), or set `runtime_directory` to another folder",
                path.display()
            )),
            Self::Transport(_) => Some("check HTTPS_PROXY, ALL_PROXY and NO_PROXY, in lower case too".into()),
            Self::Proxy { hint, .. } => hint.clone(),
            Self::Passed(_) | Self::Broken(_) => None,
        }
    }
}
