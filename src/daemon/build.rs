//! From settings to running sessions and front ends.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::Error;
use super::Passed;
use super::sockets;
use super::sockets::SocketFile;
use super::supervise;
use super::systemd;
use crate::clock::Clock;
use crate::config;
use crate::config::Settings;
use crate::entropy::Entropy;
use crate::entropy::Jitter;
use crate::failure::system_reason;
use crate::frontend::Container;
use crate::frontend::Door;
use crate::frontend::Imds;
use crate::frontend::RoleName;
use crate::frontend::Router;
use crate::frontend::Server;
use crate::frontend::Socket;
use crate::frontend::TokenAuthority;
use crate::frontend::files;
use crate::frontend::router;
use crate::identity;
use crate::identity::PemFiles;
use crate::identity::Source;
use crate::session;
use crate::session::Freshness;
use crate::session::Keeper;
use crate::session::Policy;
use crate::session::Sessions;
use crate::upstream;
use crate::upstream::Https;
use crate::upstream::Issuer;
use crate::upstream::Limits;
use crate::upstream::Proxy;
use crate::upstream::RolesAnywhere;
use crate::upstream::Transport;

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
}

impl Seams {
    /// The operating system's clock and randomness, and HTTPS.
    pub fn real() -> Self {
        let entropy = Entropy::system();
        Self { clock: Clock::system(), jitter: Jitter::uniform(entropy.clone()), entropy, transport: None }
    }
}

/// Where the daemon can be reached.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The addresses of IMDS and container credentials, with the ports that were given for port 0.
    pub http: Vec<SocketAddr>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
}

/// A daemon whose listeners are bound and whose sessions are about to start.
pub struct Daemon {
    bound: Bound,
    sessions: Sessions,
    keepers: Vec<Keeper>,
    tcp: Vec<Server<TcpListener>>,
    unix: Vec<Server<UnixListener>>,
    /// Removes the socket's file when the daemon ends.
    _socket_file: Option<SocketFile>,
}

/// How long systemd is kept waiting for the first credentials before the daemon is called ready without them.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// Binds listeners, or takes those that systemd passed, and builds the sessions behind them.
pub async fn build(settings: &Settings, seams: &Seams, passed: Passed) -> Result<Daemon, Error> {
    let transport = match &seams.transport {
        Some(transport) => Arc::clone(transport),
        None => transport(settings, &seams.clock)?,
    };
    make_runtime_directory(&settings.runtime_directory)?;
    let (handles, keepers): (Vec<_>, Vec<_>) = settings
        .sessions
        .iter()
        .map(|session| {
            let issuer = issuer(session, identity(session), Arc::clone(&transport), &seams.clock);
            session::open(&session.name, issuer, policy(settings), seams.clock.clone(), seams.jitter.clone())
        })
        .unzip();
    let sessions: Sessions = handles.into_iter().collect();

    // The Unix socket first: it tells another daemon from any other program that has the port.
    let (unix_listeners, socket_file) = unix_listeners(settings, passed.unix).await?;
    let listeners = tcp_listeners(settings, passed.tcp).await?;
    let http: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    // Asked from the socket itself: systemd's need not be where the settings would have it.
    let socket = unix_listeners.first().and_then(|listener| listener.local_addr().ok());
    let socket = socket.and_then(|address| address.as_pathname().map(Path::to_path_buf));
    let bound = Bound { http, socket };

    let tcp_routes = router::fixed(tcp_router(settings, seams, &sessions, &bound)?);
    let tcp =
        listeners.into_iter().map(|listener| Server::new("http", listener, tcp_routes.clone())).collect();
    let unix_routes = router::fixed(unix_router(&sessions, &bound));
    let unix = unix_listeners
        .into_iter()
        .map(|listener| Server::new("socket", listener, unix_routes.clone()))
        .collect();
    Ok(Daemon { bound, sessions, keepers, tcp, unix, _socket_file: socket_file })
}

/// An attempt may make two calls (the second with a corrected clock), and takes no longer than their limits and the
/// time for files and keys together; where they have none, neither has it.
fn policy(settings: &Settings) -> Policy {
    const FILES_AND_KEYS: Duration = Duration::from_secs(15);
    let upstream = &settings.upstream;
    let call = upstream.connect_timeout.zip(upstream.read_timeout).map(|(connect, read)| connect + 2 * read);
    Policy { attempt_limit: call.map(|call| 2 * call + FILES_AND_KEYS), ..Policy::default() }
}

/// HTTPS towards AWS, as the settings say.
pub fn transport(settings: &Settings, clock: &Clock) -> Result<Arc<dyn Transport>, Error> {
    let upstream = &settings.upstream;
    let tls = upstream::client_config(upstream.ca_file.as_deref(), clock)?;
    let limits = Limits { connect: upstream.connect_timeout, read: upstream.read_timeout };
    let proxy = upstream.proxy.clone().map(|url| Proxy { url, exceptions: upstream.no_proxy.clone() });
    Ok(Arc::new(Https::new(tls, limits, proxy.as_ref())?))
}

/// Where a session's certificate and key come from.
pub fn source(session: &config::Session) -> Source {
    Source::Pem(PemFiles {
        certificate: session.certificate.clone(),
        private_key: session.private_key.clone(),
        intermediates: session.intermediates.clone(),
    })
}

/// A session's certificate and key, for whoever signs and whoever watches.
pub fn identity(session: &config::Session) -> Arc<identity::Current> {
    Arc::new(identity::Current::new(&session.name, source(session)))
}

/// What makes a session's credentials.
pub fn issuer(
    session: &config::Session,
    identity: Arc<identity::Current>,
    transport: Arc<dyn Transport>,
    clock: &Clock,
) -> Arc<dyn Issuer> {
    let options = upstream::Options {
        identity,
        trust_anchor: session.trust_anchor.clone(),
        profile: session.profile.clone(),
        role: session.role.clone(),
        duration: session.duration,
        role_session_name: session.role_session_name.clone(),
        region: session.roles_anywhere_region.clone(),
        endpoint: session.endpoint.clone(),
    };
    Arc::new(RolesAnywhere::new(options, transport, clock.clone()))
}

/// Systemd makes it beforehand; elsewhere it is made here, closed to others. Whoever may write into it could put
/// a socket of his own in the place of ours.
fn make_runtime_directory(path: &Path) -> Result<(), Error> {
    let failed =
        |error: std::io::Error| Error::RuntimeDirectory { path: path.into(), source: system_reason(&error) };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let found = fs_err::metadata(path).map_err(failed)?;
    let is_trusted = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    if is_trusted && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::OpenDirectory { path: path.into(), owner: found.uid(), mode: found.mode() & 0o7777 })
}

async fn tcp_listeners(
    settings: &Settings,
    passed: Vec<std::net::TcpListener>,
) -> Result<Vec<TcpListener>, Error> {
    let mut listeners = Vec::new();
    for listener in passed {
        listener.set_nonblocking(true).map_err(Error::Passed)?;
        listeners.push(TcpListener::from_std(listener).map_err(Error::Passed)?);
    }
    if listeners.is_empty() && (settings.imds.is_some() || settings.container) {
        for address in &settings.http.listen {
            listeners.push(sockets::tcp(*address).await?);
        }
    }
    Ok(listeners)
}

async fn unix_listeners(
    settings: &Settings,
    passed: Vec<std::os::unix::net::UnixListener>,
) -> Result<(Vec<UnixListener>, Option<SocketFile>), Error> {
    let mut listeners = Vec::new();
    for listener in passed {
        listener.set_nonblocking(true).map_err(Error::Passed)?;
        listeners.push(UnixListener::from_std(listener).map_err(Error::Passed)?);
    }
    let Some(socket) = settings.socket.as_ref().filter(|_| listeners.is_empty()) else {
        return Ok((listeners, None));
    };
    let (listener, file) = sockets::unix(&socket.path, socket.mode).await?;
    Ok((vec![listener], Some(file)))
}

fn tcp_router(
    settings: &Settings,
    seams: &Seams,
    sessions: &Sessions,
    bound: &Bound,
) -> Result<Router, Error> {
    let door = Door::new(bound.http.iter().map(SocketAddr::ip));
    let imds = settings.imds.as_ref().map(|imds| imds_frontend(settings, seams, sessions, &imds.session));
    let container = settings.container.then(|| container_frontend(settings, seams, sessions));
    Ok(Router::tcp(door, imds.transpose()?, container.transpose()?))
}

fn imds_frontend(settings: &Settings, seams: &Seams, sessions: &Sessions, name: &str) -> Result<Imds, Error> {
    let session = settings.sessions.iter().find(|session| session.name == name);
    let (session, handle) = session
        .zip(sessions.get(name))
        .ok_or_else(|| Error::Broken(format!("the session `{name}` of IMDS does not exist")))?;
    let role = RoleName::parse(session.role.name()).map_err(|error| Error::Broken(error.to_string()))?;
    let key = files::token_key(&settings.runtime_directory.join("imds-token.key"), &seams.entropy)?;
    let tokens = TokenAuthority::new(&key, seams.clock.clone(), seams.entropy.clone());
    let imds = Imds::new(handle.clone(), role, tokens);
    Ok(imds.at(session.region.as_str(), Some(session.role.account_id())))
}

fn container_frontend(settings: &Settings, seams: &Seams, sessions: &Sessions) -> Result<Container, Error> {
    sessions.iter().try_fold(Container::new(), |container, session| {
        let path = settings.runtime_directory.join(format!("{}.token", session.name()));
        let bearers = files::bearers(&path, &seams.entropy)?;
        info!(session = session.name(), token_file = %path.display(), "Serving container credentials");
        Ok(container.with(session.clone(), bearers))
    })
}

fn unix_router(sessions: &Sessions, bound: &Bound) -> Router {
    let http: Vec<String> = bound.http.iter().map(|address| format!("http://{address}")).collect();
    let listeners = serde_json::json!({ "http": http, "socket": bound.socket });
    Router::unix(Socket::new(sessions.iter().cloned().collect(), listeners))
}

impl Daemon {
    /// Where the daemon can be reached.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Serves until `stop` ends, then finishes the requests under way; `Err` if a listener ended before that, which
    /// is a bug, and better told by an exit than by silence.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { bound, sessions, keepers, tcp, unix, _socket_file } = self;
        for address in &bound.http {
            info!(%address, "Listening");
        }
        if let Some(path) = &bound.socket {
            info!(path = %path.display(), "Listening");
        }
        let (stopping, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        for server in tcp {
            servers.spawn(server.run(stopped.clone()));
        }
        for server in unix {
            servers.spawn(server.run(stopped.clone()));
        }
        // Dropped on return, which ends what it holds.
        let mut background = JoinSet::new();
        for keeper in keepers {
            background.spawn(supervise::keep(keeper));
        }
        background.spawn(tell_systemd(sessions));

        let deaf = tokio::select! {
            () = stop => false,
            Some(_) = servers.join_next() => true,
        };
        systemd::stopping();
        info!("Stopping; finishing requests under way");
        stopping.send_replace(true);
        while servers.join_next().await.is_some() {}
        info!("Stopped");
        if deaf { Err(Error::Broken("a listener ended by itself".into())) } else { Ok(()) }
    }
}

/// READY once each session has credentials or a reason why not, then the watchdog's pulse.
async fn tell_systemd(sessions: Sessions) {
    let first = sessions.iter().map(|session| session.hand_out(Freshness::Full, READY_PATIENCE));
    let live = join_all(first).await.into_iter().filter(Result::is_ok).count();
    let status = format!("{live} of {} sessions have credentials", sessions.len());
    info!(live, sessions = sessions.len(), "Ready");
    systemd::ready(&status);
    let Some(interval) = systemd::watchdog_interval() else { return };
    let mut pulse = tokio::time::interval(interval);
    loop {
        pulse.tick().await;
        systemd::watchdog();
    }
}
