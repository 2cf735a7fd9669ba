//! What the cache keeps of one session, and its written form: a line that says what it is, a digest, JSON.

use std::time::Duration;

use ring::digest;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Stored;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_core::text::Setting;
use anchord_core::text::Text;
use anchord_identity::Glance;
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
const TITLE: &str = "anchord cache 1";

impl Entry {
    /// Fresh credentials, and no failure.
    pub(super) fn made(credentials: &Credentials, seen: &Glance, clock: &Clock) -> Self {
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
    pub(super) fn failed(mut self, failure: &Failure, seen: &Glance, now: OffsetDateTime) -> Self {
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
    pub(super) fn is_of(&self, seen: &Glance) -> bool {
        seen.leaf.is_none() || self.leaf == seen.leaf
    }

    /// A failure of a moment ago, unless files have changed since. One from the future (the clock was set back) counts
    /// for nothing.
    pub(super) fn failure(&self, seen: &Glance, now: OffsetDateTime) -> Option<Failure> {
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
    pub(super) fn encode(&self) -> Option<Secret<Vec<u8>>> {
        let json = serde_json::to_vec(self).map(Secret::new).ok()?;
        let head = format!("{TITLE}\n{}\n", sha256(json.expose()));
        Some(Secret::new([head.as_bytes(), json.expose()].concat()))
    }

    /// Reads the written form; `None` if it is not whole, or of another version.
    pub(super) fn decode(bytes: &Secret<Vec<u8>>) -> Option<Self> {
        let rest = bytes.expose().strip_prefix(TITLE.as_bytes())?.strip_prefix(b"\n")?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (stated, json) = (&rest[..end], &rest[end + 1..]);
        (sha256(json).as_bytes() == stated).then(|| serde_json::from_slice(json).ok()).flatten()
    }
}

/// SHA-256, as text.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
