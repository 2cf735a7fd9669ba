//! The instance metadata service, version 2, as far as SDKs need it for credentials and Region.
//!
//! Version 1 does not exist here: without a token there is only 401. Errors have empty bodies, because some
//! clients take any text for a role name, and the list of roles is where the absence of credentials shows:
//! a client that has been given a name always gets its credentials.

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

use super::Decision;
use super::Hand;
use super::Reply;
use super::document;
use super::guard;
use anchord_core::credentials::Credentials;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::secret::Secret;
use anchord_session::Freshness;
use anchord_session::Handle;

pub use token::TimeToLive;
pub use token::TokenAuthority;
use tree::Node;

/// One session, shown as the role of an instance.
#[derive(Clone, Debug)]
pub struct Imds {
    session: Handle,
    role: RoleName,
    /// Names that lists have shown a moment ago, each with the end of that moment.
    earlier: Vec<(RoleName, Instant)>,
    tokens: TokenAuthority,
    place: Option<Place>,
}

/// Where the instance is said to be.
#[derive(Clone, Debug)]
struct Place {
    region: String,
    account_id: Option<String>,
}

/// A role's name as clients put it into a path: IAM's alphabet, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(Arc<str>);

/// Not a name that IAM allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role name: 1 to 64 letters, digits and `+=,.@_-`")]
pub struct NotARoleName(String);

impl RoleName {
    /// Checks a name.
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
    /// Shows `session` as `role` to whoever has taken a token from `tokens`.
    pub fn new(session: Handle, role: RoleName, tokens: TokenAuthority) -> Self {
        Self { session, role, earlier: Vec::new(), tokens, place: None }
    }

    /// The same, in the place of `before`: clients that have just been shown its role by the list, and ask for that,
    /// get this session's credentials. EC2's 404 would be taken for an instance without a role, and no error will do:
    /// the AWS Common Runtime ends its process at any document that is none.
    #[must_use]
    pub fn in_place_of(mut self, before: &Self) -> Self {
        let now = Instant::now();
        let shown_now = (before.role.clone(), now + SHOWN);
        let shown = [shown_now].into_iter().chain(before.earlier.iter().cloned());
        self.earlier =
            shown.filter(|(role, until)| *role != self.role && *until > now).take(MOST_EARLIER).collect();
        self
    }

    /// The same, also answering in which Region (and account) the instance is.
    pub fn at(mut self, region: &str, account_id: Option<&str>) -> Self {
        self.place = Some(Place { region: region.into(), account_id: account_id.map(Into::into) });
        self
    }

    /// Decides a request.
    pub fn route(&self, head: &Parts) -> Decision {
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
        let Some(life) = guard::sole(&head.headers, &TTL).and_then(TimeToLive::parse) else {
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
        guard::sole(&head.headers, &TOKEN).is_some_and(|presented| self.tokens.accepts(presented))
    }

    fn get(&self, node: Node) -> Decision {
        match (node, &self.place) {
            (Node::Roles, _) => {
                let role = self.role.clone();
                self.hand(Freshness::Full, move |_| Reply::text(&role.0))
            }
            // The list has promised these credentials less than 30 s ago, so they may be that much older.
            (Node::Role(name), _) if self.answers_to(&name) => {
                self.hand(Freshness::Promised, document::reply)
            }
            (Node::Region, Some(place)) => Reply::text(&place.region).into(),
            // SDKs cut the last letter off to get the Region; which zone it is means nothing here.
            (Node::AvailabilityZone, Some(place)) => Reply::text(&format!("{}a", place.region)).into(),
            (Node::Identity, Some(place)) => identity(place).into(),
            _ => Reply::empty(StatusCode::NOT_FOUND).into(),
        }
    }

    fn answers_to(&self, name: &str) -> bool {
        let now = Instant::now();
        *name == *self.role.0 || self.earlier.iter().any(|(role, until)| *name == *role.0 && now < *until)
    }

    fn hand(
        &self,
        freshness: Freshness,
        render: impl FnOnce(&Credentials) -> Reply + Send + 'static,
    ) -> Decision {
        let answer = |outcome: Result<&Credentials, &Failure>| match outcome {
            // Without a session token they are a user's own and end never: not for whoever may ask here.
            Ok(credentials) if credentials.session_token().is_some() => render(credentials),
            Ok(_) | Err(_) => Reply::empty(StatusCode::SERVICE_UNAVAILABLE),
        };
        Decision::Hand(Hand {
            session: self.session.clone(),
            freshness,
            patience: PATIENCE,
            answer: Box::new(answer),
        })
    }
}

fn identity(place: &Place) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Identity<'a> {
        region: &'a str,
        availability_zone: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
    }
    let document = Identity {
        region: &place.region,
        availability_zone: format!("{}a", place.region),
        account_id: place.account_id.as_deref(),
    };
    let body = serde_json::to_vec(&document).expect("three strings are always JSON");
    Reply::json(StatusCode::OK, Secret::new(body))
}

fn not_allowed(allowed: &'static str) -> Decision {
    let allowed = HeaderValue::from_static(allowed);
    Reply::empty(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allowed).into()
}

static TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
static TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// As long as the list's promise holds. Every SDK asks for the document within seconds, retries included. After it a name
/// that is no role's is 404 again, by which Go's SDK knows to ask for the list.
const SHOWN: Duration = Duration::from_secs(30);
const MOST_EARLIER: usize = 8;

/// Go waits 500 ms for a header, everybody else 1 s.
const PATIENCE: Duration = Duration::from_millis(350);

#[cfg(test)]
mod tests;
