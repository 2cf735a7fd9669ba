//! Builds a daemon from settings: binds its listeners and starts its sessions.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tracing::warn;

use super::Daemon;
use super::Error;
use super::Passed;
use super::addresses;
use super::addresses::MissingAddresses;
use super::credentials_files;
use super::front_ends::Bound;
use super::front_ends::front_ends;
use super::front_ends::principals;
use super::reloadable::Reloadable;
use super::reloadable::Routes;
use super::restorer::Restorer;
use super::running_sessions;
use super::running_sessions::Dependencies;
use super::runtime_directory::RuntimeDirectory;
use super::runtime_directory::make_runtime_directory;
use super::secrets::Secrets;
use super::sockets;
use super::sockets::SocketFile;
use super::state;
use super::state::Store;
use crate::assembly;
use crate::assembly::Seams;
use anchord_aws::upstream::Replaceable;
use anchord_aws::upstream::Transport;
use anchord_config::Settings;
use anchord_core::event;
use anchord_core::private_file;
use anchord_frontend::Callers;
use anchord_frontend::Server;

/// Binds listeners, or takes those that systemd passed, and starts the sessions.
///
/// # Errors
/// If a listener, the runtime directory, a secret or the connection to AWS cannot be used.
pub async fn build(settings: &Settings, seams: &Seams, mut passed: Passed) -> Result<Daemon, Error> {
    let transport = Arc::new(Replaceable::new(assembly::transport(settings, seams)?));
    let has_directory = has_directory(settings)?;

    // Bind the Unix socket first: if another daemon runs, its error says so. An error of TCP only says that a port is
    // in use.
    let (unix_listeners, socket_file) = unix_listeners(settings, std::mem::take(&mut passed.unix)).await?;
    let (tcp, own) = (std::mem::take(&mut passed.tcp), std::mem::take(&mut passed.own));
    let (listeners, missing) = tcp_listeners(settings, tcp, own).await?;
    let http: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    // Get the path from the socket itself, because systemd's socket may have another path than the settings.
    let socket = unix_listeners.first().and_then(sockets::UnixSocketListener::path);
    let waiting = missing.addresses().into_iter().map(|address| (address, None)).collect();
    let bound = Bound { http, waiting, socket };

    // Take the directory after the listeners are bound: that fails immediately if another daemon keeps running. Only
    // the daemon that continues may take over the predecessor's state.
    let directory = match has_directory {
        true => RuntimeDirectory::take(&settings.runtime_directory).await?,
        false => RuntimeDirectory::none(),
    };
    let directory = Arc::new(directory);
    private_file::sweep(&settings.runtime_directory);
    let mut store = Store::choose(&mut passed, directory.path());
    let left = state::read(&mut store, &seams.clock);
    let (key, saved) = left.map_or((None, Vec::new()), |left| (left.token_key, left.sessions));
    let secrets = Secrets::load(settings, seams, directory.is_there(), key)?;
    let shared: Arc<dyn Transport> = Arc::<Replaceable>::clone(&transport);
    let running = running_sessions::first(settings, saved, Dependencies { seams, transport: &shared });

    let callers = Arc::new(Callers::of_this_host());
    callers.name(principals(settings));
    if settings.imds.is_some() && !callers.kernel().knows_tcp_users() {
        warn!(
            event = event::TCP_USERS_UNKNOWN,
            hint = "load the kernel module tcp_diag, let the process use AF_NETLINK sockets, or give clients a bearer \
                    (container credentials) or the Unix socket",
            "The kernel does not tell which users TCP clients are; IMDS serves only sessions that are for everybody"
        );
    }
    let routes = Routes::new(front_ends(settings, seams, &running, &bound, &secrets, None)?);
    let tcp = listeners.into_iter();
    let tcp = tcp
        .map(|listener| Server::new("http", listener, routes.tcp.subscribe(), Arc::clone(&callers)))
        .collect();
    let unix = unix_listeners.into_iter();
    let unix = unix
        .map(|listener| Server::new("socket", listener, routes.unix.subscribe(), Arc::clone(&callers)))
        .collect();
    let files = credentials_files::followed(&settings.credentials_files, &running);
    let reloadable = Reloadable {
        settings: settings.clone(),
        seams: seams.clone(),
        bound,
        transport,
        running: watch::Sender::new(running),
        credentials_files: watch::Sender::new(files),
        routes,
        callers,
        secrets: watch::Sender::new(Arc::new(secrets)),
        directory: Arc::clone(&directory),
        confinement: None,
    };
    Ok(Daemon::new(reloadable, (tcp, missing), unix, store, Restorer::new(directory, socket_file)))
}

async fn tcp_listeners(
    settings: &Settings,
    passed: Vec<std::net::TcpListener>,
    own: Vec<std::net::TcpListener>,
) -> Result<(Vec<TcpListener>, MissingAddresses), Error> {
    let mut listeners = Vec::new();
    for listener in passed {
        listeners.push(sockets::passed_tcp(listener)?);
    }
    for listener in own {
        listener.set_nonblocking(true).map_err(Error::Passed)?;
        listeners.push(TcpListener::from_std(listener).map_err(Error::Passed)?);
    }
    if listeners.is_empty() && (settings.imds.is_some() || settings.container) {
        return Ok(addresses::listen(&settings.listen).await?);
    }
    Ok((listeners, MissingAddresses::new([])))
}

/// Makes the runtime directory. Returns whether there is one to write to. The Unix socket and the bearer tokens of
/// container clients need one. IMDS alone does not.
fn has_directory(settings: &Settings) -> Result<bool, Error> {
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
        %path, %error, "There is no writable runtime directory; a restart will invalidate the tokens of IMDS clients"
    );
    Ok(false)
}

async fn unix_listeners(
    settings: &Settings,
    passed: Vec<std::os::unix::net::UnixListener>,
) -> Result<(Vec<sockets::UnixSocketListener>, Option<SocketFile>), Error> {
    let mut listeners = Vec::new();
    for listener in passed {
        sockets::listen_again(&listener)?;
        listener.set_nonblocking(true).map_err(Error::Passed)?;
        let listener = UnixListener::from_std(listener).map_err(Error::Passed)?;
        listeners.push(sockets::UnixSocketListener::passed(listener));
    }
    let Some(socket) = settings.socket.as_ref().filter(|_| listeners.is_empty()) else {
        return Ok((listeners, None));
    };
    let (listener, file) = sockets::unix(&socket.path, socket.mode).await?;
    Ok((vec![listener], Some(file)))
}
