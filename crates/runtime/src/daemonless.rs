//! Credentials for processes that are not the daemon: from a daemon that runs, or else from AWS, behind a cache and a lock
//! that parallel processes share.

mod cache;
mod cache_entry;
mod direct;
mod from_daemon;
mod renewal;

use from_daemon::DaemonOutcome;
use from_daemon::from_daemon;
use from_daemon::no_daemon_and_no_session;
use from_daemon::with_reason;

pub use from_daemon::from_daemon_alone;
pub use from_daemon::session_meant;
pub use renewal::Renewal;

use crate::assembly::Seams;
use anchord_config::Environment;
use anchord_config::Settings;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::process_limits;

/// Who may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObtainMode {
    /// A daemon, and AWS where there is none.
    DaemonFirst(Caching),
    /// AWS alone.
    Direct(Caching),
}

impl ObtainMode {
    pub(crate) fn caching(self) -> Caching {
        match self {
            Self::DaemonFirst(caching) | Self::Direct(caching) => caching,
        }
    }
}

/// Whether what AWS gives is kept for processes to come, and what they left is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// It is kept and used.
    On,
    /// Neither. Without the lock too: a process that waits for it would find nothing new, and one that hangs would block
    /// others.
    Off,
}

/// Credentials of the session that `settings` mean. `None` where a passphrase has to be typed in first.
///
/// # Errors
/// The daemon's refusal, or why AWS gave none; or there is no daemon and the settings define no session.
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
    obtained.map_err(|failure| with_reason(&failure, &unused))
}
