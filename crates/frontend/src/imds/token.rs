//! IMDS tokens that need no memory: each carries its own span, sealed with a key that outlives the process.
//!
//! Some SDKs keep a token for six hours and do not take a new one before, so a token must survive a restart and a
//! clock that is set, and must never be evicted. A token is its own record: nothing to store or to lock.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use anchord_core::clock::Clock;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Exhausted;
use anchord_core::secret::Secret;

/// Seals tokens and recognises those that it, or an earlier run with the same key, has sealed.
#[derive(Clone)]
pub struct TokenAuthority {
    key: hmac::Key,
    clock: Clock,
    entropy: Entropy,
}

/// The life a client asks for, 1 to 21,600 s as IMDS allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive(u16);

impl TimeToLive {
    /// The longest, six hours; all SDKs but one ask for it.
    pub const LONGEST_SECONDS: u16 = 21_600;

    /// Reads the header's value: digits only.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = std::str::from_utf8(text).ok()?.parse().ok()?;
        (1..=Self::LONGEST_SECONDS).contains(&seconds).then_some(Self(seconds))
    }

    /// In seconds.
    pub fn seconds(self) -> u16 {
        self.0
    }
}

impl TokenAuthority {
    /// The length of a token in characters, published, hence checked first. EC2's are as long; the AWS Common
    /// Runtime has room for 64 and gives up on longer ones.
    pub const TOKEN_LENGTH: usize = 56;

    /// Go uses a token until the very second it ends; that request must still be answered.
    const GRACE_SECONDS: u64 = 60;

    /// An authority that seals with `key`.
    pub fn new(key: &Secret<[u8; 32]>, clock: Clock, entropy: Entropy) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()), clock, entropy }
    }

    /// A token that lives as long as was asked, neither shorter (some SDKs ignore what was granted) nor longer, unless
    /// the clock is set back meanwhile.
    pub fn issue(&self, life: TimeToLive) -> Result<Secret<String>, Exhausted> {
        let issued = Record { at: Readings::of(&self.clock), life };
        let mut sealed = Vec::with_capacity(SEALED);
        sealed.extend_from_slice(&issued.encode(self.entropy.bytes()?));
        let seal = self.seal(&sealed);
        sealed.extend_from_slice(seal.expose());
        Ok(Secret::new(URL_SAFE_NO_PAD.encode(Secret::new(sealed).expose())))
    }

    /// Whether a header's value is a token of ours that has not ended. Changes nothing, so any number of
    /// connections may use one token at once.
    pub fn accepts(&self, presented: &[u8]) -> bool {
        if presented.len() != Self::TOKEN_LENGTH {
            return false;
        }
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(presented) else { return false };
        let Some((content, seal)) = sealed.split_first_chunk() else { return false };
        if self.seal(content) != Secret::new(seal.to_vec()) {
            return false;
        }
        Record::decode(content).is_some_and(|issued| issued.lives(Readings::of(&self.clock)))
    }

    /// The first bytes of an HMAC, which RFC 2104 (section 5) allows down to half of them.
    fn seal(&self, content: &[u8]) -> Secret<Vec<u8>> {
        let tag = hmac::sign(&self.key, content);
        Secret::new(tag.as_ref().iter().copied().take(SEAL).collect())
    }
}

impl fmt::Debug for TokenAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenAuthority")
    }
}

/// What a token says.
struct Record {
    at: Readings,
    life: TimeToLive,
}

/// What the two clocks show, in whole seconds.
#[derive(Clone, Copy)]
struct Readings {
    wall: u64,
    since_boot: u64,
}

impl Readings {
    fn of(clock: &Clock) -> Self {
        let wall = u64::try_from(clock.now().unix_timestamp()).unwrap_or(0);
        Self { wall, since_boot: clock.since_boot().as_secs() }
    }
}

impl Record {
    fn encode(&self, nonce: [u8; NONCE]) -> [u8; CONTENT] {
        let mut content = [0; CONTENT];
        content[0] = VERSION;
        content[1..6].copy_from_slice(&self.at.wall.to_be_bytes()[3..]);
        content[6..10].copy_from_slice(&self.at.since_boot.to_be_bytes()[4..]);
        content[10..12].copy_from_slice(&self.life.0.to_be_bytes());
        content[12..].copy_from_slice(&nonce);
        content
    }

    fn decode(content: &[u8; CONTENT]) -> Option<Self> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let at = Readings { wall: number(&content[1..6]), since_boot: number(&content[6..10]) };
        let life = TimeToLive(u16::from_be_bytes([content[10], content[11]]));
        (content[0] == VERSION).then_some(Self { at, life })
    }

    /// Whether either clock says so: a client that holds the token for six hours cannot know that the wall clock was
    /// set meanwhile. A reading before the token's own says nothing: that clock was set back, or started anew.
    fn lives(&self, now: Readings) -> bool {
        let span = u64::from(self.life.seconds()) + TokenAuthority::GRACE_SECONDS;
        let within = |from: u64, now: u64| now.checked_sub(from).is_some_and(|passed| passed <= span);
        within(self.at.wall, now.wall) || within(self.at.since_boot, now.since_boot)
    }
}

const VERSION: u8 = 3;
const NONCE: usize = 6;
/// Version, wall time (five bytes, to the year 36812), time since boot, life, nonce.
const CONTENT: usize = 1 + 5 + 4 + 2 + NONCE;
const SEAL: usize = 24;
const SEALED: usize = CONTENT + SEAL;

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
