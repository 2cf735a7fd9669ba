//! Makes the front ends that TCP and the Unix socket serve, from the settings, the sessions and the secrets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing::info;

use super::Error;
use super::running_sessions;
use super::running_sessions::RunningSessions;
use super::secrets::Secrets;
use super::secrets::token_file;
use crate::assembly::Seams;
use anchord_config as config;
use anchord_config::Settings;
use anchord_core::access::Access;
use anchord_core::access::Principal;
use anchord_core::arn::RoleArn;
use anchord_core::clock::Clock;
use anchord_core::clock::rfc3339;
use anchord_core::event;
use anchord_core::secret::Secret;
use anchord_frontend::ApiKeys;
use anchord_frontend::Background;
use anchord_frontend::CertificateStatus;
use anchord_frontend::Container;
use anchord_frontend::Imds;
use anchord_frontend::ListenerStatus;
use anchord_frontend::RequestGuard;
use anchord_frontend::RoleName;
use anchord_frontend::Router;
use anchord_frontend::Socket;
use anchord_frontend::TokenAuthority;
use anchord_identity as identity;
use anchord_session::Sessions;

/// The addresses and the socket on which the daemon listens.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The addresses of IMDS and container credentials. For port 0 they have the port that the kernel chose.
    pub http: Vec<SocketAddr>,
    /// Addresses of the settings on which the daemon cannot listen yet, each with the reason. `None` if this host does
    /// not have the address yet.
    pub waiting: BTreeMap<SocketAddr, Option<String>>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
}

/// The front ends of each kind of listener.
pub(super) struct FrontEnds {
    pub(super) tcp: Router,
    pub(super) unix: Router,
    pub(super) imds: Option<Imds>,
}

/// Makes the front ends. `before` is the previous IMDS front end, whose role name clients may still ask for.
pub(super) fn front_ends(
    settings: &Settings,
    seams: &Seams,
    running: &RunningSessions,
    bound: &Bound,
    secrets: &Secrets,
    before: Option<&Imds>,
) -> Result<FrontEnds, Error> {
    let sessions = running_sessions::handles(running);
    let guard = RequestGuard::new(bound.http.iter().map(SocketAddr::ip));
    let imds = settings.imds.as_ref().zip(secrets.token_key.as_ref());
    let imds = imds.map(|(session, key)| imds_frontend(settings, seams, &sessions, session, key));
    let imds = imds.transpose()?;
    let imds = match before {
        Some(before) => imds.map(|imds| imds.in_place_of(before)),
        None => imds,
    };
    let container = settings.container.then(|| container_frontend(settings, seams, &sessions, secrets));
    let mut socket = Socket::new(sessions.iter().cloned().collect(), listeners(bound));
    socket = socket.with_backgrounds(backgrounds(running, seams.clock.clone()));
    for (session, bearers) in settings.sessions.iter().zip(&secrets.bearers) {
        if let Some(newest) = bearers.first() {
            socket = socket.with_bearer(&session.name, newest.clone());
        }
    }
    for (session, access) in &settings.access {
        socket = socket.for_callers(session, access.clone());
    }
    for session in &settings.sessions {
        let facts = config::facts(session).iter().map(|fact| (fact.option, fact.digest)).collect();
        socket = socket.with_settings(&session.name, facts);
    }
    let unix = Router::unix(socket);
    Ok(FrontEnds { tcp: Router::tcp(guard, imds.clone(), container), unix, imds })
}

/// Those whom the settings allow something.
pub(super) fn principals(settings: &Settings) -> Vec<Principal> {
    let every = settings.access.values().chain(&settings.imds_access);
    every.flat_map(Access::principals).cloned().collect()
}

/// The addresses as the status shows them.
fn listeners(bound: &Bound) -> ListenerStatus {
    let url = |address: &SocketAddr| format!("http://{address}");
    let mut troubles = BTreeMap::new();
    for (address, trouble) in &bound.waiting {
        if let Some(trouble) = trouble {
            troubles.insert(url(address), trouble.clone());
        }
    }
    ListenerStatus {
        http: bound.http.iter().map(url).collect(),
        socket: bound.socket.as_ref().map(|path| path.display().to_string()),
        troubles,
        waiting: bound.waiting.keys().map(url).collect(),
    }
}

/// The details that the status shows of each session. The closure must not hold `running`, because the tasks of a
/// session end only when it is dropped.
fn backgrounds(
    running: &RunningSessions,
    clock: Clock,
) -> impl Fn(usize) -> Background + Send + Sync + 'static {
    let mut behind = Vec::new();
    for session in running.iter() {
        let settings = session.settings();
        let role_arn = settings.role().map(|role| role.as_str().to_owned());
        let region = Some(settings.region.as_str().to_owned());
        let background = Background { role_arn, region, ..Background::default() };
        behind.push((background, session.identity().cloned()));
    }
    move |number| match behind.get(number) {
        None => Background::default(),
        Some((background, None)) => background.clone(),
        Some((background, Some(identity))) => {
            let now = clock.now();
            let certificate = identity.in_use().map(|used| CertificateStatus {
                subject: used.subject().into(),
                serial: used.serial().into(),
                not_after: rfc3339(used.not_after()),
                days_left: identity::days_left(used.not_after(), identity.at_aws(now)),
                warnings: identity.warnings(now).iter().map(ToString::to_string).collect(),
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
    let access = settings.imds_access.as_ref().or(settings.access.get(name));
    let imds = imds.for_callers(access.cloned().unwrap_or(Access::Only(Vec::new())));
    Ok(imds.at(session.region.as_str(), session.role().map(RoleArn::account_id)))
}

fn container_frontend(
    settings: &Settings,
    seams: &Seams,
    sessions: &Sessions,
    secrets: &Secrets,
) -> Container {
    let mut container = Container::new();
    for ((session, settled), bearers) in sessions.iter().zip(&settings.sessions).zip(&secrets.bearers) {
        let token_file = token_file(settings, session.name());
        info!(event = event::CONTAINER_SERVING, session = session.name(), token_file = %token_file.display(), "Serving container credentials");
        let api_keys = ApiKeys::new(settled.region.clone(), seams.clock.clone());
        container = container.with(session.clone(), bearers.clone()).with_api_keys(api_keys);
    }
    container
}
