//! The identity in use: the last good one that its source had.
//!
//! Each `now` here is local time. Certificates are judged by AWS's time, if its replies have shown it.

mod aws_time;
mod log;
mod state;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use log::IdentityLog;
use log::Reporter;
use state::IdentityState;
use time::OffsetDateTime;
use tokio::sync::OwnedMutexGuard;

use super::ChainLink;
use super::Error;
use super::Identity;
use super::Loaded;
use super::Source;
use super::WatchOutcome;
use super::last_attempt::LastAttempt;
use super::reading;
use super::reading::PATIENCE;
use anchord_core::failure::Failure;
use anchord_core::notice::Notice;

/// One session's identity, shared by the code that signs with it and the code that watches its files.
///
/// A half-written file, or a certificate and key that do not match, never replaces an identity that works. A problem
/// with the files is logged once, whether the session or the watcher finds it.
#[derive(Debug)]
pub struct Current {
    source: Source,
    /// One read at a time: a slow read must not replace a newer identity with an older one.
    reader: Arc<reading::BlockingReader>,
    state: Mutex<IdentityState>,
    log: IdentityLog,
}

impl Current {
    /// Reads nothing before the first [`Current::load`]; `session` is the name in the log.
    pub fn new(session: &str, source: Source) -> Self {
        let reader = match source.peers() {
            peers if peers.is_empty() => reading::BlockingReader::of(source.paths()),
            // Tokens that only share the file of a PIN do not wait for each other.
            peers => reading::BlockingReader::at(peers),
        };
        Self { source, reader, state: Mutex::default(), log: IdentityLog::new(session) }
    }

    /// Loads the source again. Returns its identity, or the one in use if the source has no usable one.
    ///
    /// If only the time speaks against a certificate and AWS's time is unknown, the local clock may be wrong. Then this
    /// returns the certificate, for AWS to judge ([`Current::verdict`]).
    ///
    /// The caller reports the error. This method logs that it kept an older identity.
    pub async fn load(&self, now: OffsetDateTime) -> Result<Arc<Identity>, Error> {
        let result = match self.read(self.at_aws(now)).await {
            Ok((loaded, _reading)) => Ok(self.take(loaded)),
            Err(error) => self.keep(error, now, Reporter::Caller),
        };
        // An identity in doubt counts as none, so that the watcher reports when it becomes valid.
        self.lock().given = LastAttempt::of(result.as_ref().ok().cloned());
        match result {
            Err(error) if !self.lock().aws_time.is_known(now) => self.load_in_doubt(error).await,
            result => result,
        }
    }

    /// Loads the identity although `error` says that it is expired or not yet valid.
    async fn load_in_doubt(&self, error: Error) -> Result<Arc<Identity>, Error> {
        let Some(instant) = error.would_do_at() else { return Err(error) };
        let Ok((Loaded { identity, .. }, _reading)) = self.read(instant).await else { return Err(error) };
        self.log.in_doubt(&error);
        Ok(Arc::new(identity))
    }

    /// Notes that a reply at local `now` showed AWS's clock to be `offset` ahead of the local one.
    pub fn note_aws_time(&self, offset: time::Duration, now: OffsetDateTime) {
        self.lock().aws_time.learn(offset, now);
    }

    /// AWS's time at local `now`; `now` itself if AWS's time is unknown.
    pub fn at_aws(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.lock().aws_time.at(now)
    }

    /// Why `identity` is expired or not yet valid, by the best known time.
    pub fn doubt(&self, identity: &Identity, now: OffsetDateTime) -> Option<Error> {
        identity.fault_of_time(self.at_aws(now))
    }

    /// The same, but only if AWS's time is known, so that there is no doubt.
    pub fn verdict(&self, identity: &Identity, now: OffsetDateTime) -> Option<Error> {
        if self.lock().aws_time.is_known(now) { self.doubt(identity, now) } else { None }
    }

    /// Loads the source again for the watcher, and logs any error.
    pub async fn look(&self, now: OffsetDateTime) -> WatchOutcome {
        let (identity, is_fault) = match self.read(self.at_aws(now)).await {
            Ok((loaded, _reading)) => (Some(self.take(loaded)), false),
            Err(error) => (self.keep(error, now, Reporter::Log).ok(), true),
        };
        let has_changed = self.lock().given.is_outdated_by(identity, |given, found| given.is_same(found));
        match (has_changed, is_fault) {
            (true, _) => WatchOutcome::Changed,
            (false, true) => WatchOutcome::Unusable,
            (false, false) => WatchOutcome::Unchanged,
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
            self.log.accepted_after_refusal(identity);
        }
    }

    /// The identity that AWS accepted last, if it differs from `refused` and has not expired. The CA of a new
    /// certificate may not be registered with AWS yet.
    pub fn accepted_before(&self, refused: &Identity, now: OffsetDateTime) -> Option<Arc<Identity>> {
        let now = self.at_aws(now);
        let accepted = self.lock().accepted.clone();
        accepted.filter(|accepted| !accepted.is_same(refused) && !accepted.has_ended(now))
    }

    /// The identity that signed last, if its key object differs from that of `silent` and its certificate has not
    /// expired. A token or TPM checks a PIN or authorization value only when it signs, so a new value may be wrong
    /// where the previous one worked.
    pub fn signed_before(&self, silent: &Identity, now: OffsetDateTime) -> Option<Arc<Identity>> {
        let now = self.at_aws(now);
        let accepted = self.lock().accepted.clone();
        accepted.filter(|accepted| !Arc::ptr_eq(accepted.key(), silent.key()) && !accepted.has_ended(now))
    }

    /// Logs, once for each reason, that the newest key did not sign (`why`) and `used` signed instead.
    pub fn report_sign_failure(&self, used: &Identity, why: &Failure) {
        let is_new = self.lock().note_sign_failure(why);
        self.log.key_did_not_sign(used, why, is_new);
    }

    /// Logs, once, that AWS refused `refused` (`why`) and accepted `used` instead.
    pub fn report_refusal(&self, refused: &Arc<Identity>, used: &Identity, why: &Failure) {
        let is_new = self.lock().refuse(refused, used, why);
        self.log.refused(refused, used, why, is_new);
    }

    /// The certificates whose expiry matters: those loaded last, and those in use while AWS refuses them.
    pub(super) fn links(&self) -> Vec<ChainLink> {
        self.lock().links()
    }

    /// The session's name.
    pub(super) fn session(&self) -> &str {
        self.log.session()
    }

    /// A warning for each certificate that expires soon.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<Notice> {
        let now = self.at_aws(now);
        self.links().iter().filter_map(|link| link.warning(now)).collect()
    }

    /// Why the newest identity cannot be loaded, or why AWS refuses it while the previous one is in use; `None` if
    /// nothing is wrong. It also reports an expired certificate before the next attempt fails.
    pub fn fault(&self, now: OffsetDateTime) -> Option<Failure> {
        // An identity that AWS accepted although its time was in doubt is not the loaded one.
        let of_time = || self.loaded().and_then(|loaded| self.doubt(&loaded, now));
        let so_far = self.lock().fault();
        so_far.or_else(|| of_time().map(Failure::from))
    }

    /// Reads its files, one read at a time.
    pub(super) fn reader(&self) -> &Arc<reading::BlockingReader> {
        &self.reader
    }

    /// Where the identity comes from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Runs on another thread: reading files and unlocking keys may block, and a file system may hang.
    async fn read(&self, now: OffsetDateTime) -> Result<(Loaded, OwnedMutexGuard<()>), Error> {
        let source = self.source.clone();
        let read = self.reader.read(PATIENCE, move || source.load(now)).await;
        let (loaded, reading) = read.map_err(|failed| failed.at(self.source.origin()))?;
        Ok((loaded?, reading))
    }

    fn take(&self, Loaded { identity, warnings }: Loaded) -> Arc<Identity> {
        let (identity, is_new) = self.lock().take(identity);
        self.log.loaded(&identity, is_new, warnings);
        identity
    }

    fn keep(&self, error: Error, now: OffsetDateTime, reporter: Reporter) -> Result<Arc<Identity>, Error> {
        let now = self.at_aws(now);
        let kept = self.lock().keep(&error, now);
        self.log.not_loaded(&error, kept.is_some(), reporter);
        kept.ok_or(error)
    }

    fn lock(&self) -> MutexGuard<'_, IdentityState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
