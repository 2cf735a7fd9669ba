//! The types that all stages share: time, secrets, credentials, failures and names of AWS resources.
//!
//! No module here depends on a stage, uses the network or starts a task.

pub mod access;
pub mod arn;
pub mod clock;
pub mod content;
pub mod credentials;
pub mod digest;
pub mod endpoint;
pub mod entropy;
pub mod event;
pub mod failure;
pub mod issuer;
pub mod notice;
pub mod private_file;
pub mod process_limits;
pub mod profile;
pub mod reported;
pub mod secret;
pub mod text;
pub mod trusted_path;
