//! The life of a daemon: serve, reload when asked, drain, end.

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

/// How a running daemon comes to new settings.
pub struct Reload {
    /// Brings something each time the settings are to be read again.
    pub asked: mpsc::Receiver<()>,
    /// Reads them; may block.
    pub read: Arc<dyn Fn() -> Result<Settings, Problems> + Send + Sync>,
    /// Is told of settings that were taken over, for what is not the daemon's to change.
    pub taken: Box<dyn FnMut(&Settings) + Send>,
}

/// How long systemd is kept waiting for the first credentials before the daemon is called ready without them.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// How long the end is put off until what is left for a successor is written; a file system may hang.
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

    /// The same daemon, which reads its settings again when asked.
    #[must_use]
    pub fn with_reload(self, reload: Reload) -> Self {
        Self { reload: Some(reload), ..self }
    }

    /// Where the daemon can be reached.
    pub fn bound(&self) -> &Bound {
        &self.reloadable.bound
    }

    /// The sessions.
    pub fn sessions(&self) -> Sessions {
        running_sessions::handles(&self.reloadable.running.borrow())
    }

    /// Serves until `stop` ends, then finishes the requests under way; `Err` if a listener ended before that, which
    /// is a bug, and better told by an exit than by silence.
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
        // Dropped on return, which ends what it holds.
        let mut background = JoinSet::new();
        background.spawn(restorer.keep(
            stopped.clone(),
            Arc::clone(&look_now),
            reloadable.secrets.subscribe(),
        ));
        let (end, ending) = oneshot::channel();
        let keeper = keeper(store, &reloadable, ending);
        let files = reloadable.credentials_files.subscribe();
        background.spawn(credentials_files::keep(files, reloadable.seams.clock.clone()));
        let (say_ready, mut ready) = oneshot::channel();
        background.spawn(tell_systemd(reloadable.running.subscribe(), say_ready));

        let mut stop = std::pin::pin!(stop);
        let mut is_ready = false;
        let mut reading = None;
        let deaf = loop {
            tokio::select! {
                () = stop.as_mut() => break false,
                Some(_) = servers.join_next() => break true,
                // Before that, the word that a reload is over would be taken for it.
                _ = &mut ready, if !is_ready => is_ready = true,
                read = asked(&mut reload), if is_ready && reading.is_none() => {
                    systemd::reloading();
                    look_now.notify_one();
                    reading = Some(Box::pin(read_new_settings(read, reloadable.preparation())));
                }
                news = missing.next() => match take_note(&mut reloadable, news) {
                    Ok(Some(server)) => _ = servers.spawn(server.run(stopped.clone())),
                    Ok(None) => {}
                    Err(error) => tell_unserved(&error),
                },
                prepared = next(&mut reading) => {
                    reading = None;
                    let applied = prepared.and_then(|prepared| {
                        reloadable.apply(prepared).map_err(|error| vec![Failure::from(error).to_string()])
                    });
                    if let (Ok(_), Some(reload)) = (&applied, &mut reload) {
                        (reload.taken)(&reloadable.settings);
                    }
                    tell(&applied, &status(&reloadable.running.borrow()));
                }
            }
        };
        systemd::stopping();
        info!(event = event::DAEMON_STOPPING, "Stopping; finishing requests under way");
        stopping.send_replace(true);
        while servers.join_next().await.is_some() {}
        leave(keeper, end).await;
        info!(event = event::DAEMON_STOPPED, "Stopped");
        if deaf { Err(Error::Broken("a listener ended by itself".into())) } else { Ok(()) }
    }
}

fn announce(bound: &Bound) {
    for address in &bound.http {
        info!(event = event::LISTENER_STARTED, %address, "Listening");
    }
    if let Some(path) = &bound.socket {
        info!(event = event::LISTENER_STARTED, path = %path.display(), "Listening");
    }
}

/// Serves an address that has appeared as the others, or shows why it cannot.
fn take_note(reloadable: &mut Reloadable, news: AddressChange) -> Result<Option<Server<TcpListener>>, Error> {
    let Appeared { address, listener } = match news {
        AddressChange::Appeared(appeared) => appeared,
        AddressChange::Trouble(address, trouble) => {
            return reloadable.note_trouble(address, trouble).map(|()| None);
        }
    };
    reloadable.add_listener(address, listener.local_addr().unwrap_or(address))?;
    info!(event = event::LISTENER_ADDRESS_APPEARED, %address, "The address has appeared; listening on it");
    Ok(Some(Server::new("http", listener, reloadable.routes.tcp.subscribe())))
}

fn tell_unserved(error: &Error) {
    let error = ErrorChain(error);
    error!(event = event::LISTENER_NOT_SERVED, %error, "An address that has appeared is not served");
}

/// What keeps state for a successor, until a last time when the sender of `ending` is gone.
fn keeper(store: Store, reloadable: &Reloadable, ending: oneshot::Receiver<()>) -> JoinHandle<()> {
    let (secrets, running) = (reloadable.secrets.subscribe(), reloadable.running.subscribe());
    let (made_anew, clock) = (reloadable.directory.made_anew(), reloadable.seams.clock.clone());
    tokio::spawn(handover::keep(store, secrets, running, made_anew, ending, clock))
}

/// Lets `keeper` write a last time.
async fn leave(mut keeper: JoinHandle<()>, end: oneshot::Sender<()>) {
    drop(end);
    if tokio::time::timeout(LAST_WRITE, &mut keeper).await.is_err() {
        keeper.abort();
    }
}

type ReadSettings = Arc<dyn Fn() -> Result<Settings, Problems> + Send + Sync>;

/// The reader of new settings, once somebody has asked for them.
async fn asked(reload: &mut Option<Reload>) -> ReadSettings {
    if let Some(reload) = reload
        && reload.asked.recv().await.is_some()
    {
        return Arc::clone(&reload.read);
    }
    // Nobody can ask any more, which is no reason to end.
    std::future::pending().await
}

/// What a reading under way brings; nothing where there is none.
async fn next<T>(reading: &mut Option<std::pin::Pin<Box<impl Future<Output = T>>>>) -> T {
    match reading {
        Some(reading) => reading.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Files are read in milliseconds; what takes longer than this hangs.
const READING: Duration = Duration::from_secs(10);

/// New settings and what they name, or every mistake in them.
async fn read_new_settings(read: ReadSettings, preparation: Preparation) -> Result<Prepared, Vec<String>> {
    let reading = tokio::task::spawn_blocking(move || match read() {
        Ok(settings) => preparation.prepare(settings).map_err(|error| vec![Failure::from(error).to_string()]),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    });
    match tokio::time::timeout(READING, reading).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(_)) => Err(vec!["reading it panicked; this is a bug".into()]),
        Err(_) => {
            let hint = "hint: make sure that each file it names is on a file system that answers";
            Err(vec![format!("its files were not read within {READING:?}; {hint}")])
        }
    }
}

fn tell(applied: &Result<Applied, Vec<String>>, status: &str) {
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
                    "These settings hold after a restart only"
                );
            }
            systemd::ready(&format!("{status}; configuration reloaded"));
        }
        Err(mistakes) => {
            for mistake in mistakes {
                error!(
                    event = event::CONFIG_REFUSED,
                    mistake, "The new configuration is refused; the one in force goes on"
                );
            }
            let first = mistakes.first().map_or("", String::as_str);
            systemd::ready(&format!("The new configuration is refused: {first}"));
        }
    }
}

fn status(running: &RunningSessions) -> String {
    let live = running.iter().filter(|session| session.handle().snapshot().phase == Phase::Live).count();
    format!("{live} of {} sessions have credentials", running.len())
}

/// READY once each session has credentials or a reason why not, then the watchdog's pulse.
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
