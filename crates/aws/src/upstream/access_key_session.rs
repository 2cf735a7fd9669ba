//! Credentials from a user's own access keys.

use std::time::Duration;

use super::Caller;
use super::Error;
use super::Operation;
use super::Sts;
use super::sts::Form;
use crate::access_keys::AccessKeys;
use anchord_core::clock::ClockOffset;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::credentials::SignerId;
use anchord_core::failure::Failure;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;

/// What becomes of a user's keys before anybody gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Temporary credentials, which may call neither IAM nor most of STS.
    SessionToken {
        /// How long they are to live, 15 minutes to 36 hours.
        duration: Duration,
        /// Where STS is asked.
        sts: Sts,
    },
    /// Nothing: the keys themselves are handed out.
    None {
        /// After how long they are read again, 15 minutes at least.
        life: Duration,
    },
}

/// Makes credentials of a user's keys, which are read again for each call.
pub struct AccessKeySession {
    keys: AccessKeys,
    exchange: Exchange,
    caller: Caller,
}

/// Less would leave SDKs no time between two renewals.
const SHORTEST_LIFE: Duration = Duration::from_secs(15 * 60);

impl AccessKeySession {
    /// An issuer; nothing is read or sent before the first call.
    pub fn new(keys: AccessKeys, exchange: Exchange, caller: Caller) -> Self {
        Self { keys, exchange, caller }
    }

    async fn make(&self) -> Result<Credentials, Error> {
        let keys = self.keys.load().await?;
        let signer = SignerId::of(keys.access_key_id.as_bytes());
        let made = match &self.exchange {
            Exchange::SessionToken { duration, sts } => self.session_token(&keys, *duration, sts).await,
            Exchange::None { life } => {
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
        let form = Form::new(operation).with("DurationSeconds", &duration.as_secs().to_string());
        sts.ask(&self.caller, keys, &form, |found, answer| {
            answer.credentials(operation, found.granted(duration, None)?)
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
