//! The log of a session's identity: each state is logged once, however often it is found.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tracing::debug;
use tracing::info;
use tracing::warn;

use crate::Error;
use crate::Identity;
use anchord_core::clock;
use anchord_core::event;
use anchord_core::failure::Classify as _;
use anchord_core::failure::ErrorChain;
use anchord_core::failure::Failure;
use anchord_core::notice::Notice;
use anchord_core::reported::Reported;

/// Writes the log of one session's identity.
#[derive(Debug)]
pub(super) struct IdentityLog {
    session: String,
    reports: Mutex<Reports>,
}

#[derive(Debug, Default)]
struct Reports {
    fault: Reported,
    doubt: Reported,
    /// Several may apply at the same time.
    warnings: Vec<Notice>,
}

/// Who reports an error if there is no usable identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reporter {
    Log,
    Caller,
}

impl IdentityLog {
    pub(super) fn new(session: &str) -> Self {
        Self { session: session.into(), reports: Mutex::default() }
    }

    pub(super) fn session(&self) -> &str {
        &self.session
    }

    pub(super) fn loaded(&self, identity: &Identity, is_new: bool, warnings: Vec<Notice>) {
        let mut reports = self.reports();
        reports.doubt.clear();
        let recovered = reports.fault.clear();
        let known = std::mem::replace(&mut reports.warnings, warnings.clone());
        drop(reports);

        let session = self.session();
        if is_new {
            info!(event = event::CERTIFICATE_LOADED,
                session,
                subject = identity.subject(),
                serial = identity.serial(),
                intermediates = identity.intermediates().len(),
                not_after = %clock::rfc3339(identity.not_after()),
                "Using certificate"
            );
        } else if recovered {
            info!(event = event::CERTIFICATE_RECOVERED, session, "The certificate can be loaded again");
        }
        for warning in warnings {
            if is_new || !known.contains(&warning) {
                let (hint, warning) = (warning.hint(), warning.message());
                warn!(event = event::CERTIFICATE_WARNING, session, hint, "{warning}");
            }
        }
    }

    /// `is_kept` says whether an older identity stays in use.
    pub(super) fn not_loaded(&self, error: &Error, is_kept: bool, reporter: Reporter) {
        let fault = ErrorChain(error).to_string();
        let (session, hint) = (self.session(), error.hint());
        if !self.reports().fault.is_new(fault.clone()) {
            debug!(session, error = fault, "The certificate still cannot be loaded");
        } else if is_kept {
            warn!(
                event = event::CERTIFICATE_REFUSED,
                session,
                error = fault,
                hint = hint.as_deref(),
                "The certificate cannot be loaded; keeping the one in use"
            );
        } else if reporter == Reporter::Log {
            warn!(
                event = event::CERTIFICATE_UNAVAILABLE,
                session,
                error = fault,
                hint = hint.as_deref(),
                "The certificate cannot be loaded"
            );
        }
    }

    pub(super) fn in_doubt(&self, error: &Error) {
        let doubt = ErrorChain(error).to_string();
        if self.reports().doubt.is_new(doubt.clone()) {
            let (session, hint) = (self.session(), error.hint());
            warn!(
                event = event::CERTIFICATE_NOT_VALID_LOCALLY,
                session,
                error = doubt,
                hint = hint.as_deref(),
                "The certificate is not valid by this host's clock; asking AWS, which uses its own clock"
            );
        }
    }

    pub(super) fn key_did_not_sign(&self, used: &Identity, why: &Failure, is_new: bool) {
        let (session, error) = (self.session(), why.message());
        if !is_new {
            debug!(session, error, "The key still does not sign");
            return;
        }
        let (hint, in_use) = (why.hint(), used.serial());
        warn!(
            event = event::CERTIFICATE_UNUSABLE,
            session, error, hint, in_use, "The key does not sign; keeping the previous one"
        );
    }

    pub(super) fn refused(&self, refused: &Identity, used: &Identity, why: &Failure, is_new: bool) {
        let (session, serial, error) = (self.session(), refused.serial(), why.message());
        if !is_new {
            debug!(session, serial, error, "AWS still refuses the new certificate");
            return;
        }
        warn!(event = event::CERTIFICATE_DENIED,
            session,
            serial,
            error,
            hint = why.hint(),
            in_use = used.serial(),
            in_use_not_after = %clock::rfc3339(used.not_after()),
            "AWS refuses the new certificate; keeping the previous one"
        );
    }

    pub(super) fn accepted_after_refusal(&self, identity: &Identity) {
        let (session, serial) = (self.session(), identity.serial());
        info!(event = event::CERTIFICATE_ACCEPTED, session, serial, "AWS accepts the new certificate now");
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
