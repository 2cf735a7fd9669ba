//! A session with its tasks: the keeper, and the watcher of the files that it signs with.

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

/// Keeps a session fresh until it is dropped. After that its handles refuse requests.
pub struct KeptSession {
    handle: Handle,
    identity_changed: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// The initial state of a session.
pub struct Beginning {
    /// Its first snapshot.
    pub snapshot: Snapshot,
    /// Its certificate and key, from [`super::identity`]; `None` if it uses access keys.
    pub identity: Option<Arc<identity::Current>>,
    /// Its pauses and limits.
    pub policy: Policy,
}

impl KeptSession {
    /// Keeps `session`, one of the `settings`, as the daemon does. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the CA bundle or the proxy of the settings cannot be used.
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

    /// Keeps `session`, which continues from `beginning` and calls AWS through `transport`.
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

    /// Keeps the credentials of `issuer` fresh, in a session called `name`. Must be called in a tokio runtime.
    pub fn of(name: &str, issuer: Arc<dyn Issuer>, policy: Policy, seams: &Seams) -> Self {
        let (clock, jitter) = (seams.clock.clone(), seams.jitter.clone());
        let (handle, keeper) = session::open(name, issuer, policy, clock, jitter);
        let identity_changed = keeper.identity_changed();
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise::keep(keeper));
        Self { handle, identity_changed, _tasks: tasks }
    }

    /// The handle that callers get credentials from.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Notify this (`notify_one`) if the issuer would use a different certificate or different keys than before.
    pub fn identity_changed(&self) -> &Arc<Notify> {
        &self.identity_changed
    }
}

/// Watches the files of the certificate `identity`, or else of the session's access keys. Notifies `changed` if their
/// content changes, and logs certificates that expire soon. Runs until it is dropped.
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

/// The watcher of the files that the session signs with; `None` if there are none.
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
