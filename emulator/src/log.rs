//! What was asked and what was answered.
//!
//! Signatures and secrets never enter the log: it is printed by demonstrations and compared with canaries.

use serde_json::Value;
use time::OffsetDateTime;

use crate::canonical::Incoming;
use crate::faults::Fault;
use crate::service::Service;
use crate::verify::Authorization;

/// One request, as the service saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// When it came, by the service's clock.
    pub at: OffsetDateTime,
    /// Which service it was for.
    pub service: Service,
    /// What was asked of it: `CreateSession`, `AssumeRole`, `Converse`, ...
    pub action: Option<String>,
    /// The model that Bedrock was asked for, decoded.
    pub model_id: Option<String>,
    /// Whether it came with a bearer token in the place of a signature.
    pub is_bearer: bool,
    /// Which connection it came over, counted from 1; two requests of one number shared it.
    pub connection: u64,
    /// The version of HTTP: `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
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
    /// Serial, or access key id, and scope of the Authorization header.
    pub credential: Option<String>,
    /// The access key that its SigV4 signature, or that in its API key, names, verified or not.
    pub signer: Option<String>,
    /// The Region that the scope of its signature names, whatever was signed with.
    pub scope_region: Option<String>,
    /// The parameters of a call to STS, decoded, in their order.
    pub parameters: Vec<(String, String)>,
    /// The body, if it was JSON.
    pub body: Option<Value>,
    /// The `durationSeconds` asked for.
    pub duration_seconds: Option<u64>,
    /// The role asked for.
    pub role_arn: Option<String>,
    /// The status answered; none if there was no answer.
    pub status: Option<u16>,
    /// The type of the refusal: `X-Amzn-ErrorType`, or the `Code` in XML.
    pub error_type: Option<String>,
    /// Why it was refused, in more words than the caller was given.
    pub reason: Option<String>,
    /// The fault it met.
    pub fault: Option<Fault>,
    /// The access key id issued.
    pub access_key_id: Option<String>,
}

/// What a service reads in a request before it checks anything.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) action: Option<String>,
    pub(crate) model_id: Option<String>,
    pub(crate) is_bearer: bool,
    pub(crate) signer: Option<String>,
    pub(crate) scope_region: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) duration_seconds: Option<u64>,
    pub(crate) role_arn: Option<String>,
}

impl LoggedRequest {
    pub(crate) fn new(
        incoming: &Incoming,
        service: Service,
        facts: Facts,
        connection: u64,
        at: OffsetDateTime,
    ) -> Self {
        let authorization = Authorization::of(incoming).ok();
        Self {
            at,
            service,
            action: facts.action,
            model_id: facts.model_id,
            is_bearer: facts.is_bearer,
            connection,
            version: format!("{:?}", incoming.version),
            method: incoming.method.clone(),
            path: incoming.path.clone(),
            header_names: incoming.headers.iter().map(|(name, _)| name.clone()).collect(),
            user_agent: incoming.values("user-agent").next().map(str::to_owned),
            algorithm: authorization.as_ref().map(|parts| parts.algorithm.to_owned()),
            credential: authorization.as_ref().map(|parts| parts.credential.to_owned()),
            signer: facts.signer,
            scope_region: facts.scope_region,
            parameters: facts.parameters,
            body: serde_json::from_slice(&incoming.body).ok(),
            duration_seconds: facts.duration_seconds,
            role_arn: facts.role_arn,
            status: None,
            error_type: None,
            reason: None,
            fault: None,
            access_key_id: None,
        }
    }

    /// A parameter of a call to STS.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}
