//! Every option, declared once.
//!
//! The command line, the names of the variables, the help and the sample file are made from [`OPTIONS`], so
//! that an option cannot exist in one of them only. What a value means is checked elsewhere.

/// One option: a flag, a variable and, for [`OPTIONS`], a key of the file.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Where the file has it: `table.key`, or `key` at the top. `session.key` stands for `[session.NAME]`.
    pub key: &'static str,
    /// The long flag, without dashes; made from the key.
    pub flag: &'static str,
    /// The environment variable; made from the key.
    pub variable: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// What holds when nobody gives it.
    pub fallback: Fallback,
    /// A value as the sample file writes it.
    pub sample: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

/// What values look like in the file; flags and variables give all of them as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string, named as help shows it.
    Text(&'static str),
    /// A path; relative ones start at the file's folder, those of flags and variables at the current one.
    Path,
    /// A path, or a URI that [`anchord_identity::Locator`] knows.
    Place,
    /// `true` or `false`.
    Switch,
    /// `"30s"`, or a whole number of seconds.
    Span,
    /// A time-out: `"3000ms"` or `"3s"`, never a number alone, or `"none"`.
    Limit,
    /// Roles to assume: an array of ARNs, or of tables (`[[session.NAME.assume_role]]`), which only the file can have.
    Steps,
    /// A table of strings.
    Table,
    /// An array of strings; commas separate them in flags and variables, and the flag may be repeated.
    List(&'static str),
}

/// What holds when nobody gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, in the form a flag would have.
    Value(&'static str),
    /// Something that depends on the rest, in words.
    Rule(&'static str),
    /// Nothing: it must be given.
    Required,
}

impl OptionSpec {
    /// The table of the file, without the session's name; empty at the top.
    pub fn table(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// The key within its table.
    pub fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Whether it says whose credentials a session's are; the Region in which clients use them does not.
    pub fn decides_credentials(&self) -> bool {
        self.table() == "session" && self.flag != "region"
    }
}

impl Kind {
    /// The words after "expected" when the file holds another type.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text(_) | Self::Path | Self::Place => "a string",
            Self::Switch => "a boolean",
            Self::Limit => "a string such as \"3000ms\" or \"3s\"",
            Self::Span => "a string such as \"30s\" or a whole number of seconds",
            Self::List(_) => "an array of strings",
            Self::Steps => "an array of role ARNs or of tables",
            Self::Table => "a table of strings",
        }
    }
}

impl std::fmt::Display for Fallback {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(text) | Self::Rule(text) => write!(formatter, "default: {text}"),
            Self::Required => formatter.write_str("required"),
        }
    }
}

/// The option with this key.
///
/// # Panics
/// When there is none: keys are written by us, and loading any file looks all of them up.
pub(super) fn option(key: &str) -> &'static OptionSpec {
    OPTIONS.iter().find(|spec| spec.key == key).expect("only keys of OPTIONS are asked for")
}

/// The keys of a `[[session.NAME.assume_role]]`. They have no flags and no variables.
pub(super) const STEP_OPTIONS: &[OptionSpec] = &[
    key("role_arn", Kind::Text("ARN"), "\"arn:aws:iam::210987654321:role/models\"", "required"),
    key("session_name", Kind::Text("NAME"), "\"robot-7\"", "what CloudTrail shows; else anchord-SESSION"),
    key("external_id", Kind::Text("ID"), "\"7d2f\"", "what the role's owner asks for in the trust policy"),
    key("duration", Kind::Span, "\"1h\"", "the longest after another role; 12h after access keys"),
    key("policy", Kind::Text("JSON"), "'{\"Version\": …}'", "a session policy"),
    key("policy_arns", Kind::List("ARN"), "[\"arn:aws:iam::…\"]", "managed policies, as limits"),
    key("tags", Kind::Table, "{ project = \"robots\" }", "session tags"),
    key("transitive_tags", Kind::List("NAME"), "[\"project\"]", "tags that go on through further roles"),
    key(
        "source_identity",
        Kind::Text("NAME"),
        "\"robot-7\"",
        "who is behind it; a certificate's is set already",
    ),
    key("sts_region", Kind::Text("REGION"), "\"us-east-1\"", "else the session's"),
    key("sts_endpoint", Kind::Text("URL"), "\"https://…\"", "else the session's, or AWS's own"),
];

/// The keys of a `[credentials_file.NAME]`. They have no flags and no variables.
pub(super) const CREDENTIALS_FILE_KEYS: &[OptionSpec] = &[
    key(
        "path",
        Kind::Path,
        "\"/home/app/.aws/credentials\"",
        "else AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials",
    ),
    key("profile", Kind::Text("NAME"), "\"bedrock\"", "else `default`"),
    key("session", Kind::Text("NAME"), "\"bedrock\"", "whose credentials it gets; else the only session"),
];

const fn key(key: &'static str, kind: Kind, sample: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec { key, flag: "", variable: "", kind, fallback: Fallback::Rule("none"), sample, doc }
}

/// An option whose flag and variable follow from its key.
macro_rules! row {
    (key: $key:literal, $($field:ident: $value:expr,)*) => {
        OptionSpec {
            key: $key,
            flag: {
                const FLAG: [u8; named($key).len()] = name("", $key, b'-');
                text(&FLAG)
            },
            variable: {
                const VARIABLE: [u8; PREFIX.len() + named($key).len()] = variable($key);
                text(&VARIABLE)
            },
            $($field: $value,)*
        }
    };
}

/// What variables begin with.
const PREFIX: &str = "ANCHORD_";

/// What flags and variables name of a key: all of it, but not the tables that go without saying. `upstream.read_timeout`
/// is `--read-timeout`, and `log.level` is `--log-level`.
const fn named(key: &str) -> &[u8] {
    let key = key.as_bytes();
    let mut dot = 0;
    while dot < key.len() && key[dot] != b'.' {
        dot += 1;
    }
    match key.split_at(dot) {
        (b"http" | b"session" | b"upstream", [b'.', name @ ..]) => name,
        _ => key,
    }
}

/// `prefix`, and what is named of the key with `between` the words.
const fn name<const LENGTH: usize>(prefix: &str, key: &str, between: u8) -> [u8; LENGTH] {
    let (prefix, key) = (prefix.as_bytes(), named(key));
    let mut name = [between; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        let letter = if at < prefix.len() { prefix[at] } else { key[at - prefix.len()] };
        if letter.is_ascii_alphanumeric() {
            name[at] = letter;
        }
        at += 1;
    }
    name
}

const fn variable<const LENGTH: usize>(key: &str) -> [u8; LENGTH] {
    let mut variable = name(PREFIX, key, b'_');
    variable.make_ascii_uppercase();
    variable
}

const fn text(name: &[u8]) -> &str {
    match std::str::from_utf8(name) {
        Ok(text) => text,
        Err(_) => panic!("keys are ASCII"),
    }
}

/// Tells where to read and which session is meant; has no key in the file.
pub const SELECTORS: &[OptionSpec] = &[
    row! {
        key: "config",
        kind: Kind::Path,
        fallback: Fallback::Rule(
            "$XDG_CONFIG_HOME/anchord/anchord.toml (~/.config without it), else /etc/anchord/anchord.toml, else no file",
        ),
        sample: "",
        doc: "The settings file",
    },
    row! {
        key: "session",
        kind: Kind::Text("NAME"),
        fallback: Fallback::Rule("the file's only session, or `default` when flags define it"),
        sample: "",
        doc: "The session to use, and the one that the session options below change",
    },
];

/// Every option that the file knows, in the order in which the sample has them.
pub const OPTIONS: &[OptionSpec] = &[
    row! {
        key: "runtime_directory",
        kind: Kind::Path,
        fallback: Fallback::Rule(
            "$RUNTIME_DIRECTORY, else /run/anchord for root, else $XDG_RUNTIME_DIR/anchord",
        ),
        sample: "\"/run/anchord\"",
        doc: "Directory of the socket, the bearer files and the token key",
    },
    row! {
        key: "log.level",
        kind: Kind::Text("error|warn|info|debug|trace"),
        fallback: Fallback::Value("info"),
        sample: "\"info\"",
        doc: "Log level: error, warn, info, debug or trace",
    },
    row! {
        key: "log.format",
        kind: Kind::Text("text|json"),
        fallback: Fallback::Value("text"),
        sample: "\"text\"",
        doc: "Log format: text for people, json for machines",
    },
    row! {
        key: "http.listen",
        kind: Kind::List("ADDRESS:PORT"),
        fallback: Fallback::Value("127.0.0.1:9911"),
        sample: "[\"127.0.0.1:9911\"]",
        doc: "Loopback or link-local addresses that serve IMDS and container credentials",
    },
    row! {
        key: "imds.enabled",
        kind: Kind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Serve credentials as the EC2 instance metadata service (IMDS) does",
    },
    row! {
        key: "imds.session",
        kind: Kind::Text("NAME"),
        fallback: Fallback::Rule("the only session; required when there are several"),
        sample: "\"bedrock\"",
        doc: "The session that IMDS serves",
    },
    row! {
        key: "container.enabled",
        kind: Kind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Serve container credentials",
    },
    row! {
        key: "socket.enabled",
        kind: Kind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Serve the Unix socket",
    },
    row! {
        key: "socket.path",
        kind: Kind::Path,
        fallback: Fallback::Rule("anchord.sock in the runtime directory"),
        sample: "\"/run/anchord/anchord.sock\"",
        doc: "Path of the Unix socket",
    },
    row! {
        key: "socket.mode",
        kind: Kind::Text("OCTAL"),
        fallback: Fallback::Value("0600"),
        sample: "\"0600\"",
        doc: "Permissions of the Unix socket, in octal; a user with write permission can connect",
    },
    row! {
        key: "upstream.connect_timeout",
        kind: Kind::Limit,
        fallback: Fallback::Value("5s"),
        sample: "\"5s\"",
        doc: "Time limit to connect to AWS; none or -1 for no limit",
    },
    row! {
        key: "upstream.read_timeout",
        kind: Kind::Limit,
        fallback: Fallback::Value("10s"),
        sample: "\"10s\"",
        doc: "Time limit without data while waiting for AWS's answer; none or -1 for no limit",
    },
    row! {
        key: "upstream.ca_file",
        kind: Kind::Path,
        fallback: Fallback::Rule("AWS_CA_BUNDLE, else the system's"),
        sample: "\"/etc/anchord/proxy-ca.pem\"",
        doc: "CA bundle (PEM) used to verify TLS servers",
    },
    row! {
        key: "upstream.use_fips_endpoint",
        kind: Kind::Switch,
        fallback: Fallback::Rule("AWS_USE_FIPS_ENDPOINT, else false"),
        sample: "false",
        doc: "Use FIPS endpoints (cryptography validated under FIPS 140)",
    },
    row! {
        key: "upstream.use_dualstack_endpoint",
        kind: Kind::Switch,
        fallback: Fallback::Rule("AWS_USE_DUALSTACK_ENDPOINT, else false"),
        sample: "false",
        doc: "Use dual-stack (IPv4 and IPv6) endpoints",
    },
    row! {
        key: "session.source",
        kind: Kind::Text("roles-anywhere|access-keys"),
        fallback: Fallback::Value("roles-anywhere"),
        sample: "\"roles-anywhere\"",
        doc: "What the session starts from: roles-anywhere (a certificate) or access-keys (a user's own keys)",
    },
    row! {
        key: "session.certificate",
        kind: Kind::Place,
        fallback: Fallback::Required,
        sample: "\"/etc/anchord/leaf.pem\"",
        doc: "Certificate, with or without intermediates: a PEM or PKCS#12 file, credential:NAME, env:VARIABLE, pkcs11:URI, spiffe: or spiffe://ID",
    },
    row! {
        key: "session.private_key",
        kind: Kind::Place,
        fallback: Fallback::Rule("where the certificate is"),
        sample: "\"/etc/anchord/key.pem\"",
        doc: "Private key of the certificate: a PEM (also TSS2) or PKCS#12 file, credential:NAME, env:VARIABLE, pkcs11:URI, or tpm:0x81000001 for a TPM's handle",
    },
    row! {
        key: "session.intermediates",
        kind: Kind::Place,
        fallback: Fallback::Rule("none"),
        sample: "\"/etc/anchord/chain.pem\"",
        doc: "Intermediate certificates between the leaf and the trust anchor: a PEM file, credential:NAME or env:VARIABLE",
    },
    row! {
        key: "session.passphrase",
        kind: Kind::Text("file:PATH|credential:NAME|env:VARIABLE|prompt|pass:TEXT"),
        fallback: Fallback::Rule("none"),
        sample: "\"file:/etc/anchord/passphrase\"",
        doc: "Source of the key's passphrase, PIN or authorization value; credential is systemd's LoadCredential",
    },
    row! {
        key: "session.certificate_fingerprint",
        kind: Kind::List("sha256:HEX"),
        fallback: Fallback::Rule("any"),
        sample: "[\"sha256:6f1d4c0e8f4be0d5b1f0b6d2a7c39c0a5d2f8e7b1a4c3d6e9f0a1b2c3d4e5f60\"]",
        doc: "Fingerprints of the only certificates to accept, as `openssl x509 -fingerprint -sha256` prints them",
    },
    row! {
        key: "session.certificate_subject",
        kind: Kind::Text("NAME"),
        fallback: Fallback::Rule("any"),
        sample: "\"CN=robot-7,O=Acme\"",
        doc: "Attributes that the certificate's subject must have; selects one of several certificates",
    },
    row! {
        key: "session.certificate_issuer",
        kind: Kind::Text("NAME"),
        fallback: Fallback::Rule("any"),
        sample: "\"CN=Factory CA\"",
        doc: "Attributes that the certificate's issuer must have",
    },
    row! {
        key: "session.certificate_serial",
        kind: Kind::Text("SERIAL"),
        fallback: Fallback::Rule("any"),
        sample: "\"0x1a2b3c\"",
        doc: "Serial number of the certificate: hexadecimal after 0x, else decimal",
    },
    row! {
        key: "session.pkcs11_module",
        kind: Kind::Path,
        fallback: Fallback::Rule("p11-kit's, for all modules of this host"),
        sample: "\"/usr/lib/softhsm/libsofthsm2.so\"",
        doc: "PKCS#11 module to use if a pkcs11: URI has no module-path",
    },
    row! {
        key: "session.tpm",
        kind: Kind::Text("device:PATH|swtpm:host=HOST,port=PORT|swtpm:path=PATH"),
        fallback: Fallback::Value("device:/dev/tpmrm0"),
        sample: "\"device:/dev/tpmrm0\"",
        doc: "TPM that holds the key, in the form of TPM2TOOLS_TCTI",
    },
    row! {
        key: "session.spiffe_socket",
        kind: Kind::Text("unix:///PATH|tcp://ADDRESS:PORT"),
        fallback: Fallback::Rule("SPIFFE_ENDPOINT_SOCKET"),
        sample: "\"unix:///run/spire/agent/public/api.sock\"",
        doc: "Workload API address of the SPIFFE agent, for a certificate spiffe: or spiffe://trust.domain/path",
    },
    row! {
        key: "session.spiffe_hint",
        kind: Kind::Text("HINT"),
        fallback: Fallback::Rule("any"),
        sample: "\"internal\"",
        doc: "Hint of the SVID to use if the agent offers several",
    },
    row! {
        key: "session.trust_anchor_arn",
        kind: Kind::Text("ARN"),
        fallback: Fallback::Required,
        sample: "\"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/41c10bae-3fc2-4a1c-9d0c-3a5f8d2b7c11\"",
        doc: "ARN of the trust anchor that issued the certificate",
    },
    row! {
        key: "session.profile_arn",
        kind: Kind::Text("ARN"),
        fallback: Fallback::Required,
        sample: "\"arn:aws:rolesanywhere:us-east-1:123456789012:profile/9f2d6a70-58b1-4a0e-8f57-0c6d1e2b3a44\"",
        doc: "ARN of the Roles Anywhere profile, in the trust anchor's account and Region",
    },
    row! {
        key: "session.role_arn",
        kind: Kind::Text("ARN"),
        fallback: Fallback::Required,
        sample: "\"arn:aws:iam::123456789012:role/bedrock\"",
        doc: "ARN of the role to assume",
    },
    row! {
        key: "session.duration",
        kind: Kind::Span,
        fallback: Fallback::Value("1h"),
        sample: "\"1h\"",
        doc: "Life of the credentials, 15m to 12h; the profile may shorten it",
    },
    row! {
        key: "session.role_session_name",
        kind: Kind::Text("NAME"),
        fallback: Fallback::Rule("AWS takes the certificate's serial number"),
        sample: "\"build-host-7\"",
        doc: "Role session name that CloudTrail shows; refused unless the profile accepts role session names",
    },
    row! {
        key: "session.region",
        kind: Kind::Text("REGION"),
        fallback: Fallback::Rule("the trust anchor's; required with access keys"),
        sample: "\"us-east-1\"",
        doc: "Region in which clients use the credentials",
    },
    row! {
        key: "session.roles_anywhere_region",
        kind: Kind::Text("REGION"),
        fallback: Fallback::Value("auto"),
        sample: "\"auto\"",
        doc: "Region of the Roles Anywhere endpoint; auto takes it from the ARNs",
    },
    row! {
        key: "session.endpoint",
        kind: Kind::Text("URL"),
        fallback: Fallback::Rule("AWS's own, by Region"),
        sample: "\"https://rolesanywhere.us-east-1.amazonaws.com\"",
        doc: "Roles Anywhere endpoint (https://) in place of AWS's usual one, such as a VPC endpoint",
    },
    row! {
        key: "session.fallback_trust_anchor_arn",
        kind: Kind::Text("ARN"),
        fallback: Fallback::Rule("no second endpoint"),
        sample: "\"arn:aws:rolesanywhere:us-west-2:123456789012:trust-anchor/7d3e9f21-6a4b-4c58-8e1f-2b9c0d4a6e53\"",
        doc: "ARN of a second trust anchor, usually in another Region, used while the first endpoint fails",
    },
    row! {
        key: "session.fallback_profile_arn",
        kind: Kind::Text("ARN"),
        fallback: Fallback::Rule("no second endpoint"),
        sample: "\"arn:aws:rolesanywhere:us-west-2:123456789012:profile/5b8c1d60-9e2f-4a73-b6d4-8f0a3c7e1d92\"",
        doc: "ARN of the profile for the same role, in the fallback trust anchor's account and Region",
    },
    row! {
        key: "session.fallback_endpoint",
        kind: Kind::Text("URL"),
        fallback: Fallback::Rule("AWS's own, in the fallback trust anchor's Region"),
        sample: "\"https://rolesanywhere.us-west-2.amazonaws.com\"",
        doc: "Roles Anywhere endpoint (https://) in place of the second Region's usual one",
    },
    row! {
        key: "session.access_keys",
        kind: Kind::Text("file:PATH|credential:NAME|env:VARIABLE|env"),
        fallback: Fallback::Rule("none; needed by source = access-keys"),
        sample: "\"file:/etc/anchord/access-keys\"",
        doc: "Source of a user's access keys: a file of the SDKs or IAM, or ID:SECRET; env alone is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    },
    row! {
        key: "session.get_session_token",
        kind: Kind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Exchange access keys for temporary credentials (IMDS needs them); false hands out the keys themselves",
    },
    row! {
        key: "session.assume_role",
        kind: Kind::Steps,
        fallback: Fallback::Rule("none"),
        sample: "[\"arn:aws:iam::210987654321:role/models\"]",
        doc: "Roles to assume one after the other; clients get the credentials of the last",
    },
    row! {
        key: "session.sts_region",
        kind: Kind::Text("REGION"),
        fallback: Fallback::Rule("`region`"),
        sample: "\"us-east-1\"",
        doc: "Region of the STS endpoint",
    },
    row! {
        key: "session.sts_endpoint",
        kind: Kind::Text("URL"),
        fallback: Fallback::Rule("AWS's own, by Region"),
        sample: "\"https://sts.us-east-1.amazonaws.com\"",
        doc: "STS endpoint (https://) in place of AWS's usual one",
    },
];
