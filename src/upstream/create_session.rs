//! CreateSession: one signed call, and its answer made into credentials or into an error that says what to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::StatusCode;
use http::Uri;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::BoxFuture;
use super::Error;
use super::Issuer;
use super::Reply;
use super::Transport;
use super::skew::Skew;
use crate::arn::ProfileArn;
use crate::arn::Region;
use crate::arn::RoleArn;
use crate::arn::TrustAnchorArn;
use crate::clock;
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::credentials::Keys;
use crate::failure::Class;
use crate::failure::Classify as _;
use crate::failure::Failure;
use crate::identity::Current;
use crate::identity::Identity;
use crate::secret::Secret;
use crate::signing;
use crate::signing::Scope;
use crate::signing::Unsigned;

const PATH: &str = "/sessions";
const SERVICE: &str = "rolesanywhere";
/// AWS never grants more than was asked for; this much is the tolerance of clocks.
const MAX_EXTRA_LIFE: Duration = Duration::from_secs(300);

/// What a session asks of Roles Anywhere.
#[derive(Clone, Debug)]
pub struct Options {
    /// The certificate and its key.
    pub identity: Arc<Current>,
    /// Which CA vouches for the leaf.
    pub trust_anchor: TrustAnchorArn,
    /// What the session may do at most.
    pub profile: ProfileArn,
    /// The role to assume.
    pub role: RoleArn,
    /// How long the credentials are to live, 900 s to 43200 s; the profile may shorten it.
    pub duration: Duration,
    /// The name CloudTrail shows; by default the leaf's serial number.
    pub role_session_name: Option<String>,
    /// The Region that is called and signed for.
    pub region: Region,
    /// Another endpoint than the Region's own, `https://host[:port]`.
    pub endpoint: Option<String>,
}

/// Makes credentials with CreateSession.
///
/// The certificate is read again for each call, so a renewed one is used without a restart. While AWS refuses it, the
/// one that it accepted before is used.
pub struct RolesAnywhere {
    options: Options,
    transport: Arc<dyn Transport>,
    clock: Clock,
    skew: Skew,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    duration_seconds: u64,
    profile_arn: &'a str,
    role_arn: &'a str,
    trust_anchor_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_session_name: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    credential_set: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    credentials: Raw,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type", alias = "code")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

impl RolesAnywhere {
    /// An issuer; nothing is read or sent before the first call.
    pub fn new(options: Options, transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Self { options, transport, clock, skew: Skew::default() }
    }

    async fn create_session(&self) -> Result<Credentials, Error> {
        let current = &self.options.identity;
        let identity = current.load(self.clock.now()).await?;
        let refusal = match self.ask(&identity).await {
            Ok(credentials) => {
                current.accepted(&identity);
                return Ok(credentials);
            }
            Err(error) => error,
        };
        // It may be the certificate that is refused, or the key that is new, so what went well before is tried in its
        // place. The next attempt begins with the new one again: it is for AWS's side to be mended, or a token's, and
        // that shows in no file.
        let (now, is_mute) = (self.clock.now(), matches!(refusal, Error::Signing(_)));
        let previous = match refusal.class() {
            _ if is_mute => current.signed_before(&identity, now),
            Class::Denied => current.accepted_before(&identity, now),
            _ => None,
        };
        let Some(previous) = previous else { return Err(refusal) };
        match self.ask(&previous).await {
            Ok(credentials) if is_mute => {
                current.signed_instead(&previous, &Failure::new(&refusal));
                Ok(credentials)
            }
            Ok(credentials) => {
                current.passed_over(&identity, &previous, &Failure::new(&refusal));
                Ok(credentials)
            }
            // Refused alike, so it was not the certificate; mute alike, so it was not what unlocks the key.
            Err(again) if again.class() == Class::Denied || matches!(again, Error::Signing(_)) => {
                Err(refusal)
            }
            Err(other) => Err(other),
        }
    }

    /// One call, and one more where the clock may be why it was refused: a client that waits cannot wait for a pause.
    async fn ask(&self, identity: &Arc<Identity>) -> Result<Credentials, Error> {
        let outcome = match self.attempt(identity).await? {
            Outcome::Refused { clock_corrected: true, .. } => self.attempt(identity).await?,
            outcome => outcome,
        };
        match outcome {
            Outcome::Made(credentials) => Ok(credentials),
            Outcome::Refused { error, .. } => Err(error),
        }
    }

    async fn attempt(&self, identity: &Arc<Identity>) -> Result<Outcome, Error> {
        let (request, host) = self.signed_request(Arc::clone(identity)).await?;
        let sent_at = self.clock.now();
        let reply = self.transport.send(request).await.map_err(|source| Error::NoAnswer { host, source })?;
        let now = self.clock.now();
        let clock_corrected = header(reply.headers(), "date")
            .and_then(clock::parse_http_date)
            .is_some_and(|aws| self.skew.learn(aws, sent_at, now));
        if reply.status().is_success() {
            return self.credentials(&reply, now).map(Outcome::Made);
        }
        let error = refusal(&reply, self.skew.offset(), now);
        // A wrong date is a reason to deny; whoever is throttled, or told to wait, waits.
        let clock_corrected = clock_corrected && error.class() == Class::Denied;
        Ok(Outcome::Refused { error, clock_corrected })
    }

    async fn signed_request(&self, identity: Arc<Identity>) -> Result<(Request<Bytes>, String), Error> {
        let (uri, host) = self.target()?;
        let body = self.body()?;
        let scope = Scope::new(self.clock.now() + self.skew.offset(), self.options.region.clone(), SERVICE);
        let (signed_host, signed_body) = (host.clone(), body.clone());
        let headers = tokio::task::spawn_blocking(move || {
            let request = Unsigned { method: "POST", path: PATH, host: &signed_host, body: &signed_body };
            signing::sign(request, &identity, &scope)
        })
        .await
        .map_err(|_| Error::Broken("signing panicked"))??;

        let mut request = Request::post(uri).header(http::header::HOST, &host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|_| Error::Broken("a signed header is not a header"))?;
        Ok((request, host))
    }

    /// The URL, and what the `Host` header says for it: without the port that `https` implies.
    fn target(&self) -> Result<(Uri, String), Error> {
        let region = &self.options.region;
        let own = || format!("https://{SERVICE}.{region}.{}", region.partition().dns_suffix());
        let endpoint = self.options.endpoint.clone().unwrap_or_else(own);
        let uri: Option<Uri> = format!("{}{PATH}", endpoint.trim_end_matches('/')).parse().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("https"));
        let host = uri.as_ref().and_then(|uri| match uri.port_u16() {
            Some(port) if port != 443 => Some(format!("{}:{port}", uri.host()?)),
            _ => uri.host().map(str::to_owned),
        });
        uri.zip(host).ok_or(Error::Endpoint { endpoint })
    }

    fn body(&self) -> Result<Bytes, Error> {
        let body = Body {
            duration_seconds: self.options.duration.as_secs(),
            profile_arn: self.options.profile.as_str(),
            role_arn: self.options.role.as_str(),
            trust_anchor_arn: self.options.trust_anchor.as_str(),
            role_session_name: self.options.role_session_name.as_deref(),
        };
        serde_json::to_vec(&body)
            .map(Bytes::from)
            .map_err(|_| Error::Broken("the request body cannot be written"))
    }

    fn credentials(&self, reply: &Reply, now: OffsetDateTime) -> Result<Credentials, Error> {
        let not_understood = |why: String| Error::NotUnderstood {
            why,
            status: reply.status(),
            request_id: request_id(reply.headers()),
        };
        // serde_json's messages can quote the input, which holds secrets: only the place is told.
        let answer: Answer = serde_json::from_slice(reply.body().expose()).map_err(|error| {
            not_understood(format!(
                "not the expected JSON at line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        let raw = answer.credential_set.into_iter().next().map(|member| member.credentials);
        let raw = raw.ok_or_else(|| not_understood("it holds no credentials".into()))?;
        let keys = Keys {
            access_key_id: raw.access_key_id,
            secret_access_key: Secret::new(raw.secret_access_key),
            session_token: Some(Secret::new(raw.session_token)),
        };
        let expiration = clock::parse_rfc3339(&raw.expiration)
            .ok_or_else(|| not_understood("the expiration is not a date".into()))?;
        // Clients judge by this host's clock: where it is behind AWS's they would use the credentials too long.
        // Where it is ahead AWS's own date stands, for a clock that is set right must not lengthen a life.
        let expires_at = expiration - self.skew.lateness();
        if expires_at > now + self.options.duration + MAX_EXTRA_LIFE {
            return Err(not_understood(format!("it ends at {}, later than was asked for", raw.expiration)));
        }
        let account_id = Some(self.options.role.account_id().to_owned());
        Credentials::new(keys, now, expires_at, account_id)
            .map(|made| made.ending_at_aws(expiration))
            .map_err(|incomplete| not_understood(incomplete.to_string()))
    }
}

enum Outcome {
    Made(Credentials),
    Refused { error: Error, clock_corrected: bool },
}

impl Issuer for RolesAnywhere {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async { self.create_session().await.map_err(Failure::from) })
    }
}

fn refusal(reply: &Reply, skew: time::Duration, now: OffsetDateTime) -> Error {
    let body: Refusal = serde_json::from_slice(reply.body().expose()).unwrap_or_default();
    // `AccessDeniedException:http://internal…` and `com.amazonaws#AccessDeniedException` both occur.
    let kind =
        header(reply.headers(), "x-amzn-errortype").map(str::to_owned).or(body.kind).unwrap_or_default();
    let kind = kind.split(':').next().and_then(|kind| kind.rsplit('#').next()).unwrap_or_default();
    let message = body.message.unwrap_or_else(|| status_text(reply.status()));
    Error::Refused {
        status: reply.status(),
        kind: printable(kind),
        message: printable(&message),
        request_id: request_id(reply.headers()),
        retry_after: retry_after(reply.headers(), now + skew),
        clock_off_by: skew.whole_seconds(),
    }
}

fn status_text(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("no reason given").to_owned()
}

/// Words from outside, cut and cleaned for one line of a log.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text: String = text.chars().map(plain).take(MAX_CHARS).collect();
    if text.is_empty() { "-".into() } else { text }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = header(headers, "retry-after")?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| clock::parse_http_date(text).map(|at| clock::until(now, at)))
}

fn request_id(headers: &HeaderMap) -> String {
    printable(header(headers, "x-amzn-requestid").unwrap_or_default())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
