//! Turns arguments, environment variables and a file into checked settings, and reports all mistakes together.
//!
//! Each option is declared once, in [`OPTIONS`]. Its value comes from the first of four layers that has one:
//! argument, variable, file, default. This crate opens no certificate, socket or connection, and no stage names its
//! types. Where a stage has a type for its input, [`Settings`] hold that type.
//!
//! Session flags and variables apply to one session: the one that `--session` names, or else the only one. If the file
//! defines no session, they define one, called `default` unless `--session` gives its name. If the file defines
//! several, they are refused until `--session` selects one. `--session` removes no session.

mod access;
mod access_keys;
mod agent;
#[cfg(feature = "cli")]
pub mod arguments;
mod check;
mod credentials_file;
mod environment;
mod facts;
mod fallback;
mod file;
mod identity;
mod layers;
mod options;
mod partial;
mod problem;
mod provenance;
mod regions;
mod report;
mod sample;
mod session;
mod setting;
mod step;
#[cfg(test)]
#[cfg(feature = "cli")]
mod tests;
mod upstream;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use credentials_file::shared_credentials_file;
pub use environment::Environment;
pub use facts::Fact;
pub use facts::facts;
pub use layers::Arguments;
pub use options::Fallback;
pub use options::OPTIONS;
pub use options::OptionSpec;
pub use options::SELECTORS;
pub use options::ValueKind;
pub use partial::Partial;
pub use problem::Problems;
pub use provenance::Provenance;
pub use regions::doubt_about;
pub use regions::doubts_of;
pub use report::Origins;
pub use report::describe;
pub use report::describe_given;
pub use sample::sample;
pub use values::is_key_material;
pub use values::nearest;

use anchord_aws::access_keys::AccessKeys;
use anchord_aws::upstream::AssumeRole;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::Sts;
use anchord_core::access::Access;
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::endpoint::Variant;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;
use anchord_identity::Pipes;

/// Settings whose values are all valid and agree with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The host's file, if this user may not read it. Clients continue without it.
    pub unread_file: Option<PathBuf>,
    /// Directory of the socket, the bearer token files and the IMDS token key.
    pub runtime_directory: PathBuf,
    /// Whether the daemon enters its sandbox.
    pub sandbox: bool,
    /// Which messages are logged, and in which format.
    pub log: LogSettings,
    /// The addresses that serve HTTP: loopback or link-local. Not empty if IMDS or container credentials are enabled.
    pub listen: Vec<SocketAddr>,
    /// The session that the emulated EC2 instance metadata service (IMDS) serves; one of `sessions`. `None` if IMDS is
    /// disabled.
    pub imds: Option<String>,
    /// Who may use IMDS; `None` if those may who may use its session.
    pub imds_access: Option<Access>,
    /// Who may use each session, by its name.
    pub access: BTreeMap<String, Access>,
    /// Whether container credentials are served.
    pub container: bool,
    /// The Unix socket; `None` if it is disabled.
    pub socket: Option<UnixSocket>,
    /// How to connect to AWS.
    pub upstream: Upstream,
    /// The sessions, in the order of the file. Never empty after [`load`].
    pub sessions: Vec<SessionSettings>,
    /// The shared credentials files to write, in the order of the file.
    pub credentials_files: Vec<CredentialsFile>,
    /// The session that `--session` names; one of `sessions`, unless a client has no sessions of its own.
    pub picked: Option<String>,
    /// The options of an incomplete session, from flags and variables; only after [`load_for_asking`].
    pub partial: Option<Partial>,
    /// The origin of each value, for [`describe`].
    pub origins: Origins,
    /// Warnings about settings that are allowed but unwise, each a sentence without a full stop.
    pub warnings: Vec<Notice>,
}

impl Settings {
    /// Reads session files that are pipes. Only for processes that load settings once: a pipe can be read once.
    pub fn read_pipes(&mut self) {
        let mut pipes = Pipes::default();
        for session in &mut self.sessions {
            if let CredentialSource::RolesAnywhere(source) = &mut session.source {
                source.identity.read_pipes(&mut pipes);
            }
        }
    }

    /// A copy of the settings after [`Settings::read_pipes`].
    pub fn with_pipes_read(&self) -> Self {
        let mut settings = self.clone();
        settings.read_pipes();
        settings
    }

    /// The session that a verb about one session works with: the selected one, or else the only one.
    pub fn the_session(&self) -> Option<&SessionSettings> {
        match (&self.picked, self.sessions.as_slice()) {
            (Some(name), sessions) => sessions.iter().find(|session| session.name == *name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// Which messages are logged, and in which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Log level: less important messages are not logged.
    pub level: LogLevel,
    /// Log format.
    pub format: LogFormat,
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// The service is degraded but continues.
    Warn,
    /// What an operator wants to read later.
    Info,
    /// For developers of anchord.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name in settings. `tracing` parses the same names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// JSON, an object a line.
    Json,
}

impl LogFormat {
    const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its path, at most 107 bytes.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// A profile in a shared credentials file that the daemon writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFile {
    /// Its name in the settings.
    pub name: String,
    /// The path of the file.
    pub path: PathBuf,
    /// The profile to write.
    pub profile: Profile,
    /// The session that provides the credentials; one of [`Settings::sessions`].
    pub session: String,
}

/// How to connect to AWS.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Time limit to open a connection; `None` for no limit.
    pub connect_timeout: Option<Duration>,
    /// Time limit without data from AWS; `None` for no limit.
    pub read_timeout: Option<Duration>,
    /// CA bundle used to verify TLS servers; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// The variant of AWS's endpoints: FIPS, dual-stack.
    pub variant: Variant,
    /// The proxy for https, as the variable gives it. It may contain a password.
    pub proxy: Option<Secret<String>>,
    /// Hosts to reach without the proxy, as the variable gives them.
    pub no_proxy: Option<String>,
    /// Whether TLS certificates of servers are verified. No setting turns this off; only `--no-verify-ssl` does.
    pub verifies_servers: bool,
}

impl Upstream {
    /// What is wrong with the proxy, and what to do. A client's settings may contain an invalid proxy, because the
    /// client may never need it: it may ask a daemon instead.
    pub fn proxy_fault(&self) -> Option<Notice> {
        let fault = values::proxy(self.proxy.as_ref()?.expose()).err()?;
        Some(Notice { origin: Origin::Default, what: fault.what.into(), hint: fault.hint })
    }

    /// The proxy without its login, for digests of settings. A digest would reveal a short password, and a login does
    /// not change who answers.
    pub fn proxy_without_login(&self) -> Option<&str> {
        let proxy = self.proxy.as_ref()?.expose();
        Some(proxy.rsplit_once('@').map_or(proxy, |(_, host)| host))
    }
}

/// A session: the source of its first credentials, and the roles to assume with them.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSettings {
    /// Its name: 1 to 64 of `[a-z0-9._-]`, beginning with a letter or digit.
    pub name: String,
    /// The source of its first credentials.
    pub source: CredentialSource,
    /// The roles to assume one after the other. Each is in the session's partition.
    pub chain: Vec<AssumeRole>,
    /// Region in which clients use the credentials.
    pub region: Region,
    /// The STS endpoint, unless a step has its own.
    pub sts: Sts,
    /// The variant of AWS's endpoints to call for it.
    pub variant: Variant,
}

impl SessionSettings {
    /// Its certificate and key, if it has one.
    pub fn identity(&self) -> Option<&anchord_identity::Source> {
        match &self.source {
            CredentialSource::RolesAnywhere(source) => Some(&source.identity),
            CredentialSource::AccessKeys(_) => None,
        }
    }

    /// Requested life of the first credentials: 900 to 43200 whole seconds.
    pub fn duration(&self) -> Duration {
        match &self.source {
            CredentialSource::RolesAnywhere(source) => source.first.duration,
            CredentialSource::AccessKeys(source) => source.duration,
        }
    }

    /// Whether the session falls back to another Region's Roles Anywhere if the first fails.
    pub fn has_second_endpoint(&self) -> bool {
        matches!(&self.source, CredentialSource::RolesAnywhere(source) if source.fallback.is_some())
    }

    /// The role that clients get credentials of; `None` for a user's own credentials.
    pub fn role(&self) -> Option<&RoleArn> {
        let own = match &self.source {
            CredentialSource::RolesAnywhere(source) => Some(&source.first.role),
            CredentialSource::AccessKeys(_) => None,
        };
        self.chain.last().map(|step| &step.role).or(own)
    }

    /// Whether its credentials have a session token. IMDS clients need one.
    pub fn has_session_token(&self) -> bool {
        let is_bare = matches!(&self.source, CredentialSource::AccessKeys(keys) if !keys.get_session_token);
        !(is_bare && self.chain.is_empty())
    }
}

/// The source of a session's first credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialSource {
    /// A certificate, exchanged by CreateSession.
    RolesAnywhere(Box<CertificateSource>),
    /// A user's own access keys.
    AccessKeys(AccessKeySource),
}

/// A user's own access keys, and what to request with them.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessKeySource {
    /// Where the keys are.
    pub keys: AccessKeys,
    /// Whether to exchange the keys for temporary credentials if they assume no role.
    pub get_session_token: bool,
    /// Requested life of credentials that are obtained with the keys.
    pub duration: Duration,
}

/// A certificate and the CreateSession calls that exchange it for a role's credentials.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSource {
    /// The certificate and its key.
    pub identity: anchord_identity::Source,
    /// The first endpoint and its call.
    pub first: CreateSession,
    /// The second endpoint, to use while the first fails: Roles Anywhere in another Region of the same partition, with
    /// its own trust anchor and profile for the same role.
    pub fallback: Option<CreateSession>,
}

/// Loads settings for the daemon.
///
/// # Errors
/// All mistakes in all layers.
pub fn load(arguments: impl Into<Arguments>, environment: &Environment) -> Result<Settings, Problems> {
    check::settle(arguments.into(), environment, Consumer::Daemon)
}

/// Loads settings for a verb that may run beside a daemon or without one, such as `credential-process`.
///
/// Differs from [`load`] in two ways. It accepts settings without a session. And for a user without a runtime directory
/// it assumes systemd's `/run/user/UID`, where a daemon may or may not listen.
///
/// # Errors
/// All mistakes in all layers.
pub fn load_for_client(
    arguments: impl Into<Arguments>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    check::settle(arguments.into(), environment, Consumer::Client)
}

/// Loads settings as [`load_for_client`] does, for a verb that asks a daemon first. It accepts a session that flags and
/// variables define only in part.
///
/// # Errors
/// All mistakes in all layers.
pub fn load_for_asking(
    arguments: impl Into<Arguments>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    partial::settle(arguments.into(), environment)
}

/// Loads settings from flags and variables only, without a file.
///
/// # Errors
/// All mistakes in both layers. A missing session is a mistake.
pub fn load_flags(arguments: impl Into<Arguments>, environment: &Environment) -> Result<Settings, Problems> {
    check::settle_flags(arguments.into(), environment, Consumer::Daemon)
}

/// Loads settings as [`load_flags`] does, for a verb that calls AWS itself. It needs no runtime directory and accepts
/// settings without a session.
///
/// # Errors
/// All mistakes in both layers.
pub fn load_flags_for_client(
    arguments: impl Into<Arguments>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    check::settle_flags(arguments.into(), environment, Consumer::Client)
}

/// Loads settings to ask a daemon for a session by its name, without reading any file. `None` if flags or variables
/// give other session options, or contain a mistake.
pub fn load_name(arguments: impl Into<Arguments>, environment: &Environment) -> Option<Settings> {
    let settings = check::settle_flags(arguments.into(), environment, Consumer::Client).ok()?;
    (settings.sessions.is_empty() && settings.picked.is_some()).then_some(settings)
}

/// Loads only the options that locate a daemon's socket and select a session, from flags and variables. It reads no
/// file and ignores all other flags and variables.
///
/// # Errors
/// All mistakes in these options.
pub fn load_place(arguments: impl Into<Arguments>, environment: &Environment) -> Result<Settings, Problems> {
    let locates_daemon =
        |spec: &OptionSpec| ["runtime_directory", "session"].contains(&spec.key) || spec.table() == "socket";
    let mut arguments = arguments.into();
    let mut others = Vec::new();
    for spec in SELECTORS.iter().chain(OPTIONS).filter(|spec| !locates_daemon(spec)) {
        arguments.remove(spec);
        others.push(spec.variable);
    }
    let environment = environment.clone().without(|name| others.contains(&name));
    check::settle_flags(arguments, &environment, Consumer::Client)
}

/// Whether flags or variables name a settings file.
pub fn names_a_file(arguments: impl Into<Arguments>, environment: &Environment) -> bool {
    layers::Layers::without_file(arguments.into(), environment).named_file().is_some()
}

/// Whether the settings file is the host's, and not the caller's own; also if it cannot be read.
pub fn file_is_the_systems(arguments: impl Into<Arguments>, environment: &Environment) -> bool {
    let layers = layers::Layers::without_file(arguments.into(), environment);
    file::is_the_systems(layers.named_file().as_ref(), environment)
}

/// Loads settings from options that a program gives, in the form of [`Arguments::given`], and from variables. It reads
/// a file only if the option `config` names one, and accepts settings without a session.
///
/// # Errors
/// All mistakes in all layers, or the options that do not exist.
pub fn load_given<'a>(
    given: impl IntoIterator<Item = (&'a str, &'a str)>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    let arguments = Arguments::given(given)?;
    match arguments.of(&SELECTORS[0]).is_some() {
        true => check::settle(arguments, environment, Consumer::Client),
        false => check::settle_flags(arguments, environment, Consumer::Client),
    }
}

/// Loads where flags and variables say the certificate and key are, with warnings. `place` replaces `--certificate` if
/// it is given. Reads no file and needs no session.
///
/// # Errors
/// All mistakes in these options.
pub fn load_source(
    arguments: impl Into<Arguments>,
    environment: &Environment,
    place: Option<&str>,
) -> Result<(anchord_identity::Source, Vec<Notice>), Problems> {
    let mut arguments = arguments.into();
    if let Some(place) = place {
        arguments.put(options::option("session.certificate"), vec![place.into()]);
    }
    check::settle_source(arguments, environment)
}

/// The kind of process that loads settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consumer {
    Daemon,
    Client,
}
