//! IMDS tokens that need no memory: each carries its own end, sealed with a key that outlives the process.
//!
//! Some SDKs keep a token for six hours and do not take a new one before, so a token must survive a restart and
//! must never be evicted. A token is its own record: nothing to store or to lock.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use time::Duration;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::entropy::Exhausted;
use crate::secret::Secret;

/// Seals tokens and recognises those that it, or an earlier run with the same key, has sealed.
#[derive(Clone)]
pub struct TokenAuthority {
    key: hmac::Key,
    clock: Clock,
    entropy: Entropy,
}

/// The life a client asks for, 1 to 21,600 s as IMDS allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive(u32);

impl TimeToLive {
    /// The longest, six hours; all SDKs but one ask for it.
    pub const LONGEST_SECONDS: u32 = 21_600;

    /// Reads the header's value: digits only.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = std::str::from_utf8(text).ok()?.parse().ok()?;
        (1..=Self::LONGEST_SECONDS).contains(&seconds).then_some(Self(seconds))
    }

    /// In seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl TokenAuthority {
    /// The length of a token in characters, published, hence checked first. EC2's are as long; the AWS Common
    /// Runtime has room for 64 and gives up on longer ones.
    pub const TOKEN_LENGTH: usize = 56;

    /// Go uses a token until the very second it ends; that request must still be answered.
    const GRACE: Duration = Duration::seconds(60);

    /// An authority that seals with `key`.
    pub fn new(key: &Secret<[u8; 32]>, clock: Clock, entropy: Entropy) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()), clock, entropy }
    }

    /// A token that lives as long as was asked, neither shorter (some SDKs ignore what was granted) nor longer.
    pub fn issue(&self, life: TimeToLive) -> Result<Secret<String>, Exhausted> {
        let ends_at = self.clock.now().unix_timestamp() + i64::from(life.seconds());
        let nonce: [u8; NONCE] = self.entropy.bytes()?;
        let mut sealed = Vec::with_capacity(SEALED);
        sealed.push(VERSION);
        sealed.extend_from_slice(&ends_at.to_be_bytes());
        sealed.extend_from_slice(&nonce);
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
        let Some((content, seal)) = sealed.split_at_checked(CONTENT) else { return false };
        if self.seal(content) != Secret::new(seal.to_vec()) {
            return false;
        }
        let Some((&VERSION, ends_at)) = content.split_first() else { return false };
        let Some(ends_at) = ends_at.first_chunk().map(|bytes| i64::from_be_bytes(*bytes)) else {
            return false;
        };
        self.clock.now().unix_timestamp() <= ends_at.saturating_add(Self::GRACE.whole_seconds())
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

const VERSION: u8 = 2;
const NONCE: usize = 9;
/// Version, end in Unix seconds, nonce.
const CONTENT: usize = 1 + 8 + NONCE;
const SEAL: usize = 24;
const SEALED: usize = CONTENT + SEAL;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn authority(key: u8) -> (TokenAuthority, Clock) {
        let clock = Clock::manual(datetime!(2026-03-11 12:00:00 UTC));
        (TokenAuthority::new(&Secret::new([key; 32]), clock.clone(), Entropy::system()), clock)
    }

    fn life(seconds: u32) -> TimeToLive {
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

    proptest! {
        #[test]
        fn a_token_is_accepted_until_its_grace_ends_and_not_after(asked in 1_u32..=21_600) {
            let (authority, clock) = authority(1);
            let token = authority.issue(life(asked)).unwrap();

            clock.jump(Duration::seconds(i64::from(asked) + 59));
            prop_assert!(authority.accepts(token.expose().as_bytes()));
            clock.jump(Duration::seconds(3));
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
        fn a_later_end_is_not_believed(by in 1_i64..1_000_000) {
            let (authority, _) = authority(1);
            let token = authority.issue(life(300)).unwrap();
            let mut sealed = URL_SAFE_NO_PAD.decode(token.expose()).unwrap();
            let ends_at = i64::from_be_bytes(*sealed[1..].first_chunk().unwrap());

            sealed[1..9].copy_from_slice(&(ends_at + by).to_be_bytes());

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
