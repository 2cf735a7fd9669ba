//! The substitute for the client in a build without TPM support: an error that says so.

use std::sync::Arc;

use super::Device;
use super::Error;
use crate::SigningKey;
use anchord_core::secret::Secret;

/// No handle can be used.
pub(crate) fn open_persistent(
    _device: &Device,
    _handle: u32,
    _auth: Option<&Secret<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, Error> {
    Err(Error::NotBuilt)
}

/// No key file can be used.
pub(crate) fn open_file(
    _device: &Device,
    _der: &[u8],
    _auth: Option<&Secret<Vec<u8>>>,
) -> Result<Arc<dyn SigningKey>, Error> {
    Err(Error::NotBuilt)
}
