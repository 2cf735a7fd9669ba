//! Signs requests. It uses no clock and no network: the caller gives the time.
//!
//! Roles Anywhere uses Signature Version 4, with two differences. The private key signs the string to sign directly,
//! without a derived key, and the credential is the leaf's serial number in decimal (IAM Roles Anywhere user guide,
//! "signing process"). Other services need the secret access key that Roles Anywhere has granted.

mod bedrock_api_key;
mod canonical;
mod scope;
mod v4;
mod x509;

pub use bedrock_api_key::LONGEST_API_KEY;
pub use bedrock_api_key::api_key_lifetime;
pub use bedrock_api_key::bedrock_api_key;
pub use canonical::CanonicalRequest;
pub use scope::CredentialScope;
pub use v4::Unsignable;
pub use v4::V4Request;
pub use v4::sign_v4;
pub use x509::Headers;
pub use x509::X509Request;
pub use x509::sign;

#[cfg(test)]
mod tests;
