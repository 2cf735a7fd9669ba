//! The flags of AWS's tool: which of its verbs have them, what becomes of them here, and why that differs where it does.
//!
//! The grammar and the table for people are both made from [`FLAGS`].

use clap::Arg;
use clap::ArgAction;

/// One flag of AWS's tool.
pub(super) struct Flag {
    /// Without dashes.
    pub(super) name: &'static str,
    pub(super) verbs: &'static [&'static str],
    pub(super) takes: Takes,
    pub(super) meaning: Meaning,
    /// What it is here, and the reason where that is not what it is there.
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

/// How its meaning here compares with the one there.
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
        here: "A PEM or PKCS#12 file or a `pkcs11:` URI; also `spiffe:`. Intermediates in a PEM file are sent too: there only its first certificate is read. PKCS#12 files may have a passphrase, which goes to `--passphrase`, and today's ciphers: there neither. `sign-string` signs only with a key that belongs to it, and needs none: there a file's key needs one, and any will do.",
    },
    Flag {
        name: "private-key",
        verbs: KEYED,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "A PEM file, also of a TPM's key, a `pkcs11:` URI, or `handle:0x81000001`; also `tpm:0x81000001`. Kinds that Roles Anywhere refuses (RSA below 2048 bits, P-224) sign nothing here.",
    },
    Flag {
        name: "intermediates",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "In any order; with a PKCS#12 file too. What is valid and leads from the leaf towards a root is sent, at most five: of a cross-signed issuer every path that fits. A file without certificates is refused, for it may still be being written: there it is as good as none.",
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
        here: "Checked before anything is sent, against the trust anchor as well.",
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
        here: "Refused by AWS unless the profile accepts such names.",
    },
    Flag {
        name: "region",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "There the Region that is called and signed for. Here too under the name `aws_signing_helper`, but another Region than the trust anchor's is refused at once, for AWS would answer that there is no such trust anchor. Under the name `anchord` it is the Region that clients use.",
    },
    Flag {
        name: "endpoint",
        verbs: VENDING,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "`https://` only: over plain HTTP anybody on the way could read the credentials.",
    },
    Flag {
        name: "no-verify-ssl",
        verbs: VENDING,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "With a warning: anybody on the way can then read the credentials, or hand out others. `credential-process` says so on a terminal only, for SDKs want stderr empty. `--ca-file` is the better way.",
    },
    Flag {
        name: "with-proxy",
        verbs: VENDING,
        takes: Takes::Switch,
        meaning: Meaning::Different,
        here: "Changes nothing: HTTPS_PROXY and NO_PROXY hold without it, as there since version 1.7. Under the name `aws_signing_helper` loopback is never reached through the proxy and ALL_PROXY is left alone, as there. No SOCKS: there it is taken.",
    },
    Flag {
        name: "debug",
        verbs: ALL,
        takes: Takes::Switch,
        meaning: Meaning::Different,
        here: "Logs more to stderr, as `--log-level debug`. Never a request, an answer or a secret: there, requests are printed.",
    },
    Flag {
        name: "cert-selector",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "Looks through PKCS#11 tokens (`--pkcs11-lib`, else all of p11-kit's), which are the stores that Linux has. A subject or issuer must have the attributes that are named, in any order, instead of being the same text. Values may hold spaces.",
    },
    Flag {
        name: "system-store-name",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Refused,
        here: "It names a store of Windows. There it is ignored elsewhere; a flag that changes nothing here is a mistake in what was copied.",
    },
    Flag {
        name: "system-store-location",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Refused,
        here: "As `--system-store-name`.",
    },
    Flag {
        name: "use-latest-expiring-certificate",
        verbs: KEYED,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Always so: of several certificates that fit, the one that is valid longest is used.",
    },
    Flag {
        name: "pkcs11-lib",
        verbs: ALL,
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "As `--pkcs11-module`; p11-kit's without it. The library is loaded into a process of its own. With a warning where nothing is in a token.",
    },
    Flag {
        name: "reuse-pin",
        verbs: KEYED,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Always so, where a key asks for its PIN at each signature. A PIN is in the URI (`pin-source`, or `pin-value` with a warning, for that is in the list of processes too) or in `--passphrase`, and typed in with `--passphrase prompt` only: there one that is not in the URI is asked for. With a warning where the key is in no token.",
    },
    Flag {
        name: "tpm-key-password",
        verbs: KEYED,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "With a warning, for every user of the host can read it in the list of processes; `--passphrase file:PATH` is the better way. Without it the TPM is given none: there it is asked for, here by `--passphrase prompt`. Refused where the key is in no TPM: there it is ignored.",
    },
    Flag {
        name: "no-tpm-key-password",
        verbs: KEYED,
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Always so, where no password is given. With a warning where the key is in no TPM.",
    },
    Flag {
        name: "pkcs8-password",
        verbs: KEYED,
        takes: Takes::Text,
        meaning: Meaning::Different,
        here: "For PKCS#12 too. With the same warning as `--tpm-key-password`. Refused where the key is not encrypted, as there, and where it is in a token or a TPM, which would count it as a wrong PIN: there it is ignored.",
    },
    Flag {
        name: "port",
        verbs: &["serve"],
        takes: Takes::Whole(0, 65535),
        meaning: Meaning::Same,
        here: "9911 without it, on 127.0.0.1; 0 takes a free one.",
    },
    Flag {
        name: "hop-limit",
        verbs: &["serve"],
        takes: Takes::Whole(1, 255),
        meaning: Meaning::Different,
        here: "1 to 255, for answers as there, and for the handshake, which there always has the kernel's. Without it, and with the kernel's own (64), answers have 1: they die at the first router, as all of anchord's to loopback do.",
    },
    Flag {
        name: "profile",
        verbs: &["update"],
        takes: Takes::Text,
        meaning: Meaning::Same,
        here: "`default` without it.",
    },
    Flag {
        name: "once",
        verbs: &["update"],
        takes: Takes::Switch,
        meaning: Meaning::Same,
        here: "Writes once and ends.",
    },
    Flag {
        name: "retry-errors",
        verbs: &["update"],
        takes: Takes::Switch,
        meaning: Meaning::Different,
        here: "Always so: a failure is no reason to end. There, without it, the first failure ends the tool and the file's credentials run out.",
    },
    Flag {
        name: "format",
        verbs: &["sign-string"],
        takes: Takes::OneOf(&["json", "text", "bin"]),
        meaning: Meaning::Same,
        here: "`json` without it.",
    },
    Flag {
        name: "digest",
        verbs: &["sign-string"],
        takes: Takes::OneOf(&["SHA256", "SHA384", "SHA512"]),
        meaning: Meaning::Different,
        here: "SHA256 without it. Keys in tokens, in TPMs and of ML-DSA sign with nothing else here: Roles Anywhere takes nothing else. There ML-DSA passes it over.",
    },
];

impl Flag {
    /// As clap takes it. Its value is text that has been checked: `true` or `false` for a switch.
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

/// What Go's `strconv.ParseInt` takes where the base is in the prefix, and `_` between digits: `0x384`, `1_800`. A zero in
/// front means octal.
fn go_number(text: &str) -> Option<u32> {
    let text = text.strip_prefix('+').unwrap_or(text).to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefixed = prefixes.iter().find_map(|(prefix, base)| Some((text.strip_prefix(prefix)?, *base)));
    let (digits, base) = prefixed.filter(|(digits, _)| !digits.is_empty()).unwrap_or((text.as_str(), 10));
    // One may stand behind the prefix.
    let groups = if base == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    let is_grouped =
        groups.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_alphanumeric()));
    is_grouped.then(|| u32::from_str_radix(&groups.replace('_', ""), base).ok()).flatten()
}

/// What Go's `strconv.ParseBool` takes.
fn switch(text: &str) -> Result<String, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".into()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".into()),
        _ => Err("expected true or false".into()),
    }
}

/// The flags of `verb` that are none of anchord's own, which have them already.
pub(super) fn arguments(verb: &str, own: &[Arg]) -> Vec<Arg> {
    let is_own = |flag: &Flag| own.iter().any(|argument| argument.get_id() == flag.name);
    let of_verb = FLAGS.iter().filter(|flag| flag.verbs.contains(&verb));
    of_verb.filter(|flag| !is_own(flag)).map(Flag::argument).collect()
}
