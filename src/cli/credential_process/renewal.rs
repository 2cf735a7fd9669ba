//! One renewal for a verb that goes on: what `credential-process` would print, as a session's keeper asks for it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::Way;
use super::direct;
use super::from_daemon;
use super::no_daemon_and_no_session;
use super::read_line;
use crate::client;
use crate::config::Environment;
use crate::config::Session;
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::daemon;
use crate::daemon::Seams;
use crate::entropy::Jitter;
use crate::failure::Failure;
use crate::upstream::BoxFuture;
use crate::upstream::Issuer;

/// Asks the daemon, or else AWS through the cache that parallel processes share.
pub(in crate::cli) struct Renewal {
    settings: Settings,
    way: Way,
    environment: Environment,
    seams: Seams,
    /// One for all attempts, for it remembers: AWS's clock, the certificate that AWS took last, an endpoint that fails.
    own: OnceLock<Arc<dyn Issuer>>,
    given: watch::Sender<Option<Credentials>>,
    is_daemons: Arc<AtomicBool>,
}

impl Renewal {
    pub(in crate::cli) fn new(
        settings: &Settings,
        way: Way,
        environment: &Environment,
        seams: &Seams,
    ) -> Self {
        Self {
            settings: settings.clone(),
            way,
            environment: environment.clone(),
            seams: seams.clone(),
            own: OnceLock::new(),
            given: watch::Sender::new(None),
            is_daemons: Arc::default(),
        }
    }

    /// Spreads the calls to AWS. A daemon's credentials are asked for when they are due, for it renews them earlier by
    /// a jitter of its own: whoever asks before that gets the same.
    pub(in crate::cli) fn jitter(&self) -> Jitter {
        let is_daemons = Arc::clone(&self.is_daemons);
        self.seams.jitter.clone().while_true(move || !is_daemons.load(Ordering::Relaxed))
    }

    async fn renew(&self) -> Result<Credentials, Failure> {
        let given = self.given.borrow().clone();
        let line = match self.way {
            Way::DaemonFirst => from_daemon(&self.settings).await.transpose(),
            Way::Direct => None,
        };
        self.is_daemons.store(line.is_some(), Ordering::Relaxed);
        let renewed = match (line, self.settings.the_session()) {
            (Some(line), _) => {
                let line = line.and_then(|line| read_line(&line, &self.seams.clock));
                client::renewed(line, given.as_ref())?
            }
            (None, Some(session)) => self.direct(session, given.as_ref()).await?,
            (None, None) => {
                let name = self.settings.picked.as_deref().unwrap_or_default();
                return Err(no_daemon_and_no_session(name));
            }
        };
        self.given.send_replace(Some(renewed.clone()));
        Ok(renewed)
    }

    async fn direct(&self, session: &Session, given: Option<&Credentials>) -> Result<Credentials, Failure> {
        let clock = &self.seams.clock;
        let issuer = match self.own.get() {
            Some(issuer) => issuer,
            None => {
                let transport = daemon::transport(&self.settings, clock)?;
                let made = daemon::issuer(session, daemon::identity(session), transport, clock);
                self.own.get_or_init(|| made)
            }
        };
        direct::renew(session, (&self.settings, &self.environment), clock, issuer.as_ref(), given).await
    }
}

impl Issuer for Renewal {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(self.renew())
    }
}
