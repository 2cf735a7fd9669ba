//! Credentials for a Rust program's own AWS clients, kept in the program itself.
//!
//! A [`Provider`] is what `aws-config` and every client of the AWS SDK for Rust take as `credentials_provider`. It keeps
//! its session as the daemon does: renewed ahead of its end in the background, one attempt at a time however many
//! clients ask, what is held outliving every failure of AWS. No request passes a socket; clients that share a provider
//! share the session.
//!
//! ```no_run
//! # async fn example() -> Result<(), anchord::failure::Failure> {
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
//! Where a daemon runs, [`Builder::start_with_daemon`] takes its session from there instead, so that the program needs
//! neither key nor certificate; and a program that is the daemon itself makes a provider of one of its own
//! [handles](anchord_session::Handle). `examples/with_aws_sdk` is a whole program.
//!
//! What happens is told through `tracing`, never with a secret in it. Whoever keeps keys in a process of their own may
//! want [`no_core_files`](anchord_runtime::daemon::no_core_files) too.

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

use anchord_aws::upstream::BoxFuture;
use anchord_aws::upstream::Issuer;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::OPTIONS;
use anchord_config::Problems;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_frontend::process;
use anchord_runtime::client;
use anchord_runtime::client::Asked;
use anchord_runtime::client::Place;
use anchord_runtime::client::Question;
use anchord_runtime::daemon::Embedded;
use anchord_runtime::daemon::Seams;
use anchord_session::Freshness;
use anchord_session::Handle;
use anchord_session::Policy;

/// The SDK stops waiting after 5 s (`LazyCache` of aws-smithy-runtime), and would not say for what.
const SDK_PATIENCE: Duration = Duration::from_millis(4500);
/// A daemon that has just started waits 8 s for its own first attempt.
const DAEMON_PATIENCE: Duration = Duration::from_secs(9);

/// A session that hands its credentials to clients of the AWS SDK for Rust.
///
/// Clones share it. The session ends with the last of them, and with the runtime in which it was started.
#[derive(Clone)]
pub struct Provider {
    handle: Handle,
    /// `None` where somebody else keeps it.
    _kept: Option<Arc<Embedded>>,
}

/// Says which session a [`Provider`] is to keep.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    /// By the flags of the options. A value may be a passphrase.
    given: Vec<(String, Secret<String>)>,
    environment: Option<Environment>,
}

impl Provider {
    /// A provider that is yet to be told of its session.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The session, for who wants to watch it: its phase, and why an attempt failed.
    pub fn session(&self) -> &Handle {
        &self.handle
    }

    /// Credentials with more than 60 s of life left, at once if there are any; waits for an attempt under way no longer than
    /// `patience`. For who wants to know at the start whether all is well, or signs without the SDK.
    ///
    /// # Errors
    /// Why the last attempt failed, while nothing is held that lives.
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

impl From<Embedded> for Provider {
    fn from(kept: Embedded) -> Self {
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

/// As the SDK has them. It asks again shortly before they end, and finds the session renewed long since.
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
    /// The certificate and its chain: a file, or a `pkcs11:`, `tpm:` or `spiffe:` place as README.md has them.
    pub fn certificate(self, place: impl AsRef<Path>) -> Self {
        self.option("certificate", &place.as_ref().to_string_lossy())
    }

    /// The certificate's private key, where it is elsewhere than the certificate.
    pub fn private_key(self, place: impl AsRef<Path>) -> Self {
        self.option("private-key", &place.as_ref().to_string_lossy())
    }

    /// The trust anchor that vouches for the certificate.
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

    /// The daemon's configuration file, or one like it. Nothing else is looked for: without this no file is read.
    pub fn configuration_file(self, path: impl AsRef<Path>) -> Self {
        self.option("config", &path.as_ref().to_string_lossy())
    }

    /// Which session, where the configuration file or the daemon has several.
    pub fn session(self, name: &str) -> Self {
        self.option("session", name)
    }

    /// Any option of the reference (`anchord run --help`), by its flag without the dashes: `("duration", "30m")`. Lists
    /// are given an item at a time; of anything else the last value holds. What is not given here may come from
    /// the option's environment variable, then from the configuration file.
    pub fn option(mut self, flag: &str, value: &str) -> Self {
        self.given.push((flag.into(), Secret::new(value.into())));
        self
    }

    /// The variables and the current folder in place of the process's own.
    pub fn environment(self, environment: Environment) -> Self {
        Self { environment: Some(environment), ..self }
    }

    /// Starts the session, which calls AWS from this process. Does not wait for its first credentials: clients do,
    /// or [`Provider::credentials`].
    ///
    /// # Errors
    /// Every mistake in the settings at once; or there is no tokio runtime around the call.
    pub fn start(&self) -> Result<Provider, Failure> {
        let settings = self.settings()?;
        in_a_runtime()?;
        let session = settings.the_session().ok_or_else(|| not_chosen(&settings))?;
        Ok(Embedded::start(&settings, session, &Seams::real())?.into())
    }

    /// Starts a session that takes what a running daemon holds under the name [`Builder::session`]. The daemon is asked
    /// ahead of each end; while it is away, what is held goes on. It is looked for where `credential-process` does:
    /// at the option `socket-path`, else in the user's runtime directory, then at `/run/anchord/anchord.sock`.
    ///
    /// # Errors
    /// Every mistake in the settings at once, a session without a name, an option in code that says what the session is,
    /// which the daemon knows by itself; or there is no tokio runtime around the call. What `ANCHORD_` variables and the
    /// configuration file say of the session goes with each request: a daemon with another session of that name refuses it.
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
        let issuer = FromDaemon {
            places: client::places(&settings),
            session: session.clone(),
            settings,
            clock: Clock::system(),
            given: watch::Sender::new(None),
        };
        // The daemon renews earlier by a jitter of its own: whoever asks before that gets the same.
        let seams = Seams { jitter: Jitter::fixed(0.0), ..Seams::real() };
        Ok(Embedded::of(&session, Arc::new(issuer), Policy::default(), &seams).0.into())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let environment = self.environment.clone().unwrap_or_else(Environment::capture);
        let given = self.given.iter().map(|(flag, value)| (flag.as_str(), value.expose().as_str()));
        let settings = config::load_given(given, &environment).map_err(|problems| on_one_line(&problems))?;
        for warning in &settings.warnings {
            warn!("{warning}");
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
        let hint = Some("call it from an async function, or enter a runtime first".into());
        Failure::of(Reason::Misconfigured, "there is no tokio runtime to keep the session in", hint)
    })
}

fn not_chosen(settings: &Settings) -> Failure {
    let names: Vec<_> = settings.sessions.iter().map(|session| session.name.as_str()).collect();
    let hint = match names.as_slice() {
        [] => "name one with `session`, or give the options of one".into(),
        names => format!("name one with `session`: {}", names.join(", ")),
    };
    Failure::of(Reason::UnknownSession, "there is not exactly one session to choose", Some(hint))
}

/// A daemon's session, as a source of credentials.
struct FromDaemon {
    places: Vec<Place>,
    session: String,
    /// What this program says itself of the session.
    settings: Settings,
    clock: Clock,
    given: watch::Sender<Option<Credentials>>,
}

impl FromDaemon {
    async fn ask(&self) -> Result<Credentials, Failure> {
        let asked = client::ask_for(
            &self.session,
            Question::Credentials,
            (&self.settings, &self.places),
            DAEMON_PATIENCE,
        );
        let line = match asked.await {
            Asked::Answered(body) => body,
            Asked::Refused(failure)
            | Asked::Unknown(failure)
            | Asked::Differs(failure)
            | Asked::Forbidden(failure) => {
                return Err(failure);
            }
            Asked::NoDaemon => return Err(client::nobody(&self.places)),
        };
        process::read(line.expose(), self.clock.moment())
            .ok_or_else(|| Failure::of(Reason::DaemonUnavailable, "the daemon's answer cannot be read", None))
    }
}

impl Issuer for FromDaemon {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async move {
            let given = self.given.borrow().clone();
            let renewed = client::renewed(self.ask().await, given.as_ref(), self.clock.moment())?;
            self.given.send_replace(Some(renewed.clone()));
            Ok(renewed)
        })
    }
}
