//! Puts the stages together: sessions from settings, the daemon that runs them, and the client of a running daemon.

pub mod assembly;
pub mod client;
pub mod daemon;
pub mod process_limits;
