//! `anchord update`: writes a profile of the shared credentials file, once or for ever.
//!
//! The credentials come as those of `credential-process` do: from a running daemon, or else from AWS through the cache
//! that parallel processes share. What the file holds stays until there is something better.

use std::path::PathBuf;
use std::time::Duration;

use clap::Arg;
use clap::ArgMatches;
use clap::Command;
use time::OffsetDateTime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tracing::info;
use tracing::warn;

use super::Exit;
use super::Surroundings;
use super::credential_process;
use super::credential_process::Way;
use super::exit;
use super::helper;
use super::helper::Line;
use super::helper::Name;
use super::helper::Words;
use super::prompt;
use super::run;
use crate::clock;
use crate::clock::Clock;
use crate::config;
use crate::config::Environment;
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::daemon;
use crate::failure::Class;
use crate::failure::Failure;
use crate::frontend::credentials_file;
use crate::frontend::credentials_file::Profile;
use crate::session;
use crate::session::Freshness;

/// The verb's grammar with what only anchord has.
pub(super) fn with_file(command: Command) -> Command {
    let help = "The file to write [default: AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials]";
    command
        .long_about(
            "Write credentials into a profile of the shared credentials file, and renew them ahead of their end until \
             told to stop. All else in the file stays as it is. Programs notice when they start; some SDKs also when \
             what they have read ends.",
        )
        .arg(Arg::new("credentials-file").long("credentials-file").value_name("PATH").help(help))
}

/// Which profile of which file is written.
pub(super) struct Target {
    pub(super) profile: Profile,
    pub(super) path: PathBuf,
}

/// How long the verb goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Until the file is written.
    Once,
    /// Until a signal.
    Forever,
}

pub(super) fn run(matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    let words = Words(matches);
    let read = Line::read(matches, name, surroundings.environment, &[]).and_then(|line| {
        let settled = match name {
            Name::Anchord => (line.settings_for_client()?, Way::DaemonFirst),
            Name::Helper => (line.settings_of_one_call()?, Way::Direct),
        };
        Ok((line, settled))
    });
    let (line, (settings, way)) = match read {
        Ok(read) => read,
        Err(mistakes) => return helper::refuse(&mistakes, surroundings),
    };
    helper::warn(&line.warnings, surroundings);
    helper::warn(&settings.warnings, surroundings);
    let file = matches.get_one::<String>("credentials-file").map(String::as_str);
    let profile = words.get("profile").unwrap_or("default");
    let target = match target(profile, file, surroundings.environment) {
        Ok(target) => target,
        Err(failure) => return exit::report(&failure, surroundings),
    };
    let term = if words.has("once") { Term::Once } else { Term::Forever };
    update(&settings, &target, (term, way), surroundings)
}

/// The profile called `name` of `file`, or else of the file that SDKs read.
pub(super) fn target(name: &str, file: Option<&str>, environment: &Environment) -> Result<Target, Failure> {
    let misconfigured = |message, hint: &str| Failure::of(Class::Misconfigured, message, Some(hint.into()));
    let profile = Profile::parse(name)
        .map_err(|error| misconfigured(format!("--profile: {error}"), "choose another name"))?;
    let path = config::shared_credentials_file(file, environment).ok_or_else(|| {
        let hint = "name a file with --credentials-file, or set HOME";
        misconfigured("there is no home for a credentials file".into(), hint)
    })?;
    Ok(Target { profile, path })
}

/// Writes what `settings` give into `target`.
pub(super) fn update(
    settings: &Settings,
    target: &Target,
    (term, way): (Term, Way),
    surroundings: &mut Surroundings<'_>,
) -> Exit {
    daemon::no_core_files();
    if let Some(session) = settings.the_session().filter(|_| term == Term::Forever) {
        prompt::ask(session);
    }
    let outcome = match term {
        Term::Once => {
            credential_process::credentials_by(way, settings, surroundings).and_then(|credentials| {
                exit::runtime()?.block_on(write(target, &credentials))?;
                Ok(())
            })
        }
        Term::Forever => exit::runtime().and_then(|runtime| {
            let _logs = run::start_logs(settings, surroundings.environment);
            let outcome = runtime.block_on(until_told_to_stop(settings, target, way, surroundings));
            runtime.shutdown_background();
            outcome
        }),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => exit::report(&failure, surroundings),
    }
}

async fn write(target: &Target, credentials: &Credentials) -> Result<bool, Failure> {
    Ok(credentials_file::write(&target.path, &target.profile, credentials).await?)
}

async fn until_told_to_stop(
    settings: &Settings,
    target: &Target,
    way: Way,
    surroundings: &Surroundings<'_>,
) -> Result<(), Failure> {
    let cannot_listen =
        |error: std::io::Error| Failure::of(Class::Broken, format!("cannot take signals: {error}"), None);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    tokio::select! {
        () = keep(settings, target, way, surroundings) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Writes again and again; no failure ends it.
async fn keep(settings: &Settings, target: &Target, way: Way, surroundings: &Surroundings<'_>) {
    let clock = Clock::system();
    let mut trouble = Trouble::default();
    loop {
        let round = async {
            let credentials = credential_process::attempt(settings, way, surroundings).await?;
            if write(target, &credentials).await? {
                let ends_at = clock::rfc3339(credentials.expires_at());
                info!(profile = target.profile.as_str(), path = %target.path.display(), ends_at, "Written");
            }
            Ok(credentials)
        };
        let pause = match round.await {
            Ok(credentials) => {
                trouble.is_over();
                wait_until_due(&credentials, &clock).await;
                // What is due was given because nothing newer was to be had, or is being renewed by the daemon.
                RETRY
            }
            Err(failure) => trouble.tell(&failure),
        };
        tokio::time::sleep(pause).await;
    }
}

/// Between looks at the clock: timers stand still while the host sleeps.
const LOOK: Duration = Duration::from_secs(30);
/// Before what is due is asked for again.
const RETRY: Duration = Duration::from_secs(5);

async fn wait_until_due(credentials: &Credentials, clock: &Clock) {
    let left = session::left_when_due(credentials.life(), Freshness::Full.reserve());
    let due_at = credentials.expires_at() - left;
    if due_at <= clock.now() {
        return tokio::time::sleep(LOOK).await;
    }
    while let Some(wait) = wait(clock.now(), due_at) {
        tokio::time::sleep(wait).await;
    }
}

fn wait(now: OffsetDateTime, due_at: OffsetDateTime) -> Option<Duration> {
    (now < due_at).then(|| clock::until(now, due_at).min(LOOK))
}

/// The failures since the last success.
#[derive(Default)]
struct Trouble {
    last: Option<Failure>,
    count: u32,
}

impl Trouble {
    /// Tells of a failure that is another than the last; how long to leave it alone.
    fn tell(&mut self, failure: &Failure) -> Duration {
        let pause = self.pause(failure);
        if self.last.as_ref() != Some(failure) {
            let (class, retry_in) = (failure.class(), pause);
            warn!(%class, ?retry_in, error = %failure, "The credentials file is not renewed; it stays as it is");
        }
        self.last = Some(failure.clone());
        self.count = self.count.saturating_add(1);
        pause
    }

    fn is_over(&mut self) {
        if std::mem::take(self).last.is_some() {
            info!("Recovered");
        }
    }

    fn pause(&self, failure: &Failure) -> Duration {
        let first = match failure.class() {
            Class::Denied => DENIED_PAUSE,
            Class::Transient | Class::Broken => Duration::from_secs(1),
            Class::Throttled | Class::Misconfigured => Duration::from_secs(5),
        };
        let doubled = first.saturating_mul(1 << self.count.min(8)).min(LONGEST_PAUSE.max(first));
        failure.retry_after().map_or(doubled, |asked| asked.clamp(first, DENIED_PAUSE))
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const DENIED_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_the_trouble() {
        let failure = |class| Failure::of(class, "no", None);
        let mut trouble = Trouble::default();

        let pauses: Vec<_> = (0..8).map(|_| trouble.tell(&failure(Class::Transient)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(trouble.tell(&failure(Class::Denied)), DENIED_PAUSE);
        trouble.is_over();
        assert_eq!(trouble.tell(&failure(Class::Misconfigured)).as_secs(), 5);
    }
}
