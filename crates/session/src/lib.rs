//! Keeps each session's credentials fresh and hands them out.
//!
//! One task per session owns all that changes; everybody else reads a [`Snapshot`] or asks a [`Handle`]. What
//! to do when is decided in `plan`, done in `keeper`, written to the log by `diary`. Nothing here may clear
//! credentials that are still valid, or hand out any that are not.

mod diary;
mod handle;
mod keeper;
mod plan;
mod policy;
mod registry;
mod snapshot;
#[cfg(test)]
mod support;

pub use handle::Handle;
pub use keeper::Keeper;
pub use keeper::open;
pub use keeper::reopen;
pub use plan::Event;
pub use plan::Machine;
pub use plan::SHORTEST_GRANT;
pub use plan::Step;
pub use plan::left_when_due;
pub use policy::Freshness;
pub use policy::Policy;
pub use registry::Sessions;
pub use snapshot::Phase;
pub use snapshot::Record;
pub use snapshot::Snapshot;
