//! What anchord says to AWS: signed requests, the calls that give credentials, a user's access keys, and calls of models.

pub mod access_keys;
pub mod signing;
pub mod upstream;

#[cfg(feature = "bedrock")]
pub mod bedrock;
