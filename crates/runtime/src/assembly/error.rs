//! Why AWS cannot be reached as the settings say.

use anchord_aws::upstream::RootsError;
use anchord_aws::upstream::TransportError;
use anchord_core::failure::Class;
use anchord_core::failure::Classify;

/// Why the way to AWS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Roots(error) => error.class(),
            Self::Transport(_) | Self::Proxy { .. } => Class::Misconfigured,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Roots(error) => error.hint(),
            Self::Transport(_) => Some("check HTTPS_PROXY, ALL_PROXY and NO_PROXY, in lower case too".into()),
            Self::Proxy { hint, .. } => hint.clone(),
        }
    }
}
