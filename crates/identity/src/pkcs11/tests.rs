//! Tokens without any token: the module's process is played by a thread.

mod bench;
mod host;
mod memory;
mod served;
mod uris;
