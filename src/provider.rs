//! A credentials provider for the AWS SDK for Rust. The program itself keeps the session.
//!
//! A [`Provider`] renews its credentials in the background before they expire, with one attempt at a time for any number of
//! clients. Failures of AWS do not remove credentials that are still valid. Clients that share a provider share the
//! session. Requests for credentials stay inside the process.
//!
//! ```no_run
//! # async fn example() -> Result<(), anchord::Failure> {
//! use anchord::provider::Provider;
//!
//! let provider = Provider::builder()
//!     .certificate("leaf.pem")
//!     .private_key("key.pem")
//!     .trust_anchor_arn("arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/…")
//!     .profile_arn("arn:aws:rolesanywhere:eu-central-1:123456789012:profile/…")
//!     .role_arn("arn:aws:iam::123456789012:role/bedrock")
//!     .start()?;
//! // let settings = aws_config::from_env().credentials_provider(provider).load().await;
//! // let bedrock = aws_sdk_bedrockruntime::Client::new(&settings);
//! # Ok(())
//! # }
//! ```
//!
//! With a running daemon, [`Builder::start_with_daemon`] takes the session from the daemon, so that the program needs neither
//! a key nor a certificate. `examples/with_aws_sdk` is a complete program.
//!
//! Renewals and failures are logged through `tracing`, never with a secret. A program that keeps a private key may want to
//! forbid core files, as the daemon does ([`no_core_files`](anchord_runtime::process_limits::no_core_files)).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use tokio::sync::watch;
use tracing::warn;

use anchord_config as config;
use anchord_config::Environment;
use anchord_config::OPTIONS;
use anchord_config::Problems;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::entropy::Jitter;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use anchord_runtime::assembly::KeptSession;
use anchord_runtime::assembly::Seams;
use anchord_runtime::client;
use anchord_runtime::client::DaemonAnswer;
use anchord_runtime::client::DaemonSocket;
use anchord_runtime::client::Question;
use anchord_session::Freshness;
use anchord_session::Handle;
use anchord_session::Policy;

/// The SDK stops waiting after 5 s (`LazyCache` of aws-smithy-runtime), and its error does not give the cause.
const SDK_PATIENCE: Duration = Duration::from_millis(4500);
/// A daemon that has just started waits 8 s for its own first attempt.
const DAEMON_PATIENCE: Duration = Duration::from_secs(9);

/// A session that hands its credentials to clients of the AWS SDK for Rust.
///
/// Clones share it. The session ends with the last of them, and with the runtime in which it was started.
#[derive(Clone)]
pub struct Provider {
    handle: Handle,
    /// `None` if a daemon in this process keeps the session.
    _kept: Option<Arc<KeptSession>>,
}

/// The settings of a [`Provider`]'s session. An option that is not set here comes from its environment variable, else from
/// the [configuration file](Builder::configuration_file).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    /// Values by the flag of their option. A value may be a passphrase.
    given: Vec<(String, Secret<String>)>,
    environment: Option<Environment>,
}

impl Provider {
    /// Begins the settings of a provider.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The session, for programs that watch it: its phase, and why an attempt failed.
    pub fn session(&self) -> &Handle {
        &self.handle
    }

    /// Credentials that are valid for more than 60 s. Returns immediately if there are any; otherwise waits for the attempt
    /// under way, at most for `patience`. For programs that check the session at their start, or sign without the SDK.
    ///
    /// # Errors
    /// Why the last attempt failed, while there are no valid credentials.
    pub async fn credentials(&self, patience: Duration) -> Result<Arc<Credentials>, Failure> {
        self.handle.hand_out(Freshness::Full, patience).await
    }
}

/// A provider of a session that a daemon in this process keeps (`Daemon::sessions`). It refuses once that session ends,
/// as it does when a reload changes it.
impl From<Handle> for Provider {
    fn from(handle: Handle) -> Self {
        Self { handle, _kept: None }
    }
}

impl From<KeptSession> for Provider {
    fn from(kept: KeptSession) -> Self {
        Self { handle: kept.handle().clone(), _kept: Some(Arc::new(kept)) }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Provider").field("session", &self.handle.name()).finish_non_exhaustive()
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            self.credentials(SDK_PATIENCE).await.map(|held| for_sdk(&held)).map_err(error_for_sdk)
        })
    }
}

/// Converts credentials for the SDK. It asks again shortly before they expire, long after the session has renewed them.
fn for_sdk(credentials: &Credentials) -> SdkCredentials {
    let mut sdks = SdkCredentials::builder()
        .access_key_id(credentials.access_key_id())
        .secret_access_key(credentials.secret_access_key().expose().as_str())
        .expiry(SystemTime::from(credentials.expires_at()))
        .provider_name("anchord");
    sdks.set_session_token(credentials.session_token().map(|token| token.expose().clone()));
    sdks.set_account_id(credentials.account_id().map(Into::into));
    sdks.build()
}

fn error_for_sdk(failure: Failure) -> CredentialsError {
    match failure.class() {
        Class::Misconfigured => CredentialsError::invalid_configuration(failure),
        Class::Broken => CredentialsError::unhandled(failure),
        Class::Transient | Class::Throttled | Class::Denied => CredentialsError::provider_error(failure),
    }
}

impl Builder {
    /// The certificate and its chain: a file, or a `tpm:` or `spiffe:` location (see README.md).
    pub fn certificate(self, location: impl AsRef<Path>) -> Self {
        self.path("certificate", location)
    }

    /// The certificate's private key: a file or a `tpm:` location. Not needed if the certificate's location also has the key.
    pub fn private_key(self, location: impl AsRef<Path>) -> Self {
        self.path("private-key", location)
    }

    /// A file of intermediate certificates, if the certificate's own file has none.
    pub fn intermediates(self, path: impl AsRef<Path>) -> Self {
        self.path("intermediates", path)
    }

    /// A file with the passphrase of the private key. For other sources use the option `passphrase`.
    pub fn passphrase_file(self, path: impl AsRef<Path>) -> Self {
        self.option("passphrase", &format!("file:{}", path.as_ref().to_string_lossy()))
    }

    /// The trust anchor that the certificate chains to.
    pub fn trust_anchor_arn(self, arn: &str) -> Self {
        self.option("trust-anchor-arn", arn)
    }

    /// The Roles Anywhere profile.
    pub fn profile_arn(self, arn: &str) -> Self {
        self.option("profile-arn", arn)
    }

    /// The role.
    pub fn role_arn(self, arn: &str) -> Self {
        self.option("role-arn", arn)
    }

    /// The requested lifetime of each set of credentials, in whole seconds.
    pub fn duration(self, duration: Duration) -> Self {
        self.option("duration", &format!("{}s", duration.as_secs()))
    }

    /// The session name that CloudTrail shows, if the profile accepts one.
    pub fn role_session_name(self, name: &str) -> Self {
        self.option("role-session-name", name)
    }

    /// The Region in which clients use the credentials. STS is called there too. The default is the trust anchor's Region.
    pub fn region(self, region: &str) -> Self {
        self.option("region", region)
    }

    /// The CA bundle (PEM) used to verify AWS's servers, instead of the system's.
    pub fn ca_file(self, path: impl AsRef<Path>) -> Self {
        self.path("ca-file", path)
    }

    /// The socket of the daemon, for [`Builder::start_with_daemon`].
    pub fn socket_path(self, path: impl AsRef<Path>) -> Self {
        self.path("socket-path", path)
    }

    /// A configuration file like the daemon's. No other configuration file is read.
    pub fn configuration_file(self, path: impl AsRef<Path>) -> Self {
        self.path("config", path)
    }

    /// The name of the session, if the configuration file or the daemon has several.
    pub fn session(self, name: &str) -> Self {
        self.option("session", name)
    }

    /// Any other option of `anchord run --help`, by its flag without the dashes: `("endpoint", "https://…")`. Give the items of
    /// a list one by one. For other options, the last value counts.
    pub fn option(mut self, flag: &str, value: &str) -> Self {
        self.given.push((flag.into(), Secret::new(value.into())));
        self
    }

    fn path(self, flag: &str, path: impl AsRef<Path>) -> Self {
        self.option(flag, &path.as_ref().to_string_lossy())
    }

    /// Variables and a current folder to use instead of the process's own.
    pub fn environment(self, environment: Environment) -> Self {
        Self { environment: Some(environment), ..self }
    }

    /// Starts the session, which calls AWS from this process. Returns before the first credentials arrive; clients and
    /// [`Provider::credentials`] wait for them.
    ///
    /// # Errors
    /// All mistakes in the settings, or no tokio runtime around the call.
    pub fn start(&self) -> Result<Provider, Failure> {
        let settings = self.settings()?;
        in_a_runtime()?;
        let session = settings.the_session().ok_or_else(|| not_chosen(&settings))?;
        Ok(KeptSession::start(&settings, session, &Seams::real())?.into())
    }

    /// Starts a session that takes the credentials of a running daemon's session, by its name ([`Builder::session`]). It asks
    /// the daemon again before the credentials expire; if the daemon is unavailable, valid credentials stay in use. The
    /// daemon's socket is [`Builder::socket_path`], else in the user's runtime directory, else `/run/anchord/anchord.sock`.
    ///
    /// # Errors
    /// All mistakes in the settings; no session is named; a method or option sets what only the daemon decides, such as the
    /// certificate; or no tokio runtime around the call. If `ANCHORD_` variables or the configuration file describe the
    /// session, each request carries the description, and the daemon refuses it if its session differs.
    pub fn start_with_daemon(&self) -> Result<Provider, Failure> {
        let decides =
            |flag: &&String| OPTIONS.iter().any(|spec| spec.flag == **flag && spec.decides_credentials());
        if let Some(flag) = self.given.iter().map(|(flag, _)| flag).find(decides) {
            let hint = Some("leave it out, or `start` the session in this program".into());
            let message = format!("`{flag}` does not change the daemon's session");
            return Err(Failure::of(Reason::InvalidSetting, message, hint));
        }
        let settings = self.settings()?;
        in_a_runtime()?;
        let session = settings.picked.clone().or_else(|| Some(settings.the_session()?.name.clone()));
        let session = session.ok_or_else(|| not_chosen(&settings))?;
        let issuer = DaemonIssuer {
            sockets: client::sockets(&settings),
            session: session.clone(),
            settings,
            clock: Clock::system(),
            given: watch::Sender::new(None),
        };
        // No jitter: the daemon renews earlier by its own jitter, and a request before that gets the same credentials.
        let seams = Seams { jitter: Jitter::fixed(0.0), ..Seams::real() };
        Ok(KeptSession::of(&session, Arc::new(issuer), Policy::default(), &seams).into())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let environment = self.environment.clone().unwrap_or_else(Environment::capture);
        let given = self.given.iter().map(|(flag, value)| (flag.as_str(), value.expose().as_str()));
        let settings = config::load_given(given, &environment).map_err(|problems| on_one_line(&problems))?;
        for warning in &settings.warnings {
            warn!(event = event::CONFIG_WARNING, hint = warning.hint(), "{}", warning.message());
        }
        Ok(settings)
    }
}

fn on_one_line(problems: &Problems) -> Failure {
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Failure::of(Reason::InvalidSetting, problems.join("; "), None)
}

fn in_a_runtime() -> Result<(), Failure> {
    tokio::runtime::Handle::try_current().map(|_| ()).map_err(|_| {
        let hint = Some("call `start` from an async function, or enter a runtime first".into());
        Failure::of(Reason::Misconfigured, "there is no tokio runtime to keep the session in", hint)
    })
}

fn not_chosen(settings: &Settings) -> Failure {
    let names: Vec<_> = settings.sessions.iter().map(|session| session.name.as_str()).collect();
    let hint = match names.as_slice() {
        [] => "name one with `session`, or set a session's options".into(),
        names => format!("name one with `session`: {}", names.join(", ")),
    };
    Failure::of(
        Reason::UnknownSession,
        "no session is selected, and there is not exactly one",
        Some(hint.into()),
    )
}

/// An issuer that takes the credentials of a daemon's session.
struct DaemonIssuer {
    sockets: Vec<DaemonSocket>,
    session: String,
    /// This program's own description of the session.
    settings: Settings,
    clock: Clock,
    given: watch::Sender<Option<Credentials>>,
}

impl DaemonIssuer {
    async fn ask(&self) -> Result<Credentials, Failure> {
        let asked = client::ask_for(
            &self.session,
            Question::Credentials,
            (&self.settings, &self.sockets),
            DAEMON_PATIENCE,
        );
        match asked.await {
            DaemonAnswer::Answered(body) => client::credentials(&body, self.clock.moment()),
            DaemonAnswer::Refused(failure)
            | DaemonAnswer::Unknown(failure)
            | DaemonAnswer::Differs(failure)
            | DaemonAnswer::Forbidden(failure) => Err(failure),
            DaemonAnswer::NoDaemon => Err(client::no_daemon(&self.sockets)),
        }
    }
}

impl Issuer for DaemonIssuer {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async move {
            let given = self.given.borrow().clone();
            let renewed = client::renewed(self.ask().await, given.as_ref(), self.clock.moment())?;
            self.given.send_replace(Some(renewed.clone()));
            Ok(renewed)
        })
    }
}
