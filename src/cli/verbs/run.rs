//! `anchord run`: the daemon.

use std::io::LineWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use futures_util::future::join_all;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tracing::Level;
use tracing::info;
use tracing::warn;

use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::output::prompt;
use crate::cli::threads;
use crate::telemetry;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Problems;
use anchord_config::Settings;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::process_limits;
use anchord_runtime::assembly::Seams;
use anchord_runtime::daemon;
use anchord_runtime::daemon::Confinement;
use anchord_runtime::daemon::Reload;
use anchord_session::Freshness;
use anchord_session::Sessions;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Exit {
    let settings = match config::load(matches, surroundings.environment) {
        Ok(settings) => settings,
        Err(problems) => return output::report_problems(&problems, surroundings),
    };
    // Before any other descriptor is opened: those from systemd have fixed numbers.
    let passed = match daemon::passed_descriptors(surroundings.environment.get("FDSTORE")) {
        Ok(passed) => passed,
        Err(error) => return output::report(&daemon::Error::Passed(error).into(), surroundings),
    };
    let (matches, environment) = (matches.clone(), surroundings.environment.clone());
    let read = move || config::load(&matches, &environment);
    let hangup = Hangup::Reloads;
    start(
        DaemonStart { settings, passed, read: Box::new(read), announce: |_| None, hangup, temporary: None },
        surroundings,
    )
}

/// What SIGHUP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Reads the settings again, as daemons do.
    Reloads,
    /// Ends the process: its terminal was closed.
    Ends,
}

/// The parameters of [`start`].
pub(super) struct DaemonStart {
    pub(super) settings: Settings,
    /// Listeners that the daemon does not bind itself.
    pub(super) passed: daemon::Passed,
    /// Reads the settings again.
    pub(super) read: Box<dyn Fn() -> Result<Settings, Problems> + Send + Sync>,
    /// A text for stderr, printed when each session has credentials or an error.
    pub(super) announce: fn(&daemon::Bound) -> Option<String>,
    pub(super) hangup: Hangup,
    /// A directory that is removed at the end.
    pub(super) temporary: Option<PathBuf>,
}

/// Runs a daemon until it ends.
pub(super) fn start(start: DaemonStart, surroundings: &mut Surroundings<'_>) -> Exit {
    let DaemonStart { settings, passed, read, announce, hangup, temporary } = start;
    prompt::ask_for_all(&settings);
    // Before the first thread: threads that exist already would stay outside.
    let confinement = daemon::enter_sandbox(&settings, surroundings.environment, temporary.as_deref());
    let queue = match log_queue() {
        Ok(queue) => queue,
        Err(failure) => return output::report(&failure, surroundings),
    };
    let logs = start_logs(&settings, surroundings.environment, &queue);
    // Goes through the queue: in order with the logs, and without waiting for a reader that hangs.
    let mut stderr = LineWriter::new(queue.writer());
    let surroundings = &mut surroundings.with_stderr(&mut stderr);
    process_limits::no_core_files();
    process_limits::lock_memory();
    process_limits::raise_descriptor_limit();
    let runtime = match threads::runtime_with_threads() {
        Ok(runtime) => runtime,
        Err(failure) => return output::report(&failure, surroundings),
    };
    let first = settings.clone();
    let read = Arc::new(move || {
        let settings = read()?;
        prompt::answer_as_before(&settings, &first);
        Ok(settings)
    });
    let taken = Box::new(move |settings: &Settings| logs.set_level(level(settings)));
    let mut announced = |bound: &daemon::Bound| {
        if let Some(text) = announce(bound) {
            let _ = surroundings.stderr.write_all(text.as_bytes());
        }
    };
    daemon::log_sandbox(confinement.as_ref());
    let again = Again { read, taken, confinement: confinement.map(Arc::new), hangup };
    let outcome = runtime.block_on(serve(&settings, passed, again, &mut announced));
    // A name lookup may still block a thread; the process need not wait for it.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => output::report(&failure, surroundings),
    }
}

/// What a reload needs, and what asks for one.
struct Again {
    read: Arc<dyn Fn() -> Result<Settings, Problems> + Send + Sync>,
    taken: Box<dyn FnMut(&Settings) + Send>,
    confinement: Option<Arc<Confinement>>,
    hangup: Hangup,
}

async fn serve(
    settings: &Settings,
    passed: daemon::Passed,
    again: Again,
    announce: &mut dyn FnMut(&daemon::Bound),
) -> Result<(), Failure> {
    let Again { read, taken, confinement, hangup: meaning } = again;
    let cannot_listen =
        |error: std::io::Error| Failure::of(Reason::Bug, format!("cannot handle signals: {error}"), None);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(cannot_listen)?;

    for warning in &settings.warnings {
        warn!(event = event::CONFIG_WARNING, hint = warning.hint(), "{}", warning.message());
    }
    info!(
        event = event::DAEMON_STARTED,
        version = env!("CARGO_PKG_VERSION"),
        sessions = settings.sessions.len(),
        "Starting"
    );
    let daemon = daemon::build(settings, &Seams::real(), passed).await?;
    // All signals that arrive during a reload cause one further reload.
    let (ask, asked) = mpsc::channel(1);
    let stop = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                Some(()) = hangup.recv() => {
                    if meaning == Hangup::Ends {
                        return;
                    }
                    // If the channel is full, a reload is already requested.
                    let _ = ask.try_send(());
                }
            }
        }
    };
    let (bound, sessions) = (daemon.bound().clone(), daemon.sessions());
    let mut running =
        std::pin::pin!(daemon.with_reload(Reload { asked, read, taken, confinement }).run(stop));
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = first_credentials(&sessions) => announce(&bound),
    }
    Ok(running.await?)
}

/// Waits until each session has credentials or an error, or until the time is over.
async fn first_credentials(sessions: &Sessions) {
    const PATIENCE: Duration = Duration::from_secs(10);
    join_all(sessions.iter().map(|session| session.hand_out(Freshness::Full, PATIENCE))).await;
}

fn level(settings: &Settings) -> Level {
    match settings.log.level {
        config::LogLevel::Error => Level::ERROR,
        config::LogLevel::Warn => Level::WARN,
        config::LogLevel::Info => Level::INFO,
        config::LogLevel::Debug => Level::DEBUG,
        config::LogLevel::Trace => Level::TRACE,
    }
}

/// The log queue of a verb that keeps running. Dropping it waits for the queued lines.
pub(super) fn log_queue() -> Result<telemetry::LogQueue, Failure> {
    telemetry::LogQueue::start().map_err(|error| {
        let message = format!("cannot start a thread: {error}");
        Failure::of(Reason::Misconfigured, message, Some(process_limits::RAISE_THREADS.into()))
    })
}

pub(super) fn start_logs(
    settings: &Settings,
    environment: &Environment,
    queue: &telemetry::LogQueue,
) -> telemetry::Logs {
    let format = match settings.log.format {
        config::LogFormat::Text => telemetry::LineFormat::Text,
        config::LogFormat::Json => telemetry::LineFormat::Json,
    };
    // Set by systemd when stderr is the journal, which stamps each line itself (systemd.exec(5)).
    let under_journal = environment.get("JOURNAL_STREAM").is_some();
    telemetry::init(level(settings), format, !under_journal, queue.writer())
}
