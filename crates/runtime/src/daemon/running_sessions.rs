//! The running sessions: their settings, their tasks, and what they continue from after a reload or a restart.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::info;
use tracing::warn;

use super::state;
use super::state::SavedSession;
use super::state::Superseded;
use crate::assembly;
use crate::assembly::Beginning;
use crate::assembly::KeptSession;
use crate::assembly::Seams;
use anchord_aws::upstream::Transport;
use anchord_config as config;
use anchord_config::Settings;
use anchord_core::arn::RoleArn;
use anchord_core::clock::Moment;
use anchord_core::clock::rfc3339;
use anchord_core::credentials::Credentials;
use anchord_core::event;
use anchord_identity as identity;
use anchord_session::Handle;
use anchord_session::Policy;
use anchord_session::Sessions;
use anchord_session::Snapshot;

/// All sessions, in the order of the settings.
pub(super) type RunningSessions = Arc<[Arc<RunningSession>]>;

/// One running session. Its tasks end when its last reference is dropped.
pub(super) struct RunningSession {
    settings: config::SessionSettings,
    terms: Terms,
    /// `None` if it uses access keys.
    identity: Option<Arc<identity::Current>>,
    session: KeptSession,
    /// The credentials that a predecessor with the same settings left, with their metadata.
    saved: Option<SavedSession>,
    /// Its credentials from earlier settings.
    superseded: Superseded,
    _tasks: JoinSet<()>,
}

/// Values of a session that depend on more than its own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
    policy: Policy,
    /// Identifies the settings that decide which credentials it gets.
    fingerprint: String,
}

impl Terms {
    fn of(settings: &Settings, session: &config::SessionSettings) -> Self {
        Self {
            policy: assembly::policy(settings, session),
            fingerprint: state::fingerprint(session, &settings.upstream),
        }
    }
}

/// What a session continues from.
enum Past {
    /// Nothing: it is new.
    None,
    /// Credentials of the same settings, which a predecessor of this process left or which were superseded for a while.
    /// With the identity, if that is the same.
    Saved { saved: SavedSession, identity: Option<Arc<identity::Current>> },
    /// The state of a session with the same settings and the same certificate before a reload.
    Continued { snapshot: Snapshot, identity: Option<Arc<identity::Current>>, saved: Option<SavedSession> },
    /// The state of a session with other settings, and its identity if that is the same.
    Inherited { snapshot: Snapshot, identity: Option<Arc<identity::Current>> },
}

/// What running sessions share.
#[derive(Clone, Copy)]
pub(super) struct Dependencies<'a> {
    pub(super) seams: &'a Seams,
    pub(super) transport: &'a Arc<dyn Transport>,
}

/// How the sessions changed in a reload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) unchanged: usize,
    pub(super) changed: Vec<String>,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
}

impl RunningSession {
    /// Starts a session.
    fn start(
        settings: &config::SessionSettings,
        terms: Terms,
        past: Past,
        superseded: Superseded,
        dependencies: Dependencies<'_>,
    ) -> Self {
        let Dependencies { seams, transport } = dependencies;
        let now = seams.clock.moment();
        let new = || assembly::identity(settings);
        let (snapshot, identity, saved) = match past {
            Past::None => (Snapshot::first(now), new(), None),
            Past::Saved { saved, identity } => {
                (Snapshot::kept(Arc::clone(&saved.credentials), now), identity.or_else(new), Some(saved))
            }
            Past::Continued { snapshot, identity, saved } => (uninterrupted(snapshot, now), identity, saved),
            Past::Inherited { snapshot, identity } => (snapshot, identity.or_else(new), None),
        };
        let holds_any = snapshot.credentials.is_some();
        let beginning = Beginning { snapshot, identity: identity.clone(), policy: terms.policy };
        let session = KeptSession::resume(settings, beginning, Arc::clone(transport), seams);
        let changed = session.identity_changed();
        let mut tasks = JoinSet::new();
        let leaf = saved.as_ref().and_then(|saved| saved.leaf.clone());
        if let Some((identity, leaf)) = identity.clone().zip(leaf) {
            let (clock, changed) = (seams.clock.clone(), Arc::clone(changed));
            tasks.spawn(async move {
                identity.look(clock.now()).await;
                // The certificate was rotated while no daemon ran. The credentials are valid, but new ones should use
                // it.
                if identity.in_use().is_some_and(|now| state::hash(now.leaf()) != leaf) {
                    changed.notify_one();
                }
            });
        }
        if matches!(settings.source, config::CredentialSource::AccessKeys(_)) && holds_any {
            // Nothing shows whether the keys are the same as before. The credentials are valid until new ones are
            // there.
            changed.notify_one();
        }
        Self { settings: settings.clone(), terms, identity, session, saved, superseded, _tasks: tasks }
    }

    pub(super) fn settings(&self) -> &config::SessionSettings {
        &self.settings
    }

    pub(super) fn identity(&self) -> Option<&Arc<identity::Current>> {
        self.identity.as_ref()
    }

    pub(super) fn handle(&self) -> &Handle {
        self.session.handle()
    }

    /// The fingerprint of its settings, which a successor compares.
    pub(super) fn fingerprint(&self) -> &str {
        &self.terms.fingerprint
    }

    /// Its credentials from earlier settings.
    pub(super) fn superseded(&self) -> &Superseded {
        &self.superseded
    }

    /// SHA-256 of the leaf with which `credentials` of this session were obtained, if it is known.
    pub(super) fn leaf_of(&self, credentials: &Credentials) -> Option<String> {
        // A saved set has its own leaf. Look there first, because the identity may have obtained other sets since.
        let id = credentials.access_key_id();
        let mut noted = self.saved.iter().chain(self.superseded.iter());
        if let Some(saved) = noted.find(|saved| saved.credentials.access_key_id() == id) {
            return saved.leaf.clone();
        }
        let identity = self.identity.as_ref()?.obtained_with()?;
        Some(state::hash(identity.leaf()))
    }

    /// Whether clients may get `held` until the new settings have given credentials.
    fn may_continue_with(&self, held: &Credentials, settings: &config::SessionSettings) -> bool {
        let session = &*settings.name;
        if held.session_token().is_none() && settings.has_session_token() {
            warn!(
                event = event::CREDENTIALS_DROPPED,
                session, "Dropping the user's own keys, which the new settings do not hand out"
            );
            return false;
        }
        let account = settings.role().map(RoleArn::account_id);
        if account.zip(held.account_id()).is_some_and(|(wanted, held)| wanted != held) {
            warn!(
                event = event::CREDENTIALS_DROPPED,
                session, "Dropping credentials of another account than the new settings have"
            );
            return false;
        }
        if !is_pinned(self.leaf_of(held).as_ref(), settings) {
            warn!(
                event = event::CREDENTIALS_DROPPED,
                session, "Dropping credentials of a certificate that the new settings do not accept"
            );
            return false;
        }
        true
    }

    /// What a session with these settings continues from if it replaces this one.
    fn leave_to(&self, settings: &config::SessionSettings, terms: &Terms, now: Moment) -> (Past, Superseded) {
        let snapshot = self.handle().snapshot();
        let is_same = self.settings.identity() == settings.identity();
        if is_same && self.terms.fingerprint == terms.fingerprint {
            let identity = self.identity.clone();
            return (
                Past::Continued { snapshot, identity, saved: self.saved.clone() },
                self.superseded.clone(),
            );
        }
        let identity = self.identity.clone().filter(|_| is_same);
        let mut superseded = self.superseded.clone();
        let found = superseded.take(&terms.fingerprint, now);
        if let Some(own) = self.own(&snapshot) {
            superseded.put(own, now);
        }
        superseded.retain(|saved| is_pinned(saved.leaf.as_ref(), settings));
        // A set with less life than the reserve counts as expired. An inherited set is better then.
        let lives = |saved: &SavedSession| saved.credentials.remaining(now) > terms.policy.reserve;
        if let Some(saved) = found.filter(lives) {
            let expires_at = rfc3339(saved.credentials.expires_at());
            info!(
                event = event::CREDENTIALS_RESUMED,
                session = settings.name,
                expires_at,
                "Continuing with earlier credentials of the same settings"
            );
            return (Past::Saved { saved, identity }, superseded);
        }
        let held = snapshot.credentials.filter(|held| held.remaining(now).is_positive());
        let held = held.filter(|held| self.may_continue_with(held, settings));
        (Past::Inherited { snapshot: Snapshot::inherited(held, now), identity }, superseded)
    }

    /// The credentials that a later session with the current settings may continue from: those that these settings
    /// obtained. A user's own keys are left out, because they do not expire and can be read again.
    pub(super) fn own(&self, snapshot: &Snapshot) -> Option<SavedSession> {
        let credentials = snapshot.credentials.as_ref().filter(|held| held.session_token().is_some())?;
        (!snapshot.inherited).then(|| SavedSession {
            name: self.settings.name.clone(),
            settings: self.fingerprint().into(),
            leaf: self.leaf_of(credentials),
            credentials: Arc::clone(credentials),
        })
    }
}

/// Whether the pins of `settings` accept the leaf. Operators set pins if they do not trust another certificate any
/// more. Then credentials that were obtained with it are not trusted either.
fn is_pinned(leaf: Option<&String>, settings: &config::SessionSettings) -> bool {
    let pins = settings.identity().map_or(&[][..], |identity| &identity.selection.fingerprints);
    pins.is_empty() || leaf.is_some_and(|leaf| pins.iter().any(|pin| state::base64(pin.as_bytes()) == *leaf))
}

/// The snapshot without its unfinished attempt, which ended with its task. That is no failure, so the next attempt
/// starts immediately.
fn uninterrupted(snapshot: Snapshot, now: Moment) -> Snapshot {
    if !snapshot.fetching {
        return snapshot;
    }
    Snapshot { fetching: false, next_attempt_at: now, nudge_from: now, ..snapshot }
}

/// The sessions for `settings`, after `before`. Unchanged sessions continue with the same tasks.
pub(super) fn follow(
    before: &RunningSessions,
    settings: &Settings,
    dependencies: Dependencies<'_>,
) -> (RunningSessions, Difference) {
    let mut difference = Difference::default();
    let mut predecessors: HashMap<&str, &Arc<RunningSession>> =
        before.iter().map(|predecessor| (&*predecessor.settings.name, predecessor)).collect();
    let mut running = Vec::with_capacity(settings.sessions.len());
    for session in &settings.sessions {
        let terms = Terms::of(settings, session);
        running.push(match predecessors.remove(&*session.name) {
            Some(predecessor) if predecessor.settings == *session && predecessor.terms == terms => {
                difference.unchanged += 1;
                Arc::clone(predecessor)
            }
            Some(predecessor) => {
                difference.changed.push(session.name.clone());
                let (past, superseded) =
                    predecessor.leave_to(session, &terms, dependencies.seams.clock.moment());
                Arc::new(RunningSession::start(session, terms, past, superseded, dependencies))
            }
            None => {
                difference.added.push(session.name.clone());
                Arc::new(RunningSession::start(
                    session,
                    terms,
                    Past::None,
                    Superseded::default(),
                    dependencies,
                ))
            }
        });
    }
    for predecessor in before.iter() {
        if predecessors.contains_key(&*predecessor.settings.name) {
            difference.removed.push(predecessor.settings.name.clone());
        }
    }
    (running.into(), difference)
}

/// The first sessions. Each continues from the credentials that a predecessor left for it.
pub(super) fn first(
    settings: &Settings,
    left: Vec<SavedSession>,
    dependencies: Dependencies<'_>,
) -> RunningSessions {
    let mut by_name: HashMap<String, Vec<SavedSession>> = HashMap::new();
    for saved in left {
        by_name.entry(saved.name.clone()).or_default().push(saved);
    }
    let mut running = Vec::with_capacity(settings.sessions.len());
    for session in &settings.sessions {
        let terms = Terms::of(settings, session);
        let left = by_name.remove(&session.name).unwrap_or_default();
        let (past, superseded) = resume(session, &terms, left, dependencies.seams.clock.moment());
        running.push(Arc::new(RunningSession::start(session, terms, past, superseded, dependencies)));
    }
    running.into()
}

/// What a session continues from if a predecessor left `left` for it.
fn resume(
    session: &config::SessionSettings,
    terms: &Terms,
    left: Vec<SavedSession>,
    now: Moment,
) -> (Past, Superseded) {
    let left_any = !left.is_empty();
    let is_left = left.iter().any(|saved| saved.settings == terms.fingerprint);
    let mut superseded = Superseded::left(left.into_iter(), now);
    let found = superseded.take(&terms.fingerprint, now);
    superseded.retain(|saved| is_pinned(saved.leaf.as_ref(), session));
    let session = &*session.name;
    if left_any && !is_left {
        info!(
            event = event::HANDOVER_OTHER_SETTINGS,
            session, "Not using the previous run's credentials, because the settings have changed"
        );
    }
    let Some(saved) = found else { return (Past::None, superseded) };
    let expires_at = rfc3339(saved.credentials.expires_at());
    info!(
        event = event::HANDOVER_TAKEN,
        session, expires_at, "Continuing with the previous run's credentials"
    );
    (Past::Saved { saved, identity: None }, superseded)
}

/// The handles, for front ends.
pub(super) fn handles(running: &RunningSessions) -> Sessions {
    running.iter().map(|session| session.handle().clone()).collect()
}
