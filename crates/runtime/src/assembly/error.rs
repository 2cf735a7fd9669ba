//! Errors while setting up the connection to AWS.

use anchord_aws::upstream::RootsError;
use anchord_aws::upstream::TransportError;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::text::Text;

/// Why the connection to AWS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no trusted root certificates.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The HTTPS client cannot be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The proxy of the environment is invalid. The message leaves out its text, which may contain a password.
    #[error("HTTPS_PROXY or ALL_PROXY {}", .0.what)]
    Proxy(Notice),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Roots(error) => error.reason(),
            Self::Transport(_) => Reason::Misconfigured,
            Self::Proxy(_) => Reason::InvalidSetting,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Roots(error) => error.hint(),
            Self::Transport(_) => Some("check HTTPS_PROXY, ALL_PROXY and NO_PROXY, in lower case too".into()),
            Self::Proxy(fault) => fault.hint.clone(),
        }
    }
}
