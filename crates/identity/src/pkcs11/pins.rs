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

static MEMORY: LazyLock<Memory> = LazyLock::new(Memory::new);

struct Memory {
    key: hmac::Key,
    tokens: Mutex<HashMap<[String; 3], Arc<Mutex<Record>>>>,
}

impl Memory {
    fn new() -> Self {
        let mut salt = [0; 32];
        // Without randomness the memory still works, and holds no PIN.
        let _ = SystemRandom::new().fill(&mut salt);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &salt), tokens: Mutex::default() }
    }
}

/// What one token did with the PINs it was given.
#[derive(Default)]
pub(super) struct Record {
    refused: Vec<Mark>,
    /// Given without an answer: the process ended, or the token said something else.
    open: Vec<Mark>,
}

type Mark = [u8; 32];

/// The record of one token. Whoever gives it a PIN holds it locked until the outcome is known, so that two
/// sessions with the same wrong PIN cannot give it at the same time.
pub(super) fn record(token: &TokenName) -> Arc<Mutex<Record>> {
    // Not its label, which can be changed while the token stays the same.
    let name = [token.manufacturer.clone(), token.model.clone(), token.serial.clone()];
    Arc::clone(lock(&MEMORY.tokens).entry(name).or_default())
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

impl Record {
    pub(super) fn permission(&self, pin: &Secret<Vec<u8>>) -> Permission {
        let mark = mark(pin);
        if self.refused.contains(&mark) {
            return Permission::Denied;
        }
        if self.open.contains(&mark) { Permission::Careful } else { Permission::Granted }
    }

    pub(super) fn note(&mut self, pin: &Secret<Vec<u8>>, outcome: PinOutcome) {
        let mark = mark(pin);
        match outcome {
            PinOutcome::Untried => {}
            PinOutcome::Unknown if self.open.contains(&mark) => {}
            PinOutcome::Unknown => self.open.push(mark),
            // The token counts from nought again, but what it refused was another PIN: to give that again whenever
            // this one is taken would be to give it for ever.
            PinOutcome::Taken => self.open.retain(|open| *open != mark),
            PinOutcome::Refused => {
                self.open.retain(|open| *open != mark);
                if !self.refused.contains(&mark) {
                    self.refused.push(mark);
                }
            }
        }
    }
}

fn mark(pin: &Secret<Vec<u8>>) -> Mark {
    let tag = hmac::sign(&MEMORY.key, pin.expose());
    let mut mark = [0; 32];
    mark.copy_from_slice(tag.as_ref());
    mark
}
