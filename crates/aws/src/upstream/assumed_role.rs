//! Role chains: the credentials of one role assume the next one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::Caller;
use super::Error;
use super::Operation;
use super::Sts;
use super::sts::Form;
use anchord_core::arn::RoleArn;
use anchord_core::clock::Reading;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::failure::Classify;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::text::Text;

/// One role of a chain, and how it is assumed.
#[derive(Clone, PartialEq, Eq)]
pub struct Step {
    /// The role.
    pub role: RoleArn,
    /// The name CloudTrail shows: 2 to 64 of `[A-Za-z0-9_+=,.@-]`.
    pub session_name: String,
    /// What the role's trust policy may ask of whoever comes from another account.
    pub external_id: Option<String>,
    /// How long the credentials are to live; AWS grants an hour at most where a role assumes the role.
    pub duration: Duration,
    /// A policy that narrows what the role may do, JSON.
    pub policy: Option<String>,
    /// Managed policies that do so.
    pub policy_arns: Vec<String>,
    /// Session tags: keys and values.
    pub tags: Vec<(String, String)>,
    /// The keys of those tags that later steps inherit.
    pub transitive_tags: Vec<String>,
    /// What CloudTrail shows from here on, and what cannot be changed any more.
    pub source_identity: Option<String>,
    /// Where STS is asked.
    pub sts: Sts,
}

/// Makes the credentials of the last role of a chain, beginning with another issuer's.
///
/// Each attempt goes through the whole chain: nothing that is on the way is kept.
pub struct AssumedRole {
    session: String,
    base: Arc<dyn Issuer>,
    steps: Vec<Step>,
    caller: Caller,
}

/// A role of the chain that could not be assumed.
#[derive(Debug, thiserror::Error)]
#[error("the role `{}` (step {number} of {count}) could not be assumed", role.as_str())]
struct Broken {
    role: RoleArn,
    number: usize,
    count: usize,
    source: Error,
}

impl AssumedRole {
    /// Assumes the roles of `steps` in their order, the first one with what `base` makes; `session` is for the log.
    pub fn new(session: &str, base: Arc<dyn Issuer>, steps: Vec<Step>, caller: Caller) -> Self {
        Self { session: session.into(), base, steps, caller }
    }

    async fn assume(&self) -> Result<Credentials, Failure> {
        let mut credentials = self.base.issue().await?;
        let origin = credentials.origin();
        let count = self.steps.len();
        for (number, step) in (1..).zip(&self.steps) {
            credentials = step.take(&self.caller, credentials.keys()).await.map_err(|source| Broken {
                role: step.role.clone(),
                number,
                count,
                source,
            })?;
            debug!(session = &*self.session, role = step.role.as_str(), number, count, "Assumed a role");
        }
        Ok(credentials.obtained_with(origin))
    }
}

impl Step {
    /// Assumes the role as the owner of `keys`.
    pub async fn take(&self, caller: &Caller, keys: &Keys) -> Result<Credentials, Error> {
        let account_id = self.role.account_id();
        self.sts
            .ask(caller, keys, &self.form(), |found, answer| {
                let granted = found.granted(self.duration, Some(account_id.to_owned()))?;
                let credentials = answer.credentials(Operation::AssumeRole, granted)?;
                answer.check_role(Operation::AssumeRole, &self.role, (None, found.assumed_role()))?;
                Ok(credentials)
            })
            .await
    }

    fn form(&self) -> Form {
        Form::new(Operation::AssumeRole)
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

/// Without the external ID, which some keep secret though AWS does not.
impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, session_name) = (self.role.as_str(), &self.session_name);
        formatter
            .debug_struct("Step")
            .field("role", &role)
            .field("session_name", session_name)
            .field("sts", &self.sts)
            .finish_non_exhaustive()
    }
}

impl Classify for Broken {
    fn reason(&self) -> Reason {
        self.source.reason()
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

    fn last_date(&self) -> Option<Reading> {
        self.caller.last_date()
    }
}

#[cfg(test)]
mod tests;
