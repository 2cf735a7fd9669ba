//! Keys in a TPM 2.0.
//!
//! This is our own client for the few commands that signing needs. The TPM's protocol is small, and libtss2 is not: it
//! would bring a C library and D-Bus. Commands and structures are those of the TPM 2.0 Library, Part 2 (structures) and
//! Part 3 (commands), by the Trusted Computing Group. Key files are those of draft-bottomley-tpm2-keys.
//!
//! ```text
//!   address      where the TPM is
//!   transport    how its bytes are carried
//!   wire         numbers and sized buffers, as they travel
//!   code         what a response code means
//!   client       the commands; ends with every object flushed that it loaded
//!   public       a key's public area: may it sign for Roles Anywhere, and what a certificate says of it
//!   tss2         key files
//!   operation    one operation on a TPM at a time, each within its time limit
//!   auth_memory  the outcome of each authorization value that was sent, so that none leads to the lockout
//!   key          the `SigningKey`
//! ```
//!
//! Nothing stays loaded between two signatures. A TPM without a resource manager has three slots. And without loaded
//! objects, a reset of the TPM or a restart of its driver or emulator loses nothing.

#[cfg(not(feature = "tpm"))]
mod absent;
mod address;
#[cfg(feature = "tpm")]
mod auth_memory;
#[cfg(feature = "tpm")]
mod client;
#[cfg_attr(not(feature = "tpm"), expect(dead_code, reason = "only a client gets codes"))]
mod code;
mod error;
#[cfg(all(fuzzing, feature = "tpm"))]
pub(super) mod fuzzing;
#[cfg(feature = "tpm")]
mod key;
#[cfg(feature = "tpm")]
mod operation;
#[cfg(feature = "tpm")]
mod public;
#[cfg(feature = "tpm")]
mod transport;
#[cfg(feature = "tpm")]
pub mod tss2;
#[cfg(feature = "tpm")]
mod wire;

#[cfg(feature = "tpm")]
use std::sync::Arc;

#[cfg(not(feature = "tpm"))]
pub(super) use absent::open_file;
#[cfg(not(feature = "tpm"))]
pub(super) use absent::open_persistent;
pub use address::Device;
pub use address::MalformedAddress;
pub use address::handle;
pub use error::Error;

#[cfg(feature = "tpm")]
use super::SigningKey;
#[cfg(feature = "tpm")]
use anchord_core::secret::Secret;

/// A key that a TPM holds, or that only this TPM can unwrap.
#[cfg(feature = "tpm")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// At a persistent handle, `0x81000000` to `0x81ffffff`.
    Persistent(u32),
    /// In a file that only the TPM that made it can use.
    File(tss2::TpmKeyFile),
}

/// Finds `key` in the TPM at `device` and checks that it can sign for Roles Anywhere. `auth` is its authorization
/// value, which is needed only to sign and is not tried here.
///
/// Blocks for at most five seconds.
#[cfg(feature = "tpm")]
pub fn open(
    device: &Device,
    key: &KeyLocation,
    auth: Option<&Secret<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, Error> {
    Ok(Arc::new(key::TpmKey::open(device, key, auth)?))
}

/// The same for a key at a persistent handle.
#[cfg(feature = "tpm")]
pub(super) fn open_persistent(
    device: &Device,
    handle: u32,
    auth: Option<&Secret<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, Error> {
    open(device, &KeyLocation::Persistent(handle), auth)
}

/// The same for the content of a key file, DER.
#[cfg(feature = "tpm")]
pub(super) fn open_file(
    device: &Device,
    der: &[u8],
    auth: Option<&Secret<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, Error> {
    open(device, &KeyLocation::File(tss2::TpmKeyFile::from_der(der)?), auth)
}

#[cfg(test)]
mod tests;
