//! Keeps each session's credentials fresh and hands them out.
//!
//! One task per session, the keeper, owns its mutable state. All other code reads a [`Snapshot`] or asks a [`Handle`].
//! `plan` decides what to do and when, `keeper` does it, `diary` writes the log. No code here may clear credentials
//! that are still valid, or hand out credentials that are not.

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
pub use plan::Action;
pub use plan::Machine;
pub use plan::SHORTEST_GRANT;
pub use plan::SessionEvent;
pub use plan::left_when_due;
pub use policy::Freshness;
pub use policy::Policy;
pub use registry::Sessions;
pub use snapshot::AttemptHistory;
pub use snapshot::Phase;
pub use snapshot::Snapshot;
