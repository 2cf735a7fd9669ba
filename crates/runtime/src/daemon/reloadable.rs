//! The parts of a running daemon that a reload replaces, and how it replaces them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::Bound;
use super::Confinement;
use super::Error;
use super::credentials_files;
use super::credentials_files::FollowedFiles;
use super::front_ends::FrontEnds;
use super::front_ends::front_ends;
use super::front_ends::principals;
use super::running_sessions;
use super::running_sessions::Dependencies;
use super::running_sessions::Difference;
use super::running_sessions::RunningSessions;
use super::runtime_directory::RuntimeDirectory;
use super::secrets::Secrets;
use crate::assembly;
use crate::assembly::Seams;
use anchord_aws::upstream::Replaceable;
use anchord_aws::upstream::Transport;
use anchord_config::Settings;
use anchord_frontend::Callers;
use anchord_frontend::Imds;
use anchord_frontend::Route;

/// The sessions, their front ends, and what both were made from.
pub(super) struct Reloadable {
    pub(super) settings: Settings,
    pub(super) seams: Seams,
    pub(super) bound: Bound,
    pub(super) transport: Arc<Replaceable>,
    pub(super) running: watch::Sender<RunningSessions>,
    pub(super) credentials_files: watch::Sender<FollowedFiles>,
    pub(super) routes: Routes,
    pub(super) callers: Arc<Callers>,
    pub(super) secrets: watch::Sender<Arc<Secrets>>,
    /// Its lock is held until the daemon ends.
    pub(super) directory: Arc<RuntimeDirectory>,
    /// The sandbox of the process, if it is in one.
    pub(super) confinement: Option<Arc<Confinement>>,
}

/// What each kind of listener serves. A change applies from the next request on.
pub(super) struct Routes {
    pub(super) tcp: watch::Sender<Arc<dyn Route>>,
    pub(super) unix: watch::Sender<Arc<dyn Route>>,
    imds: Option<Imds>,
}

impl Routes {
    pub(super) fn new(FrontEnds { tcp, unix, imds }: FrontEnds) -> Self {
        Self { tcp: watch::Sender::new(Arc::new(tcp)), unix: watch::Sender::new(Arc::new(unix)), imds }
    }

    fn replace(&mut self, FrontEnds { tcp, unix, imds }: FrontEnds) {
        self.tcp.send_replace(Arc::new(tcp));
        self.unix.send_replace(Arc::new(unix));
        self.imds = imds;
    }
}

/// The result of a reload.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) sessions: Difference,
    /// The changed settings that take effect only after a restart.
    pub(super) waiting: Vec<String>,
}

/// New settings, with the files that they need already read.
pub(super) struct Prepared {
    settings: Settings,
    transport: Arc<dyn Transport>,
    secrets: Secrets,
    waiting: Vec<String>,
}

/// The input to prepare new settings. It is separate from [`Reloadable`], because reading files may block.
pub(super) struct Preparation {
    before: Settings,
    seams: Seams,
    has_http: bool,
    secrets: Arc<Secrets>,
    directory: Arc<RuntimeDirectory>,
    confinement: Option<Arc<Confinement>>,
}

impl Preparation {
    /// Reads the files that `settings` name.
    ///
    /// # Errors
    /// If one cannot be used. Then nothing has changed, in memory or on disk.
    pub(super) fn prepare(self, mut settings: Settings) -> Result<Prepared, Error> {
        let mut waiting = self.keep_what_is_bound(&mut settings);
        if let Some(confinement) = &self.confinement {
            waiting.extend(confinement.keep_what_fits(&mut settings, &self.before));
        }
        let transport = assembly::transport(&settings, &self.seams)?;
        // The directory may have been deleted since the start. Restore the current secrets, or new ones would be made
        // below.
        self.directory.restore(&self.secrets)?;
        let key = self.secrets.token_key.clone();
        let secrets = Secrets::load(&settings, &self.seams, self.directory.is_there(), key)?;
        Ok(Prepared { settings, transport, secrets, waiting })
    }

    /// Keeps the places of listeners and files, because clients know them. Returns the settings that a reload cannot
    /// change.
    fn keep_what_is_bound(&self, settings: &mut Settings) -> Vec<String> {
        let before = &self.before;
        let mut waiting = Vec::new();
        let mut keep = |name: &str, is_the_same: bool| {
            if !is_the_same {
                waiting.push(name.to_owned());
            }
        };
        keep("runtime_directory", settings.runtime_directory == before.runtime_directory);
        keep("sandbox", settings.sandbox == before.sandbox);
        keep("http.listen", settings.listen == before.listen);
        keep("socket", settings.socket == before.socket);
        keep("log.format", settings.log.format == before.log.format);
        // No address was bound for them at the start.
        if !self.has_http {
            keep("imds", settings.imds.is_none());
            keep("container", !settings.container);
        }
        settings.runtime_directory.clone_from(&before.runtime_directory);
        settings.sandbox = before.sandbox;
        settings.listen.clone_from(&before.listen);
        settings.socket.clone_from(&before.socket);
        settings.log.format = before.log.format;
        waiting
    }
}

impl Reloadable {
    /// The input to prepare new settings.
    pub(super) fn preparation(&self) -> Preparation {
        Preparation {
            before: self.settings.clone(),
            seams: self.seams.clone(),
            has_http: !self.bound.http.is_empty() || !self.bound.waiting.is_empty(),
            secrets: Arc::clone(&self.secrets.borrow()),
            directory: Arc::clone(&self.directory),
            confinement: self.confinement.clone(),
        }
    }

    /// Notes that the daemon now listens on an address.
    pub(super) fn add_listener(&mut self, waiting: SocketAddr, listening: SocketAddr) -> Result<(), Error> {
        self.bound.waiting.remove(&waiting);
        self.bound.http.push(listening);
        self.show_listeners()
    }

    /// Notes why the daemon does not listen on an address.
    pub(super) fn note_trouble(&mut self, waiting: SocketAddr, trouble: Option<String>) -> Result<(), Error> {
        self.bound.waiting.insert(waiting, trouble);
        self.show_listeners()
    }

    fn show_listeners(&mut self) -> Result<(), Error> {
        let (running, secrets) = (self.running.borrow().clone(), Arc::clone(&self.secrets.borrow()));
        let before = self.routes.imds.as_ref();
        let front_ends = front_ends(&self.settings, &self.seams, &running, &self.bound, &secrets, before)?;
        self.routes.replace(front_ends);
        Ok(())
    }

    /// Puts new settings into effect.
    pub(super) fn apply(&mut self, prepared: Prepared) -> Result<Applied, Error> {
        let Prepared { settings, transport, secrets, waiting } = prepared;
        // Replace the transport first, because new sessions use it immediately.
        self.transport.replace(transport);
        let shared: Arc<dyn Transport> = Arc::<Replaceable>::clone(&self.transport);
        let dependencies = Dependencies { seams: &self.seams, transport: &shared };
        let before = self.running.borrow().clone();
        let (running, sessions) = running_sessions::follow(&before, &settings, dependencies);
        let before = self.routes.imds.as_ref();
        let front_ends = front_ends(&settings, &self.seams, &running, &self.bound, &secrets, before)?;

        self.routes.replace(front_ends);
        self.credentials_files
            .send_replace(credentials_files::followed(&settings.credentials_files, &running));
        self.running.send_replace(running);
        self.secrets.send_replace(Arc::new(secrets));
        self.callers.name(principals(&settings));
        self.settings = settings;
        Ok(Applied { sessions, waiting })
    }
}
