//! The words that all stages share: what a stage may say of time, secrets, credentials, failures and names of AWS.
//!
//! A file here is one word. None of them knows a stage, waits for a network or starts a task.

pub mod arn;
pub mod clock;
pub mod content;
pub mod credentials;
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
