//! The `SigningKey` of a TPM.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::SHA256;
use ring::digest::digest;

use super::Device;
use super::Error;
use super::KeyLocation;
use super::address::PERSISTENT;
use super::auth_memory::AuthUse;
use super::client::Root;
use super::client::TpmClient;
use super::operation;
use super::public::Public;
use super::tss2;
use crate::Algorithm;
use crate::SignFailure;
use crate::SigningKey;
use anchord_core::secret::Secret;

/// The longest authorization value (`TPM2B_AUTH`): as long as the largest digest.
const MAX_AUTH: usize = 64;

/// A key that is looked up or loaded again for each signature.
pub(super) struct TpmKey {
    device: Device,
    opened: Arc<Opened>,
}

struct Opened {
    key: KeyLocation,
    auth: Secret<Vec<u8>>,
    public: Public,
    /// The storage root key under which a file of a hierarchy can be loaded.
    root: Option<Root>,
}

impl TpmKey {
    pub(super) fn open(
        device: &Device,
        key: &KeyLocation,
        auth: Option<&Secret<Vec<u8>>>,
    ) -> Result<Self, Error> {
        let auth = auth_of(auth)?;
        let key = key.clone();
        if let KeyLocation::File(file) = &key {
            // Checks the public area in the file, which needs no TPM.
            public_of(file)?;
        }
        let opened = operation::run(device, operation::OPENING, move |device, limit| {
            let mut client = TpmClient::connect(device, limit)?;
            let (public, root) = find(&mut client, &key)?;
            Ok(Opened { key, auth, public, root })
        })?;
        Ok(Self { device: device.clone(), opened: Arc::new(opened) })
    }

    pub(super) fn sign_within(&self, patience: Duration, message: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = digest(&SHA256, message).as_ref().to_vec();
        let opened = Arc::clone(&self.opened);
        operation::run(&self.device, patience, move |device, limit| {
            opened.sign(&mut TpmClient::connect(device, limit)?, device, &digest)
        })
    }
}

impl SigningKey for TpmKey {
    fn algorithm(&self) -> Algorithm {
        self.opened.public.algorithm
    }

    fn description(&self) -> String {
        let kind = match self.opened.public.algorithm {
            Algorithm::RsaSha256 => "RSA",
            _ => "EC",
        };
        match &self.opened.key {
            KeyLocation::Persistent(handle) => {
                format!("{kind} private key in the TPM at handle {handle:#010x}")
            }
            KeyLocation::File(_) => format!("{kind} private key in a file of the TPM's"),
        }
    }

    fn public_key(&self) -> &[u8] {
        &self.opened.public.subject_public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        self.sign_within(operation::SIGNING, message).map_err(|error| SignFailure::new(&error))
    }
}

impl fmt::Debug for TpmKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.description())
    }
}

/// The value to send; empty if there is none.
///
/// A file's `emptyAuth` is ignored: tpm2_encodeobject 5.4 writes the opposite of what it means.
fn auth_of(auth: Option<&Secret<Vec<u8>>>) -> Result<Secret<Vec<u8>>, Error> {
    match auth {
        None => Ok(Secret::new(Vec::new())),
        Some(auth) if auth.expose().len() > MAX_AUTH => {
            Err(Error::AuthTooLong { length: auth.expose().len(), limit: MAX_AUTH })
        }
        Some(auth) => Ok(auth.clone()),
    }
}

fn public_of(file: &tss2::TpmKeyFile) -> Result<Public, Error> {
    Public::parse(file.public_area())?.ok_or(Error::KeyFile {
        what: "is damaged: its public part cannot be read",
        hint: "copy the file again, complete from the BEGIN line to the END line",
    })
}

fn find(client: &mut TpmClient, key: &KeyLocation) -> Result<(Public, Option<Root>), Error> {
    match key {
        KeyLocation::File(file) => Ok((public_of(file)?, load(client, file, None)?.1)),
        KeyLocation::Persistent(handle) => {
            let area = client.read_public(*handle)?;
            Ok((client.public(&area)?, None))
        }
    }
}

/// Loads a key file, unless its parent has refused the empty value before.
fn load(
    client: &mut TpmClient,
    file: &tss2::TpmKeyFile,
    root: Option<Root>,
) -> Result<(u32, Option<Root>), Error> {
    let parent = file.parent();
    let roots: &[Root] = match root {
        Some(Root::Ecc) => &[Root::Ecc],
        Some(Root::Rsa) => &[Root::Rsa],
        None if file.has_rsa_parent() => &[Root::Rsa],
        None => &[Root::Ecc, Root::Rsa],
    };
    // Storage root keys of a hierarchy have no value, and wrong values of hierarchies do not count.
    if parent >> 24 != PERSISTENT {
        return client.load(file, roots);
    }
    AuthUse::of_parent(&client.device(), parent).send(client, |client| client.load(file, roots))
}

impl Opened {
    fn sign(&self, client: &mut TpmClient, device: &Device, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let handle = match &self.key {
            KeyLocation::File(file) => load(client, file, self.root)?.0,
            KeyLocation::Persistent(handle) => {
                // Another key's signature would not fit the certificate, and it would count this key's value as wrong.
                if client.read_public(*handle)? != self.public.area {
                    return Err(Error::Replaced { device: device.clone(), handle: *handle });
                }
                *handle
            }
        };
        let auth = self.auth.expose();
        let signature = AuthUse::of_key(&self.public.area, auth).send(client, |client| {
            client.check_time_for_an_answer()?;
            client.sign(handle, auth, &self.public, digest)
        });
        signature.map_err(|error| match error {
            Error::WrongAuth { device, counted } if auth.is_empty() => Error::NoAuth { device, counted },
            error => error,
        })
    }
}
