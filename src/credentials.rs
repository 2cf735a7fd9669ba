//! One set of temporary credentials and when it ends.

use std::fmt;

use time::Duration;
use time::OffsetDateTime;

use crate::secret::Secret;

/// Temporary AWS credentials. A value of this type is complete: no part is empty, and all are plain ASCII.
#[derive(Clone)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: Secret<String>,
    session_token: Secret<String>,
    obtained_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    account_id: Option<String>,
}

/// A part of the credentials is of no use to any client: empty, not plain ASCII, or beyond all size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is empty or malformed")]
pub struct Incomplete(&'static str);

/// Above any session token seen, and below what the answer to a client may hold.
const MAX_PART_BYTES: usize = 32 << 10;

/// The three parts a client signs with.
pub struct Keys {
    /// `ASIA…`, public.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: Secret<String>,
    /// Travels with each request.
    pub session_token: Secret<String>,
}

impl Credentials {
    /// Complete credentials, or the name of the part that is missing.
    pub fn new(
        keys: Keys,
        obtained_at: OffsetDateTime,
        expires_at: OffsetDateTime,
        account_id: Option<String>,
    ) -> Result<Self, Incomplete> {
        let Keys { access_key_id, secret_access_key, session_token } = keys;
        let parts = [
            ("accessKeyId", access_key_id.as_str()),
            ("secretAccessKey", secret_access_key.expose()),
            ("sessionToken", session_token.expose()),
        ];
        let is_usable = |part: &str| {
            (1..=MAX_PART_BYTES).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if let Some((name, _)) = parts.into_iter().find(|(_, part)| !is_usable(part)) {
            return Err(Incomplete(name));
        }
        Ok(Self { access_key_id, secret_access_key, session_token, obtained_at, expires_at, account_id })
    }

    /// The public part, `ASIA…`.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The part that signs.
    pub fn secret_access_key(&self) -> &Secret<String> {
        &self.secret_access_key
    }

    /// The part that travels with each request.
    pub fn session_token(&self) -> &Secret<String> {
        &self.session_token
    }

    /// When they were received.
    pub fn obtained_at(&self) -> OffsetDateTime {
        self.obtained_at
    }

    /// When they end, never later than AWS said.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// The account of the role, twelve digits, where known.
    pub fn account_id(&self) -> Option<&str> {
        self.account_id.as_deref()
    }

    /// How long they lived when they were received.
    pub fn life(&self) -> Duration {
        self.expires_at - self.obtained_at
    }

    /// How long they live from `now`; negative once expired.
    pub fn remaining(&self, now: OffsetDateTime) -> Duration {
        self.expires_at - now
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn credentials_with_an_empty_part_cannot_exist() {
        let at = datetime!(2026-03-11 12:00:00 UTC);
        let with = |id: &str, secret: &str, token: &str| {
            let keys = Keys {
                access_key_id: id.into(),
                secret_access_key: Secret::new(secret.into()),
                session_token: Secret::new(token.into()),
            };
            Credentials::new(keys, at, at + Duration::HOUR, None).map(|complete| complete.life())
        };

        assert_eq!(with("ASIA", "secret", "token"), Ok(Duration::HOUR));
        assert_eq!(with("", "secret", "token"), Err(Incomplete("accessKeyId")));
        assert_eq!(with("ASIA", " ", "token"), Err(Incomplete("secretAccessKey")));
        assert_eq!(with("ASIA", "secret", ""), Err(Incomplete("sessionToken")));
    }
}
