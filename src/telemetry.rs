//! Sets up logs.
//!
//! Stages emit `tracing` events and know nothing of this module. Two rules hold here for all of them: other
//! crates' chatter stays at `warn`, because their `trace` prints buffers that hold secrets, and a panic is
//! reported by its place alone, because its text may quote what it choked on.
//!
//! What goes on for long logs through a [`Queue`], so that a reader of stderr that hangs stops nothing.

mod queue;

pub(crate) use queue::Queue;
use tracing::Level;
use tracing::error;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use anchord_core::event;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs that have been started.
#[derive(Clone, Debug)]
pub(crate) struct Logs(Option<reload::Handle<Targets, Registry>>);

impl Logs {
    /// Logs from `level` up from now on.
    pub(crate) fn set_level(&self, level: Level) {
        if let Some(handle) = &self.0 {
            // The only failure is that the subscriber is gone, and with it whoever could be told.
            let _ = handle.reload(targets(level));
        }
    }
}

fn targets(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("anchord", level)
}

/// Starts logging to `writer`; `timestamps` is off where the journal adds its own. A second call does nothing.
pub(crate) fn init<W>(level: Level, format: Format, timestamps: bool, writer: W) -> Logs
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(writer);
    let started = match (format, timestamps) {
        (Format::Json, _) => registry.with(layer.json().flatten_event(true)).try_init(),
        (Format::Text, true) => registry.with(layer).try_init(),
        (Format::Text, false) => registry.with(layer.without_time()).try_init(),
    };
    if started.is_err() {
        return Logs(None);
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(event = event::TASK_PANICKED, place, "A task panicked; this is a bug");
    }));
    Logs(Some(handle))
}
