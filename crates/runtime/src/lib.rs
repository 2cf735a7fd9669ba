//! Puts the stages together: the daemon, a session in a program of its own, and the client of a running daemon.

pub mod client;
pub mod daemon;
