//! The identity in use: what its source gave last, kept while the source gives nothing better.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use time::OffsetDateTime;
use tracing::info;
use tracing::warn;

use super::Error;
use super::Identity;
use super::Loaded;
use super::Source;
use crate::clock;
use crate::failure::Chain;
use crate::failure::Classify as _;

/// One session's identity, shared by whoever signs with it and whoever watches its files.
///
/// A half-written file, or a pair that does not fit, never takes the place of an identity that works.
#[derive(Debug)]
pub struct Current {
    session: String,
    source: Source,
    held: Mutex<Option<Arc<Identity>>>,
}

impl Current {
    /// Nothing is read before the first [`Current::load`]; `session` is for the log.
    pub fn new(session: &str, source: Source) -> Self {
        Self { session: session.into(), source, held: Mutex::new(None) }
    }

    /// Loads the source again: the identity it holds, or the one in use where it holds none that is good.
    ///
    /// Blocks while files are read and keys unlocked.
    pub fn load(&self, now: OffsetDateTime) -> Result<Arc<Identity>, Error> {
        match self.source.load(now) {
            Ok(loaded) => Ok(self.take(loaded)),
            Err(error) => self.keep(error, now),
        }
    }

    /// The identity that the last successful load gave.
    pub fn in_use(&self) -> Option<Arc<Identity>> {
        self.lock().clone()
    }

    fn take(&self, Loaded { identity, warnings }: Loaded) -> Arc<Identity> {
        let identity = Arc::new(identity);
        let before = self.lock().replace(Arc::clone(&identity));
        if before.is_none_or(|before| before.leaf() != identity.leaf()) {
            self.tell(&identity, &warnings);
        }
        identity
    }

    fn keep(&self, error: Error, now: OffsetDateTime) -> Result<Arc<Identity>, Error> {
        let Some(held) = self.lock().clone().filter(|held| held.not_after() > now) else { return Err(error) };
        let (session, hint) = (&*self.session, error.hint());
        warn!(
            session,
            error = %Chain(&error),
            hint,
            "The certificate on disk cannot be used; keeping the one in use"
        );
        Ok(held)
    }

    fn tell(&self, identity: &Identity, warnings: &[String]) {
        let session = &*self.session;
        info!(
            session,
            subject = identity.subject(),
            serial = identity.serial(),
            intermediates = identity.intermediates().len(),
            not_after = %clock::rfc3339(identity.not_after()),
            "Using certificate"
        );
        for warning in warnings {
            warn!(session, "{warning}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Identity>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
