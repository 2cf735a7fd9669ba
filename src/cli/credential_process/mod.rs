//! `anchord credential-process`: one line of JSON on stdout, or one line on stderr.
//!
//! A daemon is asked first; without one the call to AWS is made here, behind a cache and a lock that parallel
//! processes share. stdin is never read, nothing is written to stderr on success, and it all ends within ten
//! seconds: SDKs wait without a limit, or up to a minute (Go).

mod cache;
mod direct;
mod entry;
mod renewal;

use std::io::IsTerminal as _;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;
use tokio::time::Instant;

pub(super) use self::renewal::Renewal;
use super::Exit;
use super::Surroundings;
use super::exit;
use super::helper;
use super::helper::Line;
use super::helper::Name;
use super::prompt;
use super::running;
use super::running::Running;
use super::threads;
use crate::telemetry;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Partial;
use anchord_config::Session;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_frontend::process;
use anchord_identity as identity;
use anchord_runtime::client;
use anchord_runtime::client::Asked;
use anchord_runtime::client::Question;
use anchord_runtime::daemon;
use anchord_runtime::daemon::Seams;

/// The daemon itself waits 8 s for a first attempt.
const DAEMON_PATIENCE: Duration = Duration::from_secs(9);
/// For everything together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Some SDKs keep stderr in a pipe that nobody drains (Java), and quote it in their errors.
const MAX_LINE_BYTES: usize = 2000;

/// The credentials of the session that `settings` mean: the daemon's, or else its own as [`run`] would print them. For
/// verbs that use them; a passphrase may be asked for.
pub(super) fn credentials(
    settings: &Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Credentials, Failure> {
    credentials_by(Way::DaemonFirst(Caching::On), settings, surroundings)
}

/// The same, where it matters who may be asked.
pub(super) fn credentials_by(
    way: Way,
    settings: &Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Credentials, Failure> {
    let settings = &settings.with_pipes_read();
    let mut obtained = in_time(settings, way, Instant::now() + PATIENCE, surroundings)?;
    if let (Obtained::AfterAnAnswer, Some(session)) = (&obtained, settings.the_session()) {
        prompt::ask(session);
        obtained = in_time(settings, way, Instant::now() + PATIENCE, surroundings)?;
    }
    read(&obtained)
}

fn read(obtained: &Obtained) -> Result<Credentials, Failure> {
    match obtained {
        Obtained::Line(line) => read_line(line, &Clock::system()),
        Obtained::AfterAnAnswer => Err(identity::Error::NotAsked.into()),
    }
}

fn read_line(line: &Secret<String>, clock: &Clock) -> Result<Credentials, Failure> {
    process::read(line.expose().as_bytes(), clock.moment())
        .ok_or_else(|| Failure::of(Reason::DaemonUnavailable, "the daemon's answer cannot be read", None))
}

/// Who may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A daemon, and AWS where there is none.
    DaemonFirst(Caching),
    /// AWS alone.
    Direct(Caching),
}

impl Way {
    fn caching(self) -> Caching {
        match self {
            Self::DaemonFirst(caching) | Self::Direct(caching) => caching,
        }
    }
}

/// Whether what AWS gives is kept for processes to come, and what they left is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    On,
    /// Without the lock either: nobody behind it would find anything, and a process that hangs would keep others.
    Off,
}

impl Caching {
    /// The flag of verbs that were built [`with_no_cache`].
    pub(super) fn of(matches: &ArgMatches) -> Self {
        if matches.get_flag(NO_CACHE) { Self::Off } else { Self::On }
    }
}

const NO_CACHE: &str = "no-cache";

/// The verb's grammar with what only anchord has.
pub(super) fn with_no_cache(command: Command) -> Command {
    let help = "Neither read nor write the cache that processes without a daemon share";
    command.arg(Arg::new(NO_CACHE).long(NO_CACHE).action(ArgAction::SetTrue).help(help))
}

pub(super) fn run(matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    daemon::no_core_files();
    let ends_at = Instant::now() + PATIENCE;
    let named = daemon_named_by_flags(matches, name, surroundings.environment);
    if let Some(line) = named.and_then(|settings| from_daemon_alone(settings, ends_at).transpose()) {
        return shown(line, surroundings);
    }
    let (settings, way) = match settings(matches, name, ends_at, surroundings) {
        Ok((mut settings, way)) => {
            settings.read_pipes();
            (settings, way)
        }
        Err(failure) => {
            let named = beside_the_systems_file(matches, name, ends_at, surroundings.environment);
            let line = named.and_then(|settings| from_daemon_alone(settings, ends_at).transpose());
            return shown(line.unwrap_or(Err(failure)), surroundings);
        }
    };
    let mut obtained = in_time(&settings, way, ends_at, surroundings);
    if let (Ok(Obtained::AfterAnAnswer), Some(session)) = (&obtained, settings.the_session()) {
        // Outside of every limit: a person types.
        prompt::ask(session);
        obtained = in_time(&settings, way, Instant::now() + PATIENCE, surroundings);
    }
    let line = obtained.and_then(|obtained| match obtained {
        Obtained::Line(line) => Ok(line),
        Obtained::AfterAnAnswer => Err(identity::Error::NotAsked.into()),
    });
    shown(line.map_err(|failure| with_doubt(failure, &settings)), surroundings)
}

/// A failure with what is doubtful about a Region of the session: it is the likely cause, and SDKs show stderr only of a
/// failure. A terminal has it as a warning.
fn with_doubt(failure: Failure, settings: &Settings) -> Failure {
    let doubts = settings.the_session().map(config::doubts_of).unwrap_or_default();
    let Some(doubt) = doubts.first().filter(|_| !std::io::stderr().is_terminal()) else { return failure };
    let hint =
        [Some(doubt.hint.as_str()), failure.hint()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let message = format!("{}; {}", failure.message(), doubt.what);
    failure.with_message(message).with_hint(Some(hint))
}

fn shown(line: Result<Secret<String>, Failure>, surroundings: &mut Surroundings<'_>) -> Exit {
    match line {
        Ok(line) => exit::print(surroundings, line.expose()),
        Err(failure) => refuse(&failure, surroundings),
    }
}

/// Where flags name a daemon's socket and its session, and nothing more: what is wrong with a settings file that was not
/// named, or a home that hangs, is not in the way.
fn daemon_named_by_flags(matches: &ArgMatches, name: Name, environment: &Environment) -> Option<Settings> {
    if name == Name::Helper {
        return None;
    }
    let is_given = |flag: &str| matches.contains_id(flag);
    let is_named =
        is_given("socket-path") && is_given("session") && !config::names_a_file(matches, environment);
    is_named.then(|| config::load_name(matches, environment)).flatten()
}

/// Where the settings cannot be used, and are the host's: a daemon goes on with those that it has loaded, and so do its
/// clients. A file of the caller's own may mean another session than the daemon's.
fn beside_the_systems_file(
    matches: &ArgMatches,
    name: Name,
    ends_at: Instant,
    environment: &Environment,
) -> Option<Settings> {
    if name == Name::Helper {
        return None;
    }
    let (matches, environment) = (matches.clone(), environment.clone());
    let named = within(ends_at, move || {
        let is_the_systems = config::file_is_the_systems(&matches, &environment);
        Ok(is_the_systems.then(|| config::load_name(&matches, &environment)).flatten())
    });
    named.ok().flatten()
}

/// The line of a daemon's session that is known by its name alone; `None` where no daemon has it.
fn from_daemon_alone(settings: Settings, ends_at: Instant) -> Result<Option<Secret<String>>, Failure> {
    let Some(session) = settings.picked.clone() else { return Ok(None) };
    within(ends_at, move || {
        let places = client::places(&settings);
        let asked = client::ask_for(&session, Question::Credentials, (&settings, &places), DAEMON_PATIENCE);
        match exit::runtime()?.block_on(asked) {
            Asked::Answered(body) => as_line(&body).map(Some),
            Asked::Refused(failure) | Asked::Differs(failure) | Asked::Forbidden(failure) => Err(failure),
            Asked::Unknown(_) | Asked::NoDaemon => Ok(None),
        }
    })
}

/// Under the other name the flags say all, and nobody else is asked. The file is in a home that may hang.
fn settings(
    matches: &ArgMatches,
    name: Name,
    ends_at: Instant,
    surroundings: &mut Surroundings<'_>,
) -> Result<(Settings, Way), Failure> {
    let caching = Caching::of(matches);
    let (matches, environment) = (matches.clone(), surroundings.environment.clone());
    let (line, settings, way) = within(ends_at, move || {
        let line = Line::read(&matches, name, &environment, Vec::new());
        let settled = line.and_then(|line| {
            let (settings, way) = match name {
                Name::Anchord => (line.settings_for_client()?, Way::DaemonFirst(caching)),
                Name::Helper => (line.settings_of_one_call()?, Way::Direct(caching)),
            };
            Ok((line, settings, way))
        });
        settled.map_err(|mistakes| helper::as_failure(&mistakes))
    })?;
    // SDKs want stderr empty; a person who tries it wants to know.
    if std::io::stderr().is_terminal() {
        helper::warn(&line.warnings, surroundings);
        helper::warn(&settings.warnings, surroundings);
    }
    if line.debug {
        telemetry::init(tracing::Level::DEBUG, telemetry::Format::Text, true, std::io::stderr);
    }
    Ok((settings, way))
}

/// What one round has brought.
enum Obtained {
    Line(Secret<String>),
    /// Nothing, before a passphrase is typed in.
    AfterAnAnswer,
}

fn in_time(
    settings: &Settings,
    way: Way,
    ends_at: Instant,
    surroundings: &Surroundings<'_>,
) -> Result<Obtained, Failure> {
    let (settings, environment) = (settings.clone(), surroundings.environment.clone());
    within(ends_at, move || {
        let runtime = exit::runtime()?;
        let line = runtime.block_on(obtain(&settings, way, &environment));
        // A name lookup may still block a thread.
        runtime.shutdown_background();
        line
    })
}

/// What `work` gives in time. It has a thread of its own, which is left behind: no timer ends a call to a file system
/// that hangs.
fn within<T: Send + 'static>(
    ends_at: Instant,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let started = std::thread::Builder::new().spawn(move || sender.send(work()));
    started.map_err(|error| threads::refused(&error.to_string()))?;
    let left = ends_at.saturating_duration_since(Instant::now());
    receiver.recv_timeout(left).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => {
                let message = format!("no credentials within {} s", PATIENCE.as_secs());
                let hint = "see whether AWS, and the folder of this user's home, can be reached from here";
                Failure::of(Reason::NoAnswer, message, Some(hint.into()))
            }
            RecvTimeoutError::Disconnected => {
                Failure::of(Reason::Bug, "asking for credentials panicked; this is a bug", None)
            }
        })
    })
}

async fn obtain(settings: &Settings, way: Way, environment: &Environment) -> Result<Obtained, Failure> {
    let daemons = match way {
        Way::DaemonFirst(_) => from_daemon(settings).await?,
        Way::Direct(_) => Daemons::Nothing(Unused::Absent),
    };
    match (daemons, settings.the_session()) {
        (Daemons::Line(line), _) => Ok(Obtained::Line(line)),
        (Daemons::Nothing(why), Some(session)) => {
            threads::one_more()?;
            let obtained = direct(settings, session, way.caching(), environment).await;
            obtained.map_err(|failure| with_reason(&failure, &why))
        }
        (Daemons::Nothing(_), None) => {
            Err(no_daemon_and_no_session(settings, settings.picked.as_deref().unwrap_or_default()))
        }
    }
}

/// What a daemon has for the session that the settings mean.
enum Daemons {
    Line(Secret<String>),
    /// Nothing, and why.
    Nothing(Unused),
}

/// Why a daemon gave nothing for a session that the settings define.
enum Unused {
    /// There is no daemon.
    Absent,
    /// Its session is another, or it has none of that name.
    Other(Failure),
    /// This user may not use it.
    Forbidden(Failure),
}

/// Asks a daemon. What the settings themselves say of the session goes with the request: a daemon with other settings
/// refuses, and the credentials are got here.
async fn from_daemon(settings: &Settings) -> Result<Daemons, Failure> {
    let name = match settings.picked.as_ref().or(settings.the_session().map(|session| &session.name)) {
        Some(name) => name.clone(),
        None => the_daemons_only(settings).await?,
    };
    let places = client::places(settings);
    match client::ask_for(&name, Question::Credentials, (settings, &places), DAEMON_PATIENCE).await {
        Asked::Answered(body) => as_line(&body).map(Daemons::Line),
        Asked::Unknown(why) | Asked::Differs(why)
            if settings.the_session().is_some() && !settings.stated().is_empty() =>
        {
            Ok(Daemons::Nothing(Unused::Other(why)))
        }
        Asked::Forbidden(why) if settings.the_session().is_some() => {
            Ok(Daemons::Nothing(Unused::Forbidden(why)))
        }
        Asked::Refused(failure)
        | Asked::Unknown(failure)
        | Asked::Differs(failure)
        | Asked::Forbidden(failure) => Err(failure),
        Asked::NoDaemon if settings.the_session().is_none() => Err(no_daemon_and_no_session(settings, &name)),
        Asked::NoDaemon => Ok(Daemons::Nothing(Unused::Absent)),
    }
}

/// A failure of a call made here, and why the daemon that runs was not used. A user whom the daemon keeps out, and who cannot
/// read the host's key either, needs the daemon and not the key.
fn with_reason(failure: &Failure, why: &Unused) -> Failure {
    match why {
        Unused::Absent => failure.clone(),
        Unused::Forbidden(why) if failure.is_local() => {
            let message = format!("{}; without it: {}", why.message(), failure.message());
            let hint = why.hint().map(str::to_owned);
            failure.clone().with_reason(why.reason()).with_message(message).with_hint(hint)
        }
        Unused::Other(why) | Unused::Forbidden(why) => {
            let message = format!("{}; the daemon was not used: {}", failure.message(), why.message());
            failure.clone().with_message(message)
        }
    }
}

async fn direct(
    settings: &Settings,
    session: &Session,
    caching: Caching,
    environment: &Environment,
) -> Result<Obtained, Failure> {
    let obtained = direct::obtain(settings, session, caching, &Seams::real(), environment).await?;
    Ok(obtained.map_or(Obtained::AfterAnAnswer, Obtained::Line))
}

/// The name of the session that a verb means that goes on until it is stopped; `None` where a daemon will know it that
/// does not run yet.
///
/// # Errors
/// Why no later attempt could give its credentials: neither the settings nor the daemon that runs have it, or there is
/// no sign of a daemon.
pub(super) async fn session_meant(settings: &Settings) -> Result<Option<String>, Failure> {
    if let Some(session) = settings.the_session() {
        return Ok(Some(session.name.clone()));
    }
    // What a file that this user may not read defines is the daemon's to know.
    let says_something =
        settings.picked.is_some() || settings.partial.is_some() || settings.unread_file.is_some();
    let is_awaited = says_something && client::is_awaited(settings);
    let name = match &settings.picked {
        Some(name) => name.clone(),
        None => {
            let Ok(running) = the_daemon_for_all(settings).await else { return Ok(None) };
            match only(settings, running.as_ref()) {
                Ok(name) => name,
                Err(_) if running.is_none() && is_awaited => return Ok(None),
                Err(failure) => return Err(failure),
            }
        }
    };
    let places = client::places(settings);
    match client::ask_for(&name, Question::Settings, (settings, &places), DAEMON_PATIENCE).await {
        Asked::Unknown(failure) | Asked::Differs(failure) => Err(failure),
        Asked::NoDaemon if !is_awaited => Err(no_daemon_and_no_session(settings, &name)),
        Asked::NoDaemon | Asked::Answered(_) | Asked::Refused(_) | Asked::Forbidden(_) => Ok(Some(name)),
    }
}

/// The daemon's only session, for a user without any of their own.
async fn the_daemons_only(settings: &Settings) -> Result<String, Failure> {
    only(settings, the_daemon_for_all(settings).await?.as_ref())
}

/// The daemon that has the sessions of a user without any of their own.
async fn the_daemon_for_all(settings: &Settings) -> Result<Option<Running>, Failure> {
    if settings.sessions.is_empty() { running::find(settings, None).await } else { Ok(None) }
}

fn only(settings: &Settings, running: Option<&Running>) -> Result<String, Failure> {
    let names: Vec<&str> = match running {
        Some(running) => running.sessions.iter().map(|held| held.name.as_str()).collect(),
        None => settings.sessions.iter().map(|session| session.name.as_str()).collect(),
    };
    let (message, hint) = match names.as_slice() {
        [only] if running.is_some() => return Ok((*only).to_owned()),
        [] if settings.partial.is_some() || settings.unread_file.is_some() => {
            return Err(no_daemon_and_no_session(settings, "default"));
        }
        [] => (
            "no session is defined here, and no daemon runs",
            "start the daemon and name its session with --session, or define one in a settings file or by \
             --certificate, --private-key, --trust-anchor-arn, --profile-arn, --role-arn"
                .to_owned(),
        ),
        names => {
            let hint = format!("name one with --session: {}", names.join(", "));
            ("there is not exactly one session to choose", hint)
        }
    };
    Err(Failure::of(Reason::UnknownSession, message, Some(hint)))
}

fn no_daemon_and_no_session(settings: &Settings, name: &str) -> Failure {
    if let Some(Partial { origins, missing, flags, stated: _ }) = &settings.partial {
        let missing: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "no daemon runs, and what {} says of session `{name}` lacks {}",
            origins.join(", "),
            missing.join(", ")
        );
        let hint = format!("start the daemon, or give {}, or their variables", flags.join(", "));
        return Failure::of(Reason::UnknownSession, message, Some(hint));
    }
    let hint = "start the daemon, name its socket with --socket-path, or define the session for this user";
    let mut message = format!("no daemon runs and no configuration defines session `{name}`");
    if let Some(unread) = &settings.unread_file {
        message = format!("{message} (this user may not read `{}`)", unread.display());
    }
    Failure::of(Reason::UnknownSession, message, Some(hint.into()))
}

fn as_line(body: &Secret<Vec<u8>>) -> Result<Secret<String>, Failure> {
    let text = std::str::from_utf8(body.expose()).map(str::trim_end).unwrap_or_default();
    if text.is_empty() || text.contains('\n') {
        return Err(Failure::of(Reason::DaemonUnavailable, "the daemon's answer is not one line", None));
    }
    Ok(Secret::new(format!("{text}\n")))
}

/// One line, and exit code 1 whatever the class: that is all `credential_process` knows.
pub(super) fn refuse(failure: &Failure, surroundings: &mut Surroundings<'_>) -> Exit {
    let failure = exit::in_words_of(surroundings.name, failure);
    let failure = exit::for_clients(failure, surroundings.environment);
    let mut line = format!("anchord: {failure}").replace(['\r', '\n'], " ");
    let end = (0..=MAX_LINE_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(surroundings.stderr, "{line}");
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

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

    #[tokio::test]
    async fn the_daemon_of_a_file_that_this_user_may_not_read_is_waited_for() {
        let nowhere = [("socket-path", "/nowhere/anchord.sock")];
        let arguments = config::Arguments::given(nowhere).unwrap();
        let environment = Environment::from_iter([("HOME", "/nowhere")]).with_uid(7);
        let mut settings = config::load_flags_for_client(arguments, &environment).unwrap();

        assert!(session_meant(&settings).await.is_err());
        settings.unread_file = Some("/etc/anchord/anchord.toml".into());
        assert_eq!(session_meant(&settings).await.unwrap(), None);
    }
}
