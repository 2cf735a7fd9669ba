//! Writes a session's credentials into the shared credentials file, for programs that support no other way.
//!
//! The file belongs to its user: only the keys of one profile change, and every other byte stays as it is. Programs
//! read the file when they start. Only some SDKs read it again when the credentials expire.

mod doubts;
mod edit;
mod write;

pub use edit::edit;
pub use write::Error;
pub use write::doubt;
pub use write::make_folder_of;
pub use write::write;
