//! Which PINs a token has refused: none is given to it twice.
//!
//! Three wrong PINs lock most tokens, for good in the worst case, and a daemon tries again by nature. The memory is
//! one for the whole process, because two sessions may use one token, through two modules even, and the token
//! counts all of their mistakes together. It is in the daemon and outlives the process that holds the module.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use ring::hmac;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

use super::protocol::PinOutcome;
use super::protocol::TokenName;
use anchord_core::secret::Secret;

static PIN_MEMORY: LazyLock<PinMemory> = LazyLock::new(PinMemory::new);

struct PinMemory {
    key: hmac::Key,
    tokens: Mutex<HashMap<[String; 3], Arc<Mutex<PinRecord>>>>,
}

impl PinMemory {
    fn new() -> Self {
        let mut salt = [0; 32];
        // Without randomness the memory still works, and holds no PIN.
        let _ = SystemRandom::new().fill(&mut salt);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &salt), tokens: Mutex::default() }
    }
}

/// What one token did with the PINs it was given.
#[derive(Default)]
pub(super) struct PinRecord {
    refused: Vec<PinDigest>,
    /// Given without an answer: the process ended, or the token said something else.
    unanswered: Vec<PinDigest>,
}

type PinDigest = [u8; 32];

/// The record of one token. Whoever gives it a PIN holds it locked until the outcome is known, so that two
/// sessions with the same wrong PIN cannot give it at the same time.
pub(super) fn record(token: &TokenName) -> Arc<Mutex<PinRecord>> {
    // Not its label, which can be changed while the token stays the same.
    let name = [token.manufacturer.clone(), token.model.clone(), token.serial.clone()];
    Arc::clone(lock(&PIN_MEMORY.tokens).entry(name).or_default())
}

/// What it guards is whole after each step, so a panic of another holder changes nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether, and how, a PIN may be given to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// It may.
    Granted,
    /// If the token counts no wrong PIN: this one was given before, and what became of it is unknown.
    Careful,
    /// It was refused.
    Denied,
}

impl PinRecord {
    pub(super) fn permission(&self, pin: &Secret<Vec<u8>>) -> Permission {
        let digest = digest(pin);
        if self.refused.contains(&digest) {
            return Permission::Denied;
        }
        if self.unanswered.contains(&digest) { Permission::Careful } else { Permission::Granted }
    }

    pub(super) fn note(&mut self, pin: &Secret<Vec<u8>>, outcome: PinOutcome) {
        let digest = digest(pin);
        match outcome {
            PinOutcome::Untried => {}
            PinOutcome::Unknown if self.unanswered.contains(&digest) => {}
            PinOutcome::Unknown => self.unanswered.push(digest),
            // The token counts from nought again, but what it refused was another PIN: to give that again whenever
            // this one is taken would be to give it for ever.
            PinOutcome::Taken => self.unanswered.retain(|unanswered| *unanswered != digest),
            PinOutcome::Refused => {
                self.unanswered.retain(|unanswered| *unanswered != digest);
                if !self.refused.contains(&digest) {
                    self.refused.push(digest);
                }
            }
        }
    }
}

fn digest(pin: &Secret<Vec<u8>>) -> PinDigest {
    let tag = hmac::sign(&PIN_MEMORY.key, pin.expose());
    let mut digest = [0; 32];
    digest.copy_from_slice(tag.as_ref());
    digest
}
