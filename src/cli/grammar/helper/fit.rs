//! Checks that the flags about a key fit the kind of key.

use super::words::Words;
use anchord_core::notice::Notice;
use anchord_identity::Guard;
use anchord_identity::Source;

/// The flags about the key on a command line.
#[derive(Clone)]
pub(super) struct Fit {
    /// The flag that names the key's location, with its dashes.
    place: String,
    /// The given flags of [`SECRETS`].
    secrets: Vec<&'static str>,
    /// The given flags of [`SWITCHES`].
    switches: Vec<&'static str>,
    has_passphrase: bool,
}

/// Flags with a secret, and the kind of keys that each is for. One for another kind is refused, because a token or a TPM
/// counts wrong secrets and locks itself.
const SECRETS: [(&str, Guard); 2] = [("tpm-key-password", Guard::Tpm), ("pkcs8-password", Guard::Passphrase)];
/// Flags that only cause a warning with another kind of key.
const SWITCHES: [(&str, Guard); 3] =
    [("no-tpm-key-password", Guard::Tpm), ("tpm", Guard::Tpm), ("reuse-pin", Guard::Token)];

impl Fit {
    pub(super) fn of(words: &Words<'_>) -> Self {
        let place = ["private-key", "cert-selector", "certificate"].into_iter().find(|flag| words.has(flag));
        let given = |flags: &[(&'static str, Guard)]| {
            flags.iter().map(|(flag, _)| *flag).filter(|flag| words.has(flag)).collect()
        };
        Self {
            place: place.map_or_else(|| "the settings".into(), |flag| format!("--{flag}")),
            secrets: given(&SECRETS),
            switches: given(&SWITCHES),
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
        let misfit = |flag: &&str| {
            Notice::new(format!("--{flag} does not fit {place}: the key is in {key}")).hinting(instead(guard))
        };
        let idle = |flag: &&str| {
            Notice::new(format!("--{flag} has no effect: the key is in {key}")).hinting("leave it out")
        };
        let wrong = strangers(&self.secrets, &SECRETS, guard).map(misfit);
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() {
            Ok(strangers(&self.switches, &SWITCHES, guard).map(idle).collect())
        } else {
            Err(wrong)
        }
    }
}

/// The given flags that are for keys with another guard.
fn strangers<'a>(
    given: &'a [&'static str],
    about: &'a [(&'static str, Guard)],
    guard: Guard,
) -> impl Iterator<Item = &'a &'static str> {
    given.iter().filter(move |flag| about.iter().any(|(own, needed)| own == *flag && *needed != guard))
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
