//! Remembers the outcomes of the authorization values that this process has sent.
//!
//! A TPM locks *all* of its keys for hours after a few wrong values (dictionary attack protection). A daemon that
//! retries could cause that by itself. So a value that was refused and counted is never sent again for the same key. A
//! value with a lost answer is sent again only if the TPM's counter has not risen since, so that lost answers raise the
//! counter by one at most.

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

/// Kept as long as the process, because only a person can know that a value was changed in the TPM. There are few
/// entries: one for each key that has signed or was refused.
static KNOWN: Mutex<BTreeMap<AuthDigest, AuthOutcome>> = Mutex::new(BTreeMap::new());

static HASH_KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let mut key = [0; 32];
    // Without randomness the memory still works, and still holds no value.
    let _ = SystemRandom::new().fill(&mut key);
    hmac::Key::new(hmac::HMAC_SHA256, &key)
});

/// A keyed hash of a value and what it was sent for. A plain hash of a short value could be guessed.
type AuthDigest = [u8; 32];

/// A value that is to be sent.
#[derive(Clone, Copy)]
pub(super) struct AuthUse {
    fingerprint: AuthDigest,
    /// The parent, if the value is for a parent.
    parent: Option<u32>,
}

#[derive(Clone, Copy)]
enum AuthOutcome {
    /// It was right.
    Right,
    Refused,
    /// The answer was lost. Holds the TPM's counter from before, if known.
    Lost(Option<u32>),
}

impl AuthUse {
    /// A value for the key with this public area, at any handle or file.
    pub(super) fn of_key(area: &[u8], auth: &[u8]) -> Self {
        Self { fingerprint: fingerprint([b"key", area, auth]), parent: None }
    }

    /// The empty value for a persistent parent, for all keys under it.
    pub(super) fn of_parent(device: &Device, parent: u32) -> Self {
        let (address, handle) = (device.to_string(), parent.to_be_bytes());
        Self { fingerprint: fingerprint([b"parent", address.as_bytes(), &handle]), parent: Some(parent) }
    }

    /// Runs `send`, unless the TPM may already have counted this value as wrong.
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

    /// Keeps the first counter: later ones may already include this value.
    fn lose(self, before: Option<u32>) {
        KNOWN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(self.fingerprint)
            .or_insert(AuthOutcome::Lost(before));
    }
}

/// With the lengths, so that different parts have different bytes.
fn fingerprint(parts: [&[u8]; 3]) -> AuthDigest {
    let mut context = hmac::Context::with_key(&HASH_KEY);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// Whether both counters are known and the counter has not risen.
fn is_no_higher(now: Option<u32>, then: Option<u32>) -> bool {
    matches!((now, then), (Some(now), Some(then)) if now <= then)
}
