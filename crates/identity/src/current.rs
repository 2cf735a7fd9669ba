//! The identity in use: what its source gave last, kept while the source gives nothing better.
//!
//! Each `now` here is local time; certificates are judged by AWS's, as far as its replies have told it.

mod aws_time;
mod diary;
mod state;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use diary::Diary;
use diary::Reporter;
use state::State;
use time::OffsetDateTime;
use tokio::sync::OwnedMutexGuard;

use super::Error;
use super::Found;
use super::Identity;
use super::Link;
use super::Loaded;
use super::Source;
use super::given::Given;
use super::reading;
use super::reading::PATIENCE;
use anchord_core::failure::Failure;
use anchord_core::notice::Notice;

/// One session's identity, shared by whoever signs with it and whoever watches its files.
///
/// A half-written file, or a pair that does not fit, never takes the place of an identity that works. What is wrong with
/// the files is reported once, whether a session or a watcher finds it.
#[derive(Debug)]
pub struct Current {
    source: Source,
    /// One reads at a time: a reader that is late must not put an older identity over a newer one.
    place: Arc<reading::Place>,
    state: Mutex<State>,
    diary: Diary,
}

impl Current {
    /// Nothing is read before the first [`Current::load`]; `session` is for the log.
    pub fn new(session: &str, source: Source) -> Self {
        let place = match source.peers() {
            peers if peers.is_empty() => reading::Place::of(source.paths()),
            // What only shares a PIN's file with others takes no turns with them.
            peers => reading::Place::at(peers),
        };
        Self { source, place, state: Mutex::default(), diary: Diary::new(session) }
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
            Err(error) => self.keep(error, now, Reporter::Caller),
        };
        // One in doubt counts as nothing: when its time has come, that is news.
        self.lock().given = Given::of(result.as_ref().ok().cloned());
        match result {
            Err(error) if !self.lock().aws_time.is_known(now) => self.load_in_doubt(error).await,
            result => result,
        }
    }

    /// What is there although `error` says that it is not its time.
    async fn load_in_doubt(&self, error: Error) -> Result<Arc<Identity>, Error> {
        let Some(instant) = error.would_do_at() else { return Err(error) };
        let Ok((Loaded { identity, .. }, _reading)) = self.read(instant).await else { return Err(error) };
        self.diary.in_doubt(&error);
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
            Err(error) => (self.keep(error, now, Reporter::Diary).ok(), true),
        };
        let is_news = self.lock().given.is_outdated_by(identity, |given, found| given.is_same(found));
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
        if self.lock().accept(identity) {
            self.diary.accepted_after_refusal(identity);
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
        let is_new = self.lock().fall_mute(why);
        self.diary.key_did_not_sign(used, why, is_new);
    }

    /// Tells, once, that `refused` was refused for `why` and `used` was accepted in its place.
    pub fn passed_over(&self, refused: &Arc<Identity>, used: &Identity, why: &Failure) {
        let is_new = self.lock().refuse(refused, used, why);
        self.diary.refused(refused, used, why, is_new);
    }

    /// The certificates whose end matters: of what is loaded, and of what is used while AWS refuses that.
    pub(super) fn links(&self) -> Vec<Link> {
        self.lock().links()
    }

    /// The session's name.
    pub(super) fn session(&self) -> &str {
        self.diary.session()
    }

    /// What should be known of the ends of its certificates.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<Notice> {
        let now = self.at_aws(now);
        self.links().iter().filter_map(|link| link.warning(now)).collect()
    }

    /// Why what the source holds now cannot be used, or not even be read, or why AWS refuses it while the previous one
    /// goes on; `None` where nothing ails it. That the time of a certificate in use has passed is known before the next
    /// attempt fails by it.
    pub fn fault(&self, now: OffsetDateTime) -> Option<Failure> {
        // One that AWS has accepted in doubt of its time is not among those that were loaded.
        let of_time = || self.loaded().and_then(|loaded| self.doubt(&loaded, now));
        let so_far = self.lock().fault();
        so_far.or_else(|| of_time().map(Failure::from))
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
        let (identity, is_new) = self.lock().take(identity);
        self.diary.loaded(&identity, is_new, warnings);
        identity
    }

    fn keep(&self, error: Error, now: OffsetDateTime, reporter: Reporter) -> Result<Arc<Identity>, Error> {
        let now = self.at_aws(now);
        let kept = self.lock().keep(&error, now);
        self.diary.not_loaded(&error, kept.is_some(), reporter);
        kept.ok_or(error)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
