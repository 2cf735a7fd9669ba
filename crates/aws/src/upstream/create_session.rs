//! CreateSession: one signed call, and its answer made into credentials or into an error that says what to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde::Serialize;

use super::Caller;
use super::Error;
use super::Operation;
use super::answer::Answer;
use super::answer::Granted;
use super::caller::Signed;
use super::caller::Target;
use super::caller::url_of;
use crate::signing;
use crate::signing::Scope;
use crate::signing::Unsigned;
use anchord_core::arn::ProfileArn;
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::arn::TrustAnchorArn;
use anchord_core::clock;
use anchord_core::clock::ClockOffset;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::credentials::SignerId;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::Variant;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;
use anchord_core::failure::Failure;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use anchord_identity as identity;
use anchord_identity::Current;
use anchord_identity::Identity;

const PATH: &str = "/sessions";
const OPERATION: Operation = Operation::CreateSession;

/// How far a `Date` may be from AWS's time as it is known: whole seconds, and what the answer took.
const BELIEVED: time::Duration = time::Duration::MINUTE;

/// What is asked of Roles Anywhere, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSession {
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
    /// Which of the Region's own endpoints is called.
    pub variant: Variant,
}

/// Makes credentials with CreateSession.
///
/// The certificate is read again for each call, so a renewed one is used without a restart. While AWS refuses it, the
/// one that it accepted before is used.
pub struct RolesAnywhere {
    identity: Arc<Current>,
    asked: CreateSession,
    caller: Caller,
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
struct Granting {
    credential_set: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    credentials: Raw,
    role_arn: Option<String>,
    assumed_role_user: Option<AssumedRoleUser>,
}

#[derive(Deserialize)]
struct AssumedRoleUser {
    arn: Option<String>,
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

impl CreateSession {
    /// The endpoint that is called.
    pub fn url(&self) -> String {
        url_of(self.endpoint.as_deref(), (Service::RolesAnywhere, &self.region, self.variant))
    }
}

impl RolesAnywhere {
    /// An issuer; nothing is read or sent before the first call.
    pub fn new(identity: Arc<Current>, asked: CreateSession, caller: Caller) -> Self {
        Self { identity, asked, caller }
    }

    async fn create_session(&self) -> Result<Credentials, Error> {
        let current = &self.identity;
        let now = self.caller.now().wall;
        let identity = current.load(now).await?;
        let doubt = current.doubt(&identity, now);
        let refusal = match self.ask(&identity).await {
            Ok(credentials) => {
                current.accepted(&identity);
                return Ok(credentials.obtained_with(Some(SignerId::of(identity.leaf()))));
            }
            Err(error) => error,
        };
        // It may be the certificate that is refused, or the key that is new, so what went well before is tried in its
        // place. The next attempt begins with the new one again: it is for AWS's side to be mended, or a token's, and
        // that shows in no file.
        let (now, is_mute) = (self.caller.now().wall, matches!(refusal, Error::Signing(_)));
        let previous = if is_mute {
            current.signed_before(&identity, now)
        } else if refusal.may_be_of_the_certificate() {
            current.accepted_before(&identity, now)
        } else {
            None
        };
        let Some(previous) = previous else { return Err(self.settled(&identity, doubt, refusal)) };
        match self.ask(&previous).await {
            Ok(credentials) if is_mute => {
                current.report_sign_failure(&previous, &Failure::new(&refusal));
                Ok(credentials.obtained_with(Some(SignerId::of(previous.leaf()).standing_in())))
            }
            Ok(credentials) => {
                current.report_refusal(&identity, &previous, &Failure::new(&refusal));
                Ok(credentials.obtained_with(Some(SignerId::of(previous.leaf()).standing_in())))
            }
            // Refused alike, so it was not the certificate; mute alike, so it was not what unlocks the key.
            Err(again) if again.may_be_of_the_certificate() || matches!(again, Error::Signing(_)) => {
                Err(self.settled(&identity, doubt, refusal))
            }
            Err(other) => Err(other),
        }
    }

    /// What a failed call means for `identity`, of which there was a `doubt` whether it is its time.
    fn settled(&self, identity: &Identity, doubt: Option<identity::Error>, refusal: Error) -> Error {
        if refusal.class() == Class::Denied
            && let Some(fault) = self.identity.verdict(identity, self.caller.now().wall)
        {
            return fault.into();
        }
        match doubt {
            Some(doubt) => Error::InDoubt { doubt: Box::new(doubt), failure: Box::new(refusal) },
            None => refusal,
        }
    }

    /// Lets the identity know what time AWS has told, if this answer tells it: a `Date` that was not believed does not.
    fn pass_on_time(&self, answer: &Answer) {
        let (now, now_at_aws) = (self.caller.now().wall, self.caller.now_at_aws());
        let date = answer.header("date").and_then(clock::parse_http_date);
        if date.is_some_and(|date| (date - now_at_aws).abs() <= BELIEVED) {
            self.identity.note_aws_time(now_at_aws - now, now);
        }
    }

    async fn ask(&self, identity: &Arc<Identity>) -> Result<Credentials, Error> {
        self.caller
            .ask(
                || self.signed_request(Arc::clone(identity)),
                |answer| {
                    let read =
                        if answer.is_success() { self.credentials(answer) } else { Err(refusal(answer)) };
                    if !matches!(read, Err(Error::Foreign { .. })) {
                        self.pass_on_time(answer);
                    }
                    read
                },
            )
            .await
    }

    async fn signed_request(&self, identity: Arc<Identity>) -> Result<Signed, Error> {
        let CreateSession { region, endpoint, variant, .. } = &self.asked;
        let Target { uri, host } =
            Target::new(endpoint.as_deref(), (Service::RolesAnywhere, region, *variant), PATH)?;
        let body = self.body()?;
        let service = Service::RolesAnywhere.signing_name();
        let scope = Scope::new(self.caller.now_at_aws(), region.clone(), service);
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
        Ok(Signed { request, host })
    }

    fn body(&self) -> Result<Bytes, Error> {
        let body = Body {
            duration_seconds: self.asked.duration.as_secs(),
            profile_arn: self.asked.profile.as_str(),
            role_arn: self.asked.role.as_str(),
            trust_anchor_arn: self.asked.trust_anchor.as_str(),
            role_session_name: self.asked.role_session_name.as_deref(),
        };
        serde_json::to_vec(&body)
            .map(Bytes::from)
            .map_err(|_| Error::Broken("the request body cannot be written"))
    }

    fn credentials(&self, reply: &Answer) -> Result<Credentials, Error> {
        // serde_json's messages can quote the input, which holds secrets: only the place is told.
        let answer: Granting = serde_json::from_slice(reply.body()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            reply.not_understood(OPERATION, format!("not the expected JSON at line {line} column {column}"))
        })?;
        let Some(member) = answer.credential_set.into_iter().next() else {
            return Err(reply.not_understood(OPERATION, "it holds no credentials"));
        };
        let Member { credentials: raw, role_arn, assumed_role_user } = member;
        let keys = Keys {
            access_key_id: raw.access_key_id,
            secret_access_key: Secret::new(raw.secret_access_key),
            session_token: Some(Secret::new(raw.session_token)),
        };
        let granted = Granted {
            keys,
            expiration: &raw.expiration,
            asked: self.asked.duration,
            account_id: Some(self.asked.role.account_id().to_owned()),
        };
        let credentials = reply.credentials(OPERATION, granted)?;
        let assumed = assumed_role_user.and_then(|user| user.arn);
        reply.check_role(OPERATION, &self.asked.role, (role_arn.as_deref(), assumed.as_deref()))?;
        Ok(credentials)
    }
}

impl Issuer for RolesAnywhere {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async { self.create_session().await.map_err(Failure::from) })
    }

    fn clock_offset(&self) -> Option<ClockOffset> {
        self.caller.clock_offset()
    }

    fn is_waiting(&self) -> bool {
        self.caller.is_waiting()
    }

    fn signer(&self) -> Option<SignerId> {
        self.identity.loaded().map(|identity| SignerId::of(identity.leaf()))
    }
}

fn refusal(answer: &Answer) -> Error {
    let body: Refusal = serde_json::from_slice(answer.body()).unwrap_or_default();
    // `AccessDeniedException:http://internal…` and `com.amazonaws#AccessDeniedException` both occur.
    let kind = answer.header("x-amzn-errortype").map(str::to_owned).or(body.kind).unwrap_or_default();
    let kind = kind.split(':').next().and_then(|kind| kind.rsplit('#').next()).unwrap_or_default();
    answer.refused(OPERATION, kind, body.message.as_deref())
}

#[cfg(test)]
mod tests;
