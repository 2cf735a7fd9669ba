//! The report of `anchord check`: as a value, as JSON and as text.

pub(in crate::cli) mod report;
mod text;

pub(in crate::cli) use text::text;
