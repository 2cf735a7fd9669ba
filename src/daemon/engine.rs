//! What a running daemon is made of besides its listeners, and how new settings take its place.

use std::sync::Arc;

use tokio::sync::watch;

use super::Bound;
use super::Error;
use super::Seams;
use super::build;
use super::build::Secrets;
use super::roster;
use super::roster::Difference;
use super::roster::Roster;
use super::roster::Workshop;
use crate::config::Settings;
use crate::frontend::Route;
use crate::frontend::Router;
use crate::secret::Secret;
use crate::upstream::Replaceable;
use crate::upstream::Transport;

/// The sessions, what serves them, and what both were made from.
pub(super) struct Engine {
    pub(super) settings: Settings,
    pub(super) seams: Seams,
    pub(super) bound: Bound,
    pub(super) transport: Arc<Replaceable>,
    pub(super) roster: watch::Sender<Roster>,
    pub(super) routes: Routes,
    pub(super) token_key: Option<Secret<[u8; 32]>>,
}

/// What each kind of listener serves from the next request on.
pub(super) struct Routes {
    pub(super) tcp: watch::Sender<Arc<dyn Route>>,
    pub(super) unix: watch::Sender<Arc<dyn Route>>,
}

impl Routes {
    pub(super) fn new((tcp, unix): (Router, Router)) -> Self {
        Self { tcp: watch::Sender::new(Arc::new(tcp)), unix: watch::Sender::new(Arc::new(unix)) }
    }

    fn replace(&self, (tcp, unix): (Router, Router)) {
        self.tcp.send_replace(Arc::new(tcp));
        self.unix.send_replace(Arc::new(unix));
    }
}

/// What came of new settings.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) sessions: Difference,
    /// The settings that hold only after a restart.
    pub(super) waiting: Vec<&'static str>,
}

impl Engine {
    /// Takes over `settings`. On `Err` nothing has changed.
    pub(super) fn apply(&mut self, mut settings: Settings) -> Result<Applied, Error> {
        let waiting = self.keep_what_is_bound(&mut settings);
        let transport = match &self.seams.transport {
            Some(transport) => Arc::clone(transport),
            None => build::transport(&settings, &self.seams.clock)?,
        };
        let secrets = Secrets::load(&settings, &self.seams, self.token_key.clone())?;

        let shared: Arc<dyn Transport> = Arc::<Replaceable>::clone(&self.transport);
        let shop = Workshop { seams: &self.seams, transport: &shared };
        let before = self.roster.borrow().clone();
        let (roster, sessions) = roster::follow(&before, &settings, shop);
        let front_ends = build::front_ends(&settings, &self.seams, &roster, &self.bound, &secrets)?;

        self.transport.replace(transport);
        self.routes.replace(front_ends);
        self.roster.send_replace(roster);
        self.token_key = secrets.token_key;
        self.settings = settings;
        Ok(Applied { sessions, waiting })
    }

    /// Listeners and files that clients know stay where they are.
    fn keep_what_is_bound(&self, settings: &mut Settings) -> Vec<&'static str> {
        let mut waiting = Vec::new();
        let mut keep = |name, is_the_same: bool| {
            if !is_the_same {
                waiting.push(name);
            }
        };
        keep("runtime_directory", settings.runtime_directory == self.settings.runtime_directory);
        keep("http.listen", settings.http == self.settings.http);
        keep("socket", settings.socket == self.settings.socket);
        keep("log.format", settings.log.format == self.settings.log.format);
        // Nothing was bound for them at the start.
        if self.bound.http.is_empty() {
            keep("imds", settings.imds.is_none());
            keep("container", !settings.container);
        }
        settings.runtime_directory.clone_from(&self.settings.runtime_directory);
        settings.http.clone_from(&self.settings.http);
        settings.socket.clone_from(&self.settings.socket);
        settings.log.format = self.settings.log.format;
        waiting
    }
}
