//! The `SigningKey`, and the memory of refused authorization values.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use ring::digest::SHA256;
use ring::digest::digest;
use ring::hmac;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

use super::Device;
use super::Error;
use super::Key;
use super::client::Client;
use super::client::Root;
use super::public::Public;
use super::tss2;
use super::turn;
use crate::identity::Algorithm;
use crate::identity::SignFailure;
use crate::identity::SigningKey;
use crate::secret::Secret;

/// The largest digest a TPM has as the hash of names, which limits authorization values (`TPM2B_AUTH`).
const MAX_AUTH: usize = 64;

/// What a TPM has refused with the attempt counted, as a keyed hash of whose value it was and the value, for values may
/// be short enough to be guessed from a plain one.
///
/// A TPM locks *all* of its keys after a few wrong values (dictionary attack protection), for hours. A daemon that
/// retries would lead it there by itself, so the same value is never tried twice for the same key. It lives as long as
/// the process, for only a person can know that the value was changed in the TPM meanwhile; each entry has cost an
/// attempt, so there are never many.
static REFUSED: Mutex<BTreeSet<[u8; 32]>> = Mutex::new(BTreeSet::new());

static HASH_KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let mut key = [0; 32];
    // Without randomness the memory still works, and holds no value.
    let _ = SystemRandom::new().fill(&mut key);
    hmac::Key::new(hmac::HMAC_SHA256, &key)
});

/// A key that is found, or loaded, anew for each signature.
pub(super) struct TpmKey {
    device: Device,
    opened: Arc<Opened>,
}

struct Opened {
    key: Key,
    auth: Secret<Vec<u8>>,
    public: Public,
    /// Under which storage root key a file of a hierarchy can be loaded.
    root: Option<Root>,
}

impl TpmKey {
    pub(super) fn open(device: &Device, key: &Key, auth: Option<&Secret<Vec<u8>>>) -> Result<Self, Error> {
        let auth = auth_of(auth)?;
        let key = key.clone();
        if let Key::File(file) = &key {
            // What the file itself says of the key needs no TPM.
            public_of(file)?;
        }
        let opened = turn::run(device, turn::OPENING, move |device, limit| {
            let mut client = Client::connect(device, limit)?;
            let (public, root) = find(&mut client, &key)?;
            Ok(Opened { key, auth, public, root })
        })?;
        Ok(Self { device: device.clone(), opened: Arc::new(opened) })
    }

    fn sign_digest(&self, digest: Vec<u8>) -> Result<Vec<u8>, Error> {
        let opened = Arc::clone(&self.opened);
        turn::run(&self.device, turn::SIGNING, move |device, limit| {
            if is_refused(&opened.fingerprint()) {
                return Err(Error::RefusedBefore { device: device.clone() });
            }
            opened.sign(&mut Client::connect(device, limit)?, device, &digest)
        })
    }
}

impl SigningKey for TpmKey {
    fn algorithm(&self) -> Algorithm {
        self.opened.public.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.opened.public.subject_public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        let digest = digest(&SHA256, message).as_ref().to_vec();
        self.sign_digest(digest).map_err(|error| SignFailure::new(&error))
    }
}

impl fmt::Debug for TpmKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.opened.public.algorithm {
            Algorithm::RsaSha256 => "RSA",
            _ => "EC",
        };
        match &self.opened.key {
            Key::Persistent(handle) => {
                write!(formatter, "{kind} private key in the TPM at handle {handle:#010x}")
            }
            Key::File(_) => write!(formatter, "{kind} private key in a file of the TPM's"),
        }
    }
}

/// The value to be sent; empty where there is none.
///
/// Whether the key has one, a file's `emptyAuth` does not tell: tpm2_encodeobject 5.4 writes the opposite.
fn auth_of(auth: Option<&Secret<Vec<u8>>>) -> Result<Secret<Vec<u8>>, Error> {
    match auth {
        None => Ok(Secret::new(Vec::new())),
        Some(auth) if auth.expose().len() > MAX_AUTH => {
            Err(Error::AuthTooLong { length: auth.expose().len(), limit: MAX_AUTH })
        }
        Some(auth) => Ok(auth.clone()),
    }
}

fn public_of(file: &tss2::File) -> Result<Public, Error> {
    Public::parse(file.public_area())?.ok_or(Error::KeyFile {
        what: "is damaged: its public part cannot be read",
        hint: "copy the file again, complete from the BEGIN line to the END line",
    })
}

fn find(client: &mut Client, key: &Key) -> Result<(Public, Option<Root>), Error> {
    match key {
        Key::File(file) => Ok((public_of(file)?, load(client, file, None)?.1)),
        Key::Persistent(handle) => {
            let area = client.read_public(*handle)?;
            Ok((client.public(&area)?, None))
        }
    }
}

/// Loads a key file, unless its parent has refused before.
fn load(client: &mut Client, file: &tss2::File, root: Option<Root>) -> Result<(u32, Option<Root>), Error> {
    let parent = file.parent();
    // The parent's, whatever file is under it: each would cost an attempt.
    let fingerprint = fingerprint(client.address().as_bytes(), &parent.to_be_bytes(), &[]);
    if is_refused(&fingerprint) {
        return Err(Error::ParentLocked { parent, counted: true });
    }
    let roots: &[Root] = match root {
        Some(Root::Ecc) => &[Root::Ecc],
        Some(Root::Rsa) => &[Root::Rsa],
        None if file.has_rsa_parent() => &[Root::Rsa],
        None => &[Root::Ecc, Root::Rsa],
    };
    let loaded = client.load(file, roots);
    if let Err(Error::ParentLocked { counted: true, .. }) = loaded {
        remember(fingerprint);
    }
    loaded
}

impl Opened {
    fn sign(&self, client: &mut Client, device: &Device, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let handle = match &self.key {
            Key::File(file) => load(client, file, self.root)?.0,
            Key::Persistent(handle) => {
                // Another key would sign what the certificate does not prove, and count this one's value as wrong.
                if client.read_public(*handle)? != self.public.area {
                    return Err(Error::Replaced { device: device.clone(), handle: *handle });
                }
                *handle
            }
        };
        client.check_time_for_an_answer()?;
        let signature = client.sign(handle, self.auth.expose(), &self.public, digest);
        match signature {
            Err(Error::WrongAuth { device, counted }) => {
                if counted {
                    remember(self.fingerprint());
                }
                Err(if self.auth.expose().is_empty() {
                    Error::NoAuth { device, counted }
                } else {
                    Error::WrongAuth { device, counted }
                })
            }
            signature => signature,
        }
    }

    fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&[], &self.public.area, self.auth.expose())
    }
}

/// The lengths keep one part from being taken for the end or the beginning of another.
fn fingerprint(whose: &[u8], area: &[u8], auth: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&HASH_KEY);
    for part in [whose, area, auth] {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

fn is_refused(fingerprint: &[u8; 32]) -> bool {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).contains(fingerprint)
}

fn remember(fingerprint: [u8; 32]) {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).insert(fingerprint);
}
