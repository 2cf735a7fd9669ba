//! One session kept in a process that is no daemon: the keeper and the watcher of a session, and no front end.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Error;
use super::Seams;
use super::build;
use super::roster;
use super::roster::Roster;
use super::roster::Workshop;
use super::supervise;
use anchord_aws::upstream::Issuer;
use anchord_config as config;
use anchord_config::Settings;
use anchord_identity as identity;
use anchord_session as session;
use anchord_session::Handle;
use anchord_session::Policy;

/// Keeps a session until it is dropped; its handles refuse from then on.
pub struct Embedded {
    handle: Handle,
    _member: Option<Roster>,
    _tasks: JoinSet<()>,
}

impl Embedded {
    /// Keeps `session`, one of the `settings`, as a daemon would. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When the certificates of CAs or the proxy of the settings are of no use.
    pub fn start(settings: &Settings, session: &config::Session, seams: &Seams) -> Result<Self, Error> {
        let transport = match &seams.transport {
            Some(transport) => Arc::clone(transport),
            None => build::transport(settings, &seams.clock)?,
        };
        let only = Settings { sessions: vec![session.clone()], ..settings.clone() };
        let roster = roster::first(&only, Vec::new(), Workshop { seams, transport: &transport });
        let handle = roster.first().map(|member| member.handle().clone());
        let handle = handle.ok_or_else(|| Error::Broken("one session has made no roster".into()))?;
        Ok(Self { handle, _member: Some(roster), _tasks: JoinSet::new() })
    }

    /// Keeps what `issuer` makes, under `name`. Needs a tokio runtime around it. The other is to be notified
    /// (`notify_one`) when the issuer would use another certificate than before.
    pub fn of(name: &str, issuer: Arc<dyn Issuer>, policy: Policy, seams: &Seams) -> (Self, Arc<Notify>) {
        let (clock, jitter) = (seams.clock.clone(), seams.jitter.clone());
        let (handle, keeper) = session::open(name, issuer, policy, clock, jitter);
        let identity_changed = keeper.identity_changed();
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise::keep(keeper));
        (Self { handle, _member: None, _tasks: tasks }, identity_changed)
    }

    /// The session, as its callers see it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Looks after the files of what `session` signs with, `identity` if that is a certificate: notifies `changed` when
/// something else is there, and tells of certificates that are about to end. Goes on until dropped.
pub async fn watch(
    session: &config::Session,
    identity: Option<&Arc<identity::Current>>,
    seams: &Seams,
    changed: Arc<Notify>,
) {
    if let Some(watcher) = roster::watcher(session, identity, seams, changed) {
        supervise::watch(watcher).await;
    }
}
