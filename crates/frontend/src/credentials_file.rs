//! The shared credentials file, for programs that read nothing else.
//!
//! The file belongs to its user: all but one profile's keys stays byte for byte as it is. Programs read it when
//! they start; of the SDKs, only some look again when what they have read ends.

mod doubts;
mod edit;
mod write;

pub use edit::edit;
pub use write::Error;
pub use write::doubt;
pub use write::write;
