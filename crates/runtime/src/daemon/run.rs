//! Runs a daemon: it serves, reloads on request, finishes open requests, and ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Bound;
use super::Confinement;
use super::Error;
use super::addresses::AddressChange;
use super::addresses::Appeared;
use super::addresses::MissingAddresses;
use super::credentials_files;
use super::handover;
use super::reloadable::Applied;
use super::reloadable::Preparation;
use super::reloadable::Prepared;
use super::reloadable::Reloadable;
use super::restorer::Restorer;
use super::running_sessions;
use super::running_sessions::RunningSessions;
use super::sockets;
use super::state::Store;
use super::systemd;
use anchord_config::Problems;
use anchord_config::Settings;
use anchord_core::event;
use anchord_core::failure::ErrorChain;
use anchord_core::failure::Failure;
use anchord_core::notice::Notice;
use anchord_frontend::Server;
use anchord_session::Freshness;
use anchord_session::Phase;
use anchord_session::Sessions;

/// A daemon whose listeners are bound and whose sessions have started.
pub struct Daemon {
    reloadable: Reloadable,
    tcp: Vec<Server<TcpListener>>,
    missing: MissingAddresses,
    unix: Vec<Server<sockets::UnixSocketListener>>,
    store: Store,
    reload: Option<Reload>,
    restorer: Restorer,
}

/// How a running daemon gets new settings.
pub struct Reload {
    /// Receives a value for each request to reload.
    pub asked: mpsc::Receiver<()>,
    /// Loads the new settings; may block.
    pub read: Arc<dyn Fn() -> Result<Settings, Problems> + Send + Sync>,
    /// Called with the settings after each reload, to apply those that are not the daemon's, such as the log level.
    pub taken: Box<dyn FnMut(&Settings) + Send>,
    /// The sandbox of the process, which admits only some new settings.
    pub confinement: Option<Arc<Confinement>>,
}

/// How long the daemon waits for its first credentials before it reports to systemd that it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// How long the daemon waits at its end for the last write of its state. A file system may hang.
const LAST_WRITE: Duration = Duration::from_secs(1);

impl Daemon {
    pub(super) fn new(
        reloadable: Reloadable,
        (tcp, missing): (Vec<Server<TcpListener>>, MissingAddresses),
        unix: Vec<Server<sockets::UnixSocketListener>>,
        store: Store,
        restorer: Restorer,
    ) -> Self {
        Self { reloadable, tcp, missing, unix, store, reload: None, restorer }
    }

    /// Lets the daemon reload its settings on request.
    #[must_use]
    pub fn with_reload(mut self, reload: Reload) -> Self {
        self.reloadable.confinement.clone_from(&reload.confinement);
        Self { reload: Some(reload), ..self }
    }

    /// The addresses and the socket on which the daemon listens.
    pub fn bound(&self) -> &Bound {
        &self.reloadable.bound
    }

    /// The sessions.
    pub fn sessions(&self) -> Sessions {
        running_sessions::handles(&self.reloadable.running.borrow())
    }

    /// Serves until `stop` completes, then finishes open requests.
    ///
    /// # Errors
    /// If a listener ended before `stop`. That is a bug, and the daemon exits, because it would no longer answer.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { mut reloadable, tcp, mut missing, unix, store, mut reload, restorer } = self;
        announce(&reloadable.bound);
        let (stopping, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        for server in tcp {
            servers.spawn(server.run(stopped.clone()));
        }
        for server in unix {
            servers.spawn(server.run(stopped.clone()));
        }
        let look_now = Arc::new(Notify::new());
        // The tasks end when this is dropped on return.
        let mut background = JoinSet::new();
        let secrets = reloadable.secrets.subscribe();
        background.spawn(restorer.keep(stopped.clone(), Arc::clone(&look_now), secrets));
        let (end, ending) = oneshot::channel();
        let state_writer = state_writer(store, &reloadable, ending);
        let files = reloadable.credentials_files.subscribe();
        background.spawn(credentials_files::keep(files, reloadable.seams.clock.clone()));
        let (say_ready, mut ready) = oneshot::channel();
        background.spawn(tell_systemd(reloadable.running.subscribe(), say_ready));

        let mut stop = std::pin::pin!(stop);
        let mut is_ready = false;
        let mut reading = None;
        let listener_ended = loop {
            tokio::select! {
                () = stop.as_mut() => break false,
                Some(_) = servers.join_next() => break true,
                // Reload only afterwards: systemd would take the end of a reload for the end of the start.
                _ = &mut ready, if !is_ready => is_ready = true,
                read = asked(&mut reload), if is_ready && reading.is_none() => {
                    systemd::reloading();
                    look_now.notify_one();
                    reading = Some(Box::pin(read_new_settings(read, reloadable.preparation())));
                }
                change = missing.next() => match on_address_change(&mut reloadable, change) {
                    Ok(Some(server)) => _ = servers.spawn(server.run(stopped.clone())),
                    Ok(None) => {}
                    Err(error) => log_unserved(&error),
                },
                prepared = next(&mut reading) => {
                    reading = None;
                    let applied = prepared.and_then(|prepared| {
                        reloadable.apply(prepared).map_err(|error| vec![Failure::from(error).into()])
                    });
                    if let (Ok(_), Some(reload)) = (&applied, &mut reload) {
                        (reload.taken)(&reloadable.settings);
                    }
                    log_reload(&applied, &status(&reloadable.running.borrow()));
                }
            }
        };
        shut_down(servers, &stopping).await;
        finish(state_writer, end).await;
        info!(event = event::DAEMON_STOPPED, "Stopped");
        if listener_ended { Err(Error::Broken("a listener ended unexpectedly".into())) } else { Ok(()) }
    }
}

/// Stops the listeners, and waits for open requests.
async fn shut_down(mut servers: JoinSet<()>, stopping: &watch::Sender<bool>) {
    systemd::stopping();
    info!(event = event::DAEMON_STOPPING, "Stopping; finishing open requests");
    stopping.send_replace(true);
    while servers.join_next().await.is_some() {}
}

fn announce(bound: &Bound) {
    for address in &bound.http {
        info!(event = event::LISTENER_STARTED, %address, "Listening");
    }
    if let Some(path) = &bound.socket {
        info!(event = event::LISTENER_STARTED, path = %path.display(), "Listening");
    }
}

/// Handles a change of a missing address: serves an address that has appeared, or notes why it cannot be served.
fn on_address_change(
    reloadable: &mut Reloadable,
    change: AddressChange,
) -> Result<Option<Server<TcpListener>>, Error> {
    let Appeared { address, listener } = match change {
        AddressChange::Appeared(appeared) => appeared,
        AddressChange::Trouble(address, trouble) => {
            return reloadable.note_trouble(address, trouble).map(|()| None);
        }
    };
    reloadable.add_listener(address, listener.local_addr().unwrap_or(address))?;
    info!(event = event::LISTENER_ADDRESS_APPEARED, %address, "The address has appeared; listening on it");
    Ok(Some(Server::new(
        "http",
        listener,
        reloadable.routes.tcp.subscribe(),
        Arc::clone(&reloadable.callers),
    )))
}

fn log_unserved(error: &Error) {
    let error = ErrorChain(error);
    error!(event = event::LISTENER_NOT_SERVED, %error, "Cannot serve an address that has appeared");
}

/// The task that writes the state for a successor. It writes once more after the sender of `ending` is dropped, then
/// ends.
fn state_writer(store: Store, reloadable: &Reloadable, ending: oneshot::Receiver<()>) -> JoinHandle<()> {
    let (secrets, running) = (reloadable.secrets.subscribe(), reloadable.running.subscribe());
    let (made_anew, clock) = (reloadable.directory.made_anew(), reloadable.seams.clock.clone());
    tokio::spawn(handover::keep(store, secrets, running, made_anew, ending, clock))
}

/// Lets `state_writer` write once more.
async fn finish(mut state_writer: JoinHandle<()>, end: oneshot::Sender<()>) {
    drop(end);
    if tokio::time::timeout(LAST_WRITE, &mut state_writer).await.is_err() {
        state_writer.abort();
    }
}

type ReadSettings = Arc<dyn Fn() -> Result<Settings, Problems> + Send + Sync>;

/// Waits for a request to reload, and returns the function that loads settings.
async fn asked(reload: &mut Option<Reload>) -> ReadSettings {
    if let Some(reload) = reload
        && reload.asked.recv().await.is_some()
    {
        return Arc::clone(&reload.read);
    }
    // No more requests can come. That is no reason to end the daemon.
    std::future::pending().await
}

/// The result of `reading`; pending for ever if nothing is being read.
async fn next<T>(reading: &mut Option<std::pin::Pin<Box<impl Future<Output = T>>>>) -> T {
    match reading {
        Some(reading) => reading.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Reading files takes milliseconds. A read that takes longer than this hangs.
const READING: Duration = Duration::from_secs(10);

/// Loads new settings and the files that they name, or returns all mistakes.
async fn read_new_settings(read: ReadSettings, preparation: Preparation) -> Result<Prepared, Vec<Notice>> {
    let reading = tokio::task::spawn_blocking(move || match read() {
        Ok(settings) => preparation.prepare(settings).map_err(|error| vec![Failure::from(error).into()]),
        Err(problems) => Err(problems.iter().cloned().collect()),
    });
    match tokio::time::timeout(READING, reading).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(_)) => Err(vec![Notice::new("reading the configuration panicked; this is a bug")]),
        Err(_) => {
            let what = format!("the configuration's files could not be read within {} s", READING.as_secs());
            let hint = "check that the file systems of all files in the configuration respond";
            Err(vec![Notice::new(what).hinting(hint)])
        }
    }
}

fn log_reload(applied: &Result<Applied, Vec<Notice>>, status: &str) {
    match applied {
        Ok(Applied { sessions, waiting }) => {
            let list = |names: &[String]| names.join(", ");
            info!(
                event = event::CONFIG_RELOADED,
                unchanged = sessions.unchanged,
                changed = list(&sessions.changed),
                added = list(&sessions.added),
                removed = list(&sessions.removed),
                "Configuration reloaded"
            );
            if !waiting.is_empty() {
                warn!(
                    event = event::CONFIG_RESTART_NEEDED,
                    settings = waiting.join(", "),
                    "These settings take effect after a restart"
                );
            }
            systemd::ready(&format!("{status}; configuration reloaded"));
        }
        Err(mistakes) => {
            for mistake in mistakes {
                error!(
                    event = event::CONFIG_REFUSED,
                    mistake = mistake.message(),
                    hint = mistake.hint(),
                    "Refused the new configuration; the current one stays in effect"
                );
            }
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            systemd::ready(&format!("Refused the new configuration: {first}"));
        }
    }
}

fn status(running: &RunningSessions) -> String {
    let live = running.iter().filter(|session| session.handle().snapshot().phase == Phase::Live).count();
    format!("{live} of {} sessions have credentials", running.len())
}

/// Sends READY to systemd once each session has credentials or has failed, then pings the watchdog.
async fn tell_systemd(running: watch::Receiver<RunningSessions>, ready: oneshot::Sender<()>) {
    let first = running.borrow().clone();
    let asked = first.iter().map(|session| session.handle().hand_out(Freshness::Full, READY_PATIENCE));
    let live = join_all(asked).await.into_iter().filter(Result::is_ok).count();
    info!(event = event::DAEMON_READY, live, sessions = first.len(), "Ready");
    drop(first);
    systemd::ready(&status(&running.borrow()));
    let _ = ready.send(());
    let Some(interval) = systemd::watchdog_interval() else { return };
    let mut pulse = tokio::time::interval(interval);
    loop {
        pulse.tick().await;
        systemd::watchdog();
    }
}
