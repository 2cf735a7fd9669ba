//! A session with the tasks that keep it: its keeper, and the watcher of what it signs with.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Error;
use super::Seams;
use super::issuer::issuer;
use super::policy::policy;
use super::supervise;
use anchord_aws::access_keys::WatchedKeys;
use anchord_aws::upstream::Transport;
use anchord_config as config;
use anchord_config::Settings;
use anchord_core::issuer::Issuer;
use anchord_identity as identity;
use anchord_identity::Watcher;
use anchord_session as session;
use anchord_session::Handle;
use anchord_session::Policy;
use anchord_session::Snapshot;

/// Keeps a session until it is dropped; its handles refuse from then on.
pub struct KeptSession {
    handle: Handle,
    identity_changed: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// What a session begins with.
pub struct Beginning {
    /// Its first state.
    pub snapshot: Snapshot,
    /// Its certificate and key, by [`super::identity`]; `None` where it has none.
    pub identity: Option<Arc<identity::Current>>,
    /// Its pauses and limits.
    pub policy: Policy,
}

impl KeptSession {
    /// Keeps `session`, one of the `settings`, as a daemon would. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When the authorities or the proxy of the settings cannot be used.
    pub fn start(
        settings: &Settings,
        session: &config::SessionSettings,
        seams: &Seams,
    ) -> Result<Self, Error> {
        let transport = super::transport(settings, seams)?;
        let beginning = Beginning {
            snapshot: Snapshot::first(seams.clock.moment()),
            identity: super::identity(session),
            policy: policy(settings, session),
        };
        Ok(Self::resume(session, beginning, transport, seams))
    }

    /// Keeps `session`, which goes on from `beginning` and calls AWS by `transport`.
    pub fn resume(
        session: &config::SessionSettings,
        beginning: Beginning,
        transport: Arc<dyn Transport>,
        seams: &Seams,
    ) -> Self {
        let Beginning { snapshot, identity, policy } = beginning;
        let held = snapshot.credentials.as_ref().map(|held| held.end());
        let issuer = issuer(session, identity.clone(), transport, &seams.clock, held);
        let (clock, jitter) = (seams.clock.clone(), seams.jitter.clone());
        let (handle, keeper) = session::reopen(snapshot, &session.name, issuer, policy, clock, jitter);
        let identity_changed = keeper.identity_changed();
        let mut tasks = JoinSet::new();
        if let Some(watcher) = watcher(session, identity.as_ref(), seams, Arc::clone(&identity_changed)) {
            tasks.spawn(supervise::watch(watcher));
        }
        tasks.spawn(supervise::keep(keeper));
        Self { handle, identity_changed, _tasks: tasks }
    }

    /// Keeps what `issuer` makes, under `name`. Needs a tokio runtime around it.
    pub fn of(name: &str, issuer: Arc<dyn Issuer>, policy: Policy, seams: &Seams) -> Self {
        let (clock, jitter) = (seams.clock.clone(), seams.jitter.clone());
        let (handle, keeper) = session::open(name, issuer, policy, clock, jitter);
        let identity_changed = keeper.identity_changed();
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise::keep(keeper));
        Self { handle, identity_changed, _tasks: tasks }
    }

    /// The session, as its callers see it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// To be notified (`notify_one`) when the issuer would use another certificate or other keys than before.
    pub fn identity_changed(&self) -> &Arc<Notify> {
        &self.identity_changed
    }
}

/// Watches the files of what `session` signs with, `identity` if that is a certificate: notifies `changed` when something
/// else is there, and logs certificates that are about to end. Goes on until dropped.
pub async fn watch(
    session: &config::SessionSettings,
    identity: Option<&Arc<identity::Current>>,
    seams: &Seams,
    changed: Arc<Notify>,
) {
    if let Some(watcher) = watcher(session, identity, seams, changed) {
        supervise::watch(watcher).await;
    }
}

/// Looks after the files of what the session signs with; `None` where it has no files.
fn watcher(
    settings: &config::SessionSettings,
    identity: Option<&Arc<identity::Current>>,
    seams: &Seams,
    changed: Arc<Notify>,
) -> Option<Watcher> {
    let (clock, watches) = (seams.clock.clone(), seams.watches.clone());
    match (&settings.source, identity) {
        (_, Some(identity)) => {
            Some(Watcher::new(Arc::<identity::Current>::clone(identity), clock, changed, watches))
        }
        (config::CredentialSource::AccessKeys(source), None) => {
            source.keys.path()?;
            let keys = WatchedKeys::new(&settings.name, source.keys.clone());
            Some(Watcher::new(Arc::new(keys), clock, changed, watches))
        }
        (config::CredentialSource::RolesAnywhere(_), None) => None,
    }
}
