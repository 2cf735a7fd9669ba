//! One set of temporary credentials and when it ends.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroize as _;

use crate::clock;
use crate::secret::Secret;

/// Temporary AWS credentials. A value of this type is complete: no part is empty, and all are plain ASCII.
#[derive(Clone)]
pub struct Credentials {
    keys: Keys,
    obtained_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    ends_at_aws: OffsetDateTime,
    account_id: Option<String>,
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
    pub fn new(
        keys: Keys,
        obtained_at: OffsetDateTime,
        expires_at: OffsetDateTime,
        account_id: Option<String>,
    ) -> Result<Self, Incomplete> {
        keys.check()?;
        Ok(Self { keys, obtained_at, expires_at, ends_at_aws: expires_at, account_id })
    }

    /// The same, for credentials that AWS ends at `at` by its own clock; without this it is taken to be the local one.
    #[must_use]
    pub fn ending_at_aws(self, at: OffsetDateTime) -> Self {
        Self { ends_at_aws: at, ..self }
    }

    /// The same, for credentials that took the place of `others`, as somebody knows who knows more of AWS's clock.
    #[must_use]
    pub fn known_to_outlive(self, others: &Self) -> Self {
        let ends_at_aws = self.ends_at_aws.max(others.ends_at_aws + Duration::SECOND);
        Self { ends_at_aws, ..self }
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

    /// Whether AWS takes these longer than `others`. Local times do not tell: the clock may have been set between the
    /// one and the other.
    pub fn outlive(&self, others: &Self) -> bool {
        // A user's own keys do not end at AWS: those that were read last are the ones.
        self.session_token().is_none() || self.ends_at_aws > others.ends_at_aws
    }

    /// How long they live from `now`; negative once expired.
    pub fn remaining(&self, now: OffsetDateTime) -> Duration {
        self.expires_at - now
    }
}

/// Credentials as private files and the hand-over to a successor hold them. Times are cut to the second, so that
/// what is read back ends no later than what was written.
#[derive(Clone, Deserialize, Serialize)]
pub struct Stored {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_token: Option<String>,
    obtained_at: String,
    expires_at: String,
    account_id: Option<String>,
}

impl Stored {
    /// The stored form of `credentials`; wiped when dropped.
    pub fn of(credentials: &Credentials) -> Self {
        Self {
            access_key_id: credentials.keys.access_key_id.clone(),
            secret_access_key: credentials.keys.secret_access_key.expose().clone(),
            session_token: credentials.session_token().map(|token| token.expose().clone()),
            obtained_at: clock::rfc3339(credentials.obtained_at),
            expires_at: clock::rfc3339(credentials.expires_at),
            account_id: credentials.account_id.clone(),
        }
    }

    /// The credentials, complete but perhaps expired; `None` if this is not what [`Stored::of`] makes.
    pub fn credentials(&self) -> Option<Credentials> {
        let keys = Keys {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: Secret::new(self.secret_access_key.clone()),
            session_token: self.session_token.clone().map(Secret::new),
        };
        let obtained_at = clock::parse_rfc3339(&self.obtained_at)?;
        let expires_at = clock::parse_rfc3339(&self.expires_at)?;
        Credentials::new(keys, obtained_at, expires_at, self.account_id.clone()).ok()
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
                session_token: Some(Secret::new(token.into())),
            };
            Credentials::new(keys, at, at + Duration::HOUR, None).map(|complete| complete.life())
        };

        assert_eq!(with("ASIA", "secret", "token"), Ok(Duration::HOUR));
        assert_eq!(with("", "secret", "token"), Err(Incomplete("accessKeyId")));
        assert_eq!(with("ASIA", " ", "token"), Err(Incomplete("secretAccessKey")));
        assert_eq!(with("ASIA", "secret", ""), Err(Incomplete("sessionToken")));
    }

    #[test]
    fn what_is_stored_is_read_back_and_ends_no_later() {
        let at = datetime!(2026-03-11 12:00:00.75 UTC);
        let keys = Keys {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("canary-secret".into()),
            session_token: Some(Secret::new("canary-token".into())),
        };
        let made = Credentials::new(keys, at, at + Duration::HOUR, Some("123456789012".into())).unwrap();

        let json = serde_json::to_string(&Stored::of(&made)).unwrap();
        let stored: Stored = serde_json::from_str(&json).unwrap();
        let read = stored.credentials().unwrap();

        assert_eq!(read.access_key_id(), "ASIA");
        assert_eq!(read.secret_access_key(), made.secret_access_key());
        assert_eq!(read.session_token(), made.session_token());
        assert_eq!(read.account_id(), Some("123456789012"));
        assert_eq!((read.life(), read.expires_at()), (Duration::HOUR, datetime!(2026-03-11 13:00:00 UTC)));
        assert!(!format!("{stored:?}").contains("canary"), "{stored:?}");
    }
}
