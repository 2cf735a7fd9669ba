//! What `anchord check` found, as a value, in JSON and as people read it.

pub(in crate::cli) mod report;
mod text;

pub(in crate::cli) use text::text;
