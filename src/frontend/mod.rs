//! Gives credentials to local callers in each way SDKs know, and to nobody else.

pub mod files;
pub mod guard;

#[cfg(test)]
mod support;

pub use guard::Bearer;
pub use guard::Door;
pub use guard::Peer;
