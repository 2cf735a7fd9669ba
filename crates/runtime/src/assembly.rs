//! Makes the parts of a session from its settings: identity, transport, issuer, policy, and the tasks that keep it.
//!
//! The daemon uses this module. So do programs that keep a session or call AWS without a daemon.

mod credentials_file;
mod error;
mod https;
mod issuer;
mod kept_session;
mod policy;
mod seams;
mod supervise;

pub use credentials_file::keep_credentials_file;
pub use error::Error;
pub use https::https;
pub use https::transport;
pub use issuer::identity;
pub use issuer::issuer;
pub use kept_session::Beginning;
pub use kept_session::KeptSession;
pub use kept_session::watch;
pub use policy::policy;
pub use seams::Seams;

#[cfg(test)]
pub(crate) mod support;
