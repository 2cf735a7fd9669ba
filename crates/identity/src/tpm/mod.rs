//! Keys in a TPM 2.0.
//!
//! A client of our own for the five commands that signing needs, because the TPM's protocol is small and libtss2 is
//! not: no C library, no D-Bus. Commands and structures are those of the TPM 2.0 Library, Part 2 (structures) and
//! Part 3 (commands), by the Trusted Computing Group; key files are those of draft-bottomley-tpm2-keys.
//!
//! ```text
//!   device     where the TPM is, and how its bytes are carried
//!   wire       numbers and sized buffers, as they travel
//!   code       what a response code means
//!   client     the commands; ends with every object flushed that it loaded
//!   public     a key's public area: may it sign for Roles Anywhere, and what a certificate says of it
//!   tss2       key files
//!   turn       one operation on a TPM at a time, each within its time
//!   memory     what became of the authorization values that were sent, so that none leads into the lockout
//!   key        the `SigningKey`
//! ```
//!
//! Nothing stays loaded between two signatures: a TPM without resource manager has three slots, and what is not
//! kept cannot be lost when the TPM is reset, its driver restarted or its emulator replaced.

mod client;
mod code;
mod device;
mod error;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod key;
mod memory;
mod public;
pub mod tss2;
mod turn;
mod wire;

use std::sync::Arc;

pub use device::Device;
pub use error::Error;

use super::SigningKey;
use anchord_core::secret::Secret;

/// A key that a TPM holds, or that it alone can unwrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// At a persistent handle, `0x81000000` to `0x81ffffff`.
    Persistent(u32),
    /// In a file that only the TPM it was made in can use.
    File(tss2::File),
}

/// A persistent handle written as `0x81000001`.
pub fn handle(text: &str) -> Result<u32, Error> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    // `from_str_radix` takes a sign.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u32::from_str_radix(digits, 16) {
        Ok(handle) if is_plain && handle >> 24 == client::PERSISTENT => Ok(handle),
        _ => Err(Error::Handle { text: text.to_owned() }),
    }
}

/// Finds `key` in the TPM at `device` and sees whether it can sign for Roles Anywhere. `auth` is its authorization
/// value, asked for when it signs; it is not tried here.
///
/// Blocks for at most five seconds.
pub fn open(
    device: &Device,
    key: &Key,
    auth: Option<&Secret<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, Error> {
    Ok(Arc::new(key::TpmKey::open(device, key, auth)?))
}

#[cfg(test)]
mod tests;
