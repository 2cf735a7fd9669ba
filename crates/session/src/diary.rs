//! Logs what happens to a session, once for each fact that a person should know.
//!
//! A repeated failure is logged three times, then only at `debug`, until it changes, the credentials come close to
//! their end or expire, or an attempt succeeds. No secret is logged: of credentials only the access key ID and the end.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tracing::debug;
use tracing::error;
use tracing::field::display;
use tracing::info;
use tracing::warn;

use super::Phase;
use super::Snapshot;
use anchord_core::clock::Moment;
use anchord_core::clock::rfc3339;
use anchord_core::credentials::Credentials;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_core::failure::Detail;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::reported::Reported;

/// What has been logged about a session so far.
#[derive(Debug)]
pub(super) struct SessionDiary {
    session: Arc<str>,
    failures: u32,
    failing_since: Option<Moment>,
    told: Reported<LoggedFailure>,
    times_told: u32,
    left: LifeLeft,
}

#[derive(Debug, PartialEq, Eq)]
struct LoggedFailure {
    reason: Reason,
    detail: Option<Detail>,
    left: LifeLeft,
}

/// How long clients still get the current credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LifeLeft {
    Plenty,
    Little,
    /// Less than the reserve: clients no longer get them, though they have not expired.
    Reserve,
    Nothing,
}

impl SessionDiary {
    pub(super) fn new(session: &str) -> Self {
        Self {
            session: session.into(),
            failures: 0,
            failing_since: None,
            told: Reported::default(),
            times_told: 0,
            left: LifeLeft::Nothing,
        }
    }

    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Logs the state after an event, if it is worth a line. `ended` says whether the event was the end of an attempt;
    /// `spare` is the end of new credentials that were not needed.
    pub(super) fn note(
        &mut self,
        ended: bool,
        snapshot: &Snapshot,
        (retry_in, spare): (Duration, Option<OffsetDateTime>),
        now: Moment,
    ) {
        let (left, before) = (LifeLeft::of(snapshot, now), self.left);
        self.left = left;
        match (ended, &snapshot.trouble, &snapshot.credentials) {
            (true, Some(trouble), _) => self.failed(trouble, snapshot, retry_in, now),
            (true, None, Some(held)) => self.renewed(held, spare, retry_in, now),
            (_, trouble, Some(held)) if left != before => self.ran_out(held, trouble.as_ref()),
            _ => {}
        }
    }

    fn renewed(&mut self, held: &Credentials, spare: Option<OffsetDateTime>, next_in: Duration, now: Moment) {
        let session = &*self.session;
        if let Some(since) = self.failing_since {
            let failing_for_seconds = (now.up - since.up).whole_seconds();
            info!(
                event = event::CREDENTIALS_RECOVERED,
                session,
                failures = self.failures,
                failing_for_seconds,
                "Recovered"
            );
        }
        self.told.clear();
        (self.failures, self.failing_since, self.times_told) = (0, None, 0);
        let expires_at = rfc3339(held.expires_at());
        match spare {
            Some(end) => info!(
                event = event::CREDENTIALS_KEPT,
                session, %expires_at, granted_until = rfc3339(end), next_in_seconds = seconds(next_in),
                "AWS granted credentials that expire before the current ones; keeping the current ones"
            ),
            None => info!(
                event = event::CREDENTIALS_RENEWED,
                session, %expires_at, access_key_id = held.access_key_id(), "Credentials renewed"
            ),
        }
    }

    fn failed(&mut self, trouble: &Failure, snapshot: &Snapshot, retry_in: Duration, now: Moment) {
        let (reason, detail) = (trouble.reason(), trouble.detail().cloned());
        let told = LoggedFailure { reason, detail, left: self.left };
        if self.told.is_new(told) {
            self.times_told = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.times_told = self.times_told.saturating_add(1);

        let (session, failures) = (&*self.session, self.failures);
        let (class, error, hint) = (trouble.class(), trouble.message(), trouble.hint());
        let retry_in_seconds = seconds(retry_in);
        // It may be in the past.
        let expires_at = snapshot.credentials.as_ref().map(|held| display(rfc3339(held.expires_at())));
        let needs_a_person = matches!(class, Class::Denied | Class::Misconfigured | Class::Broken);
        if self.times_told > LOGGED_ALOUD {
            debug!(session, %class, %reason, error, hint, retry_in_seconds, expires_at, failures, "Renewal failed again");
        } else if snapshot.inherited && self.left.is_handed_out() {
            warn!(
                event = event::CREDENTIALS_INHERITED,
                session, %class, %reason, error, hint, retry_in_seconds, expires_at,
                "No credentials with the new settings; handing out those of the earlier settings until they expire"
            );
        } else if self.left.is_handed_out() {
            warn!(
                event = event::CREDENTIALS_RENEWAL_FAILED,
                session, %class, %reason, error, hint, retry_in_seconds, expires_at,
                "Renewal failed; keeping credentials until they expire"
            );
        } else if needs_a_person {
            error!(
                event = event::CREDENTIALS_UNAVAILABLE,
                session, %class, %reason, error, hint, retry_in_seconds, expires_at, "No valid credentials"
            );
        } else {
            warn!(
                event = event::CREDENTIALS_UNAVAILABLE,
                session, %class, %reason, error, hint, retry_in_seconds, expires_at,
                "No valid credentials; trying again"
            );
        }
    }

    /// Logs that the credentials are too close to their end to be handed out, or have expired.
    fn ran_out(&self, held: &Credentials, trouble: Option<&Failure>) {
        let (session, expires_at) = (&*self.session, rfc3339(held.expires_at()));
        let trouble =
            trouble.map(|trouble| (trouble.class(), trouble.reason(), trouble.message(), trouble.hint()));
        match (self.left, trouble) {
            (LifeLeft::Plenty | LifeLeft::Little, _) => {}
            (LifeLeft::Reserve, Some((class, reason, error, hint))) => error!(
                event = event::CREDENTIALS_WITHHELD,
                session, %class, %reason, error, hint, %expires_at,
                "Credentials are about to expire and are no longer handed out; no renewal has succeeded"
            ),
            (LifeLeft::Reserve, None) => info!(
                event = event::CREDENTIALS_WITHHELD,
                session, %expires_at,
                "Credentials are about to expire and are no longer handed out; renewing"
            ),
            (LifeLeft::Nothing, Some((class, reason, error, hint))) => error!(
                event = event::CREDENTIALS_EXPIRED,
                session, %class, %reason, error, hint, %expires_at,
                "Credentials have expired; no renewal has succeeded"
            ),
            (LifeLeft::Nothing, None) => info!(
                event = event::CREDENTIALS_EXPIRED,
                session, %expires_at, "Credentials have expired; renewing"
            ),
        }
    }
}

/// Rounded to whole seconds.
fn seconds(span: Duration) -> u64 {
    (span + Duration::from_millis(500)).as_secs()
}

/// Logs, once for all sessions, that the wall clock was set by `step`.
pub(super) fn clock_was_set(step: time::Duration) {
    let direction = if step.is_negative() { "back" } else { "forward" };
    warn!(
        event = event::CLOCK_SET,
        seconds = step.abs().whole_seconds(),
        "The local clock was set {direction}; renewing, and checking expiry by the time since boot too"
    );
}

/// How often a repeated failure is logged before its level falls to `debug`.
const LOGGED_ALOUD: u32 = 3;

impl LifeLeft {
    fn of(snapshot: &Snapshot, now: Moment) -> Self {
        match &snapshot.credentials {
            Some(held) if snapshot.phase == Phase::Live => {
                if held.remaining(now) < LITTLE {
                    Self::Little
                } else {
                    Self::Plenty
                }
            }
            Some(held) if held.remaining(now).is_positive() => Self::Reserve,
            _ => Self::Nothing,
        }
    }

    fn is_handed_out(self) -> bool {
        matches!(self, Self::Plenty | Self::Little)
    }
}

/// With less than this left, clients soon notice: some SDKs then fetch credentials on every call.
const LITTLE: time::Duration = time::Duration::minutes(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::NOON;
    use crate::support::SECRET_KEY;
    use crate::support::TOKEN;
    use crate::support::credentials;
    use crate::support::failure;
    use anchord_core::failure::Classify;
    use anchord_testing::Log;
    use anchord_testing::is_of;

    /// What `write` logs at any level, a line an event.
    fn logged(write: impl FnOnce(&mut SessionDiary)) -> Vec<String> {
        let log = Log::verbose();
        write(&mut SessionDiary::new("web"));
        log.lines()
    }

    fn state(held: Option<&Arc<Credentials>>, trouble: Option<&Failure>) -> Snapshot {
        let live = held.is_some_and(|held| held.remaining(NOON) > time::Duration::MINUTE);
        Snapshot {
            phase: if live { Phase::Live } else { Phase::Lapsed },
            credentials: held.cloned(),
            inherited: false,
            trouble: trouble.cloned(),
            fetching: false,
            next_attempt_at: NOON,
            ..Snapshot::first(NOON)
        }
    }

    const RETRY_IN: Duration = Duration::from_secs(7);

    fn fail(diary: &mut SessionDiary, held: Option<&Arc<Credentials>>, failure: &Failure) {
        diary.note(true, &state(held, Some(failure)), (RETRY_IN, None), NOON);
    }

    fn renew(diary: &mut SessionDiary, held: &Arc<Credentials>) {
        diary.note(true, &state(Some(held), None), (RETRY_IN, None), NOON);
    }

    fn levels(lines: &[String]) -> Vec<&str> {
        lines.iter().filter_map(|line| line.split_whitespace().next()).collect()
    }

    #[test]
    fn a_renewal_is_told_with_its_end_and_without_its_secrets() {
        let held = credentials(NOON, time::Duration::HOUR);

        let lines = logged(|diary| renew(diary, &held));

        assert_eq!(lines.len(), 1);
        assert!(is_of(&lines[0], "INFO", event::CREDENTIALS_RENEWED), "{lines:?}");
        assert!(lines[0].contains("session=\"web\""), "{lines:?}");
        assert!(lines[0].contains("expires_at=2026-03-11T13:00:00Z"), "{lines:?}");
        assert!(lines[0].contains("access_key_id=\"ASIA"), "{lines:?}");
        assert!(!lines[0].contains(SECRET_KEY) && !lines[0].contains(TOKEN), "{lines:?}");
    }

    #[test]
    fn the_same_failure_is_a_warning_three_times_then_debug_then_one_recovery() {
        let held = credentials(NOON, time::Duration::HOUR);
        let refusal = |id: u32| Failure::of(Reason::Unavailable, format!("no route; request {id}ab"), None);

        let lines = logged(|diary| {
            (0..5).for_each(|id| fail(diary, Some(&held), &refusal(id)));
            renew(diary, &held);
            renew(diary, &held);
        });

        assert_eq!(levels(&lines), ["WARN", "WARN", "WARN", "DEBUG", "DEBUG", "INFO", "INFO", "INFO"]);
        assert!(is_of(&lines[0], "WARN", event::CREDENTIALS_RENEWAL_FAILED), "{lines:?}");
        assert!(
            lines[0].contains(
                "class=transient reason=unavailable error=\"no route; request 0ab\" retry_in_seconds=7 expires_at=2026-03-11T13:00:00Z"
            ),
            "{lines:?}"
        );
        assert!(lines[4].contains("failures=5"), "{lines:?}");
        assert!(is_of(&lines[5], "INFO", event::CREDENTIALS_RECOVERED), "{lines:?}");
        assert!(lines[5].contains("session=\"web\" failures=5 failing_for_seconds=0"), "{lines:?}");
        assert!(is_of(&lines[7], "INFO", event::CREDENTIALS_RENEWED), "{lines:?}");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("AWS answered {0}")]
    struct Refused(&'static str);

    impl Classify for Refused {
        fn reason(&self) -> Reason {
            Reason::Refused
        }

        fn detail(&self) -> Option<Detail> {
            Some(Detail::AwsType(self.0.into()))
        }
    }

    #[test]
    fn another_failure_is_told_aloud_again() {
        let held = credentials(NOON, time::Duration::HOUR);

        let lines = logged(|diary| {
            (0..4).for_each(|_| fail(diary, Some(&held), &failure(Class::Transient)));
            fail(diary, Some(&held), &Failure::of(Reason::NoAnswer, "another failure", None));
            (0..3).for_each(|_| fail(diary, Some(&held), &Refused("OneException").into()));
            fail(diary, Some(&held), &Refused("AnotherException").into());
        });

        let loud_after_quiet = ["WARN", "WARN", "WARN", "DEBUG", "WARN", "WARN", "WARN", "WARN", "WARN"];
        assert_eq!(levels(&lines), loud_after_quiet);
    }

    #[test]
    fn a_failure_is_told_aloud_again_when_credentials_run_low() {
        let plenty = credentials(NOON, time::Duration::HOUR);
        let enough = credentials(NOON, LITTLE);
        let little = credentials(NOON, LITTLE - time::Duration::SECOND);

        let lines = logged(|diary| {
            (0..3).for_each(|_| fail(diary, Some(&plenty), &failure(Class::Transient)));
            fail(diary, Some(&enough), &failure(Class::Transient));
            (0..4).for_each(|_| fail(diary, Some(&little), &failure(Class::Transient)));
        });

        assert_eq!(levels(&lines), ["WARN", "WARN", "WARN", "DEBUG", "WARN", "WARN", "WARN", "DEBUG"]);
    }

    #[test]
    fn without_valid_credentials_only_what_a_person_must_mend_is_an_error() {
        let level = |class| {
            let lines = logged(|diary| fail(diary, None, &failure(class)));
            levels(&lines)[0].to_owned()
        };

        assert_eq!(level(Class::Denied), "ERROR");
        assert_eq!(level(Class::Misconfigured), "ERROR");
        assert_eq!(level(Class::Broken), "ERROR");
        assert_eq!(level(Class::Transient), "WARN");
        assert_eq!(level(Class::Throttled), "WARN");
    }

    #[test]
    fn credentials_of_earlier_settings_are_told_of_while_they_live() {
        let (held, dead) =
            (credentials(NOON, time::Duration::HOUR), credentials(NOON, time::Duration::SECOND));
        let refused = |held| Snapshot { inherited: true, ..state(Some(held), Some(&failure(Class::Denied))) };

        let lines = logged(|diary| {
            diary.note(true, &refused(&held), (RETRY_IN, None), NOON);
            diary.note(true, &refused(&dead), (RETRY_IN, None), NOON);
        });

        assert!(is_of(&lines[0], "WARN", event::CREDENTIALS_INHERITED), "{lines:?}");
        assert!(is_of(&lines[1], "ERROR", event::CREDENTIALS_UNAVAILABLE), "{lines:?}");
    }

    #[test]
    fn the_reserve_and_the_end_are_told_once_each_with_cause_and_time() {
        let held = credentials(NOON, time::Duration::HOUR);
        let refused = Failure::of(Reason::Refused, "refused", Some("enable the profile".into()));
        let at = |seconds: i64, diary: &mut SessionDiary, trouble: Option<&Failure>| {
            let now = NOON + time::Duration::HOUR - time::Duration::seconds(seconds);
            let snapshot = Snapshot { phase: Phase::Lapsed, ..state(Some(&held), trouble) };
            diary.note(false, &snapshot, (RETRY_IN, None), now);
        };
        let told = |trouble: Option<&Failure>| {
            logged(|diary| {
                renew(diary, &held);
                for seconds in [60, 30, 1, 0, -30, -60] {
                    at(seconds, diary, trouble);
                }
            })
        };

        let (failing, renewing) = (told(Some(&refused)), told(None));

        assert_eq!(levels(&failing), ["INFO", "ERROR", "ERROR"], "{failing:?}");
        assert!(is_of(&failing[1], "ERROR", event::CREDENTIALS_WITHHELD), "{failing:?}");
        assert!(is_of(&failing[2], "ERROR", event::CREDENTIALS_EXPIRED), "{failing:?}");
        for line in &failing[1..] {
            assert!(line.contains("hint=\"enable the profile\""), "{line}");
            assert!(line.contains("expires_at=2026-03-11T13:00:00Z"), "{line}");
        }
        assert_eq!(levels(&renewing), ["INFO", "INFO", "INFO"], "{renewing:?}");
    }

    #[test]
    fn a_recovery_tells_how_long_nothing_succeeded() {
        let held = credentials(NOON, time::Duration::HOUR);
        let later = NOON + time::Duration::seconds(754);

        let lines = logged(|diary| {
            fail(diary, Some(&held), &failure(Class::Transient));
            diary.note(true, &state(Some(&held), Some(&failure(Class::Denied))), (RETRY_IN, None), later);
            diary.note(true, &state(Some(&held), None), (RETRY_IN, None), later);
        });

        assert!(is_of(&lines[2], "INFO", event::CREDENTIALS_RECOVERED), "{lines:?}");
        assert!(lines[2].contains("session=\"web\" failures=2 failing_for_seconds=754"), "{lines:?}");
    }

    #[test]
    fn looks_at_the_clock_are_not_told() {
        let held = credentials(NOON, time::Duration::HOUR);

        let lines = logged(|diary| {
            diary.note(false, &Snapshot::first(NOON), (RETRY_IN, None), NOON);
            diary.note(false, &state(Some(&held), Some(&failure(Class::Denied))), (RETRY_IN, None), NOON);
        });

        assert_eq!(levels(&lines), [""; 0]);
    }
}
