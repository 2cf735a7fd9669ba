//! Remembers which PINs a token has refused, so that it never gets one twice.
//!
//! Three wrong PINs lock most tokens, in the worst case for good, and a daemon retries by nature. All sessions of the
//! process share one memory, because two sessions may use one token, even through two modules, and the token counts all
//! wrong PINs together. The memory is in the daemon, so it outlives the process that holds the module.

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
        // Without randomness the memory still works, and still holds no PIN.
        let _ = SystemRandom::new().fill(&mut salt);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &salt), tokens: Mutex::default() }
    }
}

/// The outcomes of the PINs that one token got.
#[derive(Default)]
pub(super) struct PinRecord {
    refused: Vec<PinDigest>,
    /// Sent, but no clear answer came: the process ended, or the token returned another error.
    unanswered: Vec<PinDigest>,
}

type PinDigest = [u8; 32];

/// The record of one token. A caller that sends a PIN keeps it locked until it has noted the outcome. Otherwise two
/// sessions with the same wrong PIN could both pass [`PinRecord::permission`] and send it twice.
pub(super) fn record(token: &TokenName) -> Arc<Mutex<PinRecord>> {
    // Not by its label, which can be changed.
    let name = [token.manufacturer.clone(), token.model.clone(), token.serial.clone()];
    Arc::clone(lock(&PIN_MEMORY.tokens).entry(name).or_default())
}

/// Ignores poisoning: the guarded values are consistent after each step, even if another holder panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a PIN may be sent to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// It may.
    Granted,
    /// Only if the token counts no wrong PIN: this PIN was sent before, and its outcome is unknown.
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
            // The token's counter starts from zero, but refused PINs stay refused. Otherwise a session with a wrong PIN
            // would send it again after each success of another session.
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
