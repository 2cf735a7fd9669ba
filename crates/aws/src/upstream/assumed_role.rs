//! Role chains: the credentials of one role are used to assume the next one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::Caller;
use super::Error;
use super::Operation;
use super::Sts;
use super::sts::QueryRequest;
use anchord_core::arn::RoleArn;
use anchord_core::clock::ClockOffset;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::failure::Classify;
use anchord_core::failure::Detail;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::text::Text;

/// One role of a chain, with the parameters of AssumeRole.
#[derive(Clone, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role.
    pub role: RoleArn,
    /// The name that CloudTrail shows: 2 to 64 of `[A-Za-z0-9_+=,.@-]`.
    pub session_name: String,
    /// The external ID, which the role's trust policy may require from another account.
    pub external_id: Option<String>,
    /// The requested life. If a role assumes this role, AWS grants an hour at most.
    pub duration: Duration,
    /// A session policy in JSON, which limits what the role may do.
    pub policy: Option<String>,
    /// The ARNs of managed policies that are used as session policies.
    pub policy_arns: Vec<String>,
    /// Session tags: keys and values.
    pub tags: Vec<(String, String)>,
    /// The keys of those tags that later steps inherit.
    pub transitive_tags: Vec<String>,
    /// The source identity, which CloudTrail shows from here on. Later steps cannot change it.
    pub source_identity: Option<String>,
    /// The endpoint of STS.
    pub sts: Sts,
}

/// Gets credentials of the last role of a chain that begins with another issuer's credentials.
///
/// Each attempt goes through the whole chain. Credentials of the roles in between are not stored.
pub struct AssumedRole {
    session: String,
    base: Arc<dyn Issuer>,
    steps: Vec<AssumeRole>,
    caller: Caller,
}

/// A role of the chain that could not be assumed.
#[derive(Debug, thiserror::Error)]
#[error("the role `{}` (step {number} of {count}) could not be assumed", role.as_str())]
struct StepFailed {
    role: RoleArn,
    number: usize,
    count: usize,
    source: Error,
}

impl AssumedRole {
    /// Assumes the roles of `steps` in order, the first one with the credentials of `base`. `session` is for the log.
    pub fn new(session: &str, base: Arc<dyn Issuer>, steps: Vec<AssumeRole>, caller: Caller) -> Self {
        Self { session: session.into(), base, steps, caller }
    }

    async fn assume(&self) -> Result<Credentials, Failure> {
        let mut credentials = self.base.issue().await?;
        let signer = credentials.signer();
        let count = self.steps.len();
        for (number, step) in (1..).zip(&self.steps) {
            credentials = step.take(&self.caller, credentials.keys()).await.map_err(|source| StepFailed {
                role: step.role.clone(),
                number,
                count,
                source,
            })?;
            debug!(session = &*self.session, role = step.role.as_str(), number, count, "Assumed a role");
        }
        Ok(credentials.obtained_with(signer))
    }
}

impl AssumeRole {
    /// Assumes the role with `keys`.
    ///
    /// # Errors
    /// If AWS refuses, or its answer cannot be used.
    pub async fn take(&self, caller: &Caller, keys: &Keys) -> Result<Credentials, Error> {
        let account_id = self.role.account_id();
        self.sts
            .ask(caller, keys, &self.form(), |result, answer| {
                let granted = result.granted(self.duration, Some(account_id.to_owned()))?;
                let credentials = answer.credentials(Operation::AssumeRole, granted)?;
                answer.check_role(Operation::AssumeRole, &self.role, (None, result.assumed_role()))?;
                Ok(credentials)
            })
            .await
    }

    fn form(&self) -> QueryRequest {
        QueryRequest::new(Operation::AssumeRole)
            .with("RoleArn", self.role.as_str())
            .with("RoleSessionName", &self.session_name)
            .with("DurationSeconds", &self.duration.as_secs().to_string())
            .with_any("ExternalId", self.external_id.as_deref())
            .with_any("SourceIdentity", self.source_identity.as_deref())
            .with_any("Policy", self.policy.as_deref())
            .with_each("PolicyArns", ".arn", self.policy_arns.iter().map(String::as_str))
            .with_each("Tags", ".Key", self.tags.iter().map(|(key, _)| key.as_str()))
            .with_each("Tags", ".Value", self.tags.iter().map(|(_, value)| value.as_str()))
            .with_each("TransitiveTagKeys", "", self.transitive_tags.iter().map(String::as_str))
    }
}

/// Omits the external ID: AWS does not treat it as a secret, but some users do.
impl fmt::Debug for AssumeRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, session_name) = (self.role.as_str(), &self.session_name);
        formatter
            .debug_struct("AssumeRole")
            .field("role", &role)
            .field("session_name", session_name)
            .field("sts", &self.sts)
            .finish_non_exhaustive()
    }
}

impl Classify for StepFailed {
    fn reason(&self) -> Reason {
        self.source.reason()
    }

    fn detail(&self) -> Option<Detail> {
        self.source.detail()
    }

    fn hint(&self) -> Option<Text> {
        self.source.hint()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.source.retry_after()
    }

    fn is_local(&self) -> bool {
        self.source.is_local()
    }
}

impl Issuer for AssumedRole {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(self.assume())
    }

    fn clock_offset(&self) -> Option<ClockOffset> {
        self.caller.clock_offset()
    }
}

#[cfg(test)]
mod tests;
