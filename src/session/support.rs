//! Fakes and values that the tests of this stage share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::Duration as Span;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::credentials::Credentials;
use crate::credentials::Keys;
use crate::entropy::Entropy;
use crate::entropy::Jitter;
use crate::failure::Class;
use crate::failure::Classify;
use crate::failure::Failure;
use crate::secret::Secret;

pub(super) const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);
pub(super) const SECRET_KEY: &str = "canary-secret-access-key";
pub(super) const TOKEN: &str = "canary-session-token";

/// Credentials obtained at `now` that live for `life`; their key says when they end.
pub(super) fn credentials(now: OffsetDateTime, life: Span) -> Arc<Credentials> {
    let keys = Keys {
        access_key_id: format!("ASIA{}", (now + life).unix_timestamp()),
        secret_access_key: Secret::new(SECRET_KEY.into()),
        session_token: Secret::new(TOKEN.into()),
    };
    Arc::new(Credentials::new(keys, now, now + life, None).unwrap())
}

pub(super) fn failure(class: Class) -> Failure {
    Failure::of(class, format!("a {class} failure"), None)
}

#[derive(Debug, thiserror::Error)]
#[error("slow down")]
struct SlowDown(Duration);

impl Classify for SlowDown {
    fn class(&self) -> Class {
        Class::Throttled
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.0)
    }
}

pub(super) fn throttled_for(pause: Duration) -> Failure {
    SlowDown(pause).into()
}

/// Draws `value` each time and counts how often.
pub(super) fn counted(drawn: Arc<AtomicUsize>, value: u8) -> Jitter {
    Jitter::uniform(Entropy::from_fn(move |bytes| {
        drawn.fetch_add(1, Ordering::SeqCst);
        bytes.fill(value);
    }))
}
