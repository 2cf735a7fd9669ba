//! Flags that cannot be given together. Each pair has a message of its own.

use super::Name;
use super::words::Words;
use anchord_core::notice::Notice;

/// Two flags, and the hint for the user.
pub(super) struct Pair(pub(super) &'static str, pub(super) &'static str, &'static str);

const ONE_PLACE: &str = "a selector finds the certificate itself; leave one of them out";
const SELECTED_KEY: &str = "the selected certificate's token also has its key; leave one of them out";
const TOKENS_ALONE: &str = "one is for keys in tokens, the other for keys in TPMs; leave one of them out";
const NO_PASSWORD: &str = "one says that the key has no password, the other gives it; leave one of them out";
const ONE_SECRET: &str = "a key has one passphrase; leave one of them out";
const ONE_NAME: &str = "both set the same option; leave one of them out";

/// The pairs that AWS's tool refuses, then the pairs of its flags and anchord's own.
pub(super) const PAIRS: &[Pair] = &[
    Pair("certificate", "cert-selector", ONE_PLACE),
    Pair("private-key", "cert-selector", SELECTED_KEY),
    Pair("private-key", "use-latest-expiring-certificate", SELECTED_KEY),
    Pair(
        "intermediates",
        "cert-selector",
        "the intermediates also come from the selected certificate's token; leave one of them out",
    ),
    Pair(
        "intermediates",
        "use-latest-expiring-certificate",
        "intermediates belong to one certificate, which this flag may change; leave one of them out",
    ),
    Pair("reuse-pin", "cert-selector", "anchord always reuses the PIN; leave out --reuse-pin"),
    Pair(
        "reuse-pin",
        "use-latest-expiring-certificate",
        "anchord always reuses the PIN; leave out --reuse-pin",
    ),
    Pair("tpm-key-password", "cert-selector", TOKENS_ALONE),
    Pair("tpm-key-password", "reuse-pin", TOKENS_ALONE),
    Pair("no-tpm-key-password", "cert-selector", TOKENS_ALONE),
    Pair("no-tpm-key-password", "reuse-pin", TOKENS_ALONE),
    Pair("no-tpm-key-password", "tpm-key-password", NO_PASSWORD),
    Pair("pkcs8-password", "tpm-key-password", ONE_SECRET),
    Pair("once", "retry-errors", "--once tries only once; leave one of them out"),
    Pair("pkcs8-password", "passphrase", ONE_SECRET),
    Pair("tpm-key-password", "passphrase", ONE_SECRET),
    Pair("no-tpm-key-password", "passphrase", NO_PASSWORD),
    Pair("no-verify-ssl", "ca-file", "a CA bundle is used only for verification; leave out --no-verify-ssl"),
    Pair("session-duration", "duration", ONE_NAME),
    Pair("pkcs11-lib", "pkcs11-module", ONE_NAME),
    Pair("debug", "log-level", "--debug is --log-level debug; leave one of them out"),
    Pair("cert-selector", "certificate-subject", ONE_NAME),
    Pair("cert-selector", "certificate-issuer", ONE_NAME),
    Pair("cert-selector", "certificate-serial", ONE_NAME),
];

/// Pairs that collide only under the name `aws_signing_helper`, where the first has the meaning of AWS's tool.
const OF_HELPER: &[Pair] = &[Pair("region", "roles-anywhere-region", ONE_NAME)];

/// A notice for each pair of which both flags are given.
pub(super) fn of(words: &Words<'_>, name: Name) -> Vec<Notice> {
    let more = if name == Name::Helper { OF_HELPER } else { &[] };
    let both = |pair: &&Pair| words.has(pair.0) && words.has(pair.1);
    let line = |Pair(one, other, hint): &Pair| {
        Notice::new(format!("--{one} and --{other} cannot be given together")).hinting(*hint)
    };
    PAIRS.iter().chain(more).filter(both).map(line).collect()
}
