//! The sessions at work: which there are, with what settings, and the tasks that keep them.

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

/// One session at work; its tasks end when the last one who holds it lets go.
pub(super) struct RunningSession {
    settings: config::SessionSettings,
    terms: Terms,
    /// `None` where no certificate is behind it.
    identity: Option<Arc<identity::Current>>,
    session: KeptSession,
    /// What a predecessor with the same settings left for it.
    saved: Option<SavedSession>,
    /// What it held under other settings.
    superseded: Superseded,
    _tasks: JoinSet<()>,
}

/// What follows for a session from all settings together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
    policy: Policy,
    /// What decides whose credentials it has.
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

/// Where a session comes from.
enum Past {
    /// Nothing is known of it.
    None,
    /// Its settings made these credentials: a predecessor of this process left them, or they were put superseded. The
    /// certificate comes with them if it is the same.
    Saved { saved: SavedSession, identity: Option<Arc<identity::Current>> },
    /// It goes on as it was under an earlier configuration, with the same certificate.
    Continued { snapshot: Snapshot, identity: Option<Arc<identity::Current>>, saved: Option<SavedSession> },
    /// Its settings have changed; this is what it held, and its certificate if that is the same.
    Inherited { snapshot: Snapshot, identity: Option<Arc<identity::Current>> },
}

/// What sessions are made with.
#[derive(Clone, Copy)]
pub(super) struct Dependencies<'a> {
    pub(super) seams: &'a Seams,
    pub(super) transport: &'a Arc<dyn Transport>,
}

/// How the sessions of two running differ.
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
                // Rotated while no daemon ran: what is held is good, but the new certificate is to be used.
                if identity.in_use().is_some_and(|now| state::hash(now.leaf()) != leaf) {
                    changed.notify_one();
                }
            });
        }
        if matches!(settings.source, config::CredentialSource::AccessKeys(_)) && holds_any {
            // Nothing tells whether the keys are the same as before; what is held is good while it is found out.
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

    /// Of its settings, as a successor compares it.
    pub(super) fn fingerprint(&self) -> &str {
        &self.terms.fingerprint
    }

    /// What it held under other settings.
    pub(super) fn superseded(&self) -> &Superseded {
        &self.superseded
    }

    /// SHA-256 of the leaf that `credentials` of this session were obtained with, where that is known.
    pub(super) fn leaf_of(&self, credentials: &Credentials) -> Option<String> {
        // What was noted with a set goes first: the certificate may have obtained others since.
        let id = credentials.access_key_id();
        let mut noted = self.saved.iter().chain(self.superseded.iter());
        if let Some(saved) = noted.find(|saved| saved.credentials.access_key_id() == id) {
            return saved.leaf.clone();
        }
        let identity = self.identity.as_ref()?.obtained_with()?;
        Some(state::hash(identity.leaf()))
    }

    /// Whether clients may have `held` until there is something by the new settings.
    fn may_go_on(&self, held: &Credentials, settings: &config::SessionSettings) -> bool {
        let session = &*settings.name;
        if held.session_token().is_none() && settings.has_session_token() {
            warn!(
                event = event::CREDENTIALS_DROPPED,
                session, "Dropping a user's own keys, which are not to be handed out any more"
            );
            return false;
        }
        let account = settings.role().map(RoleArn::account_id);
        if account.zip(held.account_id()).is_some_and(|(wanted, held)| wanted != held) {
            warn!(
                event = event::CREDENTIALS_DROPPED,
                session, "Dropping credentials of another account than the session's now"
            );
            return false;
        }
        if !is_pinned(self.leaf_of(held).as_ref(), settings) {
            warn!(
                event = event::CREDENTIALS_DROPPED,
                session, "Dropping credentials that were obtained with a certificate that is not pinned now"
            );
            return false;
        }
        true
    }

    /// What a session of these settings goes on from, if it is to follow this one.
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
        // With less than that they count as expired, and what may be inherited is better than nothing.
        let lives = |saved: &SavedSession| saved.credentials.remaining(now) > terms.policy.reserve;
        if let Some(saved) = found.filter(lives) {
            let expires_at = rfc3339(saved.credentials.expires_at());
            info!(
                event = event::CREDENTIALS_RESUMED,
                session = settings.name,
                expires_at,
                "Going on with credentials that these settings made before"
            );
            return (Past::Saved { saved, identity }, superseded);
        }
        let held = snapshot.credentials.filter(|held| held.remaining(now).is_positive());
        let held = held.filter(|held| self.may_go_on(held, settings));
        (Past::Inherited { snapshot: Snapshot::inherited(held, now), identity }, superseded)
    }

    /// What a later session of the settings in force may go on from: credentials that these settings made, but for a
    /// user's own keys, which do not end and can be read again.
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

/// Pins are set when another certificate is not trusted any more, and neither is what was obtained with it.
fn is_pinned(leaf: Option<&String>, settings: &config::SessionSettings) -> bool {
    let pins = settings.identity().map_or(&[][..], |identity| &identity.selection.fingerprints);
    pins.is_empty() || leaf.is_some_and(|leaf| pins.iter().any(|pin| state::base64(pin.as_bytes()) == *leaf))
}

/// The same without the attempt that is lost with its task, which is nobody's failure: it is made again at once.
fn uninterrupted(snapshot: Snapshot, now: Moment) -> Snapshot {
    if !snapshot.fetching {
        return snapshot;
    }
    Snapshot { fetching: false, next_attempt_at: now, nudge_from: now, ..snapshot }
}

/// The running for `settings` after `before`: sessions that did not change go on untouched.
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
    let is_gone = |predecessor: &&Arc<RunningSession>| predecessors.contains_key(&*predecessor.settings.name);
    difference.removed =
        before.iter().filter(is_gone).map(|predecessor| predecessor.settings.name.clone()).collect();
    (running.into(), difference)
}

/// The first running: each session goes on from what a predecessor left for it.
pub(super) fn first(
    settings: &Settings,
    left: Vec<SavedSession>,
    dependencies: Dependencies<'_>,
) -> RunningSessions {
    let mut by_name: HashMap<String, Vec<SavedSession>> = HashMap::new();
    for saved in left {
        by_name.entry(saved.name.clone()).or_default().push(saved);
    }
    let mut start = |session: &config::SessionSettings| {
        let terms = Terms::of(settings, session);
        let left = by_name.remove(&session.name).unwrap_or_default();
        let (past, superseded) = resume(session, &terms, left, dependencies.seams.clock.moment());
        Arc::new(RunningSession::start(session, terms, past, superseded, dependencies))
    };
    settings.sessions.iter().map(&mut start).collect()
}

/// What a session goes on from after a predecessor that left `left` for it.
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
            session, "The previous run's credentials are of other settings and are not used"
        );
    }
    let Some(saved) = found else { return (Past::None, superseded) };
    let expires_at = rfc3339(saved.credentials.expires_at());
    info!(event = event::HANDOVER_TAKEN, session, expires_at, "Going on with the previous run's credentials");
    (Past::Saved { saved, identity: None }, superseded)
}

/// The handles, for front ends.
pub(super) fn handles(running: &RunningSessions) -> Sessions {
    running.iter().map(|predecessor| predecessor.handle().clone()).collect()
}
