//! One set of temporary credentials and when it ends.

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

/// Temporary AWS credentials. A value of this type is complete: no part is empty, and all are plain ASCII.
#[derive(Clone)]
pub struct Credentials {
    keys: Keys,
    /// By the wall clock, as it stands to `end`.
    obtained_at: OffsetDateTime,
    end: End,
    /// The end by the time since boot that they had when they were received.
    granted_up: Duration,
    /// What clients are shown as their end; earlier than `end` has it while the wall clock is set back.
    shown: OffsetDateTime,
    ends_at_aws: OffsetDateTime,
    account_id: Option<String>,
    origin: Option<Origin>,
}

/// When credentials end: the earlier of two times. Wall time may be set back, and the time since boot may stand still
/// while a virtual machine is paused; neither error can lengthen a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// By this host's wall clock, which clients judge by.
    pub wall: OffsetDateTime,
    /// By the time since boot.
    pub up: Duration,
}

impl End {
    /// How much is left at `now`; negative once it has passed.
    pub fn remaining(self, now: Moment) -> Duration {
        (self.wall - now.wall).min(self.up - now.up)
    }

    /// Whether it is another end: by more than the two clocks differ that are not read at the very same time.
    pub fn differs(self, other: Self) -> bool {
        [self.wall - other.wall, self.up - other.up]
            .iter()
            .any(|difference| difference.abs() > Duration::SECOND)
    }
}

/// What credentials were obtained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// SHA-256 of the leaf certificate, or of the id of an access key.
    pub digest: [u8; 32],
    /// Whether this stood in for a newer one that AWS refuses.
    pub stood_in: bool,
}

impl Origin {
    /// Of the leaf certificate with this DER form, or of the access key with this id.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: sha256(bytes), stood_in: false }
    }

    /// The same, which stood in for a newer one that AWS refuses.
    #[must_use]
    pub fn standing_in(self) -> Self {
        Self { stood_in: true, ..self }
    }
}

/// A part of the credentials is of no use to any client: empty, not plain ASCII, or beyond all size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is empty or malformed")]
pub struct Incomplete(&'static str);

/// Above any session token seen, and below what the answer to a client may hold.
const MAX_PART_BYTES: usize = 32 << 10;

/// What a client signs with.
#[derive(Clone)]
pub struct Keys {
    /// `ASIA…`, or `AKIA…` of a user's own; public.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: Secret<String>,
    /// Travels with each request; a user's own keys have none.
    pub session_token: Option<Secret<String>>,
}

impl Keys {
    /// Names the first part that no client could use.
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
    /// Complete credentials, or the name of the part that is missing.
    ///
    /// They were received at `obtained`, and end at `expires_at` by the wall clock as it was then. By the time since
    /// boot they end after the same span.
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
            origin: None,
        })
    }

    /// The same, for credentials that AWS ends at `at` by its own clock; without this it is taken to be the local one.
    #[must_use]
    pub fn ending_at_aws(self, at: OffsetDateTime) -> Self {
        Self { ends_at_aws: at, ..self }
    }

    /// The same, which AWS ends so long after they were received. A wall clock that is ahead of AWS's ends them earlier,
    /// but only for as long as it is ahead.
    #[must_use]
    pub fn living_for(self, life: Duration) -> Self {
        let received_up = self.end.up - self.life();
        let up = received_up + life;
        Self { end: End { up, ..self.end }, granted_up: up, ..self }
    }

    /// The same, obtained with `origin`.
    #[must_use]
    pub fn obtained_with(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    /// The same, for credentials that took the place of `others`, as somebody knows who knows more of AWS's clock.
    #[must_use]
    pub fn known_to_outlive(self, others: &Self) -> Self {
        let ends_at_aws = self.ends_at_aws.max(others.ends_at_aws + Duration::SECOND);
        Self { ends_at_aws, ..self }
    }

    /// The same, as AWS's clock dates them, which was `ahead` of the wall clock at `now` (negative: behind).
    ///
    /// The end by the wall clock moves with what is known of that clock. The end by the time since boot comes no later
    /// than it did when they were received; a `Date` that was wrong holds until the next one. A user's own keys do not
    /// end at AWS and stay as they are.
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

    /// The same, shown as a client has to see them that judges by the wall clock as it is at `now`: where that was set
    /// back, they end earlier by it.
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
        // The two clocks are not read at the very same time.
        if self.end.wall - shown < Duration::SECOND { self.end.wall } else { shown }
    }

    /// What signs.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The public part, `ASIA…`.
    pub fn access_key_id(&self) -> &str {
        &self.keys.access_key_id
    }

    /// The part that signs.
    pub fn secret_access_key(&self) -> &Secret<String> {
        &self.keys.secret_access_key
    }

    /// The part that travels with each request; `None` for a user's own keys.
    pub fn session_token(&self) -> Option<&Secret<String>> {
        self.keys.session_token.as_ref()
    }

    /// When they were received, as clients are shown it.
    pub fn obtained_at(&self) -> OffsetDateTime {
        self.obtained_at + (self.shown - self.end.wall)
    }

    /// Whether they were received after `moment` by the wall clock as it was then: it was set back since.
    pub fn are_obtained_after(&self, moment: Moment) -> bool {
        self.obtained_at > moment.wall
    }

    /// When they end, as clients are shown it: they judge by the wall clock.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.shown
    }

    /// When they end, by both clocks.
    pub fn end(&self) -> End {
        self.end
    }

    /// What they were obtained with, where that is known.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The account of the role, twelve digits, where known.
    pub fn account_id(&self) -> Option<&str> {
        self.account_id.as_deref()
    }

    /// How long they lived when they were received.
    pub fn life(&self) -> Duration {
        self.end.wall - self.obtained_at
    }

    /// Whether AWS takes these longer than `others`. Local times do not tell: the clock may have been set between the
    /// one and the other.
    pub fn outlive(&self, others: &Self) -> bool {
        // A user's own keys do not end at AWS: those that were read last are the ones.
        self.session_token().is_none() || self.ends_at_aws > others.ends_at_aws
    }

    /// Whether they were obtained with another certificate than `held`, and not with an earlier one that stood in.
    pub fn are_of_newer_identity(&self, held: &Self) -> bool {
        match (self.origin, held.origin) {
            (Some(fresh), Some(held)) => fresh.digest != held.digest && !fresh.stood_in,
            _ => false,
        }
    }

    /// How long they live from `now`, by the clock that ends them earlier; negative once expired.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.end.remaining(now)
    }
}

/// When credentials that end at `ends_at_aws` by AWS's clock, which is `ahead` of the wall clock, end by the latter.
///
/// Clients judge by the wall clock: where it is behind AWS's they would use credentials too long. Where it is not, AWS's
/// own date stands, for a clock that is set right must not lengthen a life.
pub fn end_by_wall(ends_at_aws: OffsetDateTime, ahead: Duration) -> OffsetDateTime {
    // AWS's `Date` has whole seconds, cut off.
    if ahead.is_positive() { ends_at_aws - ahead - Duration::SECOND } else { ends_at_aws }
}

/// Credentials as private files and the hand-over to a successor hold them. Times are cut, so that what is read back
/// ends no later than what was written.
#[derive(Clone, Deserialize, Serialize)]
pub struct Stored {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_token: Option<String>,
    obtained_at: String,
    expires_at: String,
    /// By AWS's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at_aws: Option<String>,
    /// The end by the time since boot, in seconds, and which boot that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_up: Option<(i64, String)>,
    account_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<StoredOrigin>,
}

#[derive(Clone, Deserialize, Serialize)]
struct StoredOrigin {
    digest: [u8; 32],
    stood_in: bool,
}

/// What was stored under a wall clock further ahead than this cannot be dated any more: the clock was set back, by
/// nobody knows how much.
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
            origin: credentials.origin.map(|Origin { digest, stood_in }| StoredOrigin { digest, stood_in }),
        }
    }

    /// The credentials, complete but perhaps expired; `None` if this is not what [`Stored::of`] makes, or if no clock
    /// tells how long ago that was.
    ///
    /// What was stored in this boot of this host ends by the time since boot too. After a reboot, and on another host,
    /// wall time alone dates it: there credentials from the future are not used.
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
        let origin = self.origin.as_ref();
        let origin =
            origin.map(|StoredOrigin { digest, stood_in }| Origin { digest: *digest, stood_in: *stood_in });
        let end = End { wall: expires_at, up };
        Some(Credentials { end, granted_up: up, ends_at_aws, origin, ..made })
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
