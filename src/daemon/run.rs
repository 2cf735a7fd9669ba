//! The life of a daemon: serve, reload when asked, drain, end.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Bound;
use super::Error;
use super::engine::Applied;
use super::engine::Engine;
use super::handover;
use super::handover::Store;
use super::roster;
use super::sockets::SocketFile;
use super::systemd;
use crate::config::Problems;
use crate::config::Settings;
use crate::failure::Failure;
use crate::frontend::Server;
use crate::session::Freshness;
use crate::session::Sessions;

/// A daemon whose listeners are bound and whose sessions have started.
pub struct Daemon {
    engine: Engine,
    tcp: Vec<Server<TcpListener>>,
    unix: Vec<Server<UnixListener>>,
    store: Store,
    reload: Option<Reload>,
    /// Removes the socket's file when the daemon ends.
    _socket_file: Option<SocketFile>,
}

/// How a running daemon comes to new settings.
pub struct Reload {
    /// Brings something each time the settings are to be read again.
    pub asked: mpsc::Receiver<()>,
    /// Reads them.
    pub read: Box<dyn FnMut() -> Result<Settings, Problems> + Send>,
    /// Is told of settings that were taken over, for what is not the daemon's to change.
    pub taken: Box<dyn FnMut(&Settings) + Send>,
}

/// How long systemd is kept waiting for the first credentials before the daemon is called ready without them.
const READY_PATIENCE: Duration = Duration::from_secs(10);

impl Daemon {
    pub(super) fn new(
        engine: Engine,
        tcp: Vec<Server<TcpListener>>,
        unix: Vec<Server<UnixListener>>,
        store: Store,
        socket_file: Option<SocketFile>,
    ) -> Self {
        Self { engine, tcp, unix, store, reload: None, _socket_file: socket_file }
    }

    /// The same daemon, which reads its settings again when asked.
    #[must_use]
    pub fn with_reload(self, reload: Reload) -> Self {
        Self { reload: Some(reload), ..self }
    }

    /// Where the daemon can be reached.
    pub fn bound(&self) -> &Bound {
        &self.engine.bound
    }

    /// The sessions.
    pub fn sessions(&self) -> Sessions {
        roster::sessions(&self.engine.roster.borrow())
    }

    /// Serves until `stop` ends, then finishes the requests under way; `Err` if a listener ended before that, which
    /// is a bug, and better told by an exit than by silence.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { mut engine, tcp, unix, store, mut reload, _socket_file } = self;
        for address in &engine.bound.http {
            info!(%address, "Listening");
        }
        if let Some(path) = &engine.bound.socket {
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
        let (key, roster) = (engine.token_key.clone(), engine.roster.subscribe());
        background.spawn(handover::keep(store, key, roster, engine.seams.clock.clone()));
        background.spawn(tell_systemd(roster::sessions(&engine.roster.borrow())));

        let mut stop = std::pin::pin!(stop);
        let deaf = loop {
            tokio::select! {
                () = stop.as_mut() => break false,
                Some(_) = servers.join_next() => break true,
                () = asked(&mut reload) => {
                    if let Some(reload) = &mut reload {
                        take_new_settings(&mut engine, reload);
                    }
                }
            }
        };
        systemd::stopping();
        info!("Stopping; finishing requests under way");
        stopping.send_replace(true);
        while servers.join_next().await.is_some() {}
        info!("Stopped");
        if deaf { Err(Error::Broken("a listener ended by itself".into())) } else { Ok(()) }
    }
}

async fn asked(reload: &mut Option<Reload>) {
    let asked = match reload {
        Some(reload) => reload.asked.recv().await,
        None => None,
    };
    if asked.is_none() {
        // Nobody can ask any more, which is no reason to end.
        std::future::pending::<()>().await;
    }
}

/// Whatever is wrong with new settings, the daemon goes on with those it has.
fn take_new_settings(engine: &mut Engine, reload: &mut Reload) {
    systemd::reloading();
    let applied = match (reload.read)() {
        Ok(settings) => engine.apply(settings).map_err(|error| vec![Failure::from(error).to_string()]),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    };
    match applied {
        Ok(applied) => {
            (reload.taken)(&engine.settings);
            tell(&applied);
            systemd::ready("Configuration reloaded");
        }
        Err(mistakes) => {
            for mistake in &mistakes {
                error!(mistake, "The new configuration is refused; the one in force goes on");
            }
            let first = mistakes.first().map_or("", String::as_str);
            systemd::ready(&format!("The new configuration is refused: {first}"));
        }
    }
}

fn tell(applied: &Applied) {
    let Applied { sessions, waiting } = applied;
    let list = |names: &[String]| names.join(", ");
    info!(
        unchanged = sessions.unchanged,
        changed = list(&sessions.changed),
        added = list(&sessions.added),
        removed = list(&sessions.removed),
        "Configuration reloaded"
    );
    if !waiting.is_empty() {
        warn!(settings = waiting.join(", "), "These settings hold after a restart only");
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
