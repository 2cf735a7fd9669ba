//! Credentials from a user's own access keys.

use std::time::Duration;

use super::Caller;
use super::Error;
use super::Operation;
use super::Sts;
use super::sts::QueryRequest;
use crate::access_keys::AccessKeys;
use anchord_core::clock::ClockOffset;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::credentials::SignerId;
use anchord_core::failure::Failure;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;

/// Whether clients get temporary credentials or the user's own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessKeyMode {
    /// Temporary credentials of GetSessionToken. They cannot call IAM or most of STS.
    SessionToken {
        /// Their requested life, 15 minutes to 36 hours.
        duration: Duration,
        /// The endpoint of STS.
        sts: Sts,
    },
    /// The keys themselves.
    AsIs {
        /// The time until they are read again, at least 15 minutes.
        life: Duration,
    },
}

/// Makes credentials from a user's keys, which each call reads again.
pub struct AccessKeySession {
    keys: AccessKeys,
    mode: AccessKeyMode,
    caller: Caller,
}

/// With a shorter life, SDKs would have no time between two renewals.
const SHORTEST_LIFE: Duration = Duration::from_secs(15 * 60);

impl AccessKeySession {
    /// An issuer. It reads and sends nothing before the first call.
    pub fn new(keys: AccessKeys, mode: AccessKeyMode, caller: Caller) -> Self {
        Self { keys, mode, caller }
    }

    async fn make(&self) -> Result<Credentials, Error> {
        let keys = self.keys.load().await?;
        let signer = SignerId::of(keys.access_key_id.as_bytes());
        let made = match &self.mode {
            AccessKeyMode::SessionToken { duration, sts } => self.session_token(&keys, *duration, sts).await,
            AccessKeyMode::AsIs { life } => {
                let now = self.caller.now();
                let ends_at = now.wall + (*life).max(SHORTEST_LIFE);
                Credentials::new(keys, now, ends_at, None)
                    .map_err(|_| Error::Broken("access keys that were checked are not complete"))
            }
        };
        made.map(|made| made.obtained_with(Some(signer)))
    }

    async fn session_token(&self, keys: &Keys, duration: Duration, sts: &Sts) -> Result<Credentials, Error> {
        let operation = Operation::GetSessionToken;
        let form = QueryRequest::new(operation).with("DurationSeconds", &duration.as_secs().to_string());
        sts.ask(&self.caller, keys, &form, |result, answer| {
            answer.credentials(operation, result.granted(duration, None)?)
        })
        .await
    }
}

impl Issuer for AccessKeySession {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async { self.make().await.map_err(Failure::from) })
    }

    fn clock_offset(&self) -> Option<ClockOffset> {
        self.caller.clock_offset()
    }
}

#[cfg(test)]
mod tests;
