//! One set of temporary credentials, and when it expires.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroize as _;

use crate::clock;
use crate::clock::Clock;
use crate::clock::Moment;
use crate::digest::sha256;
use crate::secret::Secret;

/// Temporary AWS credentials, or a user's own access keys. A value is complete: no part is empty, and all are plain
/// ASCII.
#[derive(Clone)]
pub struct Credentials {
    keys: Keys,
    /// By the same wall clock as `end`: both move when the end is dated anew.
    obtained_at: OffsetDateTime,
    end: End,
    /// The end by the time since boot, as it was when they were received.
    granted_up: Duration,
    /// The end that clients see. It is earlier than `end` while the wall clock is set back.
    shown: OffsetDateTime,
    /// The end by AWS's clock.
    ends_at_aws: OffsetDateTime,
    account_id: Option<String>,
    signer: Option<SignerId>,
}

/// When credentials end: the earlier of two times. Wall time may be set back, and the time since boot may stand still
/// while a virtual machine is paused. With both, neither error makes credentials seem to live longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// By this host's wall clock, which clients use.
    pub wall: OffsetDateTime,
    /// By the time since boot.
    pub up: Duration,
}

impl End {
    /// The time that is left at `now`; negative once the end has passed.
    pub fn remaining(self, now: Moment) -> Duration {
        (self.wall - now.wall).min(self.up - now.up)
    }

    /// Whether the ends are more than a second apart. The two clocks are not read at exactly the same time, so smaller
    /// differences mean nothing.
    pub fn differs(self, other: Self) -> bool {
        [self.wall - other.wall, self.up - other.up]
            .iter()
            .any(|difference| difference.abs() > Duration::SECOND)
    }
}

/// The certificate or access key that signed the request for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerId {
    /// SHA-256 of the leaf certificate, or of the id of an access key.
    pub digest: [u8; 32],
    /// Whether it was used in place of a newer one that AWS refuses.
    pub stood_in: bool,
}

impl SignerId {
    /// For a leaf certificate in DER, or for the id of an access key.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: sha256(bytes), stood_in: false }
    }

    /// The same, used in place of a newer one that AWS refuses.
    #[must_use]
    pub fn standing_in(self) -> Self {
        Self { stood_in: true, ..self }
    }
}

/// No client can use a part of the credentials: it is empty, too long, or not plain ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is empty or malformed")]
pub struct Incomplete(&'static str);

/// Longer than any session token seen, and short enough for an answer to a client.
const MAX_PART_BYTES: usize = 32 << 10;

/// The keys that a client signs with.
#[derive(Clone)]
pub struct Keys {
    /// `ASIA…`, or `AKIA…` for a user's own keys. It is not secret.
    pub access_key_id: String,
    /// The key that signs requests.
    pub secret_access_key: Secret<String>,
    /// Sent with each request. A user's own keys have none.
    pub session_token: Option<Secret<String>>,
}

impl Keys {
    /// Checks that clients can use each part.
    ///
    /// # Errors
    /// The name of the first part that is empty, too long, or not plain ASCII.
    pub fn check(&self) -> Result<(), Incomplete> {
        let token = self.session_token.as_ref().map(|token| ("sessionToken", token.expose().as_str()));
        let parts = [
            ("accessKeyId", self.access_key_id.as_str()),
            ("secretAccessKey", self.secret_access_key.expose()),
        ];
        let is_usable = |part: &str| {
            (1..=MAX_PART_BYTES).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match parts.into_iter().chain(token).find(|(_, part)| !is_usable(part)) {
            Some((name, _)) => Err(Incomplete(name)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials that were received at `obtained`, and end at `expires_at` by the wall clock as it was then. By the
    /// time since boot they end after the same span.
    ///
    /// # Errors
    /// Those of [`Keys::check`].
    pub fn new(
        keys: Keys,
        obtained: Moment,
        expires_at: OffsetDateTime,
        account_id: Option<String>,
    ) -> Result<Self, Incomplete> {
        keys.check()?;
        let end = End { wall: expires_at, up: obtained.up + (expires_at - obtained.wall) };
        Ok(Self {
            keys,
            obtained_at: obtained.wall,
            end,
            granted_up: end.up,
            shown: expires_at,
            ends_at_aws: expires_at,
            account_id,
            signer: None,
        })
    }

    /// The same, ending at `at` by AWS's clock. By default this is the end by the local clock.
    #[must_use]
    pub fn ending_at_aws(self, at: OffsetDateTime) -> Self {
        Self { ends_at_aws: at, ..self }
    }

    /// The same, which AWS ends `life` after they were received. They still end earlier by a wall clock that is ahead
    /// of AWS's, but only while it is ahead.
    #[must_use]
    pub fn living_for(self, life: Duration) -> Self {
        let received_up = self.end.up - self.life();
        let up = received_up + life;
        Self { end: End { up, ..self.end }, granted_up: up, ..self }
    }

    /// The same, obtained with a request that `signer` signed.
    #[must_use]
    pub fn obtained_with(self, signer: Option<SignerId>) -> Self {
        Self { signer, ..self }
    }

    /// The same, marked as ending later than `others` by AWS's clock. The caller knows this from a process that
    /// replaced `others` with these and that knows more about AWS's clock.
    #[must_use]
    pub fn known_to_outlive(self, others: &Self) -> Self {
        let ends_at_aws = self.ends_at_aws.max(others.ends_at_aws + Duration::SECOND);
        Self { ends_at_aws, ..self }
    }

    /// The same, with ends that follow from AWS's clock, which was `ahead` of the wall clock at `now` (negative:
    /// behind).
    ///
    /// The end by the wall clock changes with each new offset. The end by the time since boot is never later than when
    /// the credentials were received. A wrong `Date` therefore counts only until the next one. A user's own keys do not
    /// expire at AWS and stay as they are.
    #[must_use]
    pub fn redated(self, ahead: Duration, now: Moment) -> Self {
        if self.session_token().is_none() {
            return self;
        }
        let wall = end_by_wall(self.ends_at_aws, ahead);
        let up = self.granted_up.min(now.up + (self.ends_at_aws - (now.wall + ahead)));
        let obtained_at = self.obtained_at + (wall - self.end.wall);
        Self { obtained_at, end: End { wall, up }, shown: wall, ..self }
    }

    /// The same, for a client that uses the wall clock as it is at `now`. If that clock was set back, the end that the
    /// client sees is earlier by as much.
    #[must_use]
    pub fn as_of(self, now: Moment) -> Self {
        let shown = self.shown_at(now);
        Self { shown, ..self }
    }

    /// Whether [`Credentials::as_of`] would change anything.
    pub fn are_shown_wrong(&self, now: Moment) -> bool {
        (self.shown - self.shown_at(now)).abs() > Duration::SECOND
    }

    fn shown_at(&self, now: Moment) -> OffsetDateTime {
        let shown = now.wall + self.end.remaining(now);
        // The two clocks are not read at exactly the same time.
        if self.end.wall - shown < Duration::SECOND { self.end.wall } else { shown }
    }

    /// The keys to sign with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The public part, `ASIA…`.
    pub fn access_key_id(&self) -> &str {
        &self.keys.access_key_id
    }

    /// The key that signs requests.
    pub fn secret_access_key(&self) -> &Secret<String> {
        &self.keys.secret_access_key
    }

    /// The token to send with each request; `None` for a user's own keys.
    pub fn session_token(&self) -> Option<&Secret<String>> {
        self.keys.session_token.as_ref()
    }

    /// When they were received, as clients see it.
    pub fn obtained_at(&self) -> OffsetDateTime {
        self.obtained_at + (self.shown - self.end.wall)
    }

    /// Whether they were received later than `moment` by the wall clock. If so, the clock was set back since.
    pub fn are_obtained_after(&self, moment: Moment) -> bool {
        self.obtained_at > moment.wall
    }

    /// When they end, as clients see it by the wall clock.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.shown
    }

    /// When they end, by both clocks.
    pub fn end(&self) -> End {
        self.end
    }

    /// What signed the request for them, if known.
    pub fn signer(&self) -> Option<SignerId> {
        self.signer
    }

    /// The role's account, twelve digits, if known.
    pub fn account_id(&self) -> Option<&str> {
        self.account_id.as_deref()
    }

    /// Their life when they were received, by the wall clock.
    pub fn life(&self) -> Duration {
        self.end.wall - self.obtained_at
    }

    /// Whether AWS accepts these longer than `others`. Local times cannot say it: the clock may have been set between
    /// the two.
    pub fn outlive(&self, others: &Self) -> bool {
        // A user's own keys do not expire at AWS, so the newest ones count.
        self.session_token().is_none() || self.ends_at_aws > others.ends_at_aws
    }

    /// Whether they were obtained with another certificate than `held`, and not with an earlier one in its place.
    pub fn are_of_newer_identity(&self, held: &Self) -> bool {
        match (self.signer, held.signer) {
            (Some(fresh), Some(held)) => fresh.digest != held.digest && !fresh.stood_in,
            _ => false,
        }
    }

    /// The life that is left at `now`, by the clock that ends them first; negative once they have expired.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.end.remaining(now)
    }
}

/// When credentials end by the wall clock. By AWS's clock, which is `ahead` of it, they end at `ends_at_aws`.
///
/// Clients use the wall clock. If it is behind AWS's, they would use credentials for too long, so these end earlier. If
/// it is ahead, AWS's own date is kept: else a clock that is set right would make credentials live longer.
pub fn end_by_wall(ends_at_aws: OffsetDateTime, ahead: Duration) -> OffsetDateTime {
    // AWS's `Date` has whole seconds, rounded down.
    if ahead.is_positive() { ends_at_aws - ahead - Duration::SECOND } else { ends_at_aws }
}

/// The form of credentials in the cache and in the hand-over to a successor. Times are rounded down, so that
/// credentials that are read back never end later than those that were written.
#[derive(Clone, Deserialize, Serialize)]
pub struct Stored {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_token: Option<String>,
    obtained_at: String,
    expires_at: String,
    /// The end by AWS's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at_aws: Option<String>,
    /// The end by the time since boot, in seconds, and which boot that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_up: Option<(i64, String)>,
    account_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "origin")]
    signer: Option<StoredSigner>,
}

#[derive(Clone, Deserialize, Serialize)]
struct StoredSigner {
    digest: [u8; 32],
    stood_in: bool,
}

/// Credentials from further in the future than this have no known end: the clock was set back since, by an unknown
/// amount.
const SMALL_STEP: Duration = Duration::minutes(5);

impl Stored {
    /// The stored form of `credentials`; wiped when dropped.
    pub fn of(credentials: &Credentials, clock: &Clock) -> Self {
        let End { wall, up } = credentials.end;
        Self {
            access_key_id: credentials.keys.access_key_id.clone(),
            secret_access_key: credentials.keys.secret_access_key.expose().clone(),
            session_token: credentials.session_token().map(|token| token.expose().clone()),
            obtained_at: clock::rfc3339(credentials.obtained_at),
            expires_at: clock::rfc3339(wall),
            ends_at_aws: Some(clock::rfc3339(credentials.ends_at_aws)),
            ends_up: clock.boot_id().map(|boot| (up.whole_seconds(), boot)),
            account_id: credentials.account_id.clone(),
            signer: credentials.signer.map(|SignerId { digest, stood_in }| StoredSigner { digest, stood_in }),
        }
    }

    /// The credentials, complete but perhaps expired; `None` if the content is malformed, or if no clock says how long
    /// ago it was stored.
    ///
    /// Credentials that were stored in this boot of this host keep their end by the time since boot. After a reboot,
    /// and on another host, only wall time counts; credentials from the future are not used there.
    pub fn credentials(&self, clock: &Clock) -> Option<Credentials> {
        let keys = Keys {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: Secret::new(self.secret_access_key.clone()),
            session_token: self.session_token.clone().map(Secret::new),
        };
        let now = clock.moment();
        let obtained_at = clock::parse_rfc3339(&self.obtained_at)?;
        let expires_at = clock::parse_rfc3339(&self.expires_at)?;
        let ends_at_aws = self.ends_at_aws.as_deref().map_or(Some(expires_at), clock::parse_rfc3339)?;
        let same_boot = self.ends_up.as_ref().filter(|(_, boot)| clock.boot_id().as_ref() == Some(boot));
        let up = match same_boot {
            Some((up, _)) => Duration::seconds(*up),
            None if obtained_at - now.wall > SMALL_STEP => return None,
            None => now.up + (expires_at - now.wall.max(obtained_at)),
        };
        let obtained = Moment { wall: obtained_at, up: now.up };
        let made = Credentials::new(keys, obtained, expires_at, self.account_id.clone()).ok()?;
        let signer = self.signer.as_ref();
        let signer =
            signer.map(|StoredSigner { digest, stood_in }| SignerId { digest: *digest, stood_in: *stood_in });
        let end = End { wall: expires_at, up };
        Some(Credentials { end, granted_up: up, ends_at_aws, signer, ..made })
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.secret_access_key.zeroize();
        self.session_token.zeroize();
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stored").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.keys.access_key_id)
            .field("expires_at", &self.shown)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
