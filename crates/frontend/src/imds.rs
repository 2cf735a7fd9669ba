//! The EC2 instance metadata service, version 2, as far as SDKs need it for credentials and the Region.
//!
//! Version 1 is not supported: a request without a token gets 401. Errors have no body, because some clients read any
//! text as a role name. If there are no credentials, the list of roles fails, so that a client that got a role's name
//! from it always gets the role's credentials.

mod token;
mod tree;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use http::request::Parts;
use serde::Serialize;
use tokio::time::Instant;

use super::Caller;
use super::CredentialsRequest;
use super::Decision;
use super::Reply;
use super::caller::Verdict;
use super::document;
use super::guard;
use super::reply::PATIENCE;
use anchord_core::access::Access;
use anchord_core::credentials::Credentials;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::secret::Secret;
use anchord_session::Freshness;
use anchord_session::Handle;

pub use token::TimeToLive;
pub use token::TokenAuthority;
use tree::Node;

/// Shows one session as the role of an EC2 instance.
#[derive(Clone, Debug)]
pub struct Imds {
    session: Handle,
    role: RoleName,
    /// Roles that the list showed shortly before a reload, and until when each still has credentials.
    earlier_roles: Vec<(RoleName, Instant)>,
    tokens: TokenAuthority,
    access: Access,
    location: Option<Location>,
}

/// The instance's Region and account, as clients see them.
#[derive(Clone, Debug)]
struct Location {
    region: String,
    account_id: Option<String>,
}

/// A role's name in paths: 1 to 64 characters of those that IAM allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(Arc<str>);

/// The text is not a role name that IAM allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role name: 1 to 64 letters, digits and `+=,.@_-`")]
pub struct NotARoleName(String);

impl RoleName {
    /// Parses a role name.
    ///
    /// # Errors
    /// IAM does not allow this name.
    pub fn parse(text: &str) -> Result<Self, NotARoleName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        let well_formed = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if well_formed { Ok(Self(text.into())) } else { Err(NotARoleName(text.into())) }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Imds {
    /// Shows `session` as `role` to clients with a token of `tokens`: to root and the daemon's user.
    pub fn new(session: Handle, role: RoleName, tokens: TokenAuthority) -> Self {
        let access = Access::Only(Vec::new());
        Self { session, role, earlier_roles: Vec::new(), tokens, access, location: None }
    }

    /// Also serves those whom `access` admits.
    #[must_use]
    pub fn for_callers(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Replaces `before` after a reload. For [`SHOWN`], a client that asks for the role of `before`, which it may have
    /// just read from the list, gets this session's credentials. No error would do: clients read 404 as an instance
    /// without a role, and the AWS Common Runtime ends its process if the response is not a credentials document.
    #[must_use]
    pub fn in_place_of(mut self, before: &Self) -> Self {
        let now = Instant::now();
        let mut shown = vec![(before.role.clone(), now + SHOWN)];
        shown.extend_from_slice(&before.earlier_roles);
        shown.retain(|(role, until)| *role != self.role && *until > now);
        shown.truncate(MOST_EARLIER);
        self.earlier_roles = shown;
        self
    }

    /// Adds the instance's Region, and its account if known.
    pub fn at(mut self, region: &str, account_id: Option<&str>) -> Self {
        self.location = Some(Location { region: region.into(), account_id: account_id.map(Into::into) });
        self
    }

    /// Decides a request.
    pub fn route(&self, head: &Parts, caller: &Caller) -> Decision {
        match caller.may(&self.access) {
            Verdict::Admitted => {}
            Verdict::Refused => return not_for(head),
            Verdict::Unclear => return Reply::empty(StatusCode::SERVICE_UNAVAILABLE).into(),
        }
        let node = tree::find(head.uri.path());
        match (&head.method, &node) {
            (&Method::PUT, Node::Token) => self.issue(head).into(),
            (&Method::GET, _) if !self.has_token(head) => {
                Reply::empty(StatusCode::UNAUTHORIZED).denied("no valid IMDS token").into()
            }
            (&Method::GET, Node::Token) => not_allowed("PUT"),
            (&Method::GET, _) => self.get(node),
            (_, Node::Token) => not_allowed("PUT"),
            _ => not_allowed("GET"),
        }
    }

    fn issue(&self, head: &Parts) -> Reply {
        let Some(life) = guard::single_value(&head.headers, &TTL).and_then(TimeToLive::parse) else {
            return Reply::empty(StatusCode::BAD_REQUEST);
        };
        match self.tokens.issue(life) {
            Ok(token) => Reply::text(token.expose()).header(TTL.clone(), HeaderValue::from(life.seconds())),
            Err(error) => {
                tracing::error!(event = event::IMDS_TOKEN_FAILED, %error, "Cannot make an IMDS token");
                Reply::empty(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    fn has_token(&self, head: &Parts) -> bool {
        guard::single_value(&head.headers, &TOKEN).is_some_and(|presented| self.tokens.accepts(presented))
    }

    fn get(&self, node: Node) -> Decision {
        match (node, &self.location) {
            (Node::Roles, _) => {
                let role = self.role.clone();
                self.credentials(Freshness::Full, move |_| Reply::text(&role.0))
            }
            // The list promised these credentials up to 30 s ago, so they may expire that much earlier.
            (Node::Role(name), _) if self.is_role(&name) => {
                self.credentials(Freshness::Promised, document::reply)
            }
            (Node::Region, Some(location)) => Reply::text(&location.region).into(),
            // SDKs remove the last letter to get the Region. The zone itself has no meaning here.
            (Node::AvailabilityZone, Some(location)) => Reply::text(&format!("{}a", location.region)).into(),
            (Node::Identity, Some(location)) => identity_document(location).into(),
            _ => Reply::empty(StatusCode::NOT_FOUND).into(),
        }
    }

    fn is_role(&self, name: &str) -> bool {
        let now = Instant::now();
        *name == *self.role.0
            || self.earlier_roles.iter().any(|(role, until)| *name == *role.0 && now < *until)
    }

    fn credentials(
        &self,
        freshness: Freshness,
        render: impl FnOnce(&Credentials) -> Reply + Send + 'static,
    ) -> Decision {
        let render = |outcome: Result<&Credentials, &Failure>| match outcome {
            // Keys without a session token are a user's own and never expire. Any local program could get them here.
            Ok(credentials) if credentials.session_token().is_some() => render(credentials),
            Ok(_) | Err(_) => Reply::empty(StatusCode::SERVICE_UNAVAILABLE),
        };
        Decision::Credentials(CredentialsRequest {
            session: self.session.clone(),
            freshness,
            patience: PATIENCE,
            render: Box::new(render),
        })
    }
}

fn identity_document(location: &Location) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct IdentityDocument<'a> {
        region: &'a str,
        availability_zone: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
    }
    let document = IdentityDocument {
        region: &location.region,
        availability_zone: format!("{}a", location.region),
        account_id: location.account_id.as_deref(),
    };
    let body = serde_json::to_vec(&document).expect("three strings are always JSON");
    Reply::json(StatusCode::OK, Secret::new(body))
}

/// The answer to a caller who may not use the session. It shows nothing, not even whether there is such a path. SDKs that
/// get no token ask again without one. 401 then lets them come back to tokens, should the caller be admitted later.
fn not_for(head: &Parts) -> Decision {
    let status = if head.method == Method::PUT { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
    Reply::empty(status).denied("the settings do not allow this caller to use the session").into()
}

fn not_allowed(allowed: &'static str) -> Decision {
    let allowed = HeaderValue::from_static(allowed);
    Reply::empty(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allowed).into()
}

static TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
static TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// How long a role of the list keeps its credentials after a reload. Every SDK asks for the document within seconds,
/// retries included. After this time the role's name gets 404 again, upon which the SDK for Go reads the list again.
const SHOWN: Duration = Duration::from_secs(30);
const MOST_EARLIER: usize = 8;

#[cfg(test)]
mod tests;
