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
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        Self { digest, stood_in: false }
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
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOON: Moment = Moment { wall: datetime!(2026-03-11 12:00:00.75 UTC), up: Duration::HOUR };

    fn keys() -> Keys {
        Keys {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("canary-secret".into()),
            session_token: Some(Secret::new("canary-token".into())),
        }
    }

    /// Obtained at noon, for an hour.
    fn made() -> Credentials {
        Credentials::new(keys(), NOON, NOON.wall + Duration::HOUR, Some("123456789012".into())).unwrap()
    }

    /// The wall clock was set.
    fn set(moment: Moment, by: Duration) -> Moment {
        Moment { wall: moment.wall + by, ..moment }
    }

    #[test]
    fn credentials_with_an_empty_part_cannot_exist() {
        let with = |id: &str, secret: &str, token: &str| {
            let keys = Keys {
                access_key_id: id.into(),
                secret_access_key: Secret::new(secret.into()),
                session_token: Some(Secret::new(token.into())),
            };
            Credentials::new(keys, NOON, NOON.wall + Duration::HOUR, None).map(|complete| complete.life())
        };

        assert_eq!(with("ASIA", "secret", "token"), Ok(Duration::HOUR));
        assert_eq!(with("", "secret", "token"), Err(Incomplete("accessKeyId")));
        assert_eq!(with("ASIA", " ", "token"), Err(Incomplete("secretAccessKey")));
        assert_eq!(with("ASIA", "secret", ""), Err(Incomplete("sessionToken")));
    }

    #[test]
    fn a_life_ends_by_the_clock_that_ends_it_earlier() {
        let later = NOON + Duration::minutes(50);

        assert_eq!(made().remaining(later), Duration::minutes(10));
        assert_eq!(made().remaining(set(later, -Duration::hours(2))), Duration::minutes(10), "set back");
        assert_eq!(made().remaining(set(later, Duration::minutes(9))), Duration::MINUTE, "set forward");
    }

    #[test]
    fn a_client_is_shown_an_end_that_its_wall_clock_reaches_in_time() {
        let later = NOON + Duration::minutes(50);
        let back = set(later, -Duration::hours(2));

        assert_eq!(made().as_of(later).expires_at(), NOON.wall + Duration::HOUR);
        assert_eq!(made().as_of(back).expires_at(), back.wall + Duration::minutes(10));
        assert_eq!(made().as_of(back).obtained_at(), back.wall - Duration::minutes(50));
        assert_eq!(made().as_of(back).life(), Duration::HOUR);
    }

    #[test]
    fn clocks_that_are_not_read_at_the_very_same_time_show_the_same_end() {
        let shown = |by: Duration| made().as_of(set(NOON, by)).expires_at() - made().expires_at();
        let is_wrong = |by: Duration| made().are_shown_wrong(set(NOON, by));

        assert_eq!(shown(-Duration::milliseconds(999)), Duration::ZERO);
        assert_eq!(shown(-Duration::SECOND), -Duration::SECOND);
        assert!(!is_wrong(-Duration::SECOND) && is_wrong(-Duration::milliseconds(1001)));
    }

    #[test]
    fn ends_up_to_a_second_apart_are_one_and_the_same() {
        let end = made().end();
        for (apart, differs) in [(0, false), (1000, false), (1001, true)] {
            let apart = Duration::milliseconds(apart);
            assert_eq!(end.differs(End { wall: end.wall + apart, ..end }), differs, "{apart}");
            assert_eq!(end.differs(End { up: end.up - apart, ..end }), differs, "{apart}");
        }
    }

    #[test]
    fn credentials_from_the_future_are_known_by_the_wall_clock() {
        assert!(made().are_obtained_after(set(NOON, -Duration::MILLISECOND)));
        assert!(!made().are_obtained_after(NOON));
        assert!(!made().are_obtained_after(set(NOON, Duration::MILLISECOND)));
    }

    #[test]
    fn what_took_the_place_of_others_outlives_them() {
        let others = made().ending_at_aws(NOON.wall + Duration::hours(2));
        let later = made().ending_at_aws(NOON.wall + Duration::hours(3));

        assert!(!made().outlive(&others));
        assert!(made().known_to_outlive(&others).outlive(&others));
        assert_eq!(later.clone().known_to_outlive(&others).ends_at_aws, later.ends_at_aws);
    }

    #[test]
    fn debugging_shows_the_public_part_and_no_other() {
        assert_eq!(format!("{:?}", keys()), "Keys { access_key_id: \"ASIA\", .. }");
        assert!(format!("{:?}", made()).starts_with("Credentials { access_key_id: \"ASIA\", expires_at: "));
        assert!(!format!("{:?}", made()).contains("canary"));
    }

    #[test]
    fn a_date_of_aws_moves_the_end_by_the_wall_clock_and_lengthens_no_life() {
        let later = NOON + Duration::minutes(30);
        let back = set(later, -Duration::hours(2));

        let behind = made().redated(Duration::hours(2), back);
        assert_eq!(behind.expires_at(), NOON.wall - Duration::hours(1) - Duration::SECOND);
        assert_eq!(behind.remaining(back), Duration::minutes(30) - Duration::SECOND);
        assert_eq!(behind.life(), Duration::HOUR);
        assert_eq!(
            behind.redated(Duration::ZERO, later).remaining(later),
            Duration::minutes(30),
            "set right"
        );
        assert_eq!(made().redated(-Duration::hours(2), later).remaining(later), Duration::minutes(30));
    }

    #[test]
    fn a_date_that_was_wrong_holds_until_the_next_one() {
        let later = NOON + Duration::minutes(30);

        let lied_to = made().redated(Duration::hours(6), later);
        assert!(lied_to.remaining(later).is_negative());

        assert_eq!(lied_to.redated(Duration::ZERO, later).remaining(later), Duration::minutes(30));
    }

    /// The time since boot stood still with the machine, and NTP has set the wall clock right meanwhile.
    #[test]
    fn a_date_of_aws_ends_in_time_what_a_paused_machine_takes_to_live() {
        let resumed = set(NOON + Duration::MINUTE, Duration::minutes(50));

        let dated = made().redated(Duration::ZERO, resumed);

        let back = set(resumed, -Duration::hours(1));
        assert_eq!(
            dated.remaining(back),
            Duration::minutes(9),
            "though the wall clock is set back after that"
        );
        // Its wall clock is two hours slow.
        let dated = made().redated(Duration::hours(2), set(resumed, -Duration::hours(2)));
        assert_eq!(dated.end().up - resumed.up, Duration::minutes(9));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stored_is_read_back_and_ends_no_later() {
        let clock = Clock::manual(NOON.wall);
        let origin = Origin::of(b"leaf").standing_in();
        let made =
            Credentials::new(keys(), clock.moment(), NOON.wall + Duration::HOUR, Some("123456789012".into()));
        let made = made.unwrap().ending_at_aws(NOON.wall + Duration::hours(3)).obtained_with(Some(origin));

        let json = serde_json::to_string(&Stored::of(&made, &clock)).unwrap();
        let stored: Stored = serde_json::from_str(&json).unwrap();
        let read = stored.credentials(&clock).unwrap();

        assert_eq!(read.access_key_id(), "ASIA");
        assert_eq!(read.secret_access_key().expose(), "canary-secret");
        assert_eq!(read.session_token().map(|token| token.expose().as_str()), Some("canary-token"));
        assert_eq!(read.account_id(), Some("123456789012"));
        assert_eq!(read.origin(), Some(Origin { stood_in: true, ..Origin::of(b"leaf") }));
        assert_eq!((read.life(), read.expires_at()), (Duration::HOUR, datetime!(2026-03-11 13:00:00 UTC)));
        assert_eq!(read.ends_at_aws, datetime!(2026-03-11 15:00:00 UTC));
        assert_eq!(format!("{stored:?}"), "Stored { access_key_id: \"ASIA\", .. }");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stored_ends_in_time_though_the_clock_was_set_back_before_it_is_read() {
        let clock = Clock::manual(NOON.wall);
        let made = Credentials::new(keys(), clock.moment(), NOON.wall + Duration::HOUR, None).unwrap();
        let stored = Stored::of(&made, &clock);

        clock.suspend(std::time::Duration::from_secs(3000));
        clock.jump(-Duration::hours(2));

        let left = stored.credentials(&clock).unwrap().remaining(clock.moment());
        assert!((Duration::seconds(598)..=Duration::seconds(600)).contains(&left), "{left}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_reboot_wall_time_alone_dates_what_was_stored() {
        let clock = Clock::manual(NOON.wall);
        let made = Credentials::new(keys(), clock.moment(), NOON.wall + Duration::HOUR, None).unwrap();
        let stored = Stored::of(&made, &clock);
        let left = || stored.credentials(&clock).map(|read| read.remaining(clock.moment()).whole_minutes());
        clock.reboot();

        clock.jump(Duration::minutes(10));
        assert_eq!(left(), Some(49));
        clock.jump(-Duration::minutes(14));
        assert_eq!(left(), Some(60), "no longer than it was granted for");
        // What is stored has no fraction of a second.
        clock.jump(-Duration::MINUTE - Duration::milliseconds(750));
        assert_eq!(left(), Some(60), "five minutes in the future");
        clock.jump(-Duration::MILLISECOND);
        assert_eq!(left(), None, "from the future: nothing tells when it ends");
    }
}
