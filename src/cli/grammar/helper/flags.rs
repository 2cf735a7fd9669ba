//! The flags of AWS's tool: the verbs that have them, what they do in anchord, and the reason for each difference.
//!
//! [`FLAGS`] makes both the grammar and README's table.

use clap::Arg;
use clap::ArgAction;

/// One flag of AWS's tool.
pub(super) struct Flag {
    /// Without dashes.
    pub(super) name: &'static str,
    pub(super) verbs: &'static [&'static str],
    pub(super) takes: Takes,
    pub(super) meaning: Meaning,
    /// What it does in anchord and, if AWS's tool does something else, why.
    pub(super) here: &'static str,
}

/// What may follow a flag.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Text,
    Whole(u32, u32),
    /// `--flag`, or `--flag=` and a word for true or false.
    Switch,
    OneOf(&'static [&'static str]),
}

/// How its meaning in anchord compares with the one in AWS's tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Same,
    Different,
    Refused,
}

/// Verbs that obtain credentials.
const VENDING: &[&str] = &["credential-process", "serve", "update"];
const KEYED: &[&str] = &["credential-process", "serve", "update", "sign-string"];
pub(super) const ALL: &[&str] =
    &["credential-process", "serve", "update", "read-certificate-data", "sign-string"];

/// Every flag of every verb of AWS's tool.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        name: "certificate",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "A PEM or PKCS#12 file, a `pkcs11:` URI or `spiffe:`. anchord also sends the intermediates in a PEM file; AWS's tool reads only the first certificate. PKCS#12 files may use modern ciphers and have a passphrase (`--passphrase`); AWS's tool supports neither. `sign-string` works without a certificate, and refuses one that does not match the key; AWS's tool requires one for a key in a file, and does not compare them.",
    },
    Flag {
        name: "private-key",
        verbs: KEYED,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "A PEM file (also with a TPM key), a `pkcs11:` URI, `handle:0x81000001` or `tpm:0x81000001`. anchord refuses keys that Roles Anywhere refuses (RSA below 2048 bits, P-224).",
    },
    Flag {
        name: "intermediates",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "Certificates in any order; also allowed with a PKCS#12 file. anchord sends the valid ones that lead from the leaf towards a root, at most five, and for a cross-signed issuer every path that fits. It refuses a file without certificates, because a program may still be writing it; AWS's tool treats such a file as if it was not given.",
    },
    Flag {
        name: "role-arn",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "Checked before anything is sent.",
    },
    Flag {
        name: "profile-arn",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "Checked before anything is sent, also against the trust anchor.",
    },
    Flag {
        name: "trust-anchor-arn",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "Checked before anything is sent.",
    },
    Flag {
        name: "session-duration",
        verbs: VENDING,
        takes: Takes::Whole(900, 43200),
        meaning: Meaning::Same,
        here: "Whole seconds, 900 to 43200; `--duration` takes `1h` too.",
    },
    Flag {
        name: "role-session-name",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "AWS refuses it unless the profile accepts role session names.",
    },
    Flag {
        name: "region",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "Under the name `aws_signing_helper`: the Region of Roles Anywhere, as in AWS's tool. A Region other than the trust anchor's is refused before the call, because AWS would answer that the trust anchor does not exist. Under the name `anchord`: the Region that clients use.",
    },
    Flag {
        name: "endpoint",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "`https://` only: with plain HTTP, anyone on the network path could read the credentials.",
    },
    Flag {
        name: "no-verify-ssl",
        verbs: VENDING,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Prints a warning: anyone on the network path can then read or replace the credentials. `credential-process` prints it only on a terminal, because SDKs expect an empty stderr. Prefer `--ca-file`.",
    },
    Flag {
        name: "with-proxy",
        verbs: VENDING,
        takes: Takes::Switch,
        meaning: Meaning::Different,
        here: "Has no effect: HTTPS_PROXY and NO_PROXY apply without it, as in AWS's tool since version 1.7. Under the name `aws_signing_helper`, requests to loopback bypass the proxy and ALL_PROXY is ignored, as in AWS's tool. anchord does not support SOCKS proxies; AWS's tool does.",
    },
    Flag {
        name: "debug",
        verbs: ALL,
        takes: Takes::Switch,
        meaning: Meaning::Different,
        here: "Logs more to stderr, like `--log-level debug`. anchord never logs a request, a response or a secret; AWS's tool prints requests.",
    },
    Flag {
        name: "cert-selector",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "Searches PKCS#11 tokens (those of `--pkcs11-lib`, else all of p11-kit's), because Linux has no other certificate store. A subject or issuer matches if it has the named attributes, in any order; AWS's tool compares the whole text. Values may contain spaces.",
    },
    Flag {
        name: "system-store-name",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Refused,
        here: "Names a Windows certificate store. AWS's tool ignores it on other systems; anchord refuses it, because it is probably left over from a copied command.",
    },
    Flag {
        name: "system-store-location",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Refused,
        here: "See `--system-store-name`.",
    },
    Flag {
        name: "use-latest-expiring-certificate",
        verbs: KEYED,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Has no effect: of several matching certificates, anchord always uses the one that expires last.",
    },
    Flag {
        name: "pkcs11-lib",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "Another name for `--pkcs11-module` (default: p11-kit). The library is loaded into a separate process. Prints a warning if neither the certificate nor the key is in a token.",
    },
    Flag {
        name: "reuse-pin",
        verbs: KEYED,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Has no effect: anchord always reuses the PIN if a key needs it for each signature. Give the PIN in the URI (`pin-source`, or `pin-value` with a warning, because the process list shows it) or with `--passphrase`. anchord asks for it only with `--passphrase prompt`; AWS's tool asks if the URI has none. Prints a warning if the key is not in a token.",
    },
    Flag {
        name: "tpm-key-password",
        verbs: KEYED,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "Prints a warning, because every user of the host can read it in the process list; prefer `--passphrase file:PATH`. Without it, anchord gives the TPM no password, and asks for one only with `--passphrase prompt`; AWS's tool asks. Refused if the key is not in a TPM; AWS's tool ignores it then.",
    },
    Flag {
        name: "no-tpm-key-password",
        verbs: KEYED,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Has no effect: it is the default if no password is given. Prints a warning if the key is not in a TPM.",
    },
    Flag {
        name: "pkcs8-password",
        verbs: KEYED,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "For PKCS#12 files too. Prints the same warning as `--tpm-key-password`. Refused if the key is not encrypted, as in AWS's tool, and if it is in a token or a TPM, which would count it as a wrong PIN; AWS's tool ignores it then.",
    },
    Flag {
        name: "port",
        verbs: &["serve"],
        takes: Takes::Whole(0, 65535),
        meaning: Meaning::Same,
        here: "The port on 127.0.0.1 (default: 9911; 0 chooses a free port).",
    },
    Flag {
        name: "hop-limit",
        verbs: &["serve"],
        takes: Takes::Whole(1, 255),
        meaning: Meaning::Different,
        here: "1 to 255, for responses and for the TCP handshake; AWS's tool leaves the handshake at the kernel's value. If it is not given or is 64 (the kernel's default), responses have 1 and so never pass a router, like all of anchord's responses to loopback.",
    },
    Flag {
        name: "profile",
        verbs: &["update"],
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "The profile to write (default: `default`).",
    },
    Flag {
        name: "once",
        verbs: &["update"],
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Writes the file once and exits.",
    },
    Flag {
        name: "retry-errors",
        verbs: &["update"],
        takes: Takes::Switch,
        meaning: Meaning::Different,
        here: "Has no effect: anchord always retries. Without the flag, AWS's tool exits on the first failure, and the credentials in the file expire.",
    },
    Flag {
        name: "format",
        verbs: &["sign-string"],
        takes: Takes::OneOf(&["json", "text", "bin"]),
        meaning: Meaning::Same,
        here: "The output format (default: `json`).",
    },
    Flag {
        name: "digest",
        verbs: &["sign-string"],
        takes: Takes::OneOf(&["SHA256", "SHA384", "SHA512"]),
        meaning: Meaning::Different,
        here: "The digest algorithm (default: SHA256). In anchord, keys in tokens, keys in TPMs and ML-DSA keys accept only the default, because Roles Anywhere accepts nothing else. AWS's tool ignores the flag for ML-DSA.",
    },
];

impl Flag {
    /// For clap. Its value is checked text: `true` or `false` for a switch.
    fn argument(&self) -> Arg {
        let argument = Arg::new(self.name)
            .long(self.name)
            .action(ArgAction::Set)
            .help(self.here)
            .help_heading("Options of aws_signing_helper");
        match self.takes {
            Takes::Text => argument.num_args(1).value_name("TEXT").allow_hyphen_values(true),
            Takes::Whole(least, most) => argument
                .num_args(1)
                .value_name("NUMBER")
                .allow_negative_numbers(true)
                .value_parser(move |text: &str| whole(text, least, most)),
            Takes::Switch => argument
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_name("true|false")
                .value_parser(switch),
            Takes::OneOf(words) => argument.num_args(1).value_name("WORD").value_parser(move |text: &str| {
                let known = words.contains(&text).then(|| text.to_owned());
                known.ok_or_else(|| format!("expected one of {}", words.join(", ")))
            }),
        }
    }
}

/// Whether AWS's tool has this flag.
pub(in crate::cli) fn has_flag(name: &str) -> bool {
    FLAGS.iter().any(|flag| flag.name == name)
}

fn whole(text: &str, least: u32, most: u32) -> Result<String, String> {
    let number = go_number(text).filter(|number| (least..=most).contains(number));
    number
        .map(|number| number.to_string())
        .ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

/// A number as Go's `strconv.ParseInt` reads it with base 0: a prefix may give the base (`0x384`; a leading zero means
/// octal), and `_` may separate digits (`1_800`).
fn go_number(text: &str) -> Option<u32> {
    let text = text.strip_prefix('+').unwrap_or(text).to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefixed = prefixes.iter().find_map(|(prefix, base)| Some((text.strip_prefix(prefix)?, *base)));
    let (digits, base) = prefixed.filter(|(digits, _)| !digits.is_empty()).unwrap_or((text.as_str(), 10));
    // Go allows one after the prefix.
    let groups = if base == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    let is_grouped =
        groups.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_alphanumeric()));
    is_grouped.then(|| u32::from_str_radix(&groups.replace('_', ""), base).ok()).flatten()
}

/// A truth value as Go's `strconv.ParseBool` reads it.
fn switch(text: &str) -> Result<String, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".into()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".into()),
        _ => Err("expected true or false".into()),
    }
}

/// The flags of `verb` that anchord's own grammar (`own`) does not have already.
pub(super) fn arguments(verb: &str, own: &[Arg]) -> Vec<Arg> {
    let is_own = |flag: &Flag| own.iter().any(|argument| argument.get_id() == flag.name);
    let of_verb = FLAGS.iter().filter(|flag| flag.verbs.contains(&verb));
    of_verb.filter(|flag| !is_own(flag)).map(Flag::argument).collect()
}
