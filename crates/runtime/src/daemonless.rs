//! Credentials for processes other than the daemon: from a running daemon, or else from AWS. Parallel processes share a
//! cache and a lock for calls to AWS.

mod cache;
mod cache_entry;
mod direct;
mod from_daemon;
mod renewal;

use from_daemon::DaemonOutcome;
use from_daemon::from_daemon;
use from_daemon::no_daemon_and_no_session;
use from_daemon::with_why_unused;

pub use from_daemon::from_daemon_alone;
pub use from_daemon::session_meant;
pub use renewal::Renewal;

use crate::assembly::Seams;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::process_limits;

/// Where to obtain credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObtainMode {
    /// From a daemon, or from AWS if there is no daemon.
    DaemonFirst(Caching),
    /// From AWS only.
    Direct(Caching),
}

impl ObtainMode {
    pub(crate) fn caching(self) -> Caching {
        match self {
            Self::DaemonFirst(caching) | Self::Direct(caching) => caching,
        }
    }
}

/// Whether processes share the credentials that AWS gives through the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Read and write the cache.
    On,
    /// Use neither the cache nor the lock. A process that waits for the lock would find nothing new, and a process that
    /// hangs would block others.
    Off,
}

/// Obtains credentials of the session that `settings` select. `None` if a person must first type the passphrase.
///
/// # Errors
/// The daemon's or AWS's refusal, or that no daemon runs and the settings define no session.
pub async fn obtain(
    settings: &Settings,
    mode: ObtainMode,
    environment: &Environment,
    seams: &Seams,
) -> Result<Option<Credentials>, Failure> {
    let unused = match from_daemon(settings, mode, &seams.clock).await? {
        DaemonOutcome::Credentials(credentials) => return Ok(Some(*credentials)),
        DaemonOutcome::Unused(unused) => unused,
    };
    let Some(session) = settings.the_session() else {
        return Err(no_daemon_and_no_session(settings, settings.picked.as_deref().unwrap_or_default()));
    };
    process_limits::one_more_thread()?;
    let obtained = direct::obtain(settings, session, mode.caching(), seams, environment).await;
    obtained.map_err(|failure| with_why_unused(&failure, &unused))
}
