//! Turns a request, an identity or keys, and an instant into a signed request; pure.
//!
//! Roles Anywhere signs as Signature Version 4 does, except that the private key signs the string to sign
//! itself: there is no key derivation, and the credential is the leaf's serial number in decimal
//! (IAM Roles Anywhere user guide, "signing process"). Everything else of AWS is signed with the keys that came of it.

mod bedrock_api_key;
mod canonical;
mod scope;
mod v4;
mod x509;

pub use bedrock_api_key::LONGEST_API_KEY;
pub use bedrock_api_key::api_key_lifetime;
pub use bedrock_api_key::bedrock_api_key;
pub use canonical::CanonicalRequest;
pub use scope::Scope;
pub use v4::Call;
pub use v4::Unsignable;
pub use v4::sign_v4;
pub use x509::Headers;
pub use x509::Unsigned;
pub use x509::sign;

#[cfg(test)]
mod tests;
