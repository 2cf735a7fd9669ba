//! Credentials for a verb, with a time limit below that of SDKs.

use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::Surroundings;
use crate::cli::output::prompt;
use crate::cli::threads;
use anchord_config::Settings;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::process_limits;
use anchord_identity as identity;
use anchord_runtime::assembly::Seams;
use anchord_runtime::daemonless;
use anchord_runtime::daemonless::Caching;
use anchord_runtime::daemonless::ObtainMode;

/// The time limit for reading settings and getting credentials together.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The credentials of the settings' session, from the daemon, else from AWS. May ask for a passphrase.
pub(in crate::cli) fn credentials(
    settings: &Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Credentials, Failure> {
    credentials_by(ObtainMode::DaemonFirst(Caching::On), settings, surroundings)
}

/// The same, with a choice of sources.
pub(in crate::cli) fn credentials_by(
    mode: ObtainMode,
    settings: &Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Credentials, Failure> {
    obtained(&settings.with_pipes_read(), mode, Instant::now() + PATIENCE, surroundings)
}

/// The same for settings with pipes already read, until `ends_at`. Waits for a passphrase without a limit.
pub(super) fn obtained(
    settings: &Settings,
    mode: ObtainMode,
    ends_at: Instant,
    surroundings: &Surroundings<'_>,
) -> Result<Credentials, Failure> {
    if let Some(credentials) = in_time(settings, mode, ends_at, surroundings)? {
        return Ok(credentials);
    }
    if let Some(session) = settings.the_session() {
        prompt::ask(session);
    }
    let after_the_answer = in_time(settings, mode, Instant::now() + PATIENCE, surroundings)?;
    after_the_answer.ok_or_else(|| identity::PassphraseError::NotAsked.into())
}

/// `None` if a passphrase must be typed first.
fn in_time(
    settings: &Settings,
    mode: ObtainMode,
    ends_at: Instant,
    surroundings: &Surroundings<'_>,
) -> Result<Option<Credentials>, Failure> {
    let (settings, environment) = (settings.clone(), surroundings.environment.clone());
    within(ends_at, move || {
        let runtime = threads::runtime()?;
        let obtained = runtime.block_on(daemonless::obtain(&settings, mode, &environment, &Seams::real()));
        // A name lookup may still block a thread.
        runtime.shutdown_background();
        obtained
    })
}

/// Runs `work` in a thread of its own and waits for it until `ends_at`. A thread that hangs is left running, because no
/// timer can interrupt a call to a file system.
pub(super) fn within<T: Send + 'static>(
    ends_at: Instant,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let started = std::thread::Builder::new().spawn(move || sender.send(work()));
    started.map_err(|error| process_limits::thread_refused(&error.to_string()))?;
    let left = ends_at.saturating_duration_since(Instant::now());
    receiver.recv_timeout(left).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => {
                let message = format!("no credentials within {} s", PATIENCE.as_secs());
                let hint = "check the network to AWS, and whether this user's home directory responds";
                Failure::of(Reason::NoAnswer, message, Some(hint.into()))
            }
            RecvTimeoutError::Disconnected => {
                Failure::of(Reason::Bug, "the thread that gets credentials panicked; this is a bug", None)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchord_core::failure::Class;

    #[test]
    fn what_hangs_or_panics_keeps_nobody_waiting() {
        let (release, released) = mpsc::channel::<()>();
        let hung = within(Instant::now(), move || released.recv().map_err(|_| unreachable!()));
        assert!(hung.unwrap_err().message().starts_with("no credentials within"));
        drop(release);

        let ends_at = Instant::now() + PATIENCE;
        let panicked: Result<(), Failure> = within(ends_at, || panic!("of the test"));
        assert_eq!(panicked.unwrap_err().class(), Class::Broken);
        assert_eq!(within(ends_at, || Ok(7)).unwrap(), 7);
    }
}
