//! What a watcher watches.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::ChainLink;
use crate::Current;
use crate::WatchOutcome;
use crate::reading;
use crate::spiffe::Agent;

/// What one session signs with: an identity, or keys that are read from files. Shared with the session.
pub trait WatchSubject: Send + Sync {
    /// The session's name.
    fn session(&self) -> &str;

    /// Its files, as messages name them.
    fn words(&self) -> &'static str;

    /// The files it is read from.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads its files, one read at a time.
    fn reader(&self) -> &Arc<reading::BlockingReader>;

    /// Reads it, and logs any problem.
    fn look(&self, now: OffsetDateTime) -> Pin<Box<dyn Future<Output = WatchOutcome> + Send + '_>>;

    /// The agent that reports changes, if there is one.
    fn agent(&self) -> Option<&Agent> {
        None
    }

    /// Whether changes show neither in a file nor by an event, so that each poll must read it.
    fn is_silent(&self) -> bool {
        false
    }

    /// AWS's time, by which its certificates are judged, at local `now`.
    fn judged_at(&self, now: OffsetDateTime) -> OffsetDateTime {
        now
    }

    /// The certificates whose expiry matters.
    fn links(&self) -> Vec<ChainLink> {
        Vec::new()
    }
}

impl WatchSubject for Current {
    fn session(&self) -> &str {
        self.session()
    }

    fn words(&self) -> &'static str {
        "the certificate's files"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.source().paths()
    }

    fn reader(&self) -> &Arc<reading::BlockingReader> {
        self.reader()
    }

    fn look(&self, now: OffsetDateTime) -> Pin<Box<dyn Future<Output = WatchOutcome> + Send + '_>> {
        Box::pin(self.look(now))
    }

    fn agent(&self) -> Option<&Agent> {
        self.source().agent()
    }

    fn is_silent(&self) -> bool {
        self.source().is_silent()
    }

    fn judged_at(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.at_aws(now)
    }

    fn links(&self) -> Vec<ChainLink> {
        self.links()
    }
}
