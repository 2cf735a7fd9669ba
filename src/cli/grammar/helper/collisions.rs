//! Flags that cannot be given together. Each pair has a message of its own.

use super::ProgramName;
use super::words::FlagValues;
use anchord_core::notice::Notice;

/// Two flags, and the hint for the user.
pub(super) struct Collision(pub(super) &'static str, pub(super) &'static str, &'static str);

const ONE_PLACE: &str = "a selector finds the certificate itself; leave one of them out";
const SELECTED_KEY: &str = "the selected certificate's token also has its key; leave one of them out";
const TOKENS_ALONE: &str = "one is for keys in tokens, the other for keys in TPMs; leave one of them out";
const NO_PASSWORD: &str = "one says that the key has no password, the other gives it; leave one of them out";
const ONE_SECRET: &str = "a key has one passphrase; leave one of them out";
const ONE_NAME: &str = "both set the same option; leave one of them out";

/// The pairs that AWS's tool refuses, then the pairs of its flags and anchord's own.
pub(super) const COLLISIONS: &[Collision] = &[
    Collision("certificate", "cert-selector", ONE_PLACE),
    Collision("private-key", "cert-selector", SELECTED_KEY),
    Collision("private-key", "use-latest-expiring-certificate", SELECTED_KEY),
    Collision(
        "intermediates",
        "cert-selector",
        "the intermediates also come from the selected certificate's token; leave one of them out",
    ),
    Collision(
        "intermediates",
        "use-latest-expiring-certificate",
        "intermediates belong to one certificate, which this flag may change; leave one of them out",
    ),
    Collision("reuse-pin", "cert-selector", "anchord always reuses the PIN; leave out --reuse-pin"),
    Collision(
        "reuse-pin",
        "use-latest-expiring-certificate",
        "anchord always reuses the PIN; leave out --reuse-pin",
    ),
    Collision("tpm-key-password", "cert-selector", TOKENS_ALONE),
    Collision("tpm-key-password", "reuse-pin", TOKENS_ALONE),
    Collision("no-tpm-key-password", "cert-selector", TOKENS_ALONE),
    Collision("no-tpm-key-password", "reuse-pin", TOKENS_ALONE),
    Collision("no-tpm-key-password", "tpm-key-password", NO_PASSWORD),
    Collision("pkcs8-password", "tpm-key-password", ONE_SECRET),
    Collision("once", "retry-errors", "--once tries only once; leave one of them out"),
    Collision("pkcs8-password", "passphrase", ONE_SECRET),
    Collision("tpm-key-password", "passphrase", ONE_SECRET),
    Collision("no-tpm-key-password", "passphrase", NO_PASSWORD),
    Collision(
        "no-verify-ssl",
        "ca-file",
        "a CA bundle is used only for verification; leave out --no-verify-ssl",
    ),
    Collision("session-duration", "duration", ONE_NAME),
    Collision("pkcs11-lib", "pkcs11-module", ONE_NAME),
    Collision("debug", "log-level", "--debug is --log-level debug; leave one of them out"),
    Collision("cert-selector", "certificate-subject", ONE_NAME),
    Collision("cert-selector", "certificate-issuer", ONE_NAME),
    Collision("cert-selector", "certificate-serial", ONE_NAME),
];

/// Pairs that collide only under the name `aws_signing_helper`, where the first has the meaning of AWS's tool.
const OF_HELPER: &[Collision] = &[Collision("region", "roles-anywhere-region", ONE_NAME)];

/// A notice for each pair of which both flags are given.
pub(super) fn of(words: &FlagValues<'_>, name: ProgramName) -> Vec<Notice> {
    let more = if name == ProgramName::Helper { OF_HELPER } else { &[] };
    let mut notices = Vec::new();
    for Collision(one, other, hint) in COLLISIONS.iter().chain(more) {
        if words.has(one) && words.has(other) {
            notices
                .push(Notice::new(format!("--{one} and --{other} cannot be given together")).hinting(*hint));
        }
    }
    notices
}
