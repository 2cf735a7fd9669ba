//! The sessions at work: which there are, with what settings, and the tasks that keep them.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::info;
use tracing::warn;

use super::Seams;
use super::build;
use super::handover;
use super::handover::Kept;
use super::issuer::issuer;
use super::supervise;
use crate::arn::RoleArn;
use crate::clock::rfc3339;
use crate::config;
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::identity;
use crate::identity::Watcher;
use crate::session;
use crate::session::Handle;
use crate::session::Policy;
use crate::session::Sessions;
use crate::session::Snapshot;
use crate::upstream::Transport;

/// All sessions, in the order of the settings.
pub(super) type Roster = Arc<[Arc<Member>]>;

/// One session at work; its tasks end when the last one who holds it lets go.
pub(super) struct Member {
    settings: config::Session,
    policy: Policy,
    /// `None` where no certificate is behind it.
    identity: Option<Arc<identity::Current>>,
    handle: Handle,
    /// What a predecessor left for it.
    kept: Option<Kept>,
    _tasks: JoinSet<()>,
}

/// Where a session comes from.
enum Past {
    /// Nothing is known of it.
    None,
    /// A predecessor of this process left its credentials.
    Kept(Kept),
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
    fn start(settings: &config::Session, policy: Policy, past: Past, shop: Workshop<'_>) -> Self {
        let Workshop { seams, transport } = shop;
        let clock = seams.clock.clone();
        let now = clock.now();
        let new = || build::identity(settings);
        let (snapshot, identity, kept) = match past {
            Past::None => (Snapshot::first(now), new(), None),
            Past::Kept(kept) => (Snapshot::kept(Arc::clone(&kept.credentials), now), new(), Some(kept)),
            Past::Continued { snapshot, identity, kept } => (uninterrupted(snapshot, now), identity, kept),
            Past::Inherited { snapshot, identity } => (snapshot, identity.or_else(new), None),
        };
        let holds_any = snapshot.credentials.is_some();
        let issuer = issuer(settings, identity.clone(), Arc::clone(transport), &clock);
        let jitter = seams.jitter.clone();
        let (handle, keeper) =
            session::reopen(snapshot, &settings.name, issuer, policy, clock.clone(), jitter);
        let changed = keeper.identity_changed();
        let mut tasks = JoinSet::new();
        let leaf = kept.as_ref().and_then(|kept| kept.leaf.clone());
        if let Some((identity, leaf)) = identity.clone().zip(leaf) {
            let (clock, changed) = (clock.clone(), Arc::clone(&changed));
            tasks.spawn(async move {
                identity.look(clock.now()).await;
                // Rotated while no daemon ran: what is held is good, but the new certificate is to be used.
                if identity.in_use().is_some_and(|now| handover::hash(now.leaf()) != leaf) {
                    changed.notify_one();
                }
            });
        }
        if matches!(settings.source, config::Source::AccessKeys(_)) && holds_any {
            // Nothing tells whether the keys are the same as before; what is held is good while it is found out.
            changed.notify_one();
        }
        if let Some(watcher) = watcher(settings, identity.as_ref(), seams, changed) {
            tasks.spawn(supervise::watch(watcher));
        }
        tasks.spawn(supervise::keep(keeper));
        Self { settings: settings.clone(), policy, identity, handle, kept, _tasks: tasks }
    }

    pub(super) fn settings(&self) -> &config::Session {
        &self.settings
    }

    pub(super) fn identity(&self) -> Option<&Arc<identity::Current>> {
        self.identity.as_ref()
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// SHA-256 of the leaf that `credentials` of this session were obtained with, where that is known.
    pub(super) fn leaf_of(&self, credentials: &Credentials) -> Option<String> {
        if let Some(identity) = self.identity.as_ref().and_then(|identity| identity.obtained_with()) {
            return Some(handover::hash(identity.leaf()));
        }
        let id = credentials.access_key_id();
        self.kept.as_ref().filter(|kept| kept.credentials.access_key_id() == id)?.leaf.clone()
    }

    /// Whether clients may have `held` until there is something by the new settings.
    fn may_go_on(&self, held: &Credentials, settings: &config::Session) -> bool {
        let session = &*settings.name;
        if held.session_token().is_none() && settings.has_session_token() {
            warn!(session, "Dropping a user's own keys, which are not to be handed out any more");
            return false;
        }
        let account = settings.role().map(RoleArn::account_id);
        if account.zip(held.account_id()).is_some_and(|(wanted, held)| wanted != held) {
            warn!(session, "Dropping credentials of another account than the session's now");
            return false;
        }
        self.is_pinned(held, settings)
    }

    /// Pins are set when another certificate is not trusted any more, and neither is what was obtained with it.
    fn is_pinned(&self, held: &Credentials, settings: &config::Session) -> bool {
        let Some(pins) = settings.identity().map(|identity| &identity.selection.fingerprints) else {
            return true;
        };
        let is_pinned = |leaf: &String| pins.iter().any(|pin| handover::base64(pin.as_bytes()) == *leaf);
        if pins.is_empty() || self.leaf_of(held).as_ref().is_some_and(is_pinned) {
            return true;
        }
        let session = &*settings.name;
        warn!(session, "Dropping credentials that were obtained with a certificate that is not pinned now");
        false
    }

    /// What a session of these settings goes on from, if it is to follow this one.
    fn leave_to(&self, settings: &config::Session, now: OffsetDateTime) -> Past {
        let snapshot = self.handle.snapshot();
        let is_same = self.settings.identity() == settings.identity();
        if is_same && handover::fingerprint(&self.settings) == handover::fingerprint(settings) {
            let identity = self.identity.clone();
            return Past::Continued { snapshot, identity, kept: self.kept.clone() };
        }
        let held = snapshot.credentials.filter(|held| held.remaining(now).is_positive());
        let held = held.filter(|held| self.may_go_on(held, settings));
        let identity = self.identity.clone().filter(|_| is_same);
        Past::Inherited { snapshot: Snapshot::inherited(held, now), identity }
    }
}

/// Looks after the files of what the session signs with; `None` where it has no files.
pub(super) fn watcher(
    settings: &config::Session,
    identity: Option<&Arc<identity::Current>>,
    seams: &Seams,
    changed: Arc<Notify>,
) -> Option<Watcher> {
    let (clock, watches) = (seams.clock.clone(), seams.watches.clone());
    match (&settings.source, identity) {
        (_, Some(identity)) => Some(Watcher::new(Arc::clone(identity), clock, changed, watches)),
        (config::Source::AccessKeys(source), None) => {
            source.keys.path()?;
            Some(Watcher::of_access_keys(&settings.name, source.keys.clone(), clock, changed, watches))
        }
        (config::Source::RolesAnywhere(_), None) => None,
    }
}

/// The same without the attempt that is lost with its task, which is nobody's failure: it is made again at once.
fn uninterrupted(snapshot: Snapshot, now: OffsetDateTime) -> Snapshot {
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
        let policy = build::policy(settings, session);
        roster.push(match predecessors.remove(&*session.name) {
            Some(member) if member.settings == *session && member.policy == policy => {
                difference.unchanged += 1;
                Arc::clone(member)
            }
            Some(member) => {
                difference.changed.push(session.name.clone());
                let past = member.leave_to(session, shop.seams.clock.now());
                Arc::new(Member::start(session, policy, past, shop))
            }
            None => {
                difference.added.push(session.name.clone());
                Arc::new(Member::start(session, policy, Past::None, shop))
            }
        });
    }
    let is_gone = |member: &&Arc<Member>| predecessors.contains_key(&*member.settings.name);
    difference.removed = before.iter().filter(is_gone).map(|member| member.settings.name.clone()).collect();
    (roster.into(), difference)
}

/// The first roster: each session goes on from what a predecessor left for it.
pub(super) fn first(settings: &Settings, kept: Vec<Kept>, shop: Workshop<'_>) -> Roster {
    let mut kept: HashMap<String, Kept> = kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
    let mut start = |session: &config::Session| {
        let fingerprint = handover::fingerprint(session);
        let now = shop.seams.clock.now();
        let past = match kept.remove(&session.name) {
            Some(kept) if kept.settings != fingerprint => {
                info!(
                    session = session.name,
                    "The previous run's credentials are of other settings and are not used"
                );
                Past::None
            }
            Some(kept) if kept.credentials.remaining(now).is_positive() => {
                let expires_at = rfc3339(kept.credentials.expires_at());
                info!(session = session.name, expires_at, "Going on with the previous run's credentials");
                Past::Kept(kept)
            }
            _ => Past::None,
        };
        Arc::new(Member::start(session, build::policy(settings, session), past, shop))
    };
    settings.sessions.iter().map(&mut start).collect()
}

/// The handles, for front ends.
pub(super) fn sessions(roster: &Roster) -> Sessions {
    roster.iter().map(|member| member.handle.clone()).collect()
}
