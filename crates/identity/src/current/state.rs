//! Decides which identity is in use, without files, clock or log.

use std::sync::Arc;

use time::OffsetDateTime;

use super::aws_time::AwsTime;
use crate::ChainLink;
use crate::Error;
use crate::Identity;
use crate::last_attempt::LastAttempt;
use anchord_core::clock;
use anchord_core::failure::Failure;

#[derive(Debug, Default)]
pub(super) struct IdentityState {
    /// Loaded last.
    pub(super) held: Option<Arc<Identity>>,
    /// The one that credentials were obtained with last.
    pub(super) accepted: Option<Arc<Identity>>,
    refusal: Option<RefusedCertificate>,
    /// Why the newest key did not sign, while the previous one does.
    sign_failure: Option<Failure>,
    pub(super) given: LastAttempt<Arc<Identity>>,
    fault: Option<Failure>,
    pub(super) aws_time: AwsTime,
}

/// A new certificate that AWS refuses while the previous one stays in use.
#[derive(Debug)]
struct RefusedCertificate {
    refused: Arc<Identity>,
    in_use_not_after: OffsetDateTime,
    why: Failure,
}

impl IdentityState {
    /// Stores what was loaded, and returns whether it differs from the identity before.
    pub(super) fn take(&mut self, identity: Identity) -> (Arc<Identity>, bool) {
        let is_new = !self.held.as_ref().is_some_and(|held| held.is_same(&identity));
        // Even if the certificate is the same, its key may be unlocked by another passphrase now.
        let identity = Arc::new(identity);
        self.held = Some(Arc::clone(&identity));
        self.fault = None;
        (identity, is_new)
    }

    /// The identity to keep although loading failed; `now` is AWS's time.
    pub(super) fn keep(&mut self, error: &Error, now: OffsetDateTime) -> Option<Arc<Identity>> {
        self.fault = Some(Failure::new(error));
        let mut kept = self.held.iter().chain(&self.accepted).filter(|identity| !identity.has_ended(now));
        kept.next().cloned()
    }

    /// Notes that AWS has issued credentials for `identity`, and returns whether AWS had refused it before.
    pub(super) fn accept(&mut self, identity: &Arc<Identity>) -> bool {
        let is_known = self.held.iter().chain(&self.accepted).any(|known| known.is_same(identity));
        if !is_known {
            // Its validity was in doubt, and AWS has accepted it.
            self.fault = None;
        }
        self.accepted = Some(Arc::clone(identity));
        if matches!(self.given, LastAttempt::Nothing) {
            self.given = LastAttempt::Something(Arc::clone(identity));
        }
        self.sign_failure = None;
        self.refusal.take().is_some_and(|refusal| refusal.refused.is_same(identity))
    }

    /// Notes that AWS accepted `used` instead of `refused`, and returns whether that is new.
    pub(super) fn refuse(&mut self, refused: &Arc<Identity>, used: &Identity, why: &Failure) -> bool {
        let refusal = RefusedCertificate {
            refused: Arc::clone(refused),
            in_use_not_after: used.not_after(),
            why: why.clone(),
        };
        let before = self.refusal.replace(refusal);
        before.is_none_or(|before| !before.refused.is_same(refused))
    }

    /// Notes why the newest key did not sign, and returns whether that is new.
    pub(super) fn note_sign_failure(&mut self, why: &Failure) -> bool {
        let before = self.sign_failure.replace(why.clone());
        before.is_none_or(|before| before.message() != why.message())
    }

    /// The certificates whose expiry matters: those loaded last, and those in use while AWS refuses them.
    pub(super) fn links(&self) -> Vec<ChainLink> {
        let used_instead = self.accepted.as_ref().filter(|_| self.refusal.is_some());
        let mut links: Vec<ChainLink> = Vec::new();
        for link in self.held.iter().chain(used_instead).flat_map(|identity| identity.links()) {
            if !links.contains(link) {
                links.push(link.clone());
            }
        }
        links
    }

    /// Why the newest identity is not in use.
    pub(super) fn fault(&self) -> Option<Failure> {
        let is_held =
            |refusal: &&RefusedCertificate| self.held.iter().any(|held| held.is_same(&refusal.refused));
        if self.fault.is_some() {
            return self.fault.clone();
        }
        if let Some(RefusedCertificate { refused, in_use_not_after, why }) =
            self.refusal.as_ref().filter(is_held)
        {
            let (serial, end) = (refused.serial(), clock::rfc3339(*in_use_not_after));
            let message = format!(
                "AWS refuses the new certificate with serial {serial}; the previous one stays in use until {end}: {}",
                why.message()
            );
            return Some(why.clone().with_message(message));
        }
        let why = self.sign_failure.as_ref()?;
        let message = format!("the key does not sign; the previous one stays in use: {}", why.message());
        Some(why.clone().with_message(message))
    }
}
