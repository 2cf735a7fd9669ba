//! Hands a session's credentials to callers.
//!
//! A handle judges expiry itself at the moment it hands out, so a late keeper can cost freshness, never truth.

use std::sync::Arc;

use time::Duration;
use tokio::sync::Notify;
use tokio::sync::watch;

use super::Snapshot;
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::failure::Class;
use crate::failure::Failure;

/// A session, as its callers see it. Clones freely; a thousand callers share one attempt.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    snapshots: watch::Receiver<Snapshot>,
    nudge: Arc<Notify>,
    clock: Clock,
}

/// How much life credentials must have left to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// More than 60 s: with less they count as expired, since a call that starts now must not die of them.
    Full,
    /// More than 30 s: for a client that was told within the last 30 s that credentials are available.
    Promised,
}

impl Freshness {
    /// The life that must be left.
    pub fn reserve(self) -> Duration {
        match self {
            Self::Full => Duration::seconds(60),
            Self::Promised => Duration::seconds(30),
        }
    }
}

impl Handle {
    /// A handle on what a keeper publishes; `nudge` wakes that keeper.
    pub fn new(name: &str, snapshots: watch::Receiver<Snapshot>, nudge: Arc<Notify>, clock: Clock) -> Self {
        Self { name: name.into(), snapshots, nudge, clock }
    }

    /// The session's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the keeper last published.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Credentials with at least `freshness` left, waiting for an attempt no longer than `patience`; on `Err`
    /// the cause of the last failed attempt.
    pub async fn hand_out(
        &self,
        freshness: Freshness,
        patience: std::time::Duration,
    ) -> Result<Arc<Credentials>, Failure> {
        let gives_up_at = tokio::time::Instant::now() + patience;
        let mut snapshots = self.snapshots.clone();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let now = self.clock.now();
            let usable = |held: &Arc<Credentials>| held.remaining(now) > freshness.reserve();
            if let Some(credentials) = snapshot.credentials.clone().filter(usable) {
                return Ok(credentials);
            }
            if !snapshot.fetching {
                if now < snapshot.nudge_from {
                    return Err(self.unavailable(&snapshot));
                }
                self.nudge.notify_one();
            }
            match tokio::time::timeout_at(gives_up_at, snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Failure::of(Class::Broken, "the session's keeper has ended", None)),
                Err(_) => return Err(self.unavailable(&snapshot)),
            }
        }
    }

    fn unavailable(&self, snapshot: &Snapshot) -> Failure {
        snapshot.trouble.clone().unwrap_or_else(|| {
            Failure::of(Class::Transient, format!("session `{}` has no credentials yet", self.name), None)
        })
    }
}
