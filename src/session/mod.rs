//! Keeps each session's credentials fresh and hands them out.
//!
//! One task per session owns all that changes; everybody else reads a [`Snapshot`] or asks a [`Handle`].

mod handle;
mod snapshot;

pub use handle::Freshness;
pub use handle::Handle;
pub use snapshot::Phase;
pub use snapshot::Snapshot;
