//! What an error means for the person who must act.
//!
//! An error gets its reason where it is created, and its class follows from the reason. Retry pauses, exit codes, HTTP
//! statuses and log levels follow from the class and from nothing else. [`ErrorChain`] prints each cause once.

mod reason;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use reason::Reason;

use crate::notice::Notice;
use crate::notice::Origin;
use crate::notice::write_with_hint;
use crate::text::Text;

/// Who or what has to change before a retry can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing: the network or AWS has a problem, and the same call may work later.
    Transient,
    /// Nothing: AWS asked for fewer calls.
    Throttled,
    /// An administrator of the AWS account: AWS understood the call and refused it.
    Denied,
    /// The operator of this host: a file, a setting or the local clock is wrong.
    Misconfigured,
    /// This program: one of its invariants does not hold.
    Broken,
}

impl Class {
    /// The word used in logs and in `anchord status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::Broken => "broken",
        }
    }

    /// The class that [`Class::as_str`] gives this word.
    pub fn of_word(word: &str) -> Option<Self> {
        let all = [Self::Transient, Self::Throttled, Self::Denied, Self::Misconfigured, Self::Broken];
        all.into_iter().find(|class| class.as_str() == word)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What tells a failure from others for the same reason. It has no ids, times or counts, so it stays the same when the
/// failure repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// AWS's type of the error.
    AwsType(String),
    /// No connection was made.
    NotConnected,
    /// The time for an answer was over.
    TimedOut,
    /// Two endpoints failed, each in its way.
    Both(Box<[(Reason, Option<Detail>); 2]>),
}

/// An error that knows its reason and, where a person can act, what to do.
pub trait Classify: Error {
    /// What went wrong, in one word.
    fn reason(&self) -> Reason;

    /// Who or what has to change before a retry can succeed. It follows from the reason: leave it as it is.
    fn class(&self) -> Class {
        self.reason().class()
    }

    /// What tells it from other failures for its reason.
    fn detail(&self) -> Option<Detail> {
        None
    }

    /// What a person can do, as a sentence without a full stop.
    fn hint(&self) -> Option<Text> {
        None
    }

    /// How long the other side asked us to wait.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Whether it failed on this host, before anything was sent: any other endpoint would fail in the same way.
    fn is_local(&self) -> bool {
        false
    }
}

/// A failure that can be stored, cloned and shown to many clients: the printed error with its reason and hint.
///
/// It holds text only, so it never keeps an error alive that has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Arc<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    reason: Reason,
    detail: Option<Detail>,
    message: String,
    hint: Option<Text>,
    retry_after: Option<Duration>,
    is_local: bool,
}

impl Failure {
    /// Prints `error` with all its causes and remembers its reason.
    pub fn new(error: &dyn Classify) -> Self {
        Self(Arc::new(Details {
            reason: error.reason(),
            detail: error.detail(),
            message: chain_text(error.to_string(), error.source()),
            hint: error.hint(),
            retry_after: error.retry_after(),
            is_local: error.is_local(),
        }))
    }

    /// A failure without an error value.
    pub fn of(reason: Reason, message: impl Into<String>, hint: Option<Text>) -> Self {
        let message = message.into();
        Self(Arc::new(Details { reason, detail: None, message, hint, retry_after: None, is_local: false }))
    }

    /// The same failure for another reason.
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        Self(Arc::new(Details { reason, ..(*self.0).clone() }))
    }

    /// The same failure with another message.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self(Arc::new(Details { message: message.into(), ..(*self.0).clone() }))
    }

    /// The same failure with another hint.
    #[must_use]
    pub fn with_hint(self, hint: Option<Text>) -> Self {
        Self(Arc::new(Details { hint, ..(*self.0).clone() }))
    }

    /// The same failure, reported by a process on this host that may be asked again after exactly `pause`: that process
    /// itself keeps the pauses that AWS asks for.
    #[must_use]
    pub fn asked_here_again_in(self, pause: Duration) -> Self {
        Self(Arc::new(Details { retry_after: Some(pause), is_local: true, ..(*self.0).clone() }))
    }

    /// What went wrong, in one word.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What tells it from other failures for its reason.
    pub fn detail(&self) -> Option<&Detail> {
        self.0.detail.as_ref()
    }

    /// Who or what has to change before a retry can succeed.
    pub fn class(&self) -> Class {
        self.0.reason.class()
    }

    /// What went wrong, causes included.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The same, with the settings that it names.
    pub fn hint_text(&self) -> Option<&Text> {
        self.0.hint.as_ref()
    }

    /// Whether both tell a person the same. When to try again may differ.
    pub fn tells_the_same_as(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        one.reason == other.reason && one.message == other.message && one.hint == other.hint
    }

    /// How long the other side asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether it failed on this host, before anything was sent: any other endpoint would fail in the same way.
    pub fn is_local(&self) -> bool {
        self.0.is_local
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(&error)
    }
}

/// A failure that is about no setting.
impl From<Failure> for Notice {
    fn from(failure: Failure) -> Self {
        let what = failure.message().into();
        Self { origin: Origin::Default, what, hint: failure.hint_text().cloned() }
    }
}

/// It has no source: the message includes the causes.
impl Error for Failure {}

/// `message; hint: …`, on one line.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_hint(formatter, self.message(), self.hint())
    }
}

/// Prints an error followed by its causes, each once, joined by `: `.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&chain_text(self.0.to_string(), self.0.source()))
    }
}

/// Libraries often repeat their cause in their own text; such a cause is not printed again.
fn chain_text(mut text: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    while let Some(error) = cause {
        let printed = error.to_string();
        if !text.contains(&printed) {
            text.push_str(": ");
            text.push_str(&printed);
        }
        cause = error.source();
    }
    text.replace(['\r', '\n'], " ")
}

/// The operating system's error alone, for errors that name the path themselves (fs-err puts the path in front).
pub fn system_reason(error: &std::io::Error) -> std::io::Error {
    let inner =
        error.get_ref().and_then(Error::source).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match inner.unwrap_or(error).raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `leaf.pem`")]
    struct Unreadable(#[source] std::io::Error);

    impl Classify for Unreadable {
        fn reason(&self) -> Reason {
            Reason::FileUnreadable
        }

        fn hint(&self) -> Option<Text> {
            Some("let the daemon's user read it".into())
        }
    }

    fn unreadable(cause: &str) -> Unreadable {
        Unreadable(std::io::Error::other(cause.to_owned()))
    }

    #[test]
    fn causes_are_printed_once_and_on_one_line() {
        assert_eq!(
            ErrorChain(&unreadable("denied\nby the kernel")).to_string(),
            "cannot read `leaf.pem`: denied by the kernel"
        );
        assert_eq!(ErrorChain(&unreadable("leaf.pem")).to_string(), "cannot read `leaf.pem`");
    }

    #[test]
    fn the_systems_reason_stands_without_the_path() {
        let error = fs_err::File::open("/nowhere").unwrap_err();

        assert_eq!(system_reason(&error).to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn a_failure_keeps_reason_text_and_hint() {
        let failure = Failure::from(unreadable("denied"));

        assert_eq!((failure.reason(), failure.class()), (Reason::FileUnreadable, Class::Misconfigured));
        assert_eq!(
            failure.to_string(),
            "cannot read `leaf.pem`: denied; hint: let the daemon's user read it"
        );
    }

    #[test]
    fn failures_tell_the_same_whenever_they_are_tried_again() {
        let failure = Failure::from(unreadable("denied"));

        assert!(failure.tells_the_same_as(&failure.clone().asked_here_again_in(Duration::from_secs(7))));
        assert!(!failure.tells_the_same_as(&failure.clone().with_reason(Reason::FileUnusable)));
        assert!(!failure.tells_the_same_as(&failure.clone().with_hint(None)));
    }
}
