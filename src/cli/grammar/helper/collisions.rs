//! Flags that cannot be given together, each pair told in a line of its own.

use super::Name;
use super::words::Words;
use anchord_core::notice::Notice;

/// Two flags, and what to do about it.
pub(super) struct Pair(pub(super) &'static str, pub(super) &'static str, &'static str);

const ONE_PLACE: &str = "a selector looks for a certificate where none is named; leave one of them out";
const SELECTED_KEY: &str =
    "the selected certificate's key is where the certificate is; leave one of them out";
const TOKENS_ALONE: &str = "a PIN is a token's, this is another kind of key; leave one of them out";
const ONE_SECRET: &str = "one key has one secret; leave one of them out";
const ONE_NAME: &str = "they are two names of one thing; leave one of them out";

/// Those that AWS's tool refuses, then those of its flags and anchord's own.
pub(super) const PAIRS: &[Pair] = &[
    Pair("certificate", "cert-selector", ONE_PLACE),
    Pair("private-key", "cert-selector", SELECTED_KEY),
    Pair("private-key", "use-latest-expiring-certificate", SELECTED_KEY),
    Pair(
        "intermediates",
        "cert-selector",
        "intermediates come from where the certificate is; leave one of them out",
    ),
    Pair(
        "intermediates",
        "use-latest-expiring-certificate",
        "a chain fits one certificate; leave one of them out",
    ),
    Pair("reuse-pin", "cert-selector", "the PIN is always used again; leave out --reuse-pin"),
    Pair(
        "reuse-pin",
        "use-latest-expiring-certificate",
        "the PIN is always used again; leave out --reuse-pin",
    ),
    Pair("tpm-key-password", "cert-selector", TOKENS_ALONE),
    Pair("tpm-key-password", "reuse-pin", TOKENS_ALONE),
    Pair("no-tpm-key-password", "cert-selector", TOKENS_ALONE),
    Pair("no-tpm-key-password", "reuse-pin", TOKENS_ALONE),
    Pair("no-tpm-key-password", "tpm-key-password", "the key has a password or it has none"),
    Pair("pkcs8-password", "tpm-key-password", ONE_SECRET),
    Pair("once", "retry-errors", "--once ends after the first try"),
    Pair("pkcs8-password", "passphrase", ONE_SECRET),
    Pair("tpm-key-password", "passphrase", ONE_SECRET),
    Pair("no-tpm-key-password", "passphrase", "the key has a password or it has none"),
    Pair("no-verify-ssl", "ca-file", "what is not verified needs no authority; leave out --no-verify-ssl"),
    Pair("session-duration", "duration", ONE_NAME),
    Pair("pkcs11-lib", "pkcs11-module", ONE_NAME),
    Pair("debug", "log-level", "--debug is --log-level debug; leave one of them out"),
    Pair("cert-selector", "certificate-subject", ONE_NAME),
    Pair("cert-selector", "certificate-issuer", ONE_NAME),
    Pair("cert-selector", "certificate-serial", ONE_NAME),
];

/// Those that collide where the first has the meaning of AWS's tool.
const OF_HELPER: &[Pair] = &[Pair("region", "roles-anywhere-region", ONE_NAME)];

/// Each pair that was given together.
pub(super) fn of(words: &Words<'_>, name: Name) -> Vec<Notice> {
    let more = if name == Name::Helper { OF_HELPER } else { &[] };
    let both = |pair: &&Pair| words.has(pair.0) && words.has(pair.1);
    let line = |Pair(one, other, hint): &Pair| {
        Notice::new(format!("--{one} and --{other} cannot be given together")).hinting(*hint)
    };
    PAIRS.iter().chain(more).filter(both).map(line).collect()
}
