//! Turns a request, an identity and an instant into a signed request; pure.
//!
//! Roles Anywhere signs as Signature Version 4 does, except that the private key signs the string to sign
//! itself: there is no key derivation, and the credential is the leaf's serial number in decimal
//! (IAM Roles Anywhere user guide, "signing process").

mod canonical;
mod scope;
mod x509;

pub use canonical::CanonicalRequest;
pub use scope::Scope;
pub use x509::Headers;
pub use x509::Unsigned;
pub use x509::sign;

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 as lower-case hex.
fn sha256_hex(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests;
