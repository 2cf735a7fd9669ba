//! The client side of AWS: signing, the calls that grant credentials, a user's access keys, and calls of Bedrock's
//! models.

pub mod access_keys;
pub mod signing;
pub mod upstream;

#[cfg(feature = "bedrock")]
pub mod bedrock;
