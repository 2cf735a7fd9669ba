//! Combines the stages: makes sessions from settings, runs them in a daemon, and gives credentials to other processes.

pub mod assembly;
mod checksummed;
pub mod client;
pub mod daemon;
pub mod daemonless;
