//! What a watcher looks after.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::ChainLink;
use crate::Current;
use crate::WatchOutcome;
use crate::reading;
use crate::spiffe::Agent;

/// What one session signs with, shared with it: an identity, or something else that is read from files.
pub trait WatchSubject: Send + Sync {
    /// The session's name.
    fn session(&self) -> &str;

    /// What people call its files.
    fn words(&self) -> &'static str;

    /// The files it is read from.
    fn paths(&self) -> Vec<PathBuf>;

    /// What reads its files, one at a time.
    fn reader(&self) -> &Arc<reading::BlockingReader>;

    /// Reads it, and reports what there is to report.
    fn look(&self, now: OffsetDateTime) -> Pin<Box<dyn Future<Output = WatchOutcome> + Send + '_>>;

    /// The agent that sends word of changes, if there is one.
    fn agent(&self) -> Option<&Agent> {
        None
    }

    /// Whether a change may show in no file, and nothing sends word of it.
    fn is_silent(&self) -> bool {
        false
    }

    /// What time it is where its certificates are judged.
    fn judged_at(&self, now: OffsetDateTime) -> OffsetDateTime {
        now
    }

    /// The certificates whose end matters.
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
