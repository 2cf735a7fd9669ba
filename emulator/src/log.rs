//! What was asked and what was answered.
//!
//! Signatures and secrets never enter the log: it is printed by demonstrations and compared with canaries.

use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;

use crate::canonical::Incoming;
use crate::faults::Fault;
use crate::verify::Authorization;

/// One request, as the service saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// When it came, by the service's clock.
    pub at: OffsetDateTime,
    /// Which connection it came over, counted from 1; two requests of one number shared it.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The names of its headers, in lower case, with repetitions.
    pub header_names: Vec<String>,
    /// The `User-Agent`.
    pub user_agent: Option<String>,
    /// The algorithm of the Authorization header.
    pub algorithm: Option<String>,
    /// Serial and scope of the Authorization header.
    pub credential: Option<String>,
    /// The body, if it was JSON.
    pub body: Option<Value>,
    /// The `durationSeconds` asked for.
    pub duration_seconds: Option<u64>,
    /// The role asked for.
    pub role_arn: Option<String>,
    /// The status answered; none if there was no answer.
    pub status: Option<u16>,
    /// The `X-Amzn-ErrorType` answered.
    pub error_type: Option<String>,
    /// Why it was refused, in more words than the caller was given.
    pub reason: Option<String>,
    /// The fault it met.
    pub fault: Option<Fault>,
    /// The access key id issued.
    pub access_key_id: Option<String>,
}

impl LoggedRequest {
    pub(crate) fn new(incoming: &Incoming, connection: u64, at: OffsetDateTime) -> Self {
        let authorization = Authorization::of(incoming).ok();
        let body: Option<Value> = serde_json::from_slice(&incoming.body).ok();
        let member = |name: &str| body.as_ref().and_then(|body| body.get(name));
        let in_query = incoming.parameters().into_iter().find(|(name, _)| name == "roleArn");
        let in_body = member("roleArn").and_then(Value::as_str).map(str::to_owned);
        Self {
            at,
            connection,
            method: incoming.method.clone(),
            path: incoming.path.clone(),
            header_names: incoming.headers.iter().map(|(name, _)| name.clone()).collect(),
            user_agent: incoming.values("user-agent").next().map(str::to_owned),
            algorithm: authorization.as_ref().map(|parts| parts.algorithm.to_owned()),
            credential: authorization.as_ref().map(|parts| parts.credential.to_owned()),
            duration_seconds: member("durationSeconds").and_then(Value::as_u64),
            role_arn: in_body.or(in_query.map(|(_, value)| value)),
            body,
            status: None,
            error_type: None,
            reason: None,
            fault: None,
            access_key_id: None,
        }
    }
}

/// Credentials that were given out, for comparison with what a client hands on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuedCredentials {
    /// `ASIA…`
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
    /// About eight hundred characters.
    pub session_token: String,
    /// When they end.
    pub expires_at: OffsetDateTime,
    /// The role they are for.
    pub role_arn: String,
    /// The session's name.
    pub role_session_name: String,
}

impl fmt::Debug for IssuedCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IssuedCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .field("role_arn", &self.role_arn)
            .field("role_session_name", &self.role_session_name)
            .finish_non_exhaustive()
    }
}
