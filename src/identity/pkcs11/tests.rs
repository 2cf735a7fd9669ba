//! Tokens without any token: the module's process is played by a thread.

mod host;
mod memory;
mod uris;
