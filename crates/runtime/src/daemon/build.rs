//! From settings to running sessions and front ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tracing::info;
use tracing::warn;

use super::Daemon;
use super::Error;
use super::Passed;
use super::addresses;
use super::addresses::Missing;
use super::credentials_files;
use super::engine::Engine;
use super::engine::FrontEnds;
use super::engine::Routes;
use super::handover;
use super::handover::Store;
use super::premises::Premises;
use super::roster;
use super::roster::Roster;
use super::roster::Workshop;
use super::runtime_directory::RuntimeDirectory;
use super::runtime_directory::make_runtime_directory;
use super::sockets;
use super::sockets::SocketFile;
use anchord_aws::upstream;
use anchord_aws::upstream::Https;
use anchord_aws::upstream::Limits;
use anchord_aws::upstream::Proxy;
use anchord_aws::upstream::Replaceable;
use anchord_aws::upstream::Transport;
use anchord_config as config;
use anchord_config::Settings;
use anchord_core::arn::RoleArn;
use anchord_core::clock::Clock;
use anchord_core::clock::rfc3339;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Jitter;
use anchord_core::event;
use anchord_core::private_file;
use anchord_core::secret::Secret;
use anchord_frontend::ApiKeys;
use anchord_frontend::Background;
use anchord_frontend::Bearer;
use anchord_frontend::Certificate;
use anchord_frontend::Container;
use anchord_frontend::Door;
use anchord_frontend::Imds;
use anchord_frontend::RoleName;
use anchord_frontend::Router;
use anchord_frontend::Server;
use anchord_frontend::Socket;
use anchord_frontend::TokenAuthority;
use anchord_frontend::files;
use anchord_identity as identity;
use anchord_session::Policy;
use anchord_session::Sessions;

/// What the daemon takes from the world, and tests replace.
#[derive(Clone)]
pub struct Seams {
    /// Wall time.
    pub clock: Clock,
    /// Random bytes for tokens and bearers.
    pub entropy: Entropy,
    /// Spread for renewals and retries.
    pub jitter: Jitter,
    /// The way to AWS; `None` for HTTPS as the settings say.
    pub transport: Option<Arc<dyn Transport>>,
    /// How changes of files are heard of.
    pub watches: identity::Watches,
}

impl Seams {
    /// The operating system's clock and randomness, and HTTPS.
    pub fn real() -> Self {
        let entropy = Entropy::system();
        Self {
            clock: Clock::system(),
            jitter: Jitter::uniform(entropy.clone()),
            entropy,
            transport: None,
            watches: identity::Watches::default(),
        }
    }
}

/// Where the daemon can be reached.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The addresses of IMDS and container credentials, with the ports that were given for port 0.
    pub http: Vec<SocketAddr>,
    /// Addresses that are listened on once that is possible, each with why it is not though this host has it by now;
    /// without a reason the host does not have it yet.
    pub waiting: BTreeMap<SocketAddr, Option<String>>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
}

/// Binds listeners, or takes those that systemd passed, and starts the sessions behind them.
pub async fn build(settings: &Settings, seams: &Seams, mut passed: Passed) -> Result<Daemon, Error> {
    let own = match &seams.transport {
        Some(transport) => Arc::clone(transport),
        None => transport(settings, &seams.clock)?,
    };
    let transport = Arc::new(Replaceable::new(own));
    let has_place = has_place(settings)?;

    // The Unix socket first: it tells another daemon from any other program that has the port.
    let (unix_listeners, socket_file) = unix_listeners(settings, std::mem::take(&mut passed.unix)).await?;
    let (listeners, missing) = tcp_listeners(settings, std::mem::take(&mut passed.tcp)).await?;
    let http: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    // Asked from the socket itself: systemd's need not be where the settings would have it.
    let socket = unix_listeners.first().and_then(sockets::Listener::path);
    let waiting = missing.addresses().into_iter().map(|address| (address, None)).collect();
    let bound = Bound { http, waiting, socket };

    // After the listeners, which show at once where another daemon is there to stay. Only the one that goes on is the heir.
    let directory = match has_place {
        true => RuntimeDirectory::take(&settings.runtime_directory).await?,
        false => RuntimeDirectory::none(),
    };
    let directory = Arc::new(directory);
    private_file::sweep(&settings.runtime_directory);
    let mut store = Store::choose(&mut passed, directory.path());
    let left = handover::read(&mut store, &seams.clock);
    let (key, kept) = left.map_or((None, Vec::new()), |left| (left.token_key, left.sessions));
    let secrets = Secrets::load(settings, seams, &directory, key)?;
    let shared: Arc<dyn Transport> = Arc::<Replaceable>::clone(&transport);
    let roster = roster::first(settings, kept, Workshop { seams, transport: &shared });

    let routes = Routes::new(front_ends(settings, seams, &roster, &bound, &secrets, None)?);
    let tcp = listeners.into_iter();
    let tcp = tcp.map(|listener| Server::new("http", listener, routes.tcp.subscribe())).collect();
    let unix = unix_listeners.into_iter();
    let unix = unix.map(|listener| Server::new("socket", listener, routes.unix.subscribe())).collect();
    let files = credentials_files::followed(&settings.credentials_files, &roster);
    let engine = Engine {
        settings: settings.clone(),
        seams: seams.clone(),
        bound,
        transport,
        roster: watch::Sender::new(roster),
        credentials_files: watch::Sender::new(files),
        routes,
        secrets: watch::Sender::new(Arc::new(secrets)),
        directory: Arc::clone(&directory),
    };
    Ok(Daemon::new(engine, (tcp, missing), unix, store, Premises::new(directory, socket_file)))
}

/// An attempt may make three calls to each endpoint (one more with a corrected clock, one more with the certificate
/// before a refused one) and two for each role of a chain, and takes no longer than their limits and the time for files
/// and keys together. Where the settings give a call no limit, the attempt has one all the same: a server that stays
/// silent must not hold a session for ever.
pub fn policy(settings: &Settings, session: &config::Session) -> Policy {
    const FILES_AND_KEYS: Duration = Duration::from_secs(15);
    const UNLIMITED_CALL: Duration = Duration::from_secs(120);
    let upstream = &settings.upstream;
    let call = upstream.connect_timeout.zip(upstream.read_timeout).map(|(connect, read)| connect + 2 * read);
    let endpoints = if session.has_second_endpoint() { 2 } else { 1 };
    let roles = u32::try_from(session.chain.len()).unwrap_or(u32::MAX);
    let call = call.unwrap_or(UNLIMITED_CALL);
    let attempt_limit =
        (endpoints * (3 * call + FILES_AND_KEYS)).saturating_add((2 * call).saturating_mul(roles));
    Policy { attempt_limit, ..Policy::default() }
}

/// HTTPS towards AWS, as the settings say.
pub fn transport(settings: &Settings, clock: &Clock) -> Result<Arc<dyn Transport>, Error> {
    Ok(Arc::new(https(settings, settings.upstream.read_timeout, clock)?))
}

/// The same with a limit on AWS's silence other than that of the settings, for what takes AWS long.
pub fn https(settings: &Settings, read: Option<Duration>, clock: &Clock) -> Result<Https, Error> {
    let upstream = &settings.upstream;
    // The HTTP client would pass over a scheme that it does not know, and go out directly.
    if let Some((what, hint)) = upstream.proxy_fault() {
        return Err(Error::Proxy { what, hint });
    }
    let tls = if upstream.verifies_servers {
        upstream::client_config(upstream.ca_file.as_deref(), clock)?
    } else {
        upstream::client_config_for_anybody(clock)?
    };
    let limits = Limits { connect: upstream.connect_timeout, read };
    let proxy = upstream.proxy.clone().map(|url| Proxy { url, exceptions: upstream.no_proxy.clone() });
    Ok(Https::new(tls, limits, proxy.as_ref())?)
}

/// A session's certificate and key, for whoever signs and whoever watches; `None` where it has none.
pub fn identity(session: &config::Session) -> Option<Arc<identity::Current>> {
    let source = session.identity()?.clone();
    Some(Arc::new(identity::Current::new(&session.name, source)))
}

async fn tcp_listeners(
    settings: &Settings,
    passed: Vec<std::net::TcpListener>,
) -> Result<(Vec<TcpListener>, Missing), Error> {
    let mut listeners = Vec::new();
    for listener in passed {
        listener.set_nonblocking(true).map_err(Error::Passed)?;
        listeners.push(TcpListener::from_std(listener).map_err(Error::Passed)?);
    }
    if listeners.is_empty() && (settings.imds.is_some() || settings.container) {
        return Ok(addresses::listen(&settings.http.listen).await?);
    }
    Ok((listeners, Missing::new([])))
}

/// Whether there is a runtime directory to write to. The Unix socket and the bearers of container clients need one; IMDS
/// alone does without.
fn has_place(settings: &Settings) -> Result<bool, Error> {
    let path = &settings.runtime_directory;
    let is_needed = settings.container || settings.socket.is_some();
    let made = make_runtime_directory(path);
    let error = match made {
        Ok(()) if is_needed => return Ok(true),
        Ok(()) => match rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => return Ok(true),
            Err(errno) => std::io::Error::from(errno),
        },
        Err(Error::RuntimeDirectory { source, .. }) if !is_needed => source,
        Err(error) => return Err(error),
    };
    let path = path.display();
    warn!(
        event = event::RUNTIME_DIRECTORY_MISSING,
        %path, %error, "There is no runtime directory to write to; a restart ends the tokens of IMDS clients"
    );
    Ok(false)
}

async fn unix_listeners(
    settings: &Settings,
    passed: Vec<std::os::unix::net::UnixListener>,
) -> Result<(Vec<sockets::Listener>, Option<SocketFile>), Error> {
    let mut listeners = Vec::new();
    for listener in passed {
        listener.set_nonblocking(true).map_err(Error::Passed)?;
        let listener = UnixListener::from_std(listener).map_err(Error::Passed)?;
        listeners.push(sockets::Listener::passed(listener));
    }
    let Some(socket) = settings.socket.as_ref().filter(|_| listeners.is_empty()) else {
        return Ok((listeners, None));
    };
    let (listener, file) = sockets::unix(&socket.path, socket.mode).await?;
    Ok((vec![listener], Some(file)))
}

/// The secrets of the front ends that outlive the process.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) token_key: Option<Secret<[u8; 32]>>,
    /// In the order of the sessions.
    bearers: Vec<Vec<Bearer>>,
    /// Where the token key is.
    key_file: PathBuf,
    /// Where each session's bearers are.
    token_files: Vec<PathBuf>,
}

impl Secrets {
    /// Reads them, and makes those that do not exist if nothing is wrong with the others. `token_key` is the one that
    /// a predecessor had; a file goes before it. Without a `directory` the key is in memory alone.
    pub(super) fn load(
        settings: &Settings,
        seams: &Seams,
        directory: &RuntimeDirectory,
        token_key: Option<Secret<[u8; 32]>>,
    ) -> Result<Self, Error> {
        let sessions = settings.sessions.iter().filter(|_| settings.container);
        let token_files: Vec<_> = sessions.map(|session| token_file(settings, &session.name)).collect();
        for file in &token_files {
            files::check_bearers(file)?;
        }
        let key_file = settings.runtime_directory.join("imds-token.key");
        let made = || match directory.is_there() {
            true => files::token_key(&key_file, token_key.as_ref(), &seams.entropy),
            false => files::token_key_in_memory(token_key.as_ref(), &seams.entropy),
        };
        let token_key = settings.imds.as_ref().map(|_| made()).transpose()?;
        let bearers = token_files.iter().map(|file| files::bearers(file, &seams.entropy));
        let bearers = bearers.collect::<Result<_, _>>()?;
        Ok(Self { token_key, bearers, key_file, token_files })
    }

    /// Writes their files again after they were deleted; a file that is there is left alone.
    pub(super) fn restore(&self) -> Result<(), Error> {
        if let Some(key) = &self.token_key {
            files::restore_token_key(&self.key_file, key)?;
        }
        for (file, bearers) in self.token_files.iter().zip(&self.bearers) {
            files::restore_bearers(file, bearers)?;
        }
        Ok(())
    }
}

fn token_file(settings: &Settings, session: &str) -> PathBuf {
    settings.runtime_directory.join(format!("{session}.token"))
}

/// What TCP and the Unix socket serve; `before` is the IMDS that is served now.
pub(super) fn front_ends(
    settings: &Settings,
    seams: &Seams,
    roster: &Roster,
    bound: &Bound,
    secrets: &Secrets,
    before: Option<&Imds>,
) -> Result<FrontEnds, Error> {
    let sessions = roster::sessions(roster);
    let door = Door::new(bound.http.iter().map(SocketAddr::ip));
    let imds = settings.imds.as_ref().zip(secrets.token_key.as_ref());
    let imds = imds.map(|(imds, key)| imds_frontend(settings, seams, &sessions, &imds.session, key));
    let imds = imds.transpose()?;
    let imds = match before {
        Some(before) => imds.map(|imds| imds.in_place_of(before)),
        None => imds,
    };
    let container = settings.container.then(|| container_frontend(settings, seams, &sessions, secrets));
    let http: Vec<String> = bound.http.iter().map(|address| format!("http://{address}")).collect();
    let mut listeners = serde_json::json!({ "http": http, "socket": bound.socket });
    if !bound.waiting.is_empty() {
        let waiting: Vec<String> = bound.waiting.keys().map(|address| format!("http://{address}")).collect();
        listeners["waiting"] = waiting.into();
    }
    for (address, trouble) in &bound.waiting {
        if let Some(trouble) = trouble {
            listeners["troubles"][format!("http://{address}")] = trouble.as_str().into();
        }
    }
    let mut socket = Socket::new(sessions.iter().cloned().collect(), listeners);
    socket = socket.with_backgrounds(backgrounds(roster, seams.clock.clone()));
    for session in &settings.sessions {
        let facts = config::facts(session).iter().map(|fact| (fact.option, fact.digest)).collect();
        socket = socket.with_settings(&session.name, facts);
    }
    let unix = Router::unix(socket);
    Ok(FrontEnds { tcp: Router::tcp(door, imds.clone(), container), unix, imds })
}

/// What stands behind each session of `roster`. It must not hold the roster: the tasks of sessions end with it.
fn backgrounds(roster: &Roster, clock: Clock) -> impl Fn(usize) -> Background + Send + Sync + 'static {
    let mut behind = Vec::new();
    for member in roster.iter() {
        let settings = member.settings();
        let role_arn = settings.role().map(|role| role.as_str().to_owned());
        let region = Some(settings.region.as_str().to_owned());
        let background = Background { role_arn, region, ..Background::default() };
        behind.push((background, member.identity().cloned()));
    }
    move |number| match behind.get(number) {
        None => Background::default(),
        Some((background, None)) => background.clone(),
        Some((background, Some(identity))) => {
            let now = clock.now();
            let certificate = identity.in_use().map(|used| Certificate {
                subject: used.subject().into(),
                serial: used.serial().into(),
                not_after: rfc3339(used.not_after()),
                days_left: identity::days_left(used.not_after(), identity.at_aws(now)),
                warnings: identity.warnings(now),
            });
            Background { certificate, fault: identity.fault(now), ..background.clone() }
        }
    }
}

fn imds_frontend(
    settings: &Settings,
    seams: &Seams,
    sessions: &Sessions,
    name: &str,
    key: &Secret<[u8; 32]>,
) -> Result<Imds, Error> {
    let session = settings.sessions.iter().find(|session| session.name == name);
    let (session, handle) = session
        .zip(sessions.get(name))
        .ok_or_else(|| Error::Broken(format!("the session `{name}` of IMDS does not exist")))?;
    let role = session.role().map_or(name, RoleArn::name);
    let role = RoleName::parse(role).map_err(|error| Error::Broken(error.to_string()))?;
    let tokens = TokenAuthority::new(key, seams.clock.clone(), seams.entropy.clone());
    let imds = Imds::new(handle.clone(), role, tokens);
    Ok(imds.at(session.region.as_str(), session.role().map(RoleArn::account_id)))
}

fn container_frontend(
    settings: &Settings,
    seams: &Seams,
    sessions: &Sessions,
    secrets: &Secrets,
) -> Container {
    let each = sessions.iter().zip(&settings.sessions).zip(&secrets.bearers);
    each.fold(Container::new(), |container, ((session, settled), bearers)| {
        let token_file = token_file(settings, session.name());
        info!(
            event = event::CONTAINER_SERVING,
            session = session.name(), token_file = %token_file.display(), "Serving container credentials"
        );
        let api_keys = ApiKeys::new(settled.region.clone(), seams.clock.clone());
        container.with(session.clone(), bearers.clone()).with_api_keys(api_keys)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "runtime_directory = \"/r\"\n[session.a]\ncertificate = \"c\"\nprivate_key = \"k\"\n\
         trust_anchor_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a\"\n\
         profile_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:profile/a\"\n\
         role_arn = \"arn:aws:iam::123456789012:role/r\"\n";
    const SECOND: &str = "fallback_trust_anchor_arn = \"arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/b\"\n\
         fallback_profile_arn = \"arn:aws:rolesanywhere:eu-west-1:123456789012:profile/b\"\n";

    #[test]
    fn an_attempt_has_time_for_every_call_it_may_make() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let limit = |lines: &str| {
            fs_err::write(file.path(), format!("{SESSION}{lines}")).unwrap();
            let given = config::Arguments::given([("config", file.path().to_str().unwrap())]).unwrap();
            let settings = config::load(given, &config::Environment::from_iter([("A", "")])).unwrap();
            policy(&settings, &settings.sessions[0]).attempt_limit
        };
        let call = Duration::from_secs(5 + 2 * 10);

        assert!(limit("") > 2 * call);
        assert!(limit(SECOND) > 4 * call);
        let roles =
            "assume_role = [\"arn:aws:iam::123456789012:role/a\", \"arn:aws:iam::123456789012:role/b\"]\n";
        assert!(limit(roles) > 7 * call);
        let unlimited = limit("[upstream]\nread_timeout = \"none\"");
        assert!(
            (limit("")..Duration::from_secs(600)).contains(&unlimited),
            "a silent server holds no session for ever"
        );
    }
}
