//! What this process knows of the authorization values it has sent.
//!
//! A TPM locks *all* of its keys after a few wrong values (dictionary attack protection), for hours. A daemon that
//! retries would lead it there by itself. So a value that was refused with the attempt counted is never sent again for
//! the same key; and one whose answer was lost is sent again only while the TPM's own count is no higher than it was
//! before, so that losing answers never adds more than one to it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use ring::hmac;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

use super::Device;
use super::Error;
use super::client::TpmClient;

/// Lives as long as the process, for only a person can know that a value was changed in the TPM meanwhile. There are
/// never many: an entry is a key that signs, or has cost an attempt.
static KNOWN: Mutex<BTreeMap<AuthDigest, AuthOutcome>> = Mutex::new(BTreeMap::new());

static HASH_KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let mut key = [0; 32];
    // Without randomness the memory still works, and holds no value.
    let _ = SystemRandom::new().fill(&mut key);
    hmac::Key::new(hmac::HMAC_SHA256, &key)
});

/// A value and what it was sent for, as a keyed hash: values may be short enough to be guessed from a plain one.
type AuthDigest = [u8; 32];

/// Sending a value.
#[derive(Clone, Copy)]
pub(super) struct AuthUse {
    fingerprint: AuthDigest,
    /// The parent that the value is for, if it is for one.
    parent: Option<u32>,
}

#[derive(Clone, Copy)]
enum AuthOutcome {
    /// It was right: what fails later has another cause, as long as the TPM does not say otherwise.
    Right,
    Refused,
    /// The answer never came; what the TPM had counted before, if it told.
    Lost(Option<u32>),
}

impl AuthUse {
    /// Of a value for the key with this public area, wherever it is.
    pub(super) fn of_key(area: &[u8], auth: &[u8]) -> Self {
        Self { fingerprint: fingerprint([b"key", area, auth]), parent: None }
    }

    /// Of the empty value for a persistent parent, whatever is under it.
    pub(super) fn of_parent(device: &Device, parent: u32) -> Self {
        let (address, handle) = (device.to_string(), parent.to_be_bytes());
        Self { fingerprint: fingerprint([b"parent", address.as_bytes(), &handle]), parent: Some(parent) }
    }

    /// Runs what sends the value, unless that could add to what the TPM has counted for it already.
    pub(super) fn send<T>(
        self,
        client: &mut TpmClient,
        send: impl FnOnce(&mut TpmClient) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let before = client.counted();
        match self.outcome() {
            Some(AuthOutcome::Refused) => return Err(self.refused(client.device())),
            Some(AuthOutcome::Lost(then)) if !is_no_higher(before, then) => {
                return Err(Error::Lost { device: client.device(), parent: self.parent });
            }
            _ => {}
        }
        let answer = send(client);
        match &answer {
            Ok(_) => self.remember(AuthOutcome::Right),
            Err(Error::WrongAuth { counted: true, .. } | Error::ParentLocked { counted: true, .. }) => {
                self.remember(AuthOutcome::Refused);
            }
            Err(_) if client.is_broken() => self.lose(before),
            Err(_) => {}
        }
        answer
    }

    fn refused(self, device: Device) -> Error {
        match self.parent {
            Some(parent) => Error::ParentLocked { parent, counted: true },
            None => Error::RefusedBefore { device },
        }
    }

    fn outcome(self) -> Option<AuthOutcome> {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&self.fingerprint).copied()
    }

    fn remember(self, outcome: AuthOutcome) {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(self.fingerprint, outcome);
    }

    /// The first count stays: those after it may have this very value in them.
    fn lose(self, before: Option<u32>) {
        KNOWN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(self.fingerprint)
            .or_insert(AuthOutcome::Lost(before));
    }
}

/// The lengths keep one part from being taken for the end or the beginning of another.
fn fingerprint(parts: [&[u8]; 3]) -> AuthDigest {
    let mut context = hmac::Context::with_key(&HASH_KEY);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// Whether the TPM is known to have counted nothing since.
fn is_no_higher(now: Option<u32>, then: Option<u32>) -> bool {
    matches!((now, then), (Some(now), Some(then)) if now <= then)
}
