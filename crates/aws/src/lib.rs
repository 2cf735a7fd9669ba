//! What anchord says to AWS: signed requests, the calls that give credentials, and calls of models.

pub mod signing;
pub mod upstream;

#[cfg(feature = "bedrock")]
pub mod bedrock;
