//! Fakes and values that the tests of this stage share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::Duration as Span;
use time::macros::datetime;

use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Class;
use anchord_core::failure::Classify;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;

pub(super) const NOON: Moment = Moment { wall: datetime!(2026-03-11 12:00:00 UTC), up: Span::HOUR };
pub(super) const SECRET_KEY: &str = "canary-secret-access-key";
pub(super) const TOKEN: &str = "canary-session-token";

/// Credentials obtained at `now` that live for `life`; their key says when they end.
pub(super) fn credentials(now: Moment, life: Span) -> Arc<Credentials> {
    let keys = Keys {
        access_key_id: format!("ASIA{}", (now.wall + life).unix_timestamp()),
        secret_access_key: Secret::new(SECRET_KEY.into()),
        session_token: Some(Secret::new(TOKEN.into())),
    };
    Arc::new(Credentials::new(keys, now, now.wall + life, None).unwrap())
}

pub(super) fn failure(class: Class) -> Failure {
    Failure::of(class.into(), format!("a {class} failure"), None)
}

#[derive(Debug, thiserror::Error)]
#[error("slow down")]
struct SlowDown(Class, Duration);

impl Classify for SlowDown {
    fn reason(&self) -> Reason {
        self.0.into()
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.1)
    }
}

pub(super) fn throttled_for(pause: Duration) -> Failure {
    told_to_wait(Class::Throttled, pause)
}

pub(super) fn told_to_wait(class: Class, pause: Duration) -> Failure {
    SlowDown(class, pause).into()
}

/// Draws `value` each time and counts how often.
pub(super) fn counted(drawn: Arc<AtomicUsize>, value: u8) -> Jitter {
    Jitter::uniform(Entropy::from_fn(move |bytes| {
        drawn.fetch_add(1, Ordering::SeqCst);
        bytes.fill(value);
    }))
}

/// An AWS of our own: answers by script, then as it does `after_all`, each time after `delay`.
pub(super) struct Aws {
    pub(super) clock: Clock,
    pub(super) delay: Duration,
    pub(super) script: Mutex<VecDeque<Act>>,
    pub(super) after_all: Mutex<Act>,
    pub(super) attempts: AtomicUsize,
    pub(super) flying: AtomicUsize,
    pub(super) most_flying: AtomicUsize,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Issue(Span),
    Fail(Failure),
    Panic,
    Hang,
}

impl Aws {
    pub(super) fn new(
        clock: &Clock,
        script: impl IntoIterator<Item = Act>,
        after_all: Act,
        delay: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            delay,
            script: Mutex::new(script.into_iter().collect()),
            after_all: Mutex::new(after_all),
            attempts: AtomicUsize::new(0),
            flying: AtomicUsize::new(0),
            most_flying: AtomicUsize::new(0),
        })
    }

    pub(super) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    pub(super) fn flying(&self) -> usize {
        self.flying.load(Ordering::SeqCst)
    }

    pub(super) fn turns_to(&self, act: Act) {
        self.script.lock().unwrap().clear();
        *self.after_all.lock().unwrap() = act;
    }
}

impl Issuer for Aws {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            let flying = self.flying.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_flying.fetch_max(flying, Ordering::SeqCst);
            let _landing = Landing(&self.flying);
            tokio::time::sleep(self.delay).await;
            let scripted = self.script.lock().unwrap().pop_front();
            let act = scripted.unwrap_or_else(|| self.after_all.lock().unwrap().clone());
            match act {
                Act::Issue(life) => Ok(Credentials::clone(&credentials(self.clock.moment(), life))),
                Act::Fail(failure) => Err(failure),
                Act::Panic => panic!("the issuer panics, as the test asked"),
                Act::Hang => std::future::pending().await,
            }
        })
    }
}

struct Landing<'a>(&'a AtomicUsize);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
