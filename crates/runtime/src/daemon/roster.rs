//! The sessions at work: which there are, with what settings, and the tasks that keep them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::info;
use tracing::warn;

use super::state;
use super::state::Aside;
use super::state::Kept;
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
pub(super) type Roster = Arc<[Arc<Member>]>;

/// One session at work; its tasks end when the last one who holds it lets go.
pub(super) struct Member {
    settings: config::Session,
    terms: Terms,
    /// `None` where no certificate is behind it.
    identity: Option<Arc<identity::Current>>,
    session: KeptSession,
    /// What a predecessor with the same settings left for it.
    kept: Option<Kept>,
    /// What it held under other settings.
    aside: Aside,
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
    fn of(settings: &Settings, session: &config::Session) -> Self {
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
    /// Its settings made these credentials: a predecessor of this process left them, or they were put aside. The
    /// certificate comes with them if it is the same.
    Kept { kept: Kept, identity: Option<Arc<identity::Current>> },
    /// It goes on as it was under an earlier configuration, with the same certificate.
    Continued { snapshot: Snapshot, identity: Option<Arc<identity::Current>>, kept: Option<Kept> },
    /// Its settings have changed; this is what it held, and its certificate if that is the same.
    Inherited { snapshot: Snapshot, identity: Option<Arc<identity::Current>> },
}

/// What sessions are made with.
#[derive(Clone, Copy)]
pub(super) struct Workshop<'a> {
    pub(super) seams: &'a Seams,
    pub(super) transport: &'a Arc<dyn Transport>,
}

/// How the sessions of two rosters differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) unchanged: usize,
    pub(super) changed: Vec<String>,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
}

impl Member {
    /// Starts a session.
    fn start(settings: &config::Session, terms: Terms, past: Past, aside: Aside, shop: Workshop<'_>) -> Self {
        let Workshop { seams, transport } = shop;
        let now = seams.clock.moment();
        let new = || assembly::identity(settings);
        let (snapshot, identity, kept) = match past {
            Past::None => (Snapshot::first(now), new(), None),
            Past::Kept { kept, identity } => {
                (Snapshot::kept(Arc::clone(&kept.credentials), now), identity.or_else(new), Some(kept))
            }
            Past::Continued { snapshot, identity, kept } => (uninterrupted(snapshot, now), identity, kept),
            Past::Inherited { snapshot, identity } => (snapshot, identity.or_else(new), None),
        };
        let holds_any = snapshot.credentials.is_some();
        let beginning = Beginning { snapshot, identity: identity.clone(), policy: terms.policy };
        let session = KeptSession::resume(settings, beginning, Arc::clone(transport), seams);
        let changed = session.identity_changed();
        let mut tasks = JoinSet::new();
        let leaf = kept.as_ref().and_then(|kept| kept.leaf.clone());
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
        if matches!(settings.source, config::Source::AccessKeys(_)) && holds_any {
            // Nothing tells whether the keys are the same as before; what is held is good while it is found out.
            changed.notify_one();
        }
        Self { settings: settings.clone(), terms, identity, session, kept, aside, _tasks: tasks }
    }

    pub(super) fn settings(&self) -> &config::Session {
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
    pub(super) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// SHA-256 of the leaf that `credentials` of this session were obtained with, where that is known.
    pub(super) fn leaf_of(&self, credentials: &Credentials) -> Option<String> {
        // What was noted with a set goes first: the certificate may have obtained others since.
        let id = credentials.access_key_id();
        let mut noted = self.kept.iter().chain(self.aside.iter());
        if let Some(kept) = noted.find(|kept| kept.credentials.access_key_id() == id) {
            return kept.leaf.clone();
        }
        let identity = self.identity.as_ref()?.obtained_with()?;
        Some(state::hash(identity.leaf()))
    }

    /// Whether clients may have `held` until there is something by the new settings.
    fn may_go_on(&self, held: &Credentials, settings: &config::Session) -> bool {
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
    fn leave_to(&self, settings: &config::Session, terms: &Terms, now: Moment) -> (Past, Aside) {
        let snapshot = self.handle().snapshot();
        let is_same = self.settings.identity() == settings.identity();
        if is_same && self.terms.fingerprint == terms.fingerprint {
            let identity = self.identity.clone();
            return (Past::Continued { snapshot, identity, kept: self.kept.clone() }, self.aside.clone());
        }
        let identity = self.identity.clone().filter(|_| is_same);
        let mut aside = self.aside.clone();
        let found = aside.take(&terms.fingerprint, now);
        if let Some(own) = self.own(&snapshot) {
            aside.put(own, now);
        }
        aside.retain(|kept| is_pinned(kept.leaf.as_ref(), settings));
        // With less than that they count as expired, and what may be inherited is better than nothing.
        let lives = |kept: &Kept| kept.credentials.remaining(now) > terms.policy.reserve;
        if let Some(kept) = found.filter(lives) {
            let expires_at = rfc3339(kept.credentials.expires_at());
            info!(
                event = event::CREDENTIALS_RESUMED,
                session = settings.name,
                expires_at,
                "Going on with credentials that these settings made before"
            );
            return (Past::Kept { kept, identity }, aside);
        }
        let held = snapshot.credentials.filter(|held| held.remaining(now).is_positive());
        let held = held.filter(|held| self.may_go_on(held, settings));
        (Past::Inherited { snapshot: Snapshot::inherited(held, now), identity }, aside)
    }

    /// What a later session of the settings in force may go on from: credentials that these settings made, but for a
    /// user's own keys, which do not end and can be read again.
    pub(super) fn own(&self, snapshot: &Snapshot) -> Option<Kept> {
        let credentials = snapshot.credentials.as_ref().filter(|held| held.session_token().is_some())?;
        (!snapshot.inherited).then(|| Kept {
            name: self.settings.name.clone(),
            settings: self.fingerprint().into(),
            leaf: self.leaf_of(credentials),
            credentials: Arc::clone(credentials),
        })
    }
}

/// Pins are set when another certificate is not trusted any more, and neither is what was obtained with it.
fn is_pinned(leaf: Option<&String>, settings: &config::Session) -> bool {
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

/// The roster for `settings` after `before`: sessions that did not change go on untouched.
pub(super) fn follow(before: &Roster, settings: &Settings, shop: Workshop<'_>) -> (Roster, Difference) {
    let mut difference = Difference::default();
    let mut predecessors: HashMap<&str, &Arc<Member>> =
        before.iter().map(|member| (&*member.settings.name, member)).collect();
    let mut roster = Vec::with_capacity(settings.sessions.len());
    for session in &settings.sessions {
        let terms = Terms::of(settings, session);
        roster.push(match predecessors.remove(&*session.name) {
            Some(member) if member.settings == *session && member.terms == terms => {
                difference.unchanged += 1;
                Arc::clone(member)
            }
            Some(member) => {
                difference.changed.push(session.name.clone());
                let (past, aside) = member.leave_to(session, &terms, shop.seams.clock.moment());
                Arc::new(Member::start(session, terms, past, aside, shop))
            }
            None => {
                difference.added.push(session.name.clone());
                Arc::new(Member::start(session, terms, Past::None, Aside::default(), shop))
            }
        });
    }
    let is_gone = |member: &&Arc<Member>| predecessors.contains_key(&*member.settings.name);
    difference.removed = before.iter().filter(is_gone).map(|member| member.settings.name.clone()).collect();
    (roster.into(), difference)
}

/// The first roster: each session goes on from what a predecessor left for it.
pub(super) fn first(settings: &Settings, left: Vec<Kept>, shop: Workshop<'_>) -> Roster {
    let mut by_name: HashMap<String, Vec<Kept>> = HashMap::new();
    for kept in left {
        by_name.entry(kept.name.clone()).or_default().push(kept);
    }
    let mut start = |session: &config::Session| {
        let terms = Terms::of(settings, session);
        let left = by_name.remove(&session.name).unwrap_or_default();
        let (past, aside) = resume(session, &terms, left, shop.seams.clock.moment());
        Arc::new(Member::start(session, terms, past, aside, shop))
    };
    settings.sessions.iter().map(&mut start).collect()
}

/// What a session goes on from after a predecessor that left `left` for it.
fn resume(session: &config::Session, terms: &Terms, left: Vec<Kept>, now: Moment) -> (Past, Aside) {
    let left_any = !left.is_empty();
    let is_left = left.iter().any(|kept| kept.settings == terms.fingerprint);
    let mut aside = Aside::left(left.into_iter(), now);
    let found = aside.take(&terms.fingerprint, now);
    aside.retain(|kept| is_pinned(kept.leaf.as_ref(), session));
    let session = &*session.name;
    if left_any && !is_left {
        info!(
            event = event::HANDOVER_OTHER_SETTINGS,
            session, "The previous run's credentials are of other settings and are not used"
        );
    }
    let Some(kept) = found else { return (Past::None, aside) };
    let expires_at = rfc3339(kept.credentials.expires_at());
    info!(event = event::HANDOVER_TAKEN, session, expires_at, "Going on with the previous run's credentials");
    (Past::Kept { kept, identity: None }, aside)
}

/// The handles, for front ends.
pub(super) fn sessions(roster: &Roster) -> Sessions {
    roster.iter().map(|member| member.handle().clone()).collect()
}
