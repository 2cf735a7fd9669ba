//! Every option, declared once.
//!
//! The command line, the names of the variables, the help and the sample file are made from [`OPTIONS`], so that none
//! of them can lack an option. Other modules check the values.

/// One option: a flag, a variable and, for [`OPTIONS`], a key of the file.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its key in the file: `table.key`, or `key` at the top. `session.key` stands for `key` in `[session.NAME]`.
    pub key: &'static str,
    /// The long flag, without dashes; made from the key.
    pub flag: &'static str,
    /// The environment variable; made from the key.
    pub variable: &'static str,
    /// The form of its values.
    pub kind: ValueKind,
    /// Its default.
    pub fallback: Fallback,
    /// An example value, as the sample file writes it.
    pub sample: &'static str,
    /// Its description, one sentence without a full stop.
    pub doc: &'static str,
}

/// The form of values in the file. Flags and variables give all of them as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A string, with its placeholder for help texts.
    Text(&'static str),
    /// A path. A relative path is relative to the file's folder, or to the current folder if a flag or variable gives
    /// it.
    Path,
    /// A path, or a URI that [`anchord_identity::Locator`] knows.
    Place,
    /// `true` or `false`.
    Switch,
    /// `"30s"`, or a whole number of seconds.
    Span,
    /// A time-out: `"3000ms"` or `"3s"`, never a number alone, or `"none"`.
    Limit,
    /// Roles to assume: an array of ARNs or of tables (`[[session.NAME.assume_role]]`). Only the file can have tables.
    Steps,
    /// A table of strings.
    Table,
    /// Who is allowed: `"any"`, an array of `user:NAME`, `group:NAME` and `unit:NAME`, or a table of `users`, `groups` and
    /// `units`.
    Principals,
    /// An array of strings. Flags and variables separate them by commas, and a flag may be repeated.
    List(&'static str),
}

/// The default of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, in the form of a flag.
    Value(&'static str),
    /// A rule that depends on other settings, in words.
    Rule(&'static str),
    /// None: a value must be given.
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

    /// Whether it decides which credentials a session has. The Region in which clients use them and who may have
    /// them do not.
    pub fn decides_credentials(&self) -> bool {
        self.table() == "session" && !matches!(self.flag, "region" | "allow")
    }
}

impl ValueKind {
    /// The words after "expected" if the file has a value of another type.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text(_) | Self::Path | Self::Place => "a string",
            Self::Switch => "a boolean",
            Self::Limit => "a string such as \"3000ms\" or \"3s\"",
            Self::Span => "a string such as \"30s\" or a whole number of seconds",
            Self::List(_) => "an array of strings",
            Self::Steps => "an array of role ARNs or of tables",
            Self::Table => "a table of strings",
            Self::Principals => "\"any\", or a table with arrays of users, groups and units",
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
/// If there is no such option. All keys are constants in this crate, and loading any settings looks up all of them.
pub(super) fn option(key: &str) -> &'static OptionSpec {
    OPTIONS.iter().find(|spec| spec.key == key).expect("only keys of OPTIONS are asked for")
}

/// The keys of a `[[session.NAME.assume_role]]`. They have no flags and no variables.
pub(super) const STEP_OPTIONS: &[OptionSpec] = &[
    key("role_arn", ValueKind::Text("ARN"), "\"arn:aws:iam::210987654321:role/models\"", "required"),
    key(
        "session_name",
        ValueKind::Text("NAME"),
        "\"robot-7\"",
        "shown by CloudTrail; default: anchord-SESSION",
    ),
    key(
        "external_id",
        ValueKind::Text("ID"),
        "\"7d2f\"",
        "external id that the role's trust policy requires",
    ),
    key("duration", ValueKind::Span, "\"1h\"", "at most 1h after another role, 12h after access keys"),
    key("policy", ValueKind::Text("JSON"), "'{\"Version\": …}'", "a session policy"),
    key(
        "policy_arns",
        ValueKind::List("ARN"),
        "[\"arn:aws:iam::…\"]",
        "managed policies that limit the session",
    ),
    key("tags", ValueKind::Table, "{ project = \"robots\" }", "session tags"),
    key("transitive_tags", ValueKind::List("NAME"), "[\"project\"]", "tags to pass on to later roles"),
    key(
        "source_identity",
        ValueKind::Text("NAME"),
        "\"robot-7\"",
        "source identity; AWS sets it for certificates",
    ),
    key("sts_region", ValueKind::Text("REGION"), "\"us-east-1\"", "default: the session's"),
    key("sts_endpoint", ValueKind::Text("URL"), "\"https://…\"", "default: the session's, else AWS's own"),
];

/// The keys of a `[credentials_file.NAME]`. They have no flags and no variables.
pub(super) const CREDENTIALS_FILE_KEYS: &[OptionSpec] = &[
    key(
        "path",
        ValueKind::Path,
        "\"/home/app/.aws/credentials\"",
        "default: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials",
    ),
    key("profile", ValueKind::Text("NAME"), "\"bedrock\"", "default: `default`"),
    key(
        "session",
        ValueKind::Text("NAME"),
        "\"bedrock\"",
        "session of the credentials; default: the only session",
    ),
];

const fn key(key: &'static str, kind: ValueKind, sample: &'static str, doc: &'static str) -> OptionSpec {
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

/// The prefix of variables.
const PREFIX: &str = "ANCHORD_";

/// The part of a key that flags and variables have: the key without the tables `http`, `session` and `upstream`. So
/// `upstream.read_timeout` is `--read-timeout`, and `log.level` is `--log-level`.
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

/// `prefix`, then the named part of the key, with `between` between the words.
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

/// Options that select the file and the session. The file has no keys for them.
pub const SELECTORS: &[OptionSpec] = &[
    row! {
        key: "config",
        kind: ValueKind::Path,
        fallback: Fallback::Rule(
            "$XDG_CONFIG_HOME/anchord/anchord.toml (~/.config without it), else /etc/anchord/anchord.toml, else no file",
        ),
        sample: "",
        doc: "The settings file",
    },
    row! {
        key: "session",
        kind: ValueKind::Text("NAME"),
        fallback: Fallback::Rule("the file's only session, or `default` when flags define it"),
        sample: "",
        doc: "The session to use, and the one that the session options below change",
    },
];

/// Every option of the file, in the order of the sample.
pub const OPTIONS: &[OptionSpec] = &[
    row! {
        key: "runtime_directory",
        kind: ValueKind::Path,
        fallback: Fallback::Rule(
            "$RUNTIME_DIRECTORY, else /run/anchord for root, else $XDG_RUNTIME_DIR/anchord",
        ),
        sample: "\"/run/anchord\"",
        doc: "Directory of the socket, the bearer files and the token key",
    },
    row! {
        key: "access_group",
        kind: ValueKind::Text("GROUP"),
        fallback: Fallback::Rule("none"),
        sample: "\"anchord\"",
        doc: "Group whose members may use every session without `allow`, besides root and the daemon's user",
    },
    row! {
        key: "sandbox",
        kind: ValueKind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Let the kernel refuse to the daemon whatever these settings do not need; false only to find a fault",
    },
    row! {
        key: "log.level",
        kind: ValueKind::Text("error|warn|info|debug|trace"),
        fallback: Fallback::Value("info"),
        sample: "\"info\"",
        doc: "Log level: error, warn, info, debug or trace",
    },
    row! {
        key: "log.format",
        kind: ValueKind::Text("text|json"),
        fallback: Fallback::Value("text"),
        sample: "\"text\"",
        doc: "Log format: text for people, json for machines",
    },
    row! {
        key: "http.listen",
        kind: ValueKind::List("ADDRESS:PORT"),
        fallback: Fallback::Value("127.0.0.1:9911"),
        sample: "[\"127.0.0.1:9911\"]",
        doc: "Loopback or link-local addresses that serve IMDS and container credentials",
    },
    row! {
        key: "imds.enabled",
        kind: ValueKind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Serve credentials as the EC2 instance metadata service (IMDS) does",
    },
    row! {
        key: "imds.session",
        kind: ValueKind::Text("NAME"),
        fallback: Fallback::Rule("the only session; required when there are several"),
        sample: "\"bedrock\"",
        doc: "The session that IMDS serves",
    },
    row! {
        key: "imds.allow",
        kind: ValueKind::Principals,
        fallback: Fallback::Rule("as `allow` of the session"),
        sample: "\"any\"",
        doc: "Who may use IMDS; \"any\" is every process that reaches a listener",
    },
    row! {
        key: "container.enabled",
        kind: ValueKind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Serve container credentials",
    },
    row! {
        key: "socket.enabled",
        kind: ValueKind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Serve the Unix socket",
    },
    row! {
        key: "socket.path",
        kind: ValueKind::Path,
        fallback: Fallback::Rule("anchord.sock in the runtime directory"),
        sample: "\"/run/anchord/anchord.sock\"",
        doc: "Path of the Unix socket",
    },
    row! {
        key: "socket.mode",
        kind: ValueKind::Text("OCTAL"),
        fallback: Fallback::Rule("0666 if a session is for other users, else 0600"),
        sample: "\"0660\"",
        doc: "Permissions of the Unix socket, in octal; of those who can connect, each session's `allow` decides",
    },
    row! {
        key: "upstream.connect_timeout",
        kind: ValueKind::Limit,
        fallback: Fallback::Value("5s"),
        sample: "\"5s\"",
        doc: "Time limit to connect to AWS; none or -1 for no limit",
    },
    row! {
        key: "upstream.read_timeout",
        kind: ValueKind::Limit,
        fallback: Fallback::Value("10s"),
        sample: "\"10s\"",
        doc: "Time limit without data while waiting for AWS's answer; none or -1 for no limit",
    },
    row! {
        key: "upstream.ca_file",
        kind: ValueKind::Path,
        fallback: Fallback::Rule("AWS_CA_BUNDLE, else the system's"),
        sample: "\"/etc/anchord/proxy-ca.pem\"",
        doc: "CA bundle (PEM) used to verify TLS servers",
    },
    row! {
        key: "upstream.use_fips_endpoint",
        kind: ValueKind::Switch,
        fallback: Fallback::Rule("AWS_USE_FIPS_ENDPOINT, else false"),
        sample: "false",
        doc: "Use FIPS endpoints (cryptography validated under FIPS 140)",
    },
    row! {
        key: "upstream.use_dualstack_endpoint",
        kind: ValueKind::Switch,
        fallback: Fallback::Rule("AWS_USE_DUALSTACK_ENDPOINT, else false"),
        sample: "false",
        doc: "Use dual-stack (IPv4 and IPv6) endpoints",
    },
    row! {
        key: "session.source",
        kind: ValueKind::Text("roles-anywhere|access-keys"),
        fallback: Fallback::Value("roles-anywhere"),
        sample: "\"roles-anywhere\"",
        doc: "What the session starts from: roles-anywhere (a certificate) or access-keys (a user's own keys)",
    },
    row! {
        key: "session.certificate",
        kind: ValueKind::Place,
        fallback: Fallback::Required,
        sample: "\"/etc/anchord/leaf.pem\"",
        doc: "Certificate, with or without intermediates: a PEM or PKCS#12 file, credential:NAME, env:VARIABLE, pkcs11:URI, spiffe: or spiffe://ID",
    },
    row! {
        key: "session.private_key",
        kind: ValueKind::Place,
        fallback: Fallback::Rule("where the certificate is"),
        sample: "\"/etc/anchord/key.pem\"",
        doc: "Private key of the certificate: a PEM (also TSS2) or PKCS#12 file, credential:NAME, env:VARIABLE, pkcs11:URI, or tpm:0x81000001 for a TPM's handle",
    },
    row! {
        key: "session.intermediates",
        kind: ValueKind::Place,
        fallback: Fallback::Rule("none"),
        sample: "\"/etc/anchord/chain.pem\"",
        doc: "Intermediate certificates between the leaf and the trust anchor: a PEM file, credential:NAME or env:VARIABLE",
    },
    row! {
        key: "session.passphrase",
        kind: ValueKind::Text("file:PATH|credential:NAME|env:VARIABLE|prompt|pass:TEXT"),
        fallback: Fallback::Rule("none"),
        sample: "\"file:/etc/anchord/passphrase\"",
        doc: "Source of the key's passphrase, PIN or authorization value; credential is systemd's LoadCredential",
    },
    row! {
        key: "session.certificate_fingerprint",
        kind: ValueKind::List("sha256:HEX"),
        fallback: Fallback::Rule("any"),
        sample: "[\"sha256:6f1d4c0e8f4be0d5b1f0b6d2a7c39c0a5d2f8e7b1a4c3d6e9f0a1b2c3d4e5f60\"]",
        doc: "Fingerprints of the only certificates to accept, as `openssl x509 -fingerprint -sha256` prints them",
    },
    row! {
        key: "session.certificate_subject",
        kind: ValueKind::Text("NAME"),
        fallback: Fallback::Rule("any"),
        sample: "\"CN=robot-7,O=Acme\"",
        doc: "Attributes that the certificate's subject must have; selects one of several certificates",
    },
    row! {
        key: "session.certificate_issuer",
        kind: ValueKind::Text("NAME"),
        fallback: Fallback::Rule("any"),
        sample: "\"CN=Factory CA\"",
        doc: "Attributes that the certificate's issuer must have",
    },
    row! {
        key: "session.certificate_serial",
        kind: ValueKind::Text("SERIAL"),
        fallback: Fallback::Rule("any"),
        sample: "\"0x1a2b3c\"",
        doc: "Serial number of the certificate: hexadecimal after 0x, else decimal",
    },
    row! {
        key: "session.pkcs11_module",
        kind: ValueKind::Path,
        fallback: Fallback::Rule("p11-kit's, for all modules of this host"),
        sample: "\"/usr/lib/softhsm/libsofthsm2.so\"",
        doc: "PKCS#11 module to use if a pkcs11: URI has no module-path",
    },
    row! {
        key: "session.tpm",
        kind: ValueKind::Text("device:PATH|swtpm:host=HOST,port=PORT|swtpm:path=PATH"),
        fallback: Fallback::Value("device:/dev/tpmrm0"),
        sample: "\"device:/dev/tpmrm0\"",
        doc: "TPM that holds the key, in the form of TPM2TOOLS_TCTI",
    },
    row! {
        key: "session.spiffe_socket",
        kind: ValueKind::Text("unix:///PATH|tcp://ADDRESS:PORT"),
        fallback: Fallback::Rule("SPIFFE_ENDPOINT_SOCKET"),
        sample: "\"unix:///run/spire/agent/public/api.sock\"",
        doc: "Workload API address of the SPIFFE agent, for a certificate spiffe: or spiffe://trust.domain/path",
    },
    row! {
        key: "session.spiffe_hint",
        kind: ValueKind::Text("HINT"),
        fallback: Fallback::Rule("any"),
        sample: "\"internal\"",
        doc: "Hint of the SVID to use if the agent offers several",
    },
    row! {
        key: "session.trust_anchor_arn",
        kind: ValueKind::Text("ARN"),
        fallback: Fallback::Required,
        sample: "\"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/41c10bae-3fc2-4a1c-9d0c-3a5f8d2b7c11\"",
        doc: "ARN of the trust anchor that issued the certificate",
    },
    row! {
        key: "session.profile_arn",
        kind: ValueKind::Text("ARN"),
        fallback: Fallback::Required,
        sample: "\"arn:aws:rolesanywhere:us-east-1:123456789012:profile/9f2d6a70-58b1-4a0e-8f57-0c6d1e2b3a44\"",
        doc: "ARN of the Roles Anywhere profile, in the trust anchor's account and Region",
    },
    row! {
        key: "session.role_arn",
        kind: ValueKind::Text("ARN"),
        fallback: Fallback::Required,
        sample: "\"arn:aws:iam::123456789012:role/bedrock\"",
        doc: "ARN of the role to assume",
    },
    row! {
        key: "session.duration",
        kind: ValueKind::Span,
        fallback: Fallback::Value("1h"),
        sample: "\"1h\"",
        doc: "Life of the credentials, 15m to 12h; the profile may shorten it",
    },
    row! {
        key: "session.role_session_name",
        kind: ValueKind::Text("NAME"),
        fallback: Fallback::Rule("AWS takes the certificate's serial number"),
        sample: "\"build-host-7\"",
        doc: "Role session name that CloudTrail shows; refused unless the profile accepts role session names",
    },
    row! {
        key: "session.region",
        kind: ValueKind::Text("REGION"),
        fallback: Fallback::Rule("the trust anchor's; required with access keys"),
        sample: "\"us-east-1\"",
        doc: "Region in which clients use the credentials",
    },
    row! {
        key: "session.allow",
        kind: ValueKind::Principals,
        fallback: Fallback::Rule("the access group"),
        sample: "{ users = [\"robot\"], groups = [\"bots\"], units = [\"rpa.service\"] }",
        doc: "Who may use the session over IMDS and the Unix socket, besides root and the daemon's user, or \"any\"",
    },
    row! {
        key: "session.roles_anywhere_region",
        kind: ValueKind::Text("REGION"),
        fallback: Fallback::Value("auto"),
        sample: "\"auto\"",
        doc: "Region of the Roles Anywhere endpoint; auto takes it from the ARNs",
    },
    row! {
        key: "session.endpoint",
        kind: ValueKind::Text("URL"),
        fallback: Fallback::Rule("AWS's own, by Region"),
        sample: "\"https://rolesanywhere.us-east-1.amazonaws.com\"",
        doc: "Roles Anywhere endpoint (https://) in place of AWS's usual one, such as a VPC endpoint",
    },
    row! {
        key: "session.fallback_trust_anchor_arn",
        kind: ValueKind::Text("ARN"),
        fallback: Fallback::Rule("no second endpoint"),
        sample: "\"arn:aws:rolesanywhere:us-west-2:123456789012:trust-anchor/7d3e9f21-6a4b-4c58-8e1f-2b9c0d4a6e53\"",
        doc: "ARN of a second trust anchor, usually in another Region, used while the first endpoint fails",
    },
    row! {
        key: "session.fallback_profile_arn",
        kind: ValueKind::Text("ARN"),
        fallback: Fallback::Rule("no second endpoint"),
        sample: "\"arn:aws:rolesanywhere:us-west-2:123456789012:profile/5b8c1d60-9e2f-4a73-b6d4-8f0a3c7e1d92\"",
        doc: "ARN of the profile for the same role, in the fallback trust anchor's account and Region",
    },
    row! {
        key: "session.fallback_endpoint",
        kind: ValueKind::Text("URL"),
        fallback: Fallback::Rule("AWS's own, in the fallback trust anchor's Region"),
        sample: "\"https://rolesanywhere.us-west-2.amazonaws.com\"",
        doc: "Roles Anywhere endpoint (https://) in place of the second Region's usual one",
    },
    row! {
        key: "session.access_keys",
        kind: ValueKind::Text("file:PATH|credential:NAME|env:VARIABLE|env"),
        fallback: Fallback::Rule("none; required with source = access-keys"),
        sample: "\"file:/etc/anchord/access-keys\"",
        doc: "Source of a user's access keys: an SDK credentials file, IAM's CSV or JSON, or ID:SECRET; env alone is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    },
    row! {
        key: "session.get_session_token",
        kind: ValueKind::Switch,
        fallback: Fallback::Value("true"),
        sample: "true",
        doc: "Exchange access keys for temporary credentials (IMDS needs them); false hands out the keys themselves",
    },
    row! {
        key: "session.assume_role",
        kind: ValueKind::Steps,
        fallback: Fallback::Rule("none"),
        sample: "[\"arn:aws:iam::210987654321:role/models\"]",
        doc: "Roles to assume one after the other; clients get the credentials of the last",
    },
    row! {
        key: "session.sts_region",
        kind: ValueKind::Text("REGION"),
        fallback: Fallback::Rule("`region`"),
        sample: "\"us-east-1\"",
        doc: "Region of the STS endpoint",
    },
    row! {
        key: "session.sts_endpoint",
        kind: ValueKind::Text("URL"),
        fallback: Fallback::Rule("AWS's own, by Region"),
        sample: "\"https://sts.us-east-1.amazonaws.com\"",
        doc: "STS endpoint (https://) in place of AWS's usual one",
    },
];
