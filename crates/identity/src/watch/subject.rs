//! What is watched: an identity, or the file of a user's access keys.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::AccessKeys;
use crate::Current;
use crate::Found;
use crate::Link;
use crate::reading;
use crate::spiffe::Agent;

/// What one session signs with, shared with it.
pub(super) enum Subject {
    Identity(Arc<Current>),
    AccessKeys { session: String, keys: AccessKeys },
}

impl Subject {
    pub(super) fn session(&self) -> &str {
        match self {
            Self::Identity(current) => current.session(),
            Self::AccessKeys { session, .. } => session,
        }
    }

    /// What people call its files.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Identity(_) => "the certificate's files",
            Self::AccessKeys { .. } => "the file of the access keys",
        }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Identity(current) => current.source().paths(),
            Self::AccessKeys { keys, .. } => keys.path().map(Path::to_owned).into_iter().collect(),
        }
    }

    /// What reads its files, one at a time.
    pub(super) fn place(&self) -> &Arc<reading::Place> {
        match self {
            Self::Identity(current) => current.place(),
            Self::AccessKeys { keys, .. } => keys.reading(),
        }
    }

    /// The agent that tells of changes, if there is one.
    pub(super) fn agent(&self) -> Option<&Agent> {
        match self {
            Self::Identity(current) => current.source().agent(),
            Self::AccessKeys { .. } => None,
        }
    }

    /// Whether a change may show in no file and nobody tells of it.
    pub(super) fn is_silent(&self) -> bool {
        match self {
            Self::Identity(current) => current.source().is_silent(),
            Self::AccessKeys { .. } => false,
        }
    }

    /// Reads it, and tells what there is to tell of it.
    pub(super) async fn look(&self, now: OffsetDateTime) -> Found {
        match self {
            Self::Identity(current) => current.look(now).await,
            Self::AccessKeys { session, keys } => keys.look(session).await,
        }
    }

    /// What time it is where its certificates are judged.
    pub(super) fn judged_at(&self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::Identity(current) => current.at_aws(now),
            Self::AccessKeys { .. } => now,
        }
    }

    /// The certificates whose end matters.
    pub(super) fn links(&self) -> Vec<Link> {
        match self {
            Self::Identity(current) => current.links(),
            Self::AccessKeys { .. } => Vec::new(),
        }
    }
}
