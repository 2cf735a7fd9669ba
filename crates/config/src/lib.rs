//! Turns arguments, environment and a file into checked settings, reporting every mistake at once.
//!
//! An option is declared once, in [`OPTIONS`]. Its value comes from the first of four layers that gives one:
//! argument, variable, file, default. Nothing here opens a certificate, a socket or a connection, and no
//! stage knows these types. Where a stage has a type for what it is asked, [`Settings`] hold that type.
//!
//! Flags and variables of sessions are about one session: the one that `--session` names, or else the only
//! one. When the file defines none, they define it, as `default` unless `--session` says otherwise. When the
//! file defines several, they are refused until `--session` picks one. `--session` drops no session.

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

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use credentials_file::shared_credentials_file;
pub use environment::Environment;
pub use facts::Fact;
pub use facts::facts;
pub use layers::Arguments;
pub use options::Fallback;
pub use options::Kind;
pub use options::OPTIONS;
pub use options::OptionSpec;
pub use options::SELECTORS;
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
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::endpoint::Variant;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;
use anchord_identity::Pipes;

/// Settings in which every value is well formed and agrees with the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The host's file, where this user may not read it and goes on without it, as a client does.
    pub unread_file: Option<PathBuf>,
    /// Directory of the socket, the bearer files and the token key.
    pub runtime_directory: PathBuf,
    /// What is logged, and how it looks.
    pub log: Log,
    /// Where HTTP is served: loopback or link-local addresses; not empty when IMDS or container credentials are enabled.
    pub listen: Vec<SocketAddr>,
    /// The session whose credentials the imitated EC2 instance metadata service hands out; one of `sessions`. `None` when
    /// the service is disabled.
    pub imds: Option<String>,
    /// Serve container credentials.
    pub container: bool,
    /// The Unix socket; `None` when disabled.
    pub socket: Option<UnixSocket>,
    /// How AWS is reached.
    pub upstream: Upstream,
    /// In the order of the file. Never empty after [`load`].
    pub sessions: Vec<Session>,
    /// The profiles of shared credentials files that are written, in the order of the file.
    pub credentials_files: Vec<CredentialsFile>,
    /// The session that `--session` named; one of `sessions`, unless a client has none of its own.
    pub picked: Option<String>,
    /// What flags and variables say of a session that nothing completes; only after [`load_for_asking`].
    pub partial: Option<Partial>,
    /// Where each value came from, for [`describe`].
    pub origins: Origins,
    /// What is allowed and unwise, each a sentence without a full stop.
    pub warnings: Vec<Notice>,
}

impl Settings {
    /// Reads the files of sessions that are pipes, for processes that load once and end.
    pub fn read_pipes(&mut self) {
        let mut pipes = Pipes::default();
        for session in &mut self.sessions {
            if let Source::RolesAnywhere(source) = &mut session.source {
                source.identity.read_pipes(&mut pipes);
            }
        }
    }

    /// The same settings after [`Settings::read_pipes`].
    pub fn with_pipes_read(&self) -> Self {
        let mut settings = self.clone();
        settings.read_pipes();
        settings
    }

    /// The session that a verb about one session means: the one picked, or else the only one.
    pub fn the_session(&self) -> Option<&Session> {
        match (&self.picked, self.sessions.as_slice()) {
            (Some(name), sessions) => sessions.iter().find(|session| session.name == *name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// What is logged, and how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important messages that are logged.
    pub level: Level,
    /// How lines look.
    pub format: Format,
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Degraded but serving.
    Warn,
    /// An operator's diary.
    Info,
    /// For us.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name in settings, which `tracing` parses too.
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

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Format {
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
    /// Where it is; at most 107 bytes.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

/// A profile of a shared credentials file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFile {
    /// What the settings call it.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// The profile that is written.
    pub profile: Profile,
    /// Whose credentials it gets; one of [`Settings::sessions`].
    pub session: String,
}

/// How AWS is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// How long a connection may take to open; `None` for no limit.
    pub connect_timeout: Option<Duration>,
    /// How long AWS may be silent; `None` for no limit.
    pub read_timeout: Option<Duration>,
    /// The authorities that TLS servers are judged by; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// Which of AWS's endpoints are called.
    pub variant: Variant,
    /// The proxy for https, as the variable has it; may hold a password.
    pub proxy: Option<Secret<String>>,
    /// Hosts that are reached without the proxy, as the variable has them.
    pub no_proxy: Option<String>,
    /// Whether whoever answers must prove to be who was called. No setting turns it off; `--no-verify-ssl` does.
    pub verifies_servers: bool,
}

impl Upstream {
    /// What is wrong with the proxy, and what to do. A client's settings may have one that cannot be used, for it may ask
    /// a daemon instead.
    pub fn proxy_fault(&self) -> Option<Notice> {
        let fault = values::proxy(self.proxy.as_ref()?.expose()).err()?;
        Some(Notice { origin: Origin::Default, what: fault.what.into(), hint: fault.hint })
    }

    /// The proxy for digests of settings: a short password is found out from a digest, and decides nothing.
    pub fn proxy_without_login(&self) -> Option<&str> {
        let proxy = self.proxy.as_ref()?.expose();
        Some(proxy.rsplit_once('@').map_or(proxy, |(_, host)| host))
    }
}

/// What clients get credentials of: where these begin, and the roles they go through.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// 1 to 64 of `[a-z0-9._-]`, beginning with a letter or digit.
    pub name: String,
    /// Where its first credentials come from.
    pub source: Source,
    /// The roles that are assumed from there on, in this order. Each is in the session's partition.
    pub chain: Vec<AssumeRole>,
    /// Region in which clients use the credentials.
    pub region: Region,
    /// Where STS is asked, unless a step says otherwise.
    pub sts: Sts,
    /// Which of AWS's endpoints are called for it.
    pub variant: Variant,
}

impl Session {
    /// Its certificate and key, if it has one.
    pub fn identity(&self) -> Option<&anchord_identity::Source> {
        match &self.source {
            Source::RolesAnywhere(source) => Some(&source.identity),
            Source::AccessKeys(_) => None,
        }
    }

    /// How long the first credentials are to last, 900 to 43200 whole seconds.
    pub fn duration(&self) -> Duration {
        match &self.source {
            Source::RolesAnywhere(source) => source.first.duration,
            Source::AccessKeys(source) => source.duration,
        }
    }

    /// Whether another Region's Roles Anywhere is asked when the first fails.
    pub fn has_second_endpoint(&self) -> bool {
        matches!(&self.source, Source::RolesAnywhere(source) if source.fallback.is_some())
    }

    /// The role whose credentials clients get; `None` for a user's own.
    pub fn role(&self) -> Option<&RoleArn> {
        let own = match &self.source {
            Source::RolesAnywhere(source) => Some(&source.first.role),
            Source::AccessKeys(_) => None,
        };
        self.chain.last().map(|step| &step.role).or(own)
    }

    /// Whether its credentials have a session token, without which IMDS clients do not work.
    pub fn has_session_token(&self) -> bool {
        let is_bare = matches!(&self.source, Source::AccessKeys(keys) if !keys.get_session_token);
        !(is_bare && self.chain.is_empty())
    }
}

/// Where a session's first credentials come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A certificate, by CreateSession.
    RolesAnywhere(Box<CertificateSource>),
    /// A user's own keys.
    AccessKeys(AccessKeySource),
}

/// A user's own keys, and what is made of them.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessKeySource {
    /// Where they are.
    pub keys: AccessKeys,
    /// Whether they are exchanged for temporary credentials where no role is assumed with them.
    pub get_session_token: bool,
    /// How long what is made of them is to last.
    pub duration: Duration,
}

/// One certificate and the role it is turned into.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSource {
    /// The certificate and its key.
    pub identity: anchord_identity::Source,
    /// What is asked for credentials.
    pub first: CreateSession,
    /// What is asked when that endpoint fails for good: another Region's Roles Anywhere, in the same partition, with a
    /// trust anchor and a profile of its own for the same role.
    pub fallback: Option<CreateSession>,
}

/// Settings for the daemon.
///
/// # Errors
/// All mistakes of all layers.
pub fn load(arguments: impl Into<Arguments>, environment: &Environment) -> Result<Settings, Problems> {
    check::settle(arguments.into(), environment, Reader::Daemon)
}

/// Settings for a verb that may run beside a daemon or without one, such as `credential-process`.
///
/// As [`load`], but having no session is no mistake, and a user without a runtime directory is assumed to have
/// systemd's `/run/user/UID`, where nothing answers unless a daemon is there.
///
/// # Errors
/// All mistakes of all layers.
pub fn load_for_client(
    arguments: impl Into<Arguments>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    check::settle(arguments.into(), environment, Reader::Client)
}

/// The same for a verb that asks a daemon first: a session of which flags and variables give a part is no mistake.
///
/// # Errors
/// All mistakes of all layers.
pub fn load_for_asking(
    arguments: impl Into<Arguments>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    partial::settle(arguments.into(), environment)
}

/// Settings of what flags and variables say: no file is looked for.
///
/// # Errors
/// All mistakes of both layers; having no session is one.
pub fn load_flags(arguments: impl Into<Arguments>, environment: &Environment) -> Result<Settings, Problems> {
    check::settle_flags(arguments.into(), environment, Reader::Daemon)
}

/// The same for a verb that calls AWS itself, which has no runtime directory and may have no session.
///
/// # Errors
/// All mistakes of both layers.
pub fn load_flags_for_client(
    arguments: impl Into<Arguments>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    check::settle_flags(arguments.into(), environment, Reader::Client)
}

/// Settings for asking a daemon for a session by its name, without a look into any file. `None` where flags or variables
/// say more of the session, or anything is wrong with them.
pub fn load_name(arguments: impl Into<Arguments>, environment: &Environment) -> Option<Settings> {
    let settings = check::settle_flags(arguments.into(), environment, Reader::Client).ok()?;
    (settings.sessions.is_empty() && settings.picked.is_some()).then_some(settings)
}

/// Settings that say no more than where a daemon's socket is and which session is meant, by flags and variables. No file
/// is looked for, and what flags and variables say of anything else is not looked at.
///
/// # Errors
/// All mistakes in what they say of that place.
pub fn load_place(arguments: impl Into<Arguments>, environment: &Environment) -> Result<Settings, Problems> {
    let is_of_the_place =
        |spec: &OptionSpec| ["runtime_directory", "session"].contains(&spec.key) || spec.table() == "socket";
    let mut arguments = arguments.into();
    let mut others = Vec::new();
    for spec in SELECTORS.iter().chain(OPTIONS).filter(|spec| !is_of_the_place(spec)) {
        arguments.remove(spec);
        others.push(spec.variable);
    }
    let environment = environment.clone().without(|name| others.contains(&name));
    check::settle_flags(arguments, &environment, Reader::Client)
}

/// Whether flags or variables name a settings file.
pub fn names_a_file(arguments: impl Into<Arguments>, environment: &Environment) -> bool {
    layers::Layers::without_file(arguments.into(), environment).named_file().is_some()
}

/// Whether the settings file is the host's, and not one of the caller's own; also where it cannot be read.
pub fn file_is_the_systems(arguments: impl Into<Arguments>, environment: &Environment) -> bool {
    let layers = layers::Layers::without_file(arguments.into(), environment);
    file::is_the_systems(layers.named_file().as_ref(), environment)
}

/// Settings of what a program gives, as [`Arguments::given`] has it. A file is read if `config` names one, and variables
/// are looked at as ever. Having no session is no mistake.
///
/// # Errors
/// All mistakes of all layers, or the options that do not exist.
pub fn load_given<'a>(
    given: impl IntoIterator<Item = (&'a str, &'a str)>,
    environment: &Environment,
) -> Result<Settings, Problems> {
    let arguments = Arguments::given(given)?;
    match arguments.of(&SELECTORS[0]).is_some() {
        true => check::settle(arguments, environment, Reader::Client),
        false => check::settle_flags(arguments, environment, Reader::Client),
    }
}

/// The certificate and key that flags and variables name, and what is unwise about it; `place` stands for
/// `--certificate` where it is given. No file is read and no session needed.
///
/// # Errors
/// All mistakes.
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

/// Who wants settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Daemon,
    Client,
}
