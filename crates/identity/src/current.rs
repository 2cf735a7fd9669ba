//! The identity in use: what its source gave last, kept while the source gives nothing better.
//!
//! Each `now` here is local time; certificates are judged by AWS's, as far as its replies have told it.

mod aws_time;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use aws_time::AwsTime;
use time::OffsetDateTime;
use tokio::sync::OwnedMutexGuard;
use tracing::debug;
use tracing::info;
use tracing::warn;

use super::Error;
use super::Identity;
use super::Link;
use super::Loaded;
use super::Source;
use super::reading;
use super::reading::PATIENCE;
use anchord_core::clock;
use anchord_core::failure::Chain;
use anchord_core::failure::Classify as _;
use anchord_core::failure::Failure;

/// One session's identity, shared by whoever signs with it and whoever watches its files.
///
/// A half-written file, or a pair that does not fit, never takes the place of an identity that works. What ails
/// the files is told once, whoever finds it.
#[derive(Debug)]
pub struct Current {
    session: String,
    source: Source,
    /// One reads at a time: a reader that is late must not put an older identity over a newer one.
    place: Arc<reading::Place>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Arc<Identity>>,
    accepted: Option<Arc<Identity>>,
    refusal: Option<Refusal>,
    /// Why the key on hand did not sign, while the one before does.
    mute: Option<Failure>,
    last_given: Given,
    told_fault: Option<String>,
    fault: Option<Failure>,
    told_doubt: Option<String>,
    aws_time: AwsTime,
    told_warnings: Vec<String>,
}

/// A new certificate that AWS refuses while the previous one goes on.
#[derive(Debug)]
struct Refusal {
    refused: Arc<Identity>,
    in_use_not_after: OffsetDateTime,
    why: Failure,
}

/// What the session's last attempt had to sign with.
#[derive(Debug, Default)]
enum Given {
    #[default]
    NothingYet,
    NoIdentity,
    Identity(Arc<Identity>),
}

/// What a look at the files has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An identity other than the one that the session signs with, which has to be told.
    News,
    /// What is known.
    Known,
    /// Nothing that can be used.
    Fault,
}

impl Current {
    /// Nothing is read before the first [`Current::load`]; `session` is for the log.
    pub fn new(session: &str, source: Source) -> Self {
        let place = match source.peers() {
            peers if peers.is_empty() => reading::Place::of(source.paths()),
            // What only shares a PIN's file with others takes no turns with them.
            peers => reading::Place::at(peers),
        };
        Self { session: session.into(), source, place, state: Mutex::default() }
    }

    /// Loads the source again: the identity it holds, or the one in use where it holds none that is good.
    ///
    /// Where nothing but time speaks against a certificate and AWS has not said what time it is, it may be the local clock
    /// that is wrong: the certificate is given, for AWS to judge ([`Current::verdict`]).
    ///
    /// An error is the caller's to tell; that an older identity had to be used is told here.
    pub async fn load(&self, now: OffsetDateTime) -> Result<Arc<Identity>, Error> {
        let result = match self.read(self.at_aws(now)).await {
            Ok((loaded, _reading)) => Ok(self.take(loaded)),
            Err(error) => self.keep(error, now, Teller::Caller),
        };
        self.lock().last_given = match &result {
            Ok(identity) => Given::Identity(Arc::clone(identity)),
            // One in doubt as well: when its time has come, that is news.
            Err(_) => Given::NoIdentity,
        };
        match result {
            Err(error) if !self.lock().aws_time.is_known(now) => self.load_in_doubt(error).await,
            result => result,
        }
    }

    /// What is there although `error` says that it is not its time.
    async fn load_in_doubt(&self, error: Error) -> Result<Arc<Identity>, Error> {
        let Some(instant) = error.would_do_at() else { return Err(error) };
        let Ok((Loaded { identity, .. }, _reading)) = self.read(instant).await else { return Err(error) };
        let doubt = Chain(&error).to_string();
        if self.lock().told_doubt.replace(doubt.clone()).as_ref() != Some(&doubt) {
            let (session, hint) = (&*self.session, error.hint());
            warn!(
                session,
                error = doubt,
                hint,
                "The certificate is not valid by this host's clock; asking AWS, which judges by its own"
            );
        }
        Ok(Arc::new(identity))
    }

    /// Notes that AWS's clock is `offset` ahead of the local one, as a reply has told at local `now`.
    pub fn told_time(&self, offset: time::Duration, now: OffsetDateTime) {
        self.lock().aws_time.learn(offset, now);
    }

    /// AWS's time at local `now`, as far as it is known.
    pub fn at_aws(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.lock().aws_time.at(now)
    }

    /// Why it is not the time of `identity`, as far as can be said.
    pub fn doubt(&self, identity: &Identity, now: OffsetDateTime) -> Option<Error> {
        identity.fault_of_time(self.at_aws(now))
    }

    /// The same where AWS has said what time it is, which settles it.
    pub fn verdict(&self, identity: &Identity, now: OffsetDateTime) -> Option<Error> {
        if self.lock().aws_time.is_known(now) { self.doubt(identity, now) } else { None }
    }

    /// The same for whoever does not sign but watches; all there is to tell is told here.
    pub async fn look(&self, now: OffsetDateTime) -> Found {
        let (identity, is_fault) = match self.read(self.at_aws(now)).await {
            Ok((loaded, _reading)) => (Some(self.take(loaded)), false),
            Err(error) => (self.keep(error, now, Teller::Here).ok(), true),
        };
        let mut state = self.lock();
        let is_news = match (&state.last_given, &identity) {
            (Given::NothingYet, _) | (_, None) => false,
            (Given::NoIdentity, Some(_)) => true,
            (Given::Identity(given), Some(identity)) => !given.is_same(identity),
        };
        // From here on the session is compared with what it was told, or would have been given now.
        if is_news || matches!(state.last_given, Given::NothingYet) {
            state.last_given = identity.map_or(Given::NoIdentity, Given::Identity);
        }
        match (is_news, is_fault) {
            (true, _) => Found::News,
            (false, true) => Found::Fault,
            (false, false) => Found::Known,
        }
    }

    /// The identity that credentials were obtained with last.
    pub fn obtained_with(&self) -> Option<Arc<Identity>> {
        self.lock().accepted.clone()
    }

    /// The identity that was loaded last.
    pub fn loaded(&self) -> Option<Arc<Identity>> {
        self.lock().held.clone()
    }

    /// The same; before that, the one that was loaded.
    pub fn in_use(&self) -> Option<Arc<Identity>> {
        let state = self.lock();
        state.accepted.clone().or_else(|| state.held.clone())
    }

    /// Notes that AWS has given credentials for `identity`.
    pub fn accepted(&self, identity: &Arc<Identity>) {
        let mut state = self.lock();
        let is_known = state.held.iter().chain(&state.accepted).any(|known| known.is_same(identity));
        if !is_known {
            // It was given in doubt of its time, which AWS has settled.
            state.fault = None;
        }
        state.accepted = Some(Arc::clone(identity));
        if matches!(state.last_given, Given::NoIdentity) {
            state.last_given = Given::Identity(Arc::clone(identity));
        }
        state.mute = None;
        let was_refused = state.refusal.take().is_some_and(|refusal| refusal.refused.is_same(identity));
        drop(state);
        if was_refused {
            info!(
                session = &*self.session,
                serial = identity.serial(),
                "AWS accepts the new certificate now"
            );
        }
    }

    /// What AWS has accepted before, if that is another identity than `refused` and has not ended: a new
    /// certificate may be of a CA that AWS does not know yet.
    pub fn accepted_before(&self, refused: &Identity, now: OffsetDateTime) -> Option<Arc<Identity>> {
        let now = self.at_aws(now);
        let accepted = self.lock().accepted.clone();
        accepted.filter(|accepted| !accepted.is_same(refused) && !accepted.has_ended(now))
    }

    /// What has signed before, if that is another key, or the same one unlocked otherwise, than `mute` has, and its
    /// certificate has not ended: a token or a TPM judges what unlocks a key only when it signs.
    pub fn signed_before(&self, mute: &Identity, now: OffsetDateTime) -> Option<Arc<Identity>> {
        let now = self.at_aws(now);
        let accepted = self.lock().accepted.clone();
        accepted.filter(|accepted| !Arc::ptr_eq(accepted.key(), mute.key()) && !accepted.has_ended(now))
    }

    /// Tells, once for each reason, that the key on hand did not sign for `why` and `used` did in its place.
    pub fn signed_instead(&self, used: &Identity, why: &Failure) {
        let told = self.lock().mute.replace(why.clone());
        let (session, error) = (&*self.session, why.message());
        if told.is_some_and(|told| told.message() == error) {
            debug!(session, error, "The key still does not sign");
            return;
        }
        let (hint, in_use) = (why.hint(), used.serial());
        warn!(session, error, hint, in_use, "The key does not sign; going on with the one before");
    }

    /// Tells, once, that `refused` was refused for `why` and `used` was accepted in its place.
    pub fn passed_over(&self, refused: &Arc<Identity>, used: &Identity, why: &Failure) {
        let refusal =
            Refusal { refused: Arc::clone(refused), in_use_not_after: used.not_after(), why: why.clone() };
        let told = self.lock().refusal.replace(refusal);
        let (session, serial, error) = (&*self.session, refused.serial(), why.message());
        if told.is_some_and(|told| told.refused.is_same(refused)) {
            debug!(session, serial, error, "AWS still refuses the new certificate");
            return;
        }
        warn!(
            session,
            serial,
            error,
            hint = why.hint(),
            in_use = used.serial(),
            in_use_not_after = %clock::rfc3339(used.not_after()),
            "AWS refuses the new certificate; going on with the previous one"
        );
    }

    /// The certificates whose end matters: of what is loaded, and of what is used while AWS refuses that.
    pub(super) fn links(&self) -> Vec<Link> {
        let state = self.lock();
        let mut links: Vec<Link> = Vec::new();
        let used_instead = state.accepted.as_ref().filter(|_| state.refusal.is_some());
        for link in state.held.iter().chain(used_instead).flat_map(|identity| identity.links()) {
            if !links.contains(link) {
                links.push(link.clone());
            }
        }
        links
    }

    /// The session's name.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// What should be known of the ends of its certificates, each a sentence without a full stop.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<String> {
        let now = self.at_aws(now);
        self.links().iter().filter_map(|link| link.warning(now)).collect()
    }

    /// Why what the source holds now cannot be used, or not even be read, or why AWS refuses it while the previous one
    /// goes on; `None` where nothing ails it. That the time of a certificate in use has passed is known before the next
    /// attempt fails by it.
    pub fn fault(&self, now: OffsetDateTime) -> Option<Failure> {
        // One that AWS has accepted in doubt of its time is not among those that were loaded.
        let of_time = || self.loaded().and_then(|loaded| self.doubt(&loaded, now));
        self.fault_so_far().or_else(|| of_time().map(Failure::from))
    }

    fn fault_so_far(&self) -> Option<Failure> {
        let state = self.lock();
        let is_held = |refusal: &&Refusal| state.held.iter().any(|held| held.is_same(&refusal.refused));
        if state.fault.is_some() {
            return state.fault.clone();
        }
        if let Some(Refusal { refused, in_use_not_after, why }) = state.refusal.as_ref().filter(is_held) {
            let (serial, end) = (refused.serial(), clock::rfc3339(*in_use_not_after));
            let message = format!(
                "AWS refuses the new certificate with serial {serial}; the previous one, which ends at {end}, goes on: {}",
                why.message()
            );
            return Some(why.clone().with_message(message));
        }
        let why = state.mute.as_ref()?;
        let message = format!("the key does not sign, and the one before goes on: {}", why.message());
        Some(why.clone().with_message(message))
    }

    /// What reads its files, one at a time.
    pub(super) fn place(&self) -> &Arc<reading::Place> {
        &self.place
    }

    /// Where the identity comes from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Reading files and unlocking keys may block, and a file system may hang.
    async fn read(&self, now: OffsetDateTime) -> Result<(Loaded, OwnedMutexGuard<()>), Error> {
        let source = self.source.clone();
        let read = self.place.read(PATIENCE, move || source.load(now)).await;
        let (loaded, reading) = read.map_err(|failed| failed.at(self.source.origin()))?;
        Ok((loaded?, reading))
    }

    fn take(&self, Loaded { identity, warnings }: Loaded) -> Arc<Identity> {
        let mut state = self.lock();
        let is_new = !state.held.as_ref().is_some_and(|held| held.is_same(&identity));
        // Even if the certificate is the one that is known: its key may be unlocked by another passphrase now.
        let identity = Arc::new(identity);
        state.held = Some(Arc::clone(&identity));
        state.fault = None;
        state.told_doubt = None;
        let recovered = state.told_fault.take().is_some();
        let told = std::mem::replace(&mut state.told_warnings, warnings.clone());
        drop(state);

        let session = &*self.session;
        if is_new {
            self.tell_of(&identity);
        } else if recovered {
            info!(session, "The certificate can be loaded again");
        }
        for warning in warnings.iter().filter(|warning| is_new || !told.contains(warning)) {
            warn!(session, "{warning}");
        }
        identity
    }

    fn keep(&self, error: Error, now: OffsetDateTime, teller: Teller) -> Result<Arc<Identity>, Error> {
        let fault = Chain(&error).to_string();
        let now = self.at_aws(now);
        let mut state = self.lock();
        let is_told = state.told_fault.as_ref() == Some(&fault);
        let is_good = |identity: &Arc<Identity>| !identity.has_ended(now);
        let held = state.held.clone().filter(is_good).or_else(|| state.accepted.clone().filter(is_good));
        state.told_fault = Some(fault.clone());
        state.fault = Some(Failure::new(&error));
        drop(state);

        let (session, hint) = (&*self.session, error.hint());
        if is_told {
            debug!(session, error = fault, "The certificate still cannot be loaded");
        } else if held.is_some() {
            let error = fault;
            warn!(session, error, hint, "The certificate cannot be loaded; keeping the one in use");
        } else if teller == Teller::Here {
            warn!(session, error = fault, hint, "The certificate cannot be loaded");
        }
        held.ok_or(error)
    }

    fn tell_of(&self, identity: &Identity) {
        info!(
            session = &*self.session,
            subject = identity.subject(),
            serial = identity.serial(),
            intermediates = identity.intermediates().len(),
            not_after = %clock::rfc3339(identity.not_after()),
            "Using certificate"
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who tells of a fault when there is no identity to go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Teller {
    Here,
    Caller,
}

#[cfg(test)]
mod tests;
