//! Checks that the flags about a key fit the kind of key.

use super::words::FlagValues;
use anchord_core::notice::Notice;
use anchord_identity::Guard;
use anchord_identity::Source;

/// The flags about the key on a command line.
#[derive(Clone)]
pub(super) struct KeyFlags {
    /// The flag that names the key's location, with its dashes.
    place: String,
    /// The given flags of [`SECRETS`].
    secrets: Vec<(&'static str, Guard)>,
    /// The given flags of [`SWITCHES`].
    switches: Vec<(&'static str, Guard)>,
    has_passphrase: bool,
}

/// Flags with a secret, and the kind of keys that each is for. One for another kind is refused, because a token or a TPM
/// counts wrong secrets and locks itself.
const SECRETS: [(&str, Guard); 2] = [("tpm-key-password", Guard::Tpm), ("pkcs8-password", Guard::Passphrase)];
/// Flags that only cause a warning with another kind of key.
const SWITCHES: [(&str, Guard); 3] =
    [("no-tpm-key-password", Guard::Tpm), ("tpm", Guard::Tpm), ("reuse-pin", Guard::Token)];

impl KeyFlags {
    pub(super) fn of(words: &FlagValues<'_>) -> Self {
        let place = ["private-key", "cert-selector", "certificate"].into_iter().find(|flag| words.has(flag));
        Self {
            place: place.map_or_else(|| "the settings".into(), |flag| format!("--{flag}")),
            secrets: SECRETS.into_iter().filter(|(flag, _)| words.has(flag)).collect(),
            switches: SWITCHES.into_iter().filter(|(flag, _)| words.has(flag)).collect(),
            has_passphrase: words.has("passphrase"),
        }
    }

    /// Compares the flags with the key of `source`: warnings about flags without effect, or the mistakes.
    pub(super) fn judge(&self, source: &Source) -> Result<Vec<Notice>, Vec<Notice>> {
        if self.has_passphrase && source.has_pin() {
            let what = format!("--passphrase and the PIN in {} cannot be given together", self.place);
            return Err(vec![Notice::new(what).hinting("leave one of them out")]);
        }
        if self.secrets.is_empty() && self.switches.is_empty() {
            return Ok(Vec::new());
        }
        let Some(guard) = source.guard() else { return Ok(Vec::new()) };
        let (place, key) = (&self.place, described(guard));
        let mut mistakes = Vec::new();
        for (flag, needed) in &self.secrets {
            if *needed != guard {
                let what = format!("--{flag} does not fit {place}: the key is in {key}");
                mistakes.push(Notice::new(what).hinting(instead(guard)));
            }
        }
        let mut warnings = Vec::new();
        for (flag, needed) in &self.switches {
            if *needed != guard {
                let what = format!("--{flag} has no effect: the key is in {key}");
                warnings.push(Notice::new(what).hinting("leave it out"));
            }
        }
        if mistakes.is_empty() { Ok(warnings) } else { Err(mistakes) }
    }
}

fn described(guard: Guard) -> &'static str {
    match guard {
        Guard::Token => "a token",
        Guard::Tpm => "a TPM",
        Guard::Agent => "a SPIFFE agent",
        Guard::Passphrase => "a file with a password",
        Guard::Nothing => "a file that is not encrypted",
    }
}

fn instead(guard: Guard) -> &'static str {
    match guard {
        Guard::Token => "give the file with the PIN as --passphrase file:PATH",
        Guard::Tpm => "give the password of a key in a TPM with --tpm-key-password",
        Guard::Passphrase => "give the password of a file with --pkcs8-password",
        Guard::Agent | Guard::Nothing => "leave it out",
    }
}
