//! What was asked and what was answered.
//!
//! Signatures and secrets never enter the log: it is printed by demonstrations and compared with canaries.

use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;

use crate::bedrock::Target;
use crate::bedrock::api_key;
use crate::canonical::Incoming;
use crate::faults::Fault;
use crate::route::Service;
use crate::sigv4::Claim;
use crate::sts::form::Form;
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

impl LoggedRequest {
    pub(crate) fn new(incoming: &Incoming, service: Service, connection: u64, at: OffsetDateTime) -> Self {
        let authorization = Authorization::of(incoming).ok();
        let claim = Claim::of(incoming).or_else(|| api_key::claim(incoming));
        let target = Target::of(incoming).filter(|_| service == Service::Bedrock);
        let body: Option<Value> = serde_json::from_slice(&incoming.body).ok();
        let form = if service == Service::Sts { Form::of(incoming) } else { Form::default() };
        let member = |name: &str| body.as_ref().and_then(|body| body.get(name));
        let in_query = incoming.parameters().into_iter().find(|(name, _)| name == "roleArn");
        let in_body = member("roleArn").and_then(Value::as_str).or_else(|| form.get("RoleArn"));
        let in_form = form.get("DurationSeconds").and_then(|seconds| seconds.parse().ok());
        let with_key = service != Service::RolesAnywhere;
        Self {
            at,
            service,
            action: action(incoming, service, &form, target.as_ref()),
            model_id: target.and_then(|target| target.model_id),
            is_bearer: api_key::bearer(incoming).is_some(),
            connection,
            version: format!("{:?}", incoming.version),
            method: incoming.method.clone(),
            path: incoming.path.clone(),
            header_names: incoming.headers.iter().map(|(name, _)| name.clone()).collect(),
            user_agent: incoming.values("user-agent").next().map(str::to_owned),
            algorithm: authorization.as_ref().map(|parts| parts.algorithm.to_owned()),
            credential: authorization.as_ref().map(|parts| parts.credential.to_owned()),
            signer: claim.as_ref().filter(|_| with_key).map(|claim| claim.access_key_id.clone()),
            scope_region: claim.map(|claim| claim.region),
            parameters: form.for_log(),
            duration_seconds: member("durationSeconds").and_then(Value::as_u64).or(in_form),
            role_arn: in_body.map(str::to_owned).or(in_query.map(|(_, value)| value)),
            body,
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

fn action(incoming: &Incoming, service: Service, form: &Form, target: Option<&Target>) -> Option<String> {
    match service {
        Service::RolesAnywhere => {
            let is_known = (incoming.method.as_str(), incoming.path.as_str()) == ("POST", "/sessions");
            is_known.then(|| "CreateSession".to_owned())
        }
        Service::Sts => form.get("Action").map(str::to_owned),
        Service::Bedrock => target.map(|target| target.action.name().to_owned()),
    }
}

/// Credentials that were given out, for comparison with what a client hands on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuedCredentials {
    /// Which call they answered: `CreateSession`, `AssumeRole` or `GetSessionToken`.
    pub action: &'static str,
    /// `ASIA…`
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
    /// About eight hundred characters.
    pub session_token: String,
    /// When they end.
    pub expires_at: OffsetDateTime,
    /// The role they are for; empty for a user's session.
    pub role_arn: String,
    /// The session's name; empty for a user's session.
    pub role_session_name: String,
}

impl fmt::Debug for IssuedCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IssuedCredentials")
            .field("action", &self.action)
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .field("role_arn", &self.role_arn)
            .field("role_session_name", &self.role_session_name)
            .finish_non_exhaustive()
    }
}
