//! A cache entry, and its file format.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::checksummed::ChecksummedFormat;
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

/// A cache entry: credentials, a failure, or both.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct CacheEntry {
    made: Option<Stored>,
    /// Identifies the certificate with which the credentials were obtained.
    leaf: Option<String>,
    /// The life in seconds of the set that AWS granted last, if the entry keeps an older set that ends later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<i64>,
    failed: Option<CachedFailure>,
    /// The identity with which the credentials were obtained, if the settings do not decide it.
    identity: Option<String>,
}

#[derive(Clone, Deserialize, Serialize)]
struct CachedFailure {
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
    /// Identifies the content of the identity's files at that time.
    files: String,
}

/// How long other processes get the failure without a call.
const FAILURE_IS_SHARED_FOR: Duration = Duration::from_secs(5);
const FORMAT: ChecksummedFormat = ChecksummedFormat { title: "anchord cache 1", checksum: sha256_hex };

impl CacheEntry {
    /// An entry with new credentials and no failure.
    pub(super) fn made(credentials: &Credentials, seen: &SourceStamp, clock: &Clock) -> Self {
        Self { made: Some(Stored::of(credentials, clock)), leaf: seen.leaf.clone(), ..Self::default() }
    }

    /// The entry without a failure, after AWS granted another set with this life, which ends earlier than the entry's.
    pub(super) fn granted(self, life: time::Duration) -> Self {
        Self { granted: Some(life.whole_seconds()), failed: None, ..self }
    }

    /// The remaining life at which a new set would outlive the kept one, judged by the last grant. `None` if the entry
    /// keeps the last granted set.
    pub(super) fn left_when_outlived(&self) -> Option<time::Duration> {
        // AWS grants no shorter life, and one odd answer must not delay the renewal to the last minute.
        self.granted.map(|seconds| time::Duration::seconds(seconds).max(session::SHORTEST_GRANT))
    }

    /// The entry with a failure, which other processes get for a moment without a call.
    pub(super) fn failed(mut self, failure: &Failure, seen: &SourceStamp, now: OffsetDateTime) -> Self {
        self.failed = Some(CachedFailure {
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

    /// The entry with this identity. An unknown identity leaves it unchanged.
    pub(super) fn with_identity(mut self, identity: Option<&str>) -> Self {
        self.identity = identity.map(str::to_owned).or(self.identity);
        self
    }

    /// Whether it is of this identity. An unknown identity counts as the same.
    pub(super) fn is_with(&self, identity: Option<&str>) -> bool {
        identity.is_none() || self.identity.as_deref() == identity
    }

    /// The credentials, which may have expired; `None` if there are none, or if no clock shows their age.
    pub(super) fn credentials(&self, clock: &Clock) -> Option<Credentials> {
        self.made.as_ref()?.credentials(clock)
    }

    /// Whether the credentials are of the current certificate. An unreadable certificate counts as the same.
    pub(super) fn is_of(&self, seen: &SourceStamp) -> bool {
        seen.leaf.is_none() || self.leaf == seen.leaf
    }

    /// A recent failure, unless files have changed since. A failure from the future (the clock was set back) is
    /// ignored.
    pub(super) fn failure(&self, seen: &SourceStamp, now: OffsetDateTime) -> Option<Failure> {
        self.recent(now).filter(|failed| failed.files == seen.files).map(|failed| {
            let reason = Reason::of_words(failed.reason.as_deref(), Some(&failed.class));
            let hint = failed.hint.clone().map(|hint| Text::restored(hint, failed.settings.clone()));
            Failure::of(reason, failed.message.clone(), hint)
        })
    }

    /// Whether both credentials and failure have expired.
    pub(super) fn is_over(&self, clock: &Clock) -> bool {
        let now = clock.moment();
        let is_alive = |credentials: Credentials| credentials.remaining(now) > time::Duration::ZERO;
        !self.credentials(clock).is_some_and(is_alive) && self.recent(now.wall).is_none()
    }

    fn recent(&self, now: OffsetDateTime) -> Option<&CachedFailure> {
        let failed = self.failed.as_ref()?;
        let until = clock::parse_rfc3339(&failed.until)?;
        (now < until && until <= now + FAILURE_IS_SHARED_FOR).then_some(failed)
    }

    /// Encodes the entry.
    pub(super) fn encode(&self) -> Secret<Vec<u8>> {
        FORMAT.encode(self)
    }

    /// Decodes an entry.
    pub(super) fn decode(bytes: &Secret<Vec<u8>>) -> Result<Self, Unusable> {
        FORMAT.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A different encoding of the checksum would lose the cache in an upgrade.
    #[test]
    fn an_entry_that_an_earlier_version_wrote_is_read() {
        let text = concat!(
            "anchord cache 1\ne85b475fce03ef51466f89b596bd686a85f3a9db78b92416d4a51a2daa3a82c2\n",
            r#"{"made":null,"leaf":null,"failed":null,"identity":"robot"}"#
        );

        let read = CacheEntry::decode(&Secret::new(text.into())).unwrap();

        assert!(read.is_with(Some("robot")) && !read.is_with(Some("other")));
    }
}
