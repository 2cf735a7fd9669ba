//! Stateless IMDS tokens: each contains its issue time and lifetime, authenticated with a key that is kept across
//! restarts.
//!
//! Some SDKs keep a token for six hours and do not request a new one earlier. So a token must stay valid when the
//! daemon restarts or the clock is set, and must never be evicted. Stateless tokens need no storage and no lock.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use anchord_core::clock::Clock;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Exhausted;
use anchord_core::secret::Secret;

/// Issues tokens, and verifies those that were issued with the same key, also by an earlier process.
#[derive(Clone)]
pub struct TokenAuthority {
    key: hmac::Key,
    clock: Clock,
    entropy: Entropy,
}

/// The lifetime that a client requests: 1 to 21,600 s, as IMDS allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive(u16);

impl TimeToLive {
    /// The longest lifetime, six hours. All SDKs but one request it.
    pub const LONGEST_SECONDS: u16 = 21_600;

    /// Parses the header's value: digits only.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = std::str::from_utf8(text).ok()?.parse().ok()?;
        (1..=Self::LONGEST_SECONDS).contains(&seconds).then_some(Self(seconds))
    }

    /// The lifetime in seconds.
    pub fn seconds(self) -> u16 {
        self.0
    }
}

impl TokenAuthority {
    /// The length of a token in characters, the same as EC2's. The AWS Common Runtime rejects tokens of more than 64.
    /// The length is no secret, so it is checked first.
    pub const TOKEN_LENGTH: usize = 56;

    /// The SDK for Go uses a token up to the second in which it expires, and that request must still succeed.
    const GRACE_SECONDS: u64 = 60;

    /// An authority that authenticates tokens with `key`.
    pub fn new(key: &Secret<[u8; 32]>, clock: Clock, entropy: Entropy) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()), clock, entropy }
    }

    /// Issues a token that is valid for exactly the requested time. It is not shorter, because some SDKs ignore the
    /// granted time. If the clock is set back, the token is valid for longer.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn issue(&self, lifetime: TimeToLive) -> Result<Secret<String>, Exhausted> {
        let claims = TokenClaims { issued_at: ClockReadings::of(&self.clock), lifetime };
        let mut token = Vec::with_capacity(CONTENT + TAG);
        token.extend_from_slice(&claims.encode(self.entropy.bytes()?));
        let tag = self.tag(&token);
        token.extend_from_slice(tag.expose());
        Ok(Secret::new(URL_SAFE_NO_PAD.encode(Secret::new(token).expose())))
    }

    /// Whether a header's value is a token of ours that has not expired. Verifying changes no state, so several
    /// connections can use one token at the same time.
    pub fn accepts(&self, presented: &[u8]) -> bool {
        if presented.len() != Self::TOKEN_LENGTH {
            return false;
        }
        let Ok(token) = URL_SAFE_NO_PAD.decode(presented) else { return false };
        let Some((content, tag)) = token.split_first_chunk() else { return false };
        if self.tag(content) != Secret::new(tag.to_vec()) {
            return false;
        }
        TokenClaims::decode(content).is_some_and(|claims| claims.are_valid_at(ClockReadings::of(&self.clock)))
    }

    /// A truncated HMAC. RFC 2104 (section 5) allows to truncate it to half its length.
    fn tag(&self, content: &[u8]) -> Secret<Vec<u8>> {
        let tag = hmac::sign(&self.key, content);
        Secret::new(tag.as_ref().iter().copied().take(TAG).collect())
    }
}

impl fmt::Debug for TokenAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenAuthority")
    }
}

/// When a token was issued, and for how long.
struct TokenClaims {
    issued_at: ClockReadings,
    lifetime: TimeToLive,
}

/// The time of both clocks in whole seconds.
#[derive(Clone, Copy)]
struct ClockReadings {
    wall: u64,
    since_boot: u64,
}

impl ClockReadings {
    fn of(clock: &Clock) -> Self {
        let wall = u64::try_from(clock.now().unix_timestamp()).unwrap_or(0);
        Self { wall, since_boot: clock.since_boot().as_secs() }
    }
}

impl TokenClaims {
    fn encode(&self, nonce: [u8; NONCE]) -> [u8; CONTENT] {
        let mut content = [0; CONTENT];
        content[0] = VERSION;
        content[1..6].copy_from_slice(&self.issued_at.wall.to_be_bytes()[3..]);
        content[6..10].copy_from_slice(&self.issued_at.since_boot.to_be_bytes()[4..]);
        content[10..12].copy_from_slice(&self.lifetime.0.to_be_bytes());
        content[12..].copy_from_slice(&nonce);
        content
    }

    fn decode(content: &[u8; CONTENT]) -> Option<Self> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let issued_at = ClockReadings { wall: number(&content[1..6]), since_boot: number(&content[6..10]) };
        let lifetime = TimeToLive(u16::from_be_bytes([content[10], content[11]]));
        (content[0] == VERSION).then_some(Self { issued_at, lifetime })
    }

    /// Whether the token is valid by at least one of the clocks. A client may keep the token for six hours, and does
    /// not know if the wall clock is set in this time. A clock that shows an earlier time than the token's does not
    /// count: it was set back, or the host was restarted.
    fn are_valid_at(&self, now: ClockReadings) -> bool {
        let span = u64::from(self.lifetime.seconds()) + TokenAuthority::GRACE_SECONDS;
        let within = |from: u64, now: u64| now.checked_sub(from).is_some_and(|passed| passed <= span);
        within(self.issued_at.wall, now.wall) || within(self.issued_at.since_boot, now.since_boot)
    }
}

const VERSION: u8 = 3;
const NONCE: usize = 6;
/// Version, wall time (five bytes, to the year 36812), time since boot, lifetime, nonce.
const CONTENT: usize = 1 + 5 + 4 + 2 + NONCE;
const TAG: usize = 24;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use time::Duration as Span;
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    fn authority(key: u8) -> (TokenAuthority, Clock) {
        let clock = Clock::manual(NOON);
        (TokenAuthority::new(&Secret::new([key; 32]), clock.clone(), Entropy::system()), clock)
    }

    fn life(seconds: u16) -> TimeToLive {
        TimeToLive::parse(seconds.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_token_fits_a_header_and_every_sdks_memory_and_holds_no_newline() {
        let (authority, _) = authority(1);

        let token = authority.issue(life(300)).unwrap();

        assert_eq!(token.expose().len(), TokenAuthority::TOKEN_LENGTH);
        assert!(token.expose().len() <= 64, "the AWS Common Runtime keeps no more");
        assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn two_tokens_of_one_second_differ() {
        let (authority, _) = authority(1);

        assert_ne!(authority.issue(life(300)).unwrap(), authority.issue(life(300)).unwrap());
    }

    #[test]
    fn a_token_outlives_the_process_that_sealed_it_but_not_the_key() {
        let (before, _) = authority(1);
        let (after_restart, _) = authority(1);
        let (stranger, _) = authority(2);

        let token = before.issue(life(21_600)).unwrap();

        assert!(after_restart.accepts(token.expose().as_bytes()));
        assert!(!stranger.accepts(token.expose().as_bytes()));
    }

    #[test]
    fn a_life_is_one_second_to_six_hours_in_plain_digits() {
        let parse = |text: &str| TimeToLive::parse(text.as_bytes()).map(TimeToLive::seconds);

        assert_eq!([parse("1"), parse("300"), parse("21600")], [Some(1), Some(300), Some(21_600)]);
        for wrong in ["", "0", "21601", "-1", "+300", "3e2", "300 ", "ten", "4294967297", "٣"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_token_of_before_a_reboot_does_not_live_by_the_new_count() {
        let (authority, clock) = authority(1);
        clock.suspend(Duration::from_secs(100 * 86_400));
        let token = authority.issue(life(21_600)).unwrap();
        let rebooted = Clock::manual(clock.now() + Span::hours(7));

        let after = TokenAuthority::new(&Secret::new([1; 32]), rebooted, Entropy::system());

        assert!(!after.accepts(token.expose().as_bytes()));
    }

    #[test]
    fn a_clock_before_1970_issues_tokens_too() {
        let clock = Clock::manual(datetime!(1969-12-31 23:59:00 UTC));
        let authority = TokenAuthority::new(&Secret::new([1; 32]), clock.clone(), Entropy::system());
        let token = authority.issue(life(300)).unwrap();

        clock.jump(NOON - clock.now());

        assert!(authority.accepts(token.expose().as_bytes()));
    }

    proptest! {
        #[test]
        fn a_token_is_accepted_until_its_grace_ends_and_not_after(asked in 1_u16..=21_600) {
            let (authority, clock) = authority(1);
            let token = authority.issue(life(asked)).unwrap();

            clock.suspend(Duration::from_secs(u64::from(asked) + 59));
            prop_assert!(authority.accepts(token.expose().as_bytes()));
            clock.suspend(Duration::from_secs(3));
            prop_assert!(!authority.accepts(token.expose().as_bytes()));
        }

        #[test]
        fn a_clock_that_is_set_ends_no_token_early(
            asked in 1_u16..=21_600,
            at in 0.0..1.0,
            by in -1_000_000_i64..1_000_000,
        ) {
            let (authority, clock) = authority(1);
            let token = authority.issue(life(asked)).unwrap();

            clock.suspend(Duration::from_secs(u64::from(asked)).mul_f64(at));
            clock.jump(Span::seconds(by));

            prop_assert!(authority.accepts(token.expose().as_bytes()));
        }

        #[test]
        fn a_clock_that_is_set_back_gives_a_token_its_own_life_again_at_most(
            asked in 1_u16..=21_600,
            at in 0.0..1.0,
            by in 0..1_000_000_i64,
        ) {
            let (authority, clock) = authority(1);
            let token = authority.issue(life(asked)).unwrap();
            let span = Duration::from_secs(u64::from(asked) + 61);

            clock.suspend(span.mul_f64(at));
            clock.jump(Span::seconds(-by));
            // To the first moment at which the wall clock shows again what it showed at first, and the span from there.
            let left = (NOON - clock.now()).max(Span::ZERO).unsigned_abs();
            clock.suspend(left + span + Duration::from_secs(1));

            prop_assert!(!authority.accepts(token.expose().as_bytes()));
        }

        #[test]
        fn any_tampered_byte_is_refused(at in 0_usize..TokenAuthority::TOKEN_LENGTH, by in 1_u8..=255) {
            let (authority, _) = authority(1);
            let mut token = authority.issue(life(300)).unwrap().expose().clone().into_bytes();

            token[at] ^= by;

            prop_assert!(!authority.accepts(&token));
        }

        #[test]
        fn another_span_is_not_believed(at in 0..CONTENT, by in 1_u8..=255) {
            let (authority, _) = authority(1);
            let token = authority.issue(life(300)).unwrap();
            let mut sealed = URL_SAFE_NO_PAD.decode(token.expose()).unwrap();

            sealed[at] = sealed[at].wrapping_add(by);

            prop_assert!(!authority.accepts(URL_SAFE_NO_PAD.encode(sealed).as_bytes()));
        }

        #[test]
        fn what_was_never_issued_is_refused(presented in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (authority, _) = authority(1);
            prop_assert!(!authority.accepts(&presented));
        }

        #[test]
        fn anything_of_a_tokens_length_that_was_never_issued_is_refused(presented in "[A-Za-z0-9_-]{56}") {
            let (authority, _) = authority(1);
            prop_assert!(!authority.accepts(presented.as_bytes()));
        }
    }
}
