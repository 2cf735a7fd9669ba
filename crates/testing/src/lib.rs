//! What the tests of several crates share: folders, logs, files that are made from code and, for the test programs, a stage with the program on it.
//!
//! Only dev-dependencies name this crate. What it cannot do, it panics at.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod folder;
mod log;
mod made;
#[cfg(feature = "stage")]
pub mod stage;

pub use folder::Folder;
pub use folder::names_in;
pub use log::Log;
pub use log::is_of;
pub use made::assert_made;
