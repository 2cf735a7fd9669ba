//! The events of a run in order. Their hash shows if two runs differ, and the last ones show why a run failed.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher as _;
use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;

use crate::times::Times;

/// One event.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Event {
    Begins(&'static str),
    Ends(&'static str),
    Suspended(Duration),
    Stepped(Span),
    Rotated { certificate: usize, revoked: bool },
    Stopped,
    Started { with: Option<OffsetDateTime> },
    Reloaded { changed: bool },
    KeeperPanicked,
    Called { certificate: usize },
    Answered(&'static str),
    Issued { set: usize, ends_at: OffsetDateTime },
    Lost,
    Published { phase: &'static str, fetching: bool, trouble: Option<&'static str>, next_at: OffsetDateTime },
    Handed { client: usize, set: usize },
    Refused { client: usize },
    Well,
    Broken(String),
}

const REMEMBERED: usize = 60;

pub(crate) struct Trace {
    hash: u64,
    is_over: bool,
    recent: VecDeque<(OffsetDateTime, Span, Event)>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hash: 0, is_over: false, recent: VecDeque::with_capacity(REMEMBERED + 1) }
    }

    pub(crate) fn note(&mut self, times: &Times, event: Event) {
        if self.is_over {
            return;
        }
        // The events after a failure may be many and do not explain it.
        self.is_over = matches!(event, Event::Broken(_));
        let (truth, offset) = (times.truth(), times.offset());
        let mut hasher = DefaultHasher::new();
        (truth, offset, &event).hash(&mut hasher);
        // A sum, because tasks that wake at the same instant run in any order.
        self.hash = self.hash.wrapping_add(hasher.finish());
        self.recent.push_back((truth, offset, event));
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events, one per line: the true time, the clock's error and the event.
    pub(crate) fn tail(&self) -> String {
        self.recent.iter().fold(String::new(), |mut text, (truth, offset, event)| {
            let (date, time) = (truth.date(), truth.time());
            let wrong = if offset.is_zero() { String::new() } else { format!(" (clock off by {offset})") };
            let _ = writeln!(text, "  {date} {time}{wrong} {event:?}");
            text
        })
    }
}
