//! What the cache keeps of one session, and its written form.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::checksummed::Format;
use crate::checksummed::Unusable;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Stored;
use anchord_core::digest::sha256_hex;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_core::text::Setting;
use anchord_core::text::Text;
use anchord_identity::SourceStamp;
use anchord_session as session;

/// What is kept. Credentials stay when a failure is added.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Entry {
    made: Option<Stored>,
    /// What stood for the certificate when they were made.
    leaf: Option<String>,
    /// How long the set lived that AWS granted last, in seconds, where the one that is kept lives longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<i64>,
    failed: Option<Failed>,
    /// What tells the identity that it was made with, where nothing in the settings does.
    identity: Option<String>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Failed {
    until: String,
    message: String,
    hint: Option<String>,
    /// The settings that the hint names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settings: Vec<Setting>,
    class: String,
    /// Absent in entries of earlier versions.
    #[serde(default)]
    reason: Option<String>,
    /// The identity's files as they were.
    files: String,
}

/// How long a failure is shared with processes that come after it.
const FAILURE_IS_SHARED_FOR: Duration = Duration::from_secs(5);
const FORMAT: Format = Format { title: "anchord cache 1", checksum: sha256_hex };

impl Entry {
    /// Fresh credentials, and no failure.
    pub(super) fn made(credentials: &Credentials, seen: &SourceStamp, clock: &Clock) -> Self {
        Self { made: Some(Stored::of(credentials, clock)), leaf: seen.leaf.clone(), ..Self::default() }
    }

    /// The same credentials and no failure, after AWS has granted others of this life, which end earlier.
    pub(super) fn granted(self, life: time::Duration) -> Self {
        Self { granted: Some(life.whole_seconds()), failed: None, ..self }
    }

    /// With how much life left a set of the life that was granted last would outlive what is kept; `None` if what was
    /// granted last is kept.
    pub(super) fn left_when_outlived(&self) -> Option<time::Duration> {
        // AWS grants no less; one odd answer must not put off the renewal to the last minute.
        self.granted.map(|seconds| time::Duration::seconds(seconds).max(session::SHORTEST_GRANT))
    }

    /// The same, with a failure that others need not repeat for a moment.
    pub(super) fn failed(mut self, failure: &Failure, seen: &SourceStamp, now: OffsetDateTime) -> Self {
        self.failed = Some(Failed {
            until: clock::rfc3339(now + FAILURE_IS_SHARED_FOR),
            message: failure.message().to_owned(),
            hint: failure.hint().map(str::to_owned),
            settings: failure.hint_text().map(|hint| hint.settings().to_vec()).unwrap_or_default(),
            class: failure.class().as_str().to_owned(),
            reason: Some(failure.reason().as_str().to_owned()),
            files: seen.files.clone(),
        });
        self
    }

    /// The same, made with this identity as far as it is known.
    pub(super) fn with_identity(mut self, identity: Option<&str>) -> Self {
        self.identity = identity.map(str::to_owned).or(self.identity);
        self
    }

    /// Whether it was made with this identity. One that cannot be had just now is no news.
    pub(super) fn is_with(&self, identity: Option<&str>) -> bool {
        identity.is_none() || self.identity.as_deref() == identity
    }

    /// The credentials, complete but perhaps expired; `None` too if no clock tells how old they are.
    pub(super) fn credentials(&self, clock: &Clock) -> Option<Credentials> {
        self.made.as_ref()?.credentials(clock)
    }

    /// Whether they were made with the certificate that is there. One that cannot be seen is no news.
    pub(super) fn is_of(&self, seen: &SourceStamp) -> bool {
        seen.leaf.is_none() || self.leaf == seen.leaf
    }

    /// A failure of a moment ago, unless files have changed since. One from the future (the clock was set back) counts
    /// for nothing.
    pub(super) fn failure(&self, seen: &SourceStamp, now: OffsetDateTime) -> Option<Failure> {
        self.recent(now).filter(|failed| failed.files == seen.files).map(|failed| {
            let reason = Reason::of_words(failed.reason.as_deref(), Some(&failed.class));
            let hint = failed.hint.clone().map(|hint| Text::restored(hint, failed.settings.clone()));
            Failure::of(reason, failed.message.clone(), hint)
        })
    }

    /// Whether nobody has a use for it any more.
    pub(super) fn is_over(&self, clock: &Clock) -> bool {
        let now = clock.moment();
        let is_alive = |credentials: Credentials| credentials.remaining(now) > time::Duration::ZERO;
        !self.credentials(clock).is_some_and(is_alive) && self.recent(now.wall).is_none()
    }

    fn recent(&self, now: OffsetDateTime) -> Option<&Failed> {
        let failed = self.failed.as_ref()?;
        let until = clock::parse_rfc3339(&failed.until)?;
        (now < until && until <= now + FAILURE_IS_SHARED_FOR).then_some(failed)
    }

    /// The written form.
    pub(super) fn encode(&self) -> Secret<Vec<u8>> {
        FORMAT.encode(self)
    }

    /// Reads the written form.
    pub(super) fn decode(bytes: &Secret<Vec<u8>>) -> Result<Self, Unusable> {
        FORMAT.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another alphabet of the checksum would lose the cache in an upgrade.
    #[test]
    fn an_entry_that_an_earlier_version_wrote_is_read() {
        let text = concat!(
            "anchord cache 1\ne85b475fce03ef51466f89b596bd686a85f3a9db78b92416d4a51a2daa3a82c2\n",
            r#"{"made":null,"leaf":null,"failed":null,"identity":"robot"}"#
        );

        let read = Entry::decode(&Secret::new(text.into())).unwrap();

        assert!(read.is_with(Some("robot")) && !read.is_with(Some("other")));
    }
}
