//! What the tests of several crates share: folders and logs.
//!
//! Only dev-dependencies name this crate. What it cannot do, it panics at.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod folder;
mod log;

pub use folder::Folder;
pub use folder::names_in;
pub use log::Log;
pub use log::is_of;
