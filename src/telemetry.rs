//! Sets up logs.
//!
//! Stages emit `tracing` events and do not know this module, which enforces two rules: other crates log at `warn` or above
//! only, because their `trace` events print buffers with secrets; and a panic is logged with its place only, because its
//! text may quote secret data.
//!
//! Verbs that keep running log through a [`Queue`], so that a reader of stderr that hangs blocks nothing.

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

/// The format of log lines.
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
            // It fails only if the subscriber is gone, and then nothing can log the failure.
            let _ = handle.reload(targets(level));
        }
    }
}

fn targets(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("anchord", level)
}

/// Starts logging to `writer`. `timestamps` is false if the journal adds its own. A second call has no effect.
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
