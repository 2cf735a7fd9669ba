//! Puts the stages together: sessions from settings, the daemon that runs them, and credentials for processes beside it.

pub mod assembly;
mod checksummed;
pub mod client;
pub mod daemon;
pub mod daemonless;
