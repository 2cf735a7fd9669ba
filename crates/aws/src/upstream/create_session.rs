//! CreateSession: one signed call. Its answer becomes credentials, or an error that says what to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde::Serialize;

use super::Caller;
use super::Error;
use super::ErrorBody;
use super::Operation;
use super::answer::AwsAnswer;
use super::answer::Granted;
use super::caller::ServiceUrl;
use super::caller::Signed;
use super::caller::url_of;
use crate::signing;
use crate::signing::CredentialScope;
use crate::signing::X509Request;
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

/// How far a `Date` may differ from AWS's known time: it has whole seconds, and the answer took some time.
const BELIEVED: time::Duration = time::Duration::MINUTE;

/// The parameters of CreateSession, and where to send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSession {
    /// The trust anchor, with the CA that issued the leaf certificate.
    pub trust_anchor: TrustAnchorArn,
    /// The Roles Anywhere profile, which limits what the session may do.
    pub profile: ProfileArn,
    /// The role to assume.
    pub role: RoleArn,
    /// The requested life, 900 s to 43200 s. The profile may shorten it.
    pub duration: Duration,
    /// The name that CloudTrail shows; by default the leaf's serial number.
    pub role_session_name: Option<String>,
    /// The Region to call and to sign for.
    pub region: Region,
    /// An endpoint instead of the Region's own, `https://host[:port]`.
    pub endpoint: Option<String>,
    /// Which of the Region's own endpoints to use.
    pub variant: Variant,
}

/// Gets credentials with CreateSession.
///
/// Each call reads the certificate again, so that a renewed one takes effect without a restart. While AWS refuses the
/// new certificate, the one that it accepted before is used.
pub struct RolesAnywhere {
    identity: Arc<Current>,
    asked: CreateSession,
    caller: Caller,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateSessionRequest<'a> {
    duration_seconds: u64,
    profile_arn: &'a str,
    role_arn: &'a str,
    trust_anchor_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_session_name: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateSessionResponse {
    credential_set: Vec<CredentialResponse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialResponse {
    credentials: CredentialsJson,
    role_arn: Option<String>,
    assumed_role_user: Option<AssumedRoleUser>,
}

#[derive(Deserialize)]
struct AssumedRoleUser {
    arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialsJson {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

impl CreateSession {
    /// The endpoint that is called.
    pub fn url(&self) -> String {
        url_of(self.endpoint.as_deref(), (Service::RolesAnywhere, &self.region, self.variant))
    }
}

impl RolesAnywhere {
    /// An issuer. It reads and sends nothing before the first call.
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
        // AWS may have refused because of the new certificate, or the new key cannot sign. So this attempt falls back
        // to the certificate that worked before. The next attempt begins with the new one again: an administrator of
        // AWS or of the token may have corrected the cause, and no file event would show that.
        let (now, cannot_sign) = (self.caller.now().wall, matches!(refusal, Error::Signing(_)));
        let previous = if cannot_sign {
            current.signed_before(&identity, now)
        } else if refusal.may_be_of_the_certificate() {
            current.accepted_before(&identity, now)
        } else {
            None
        };
        let Some(previous) = previous else { return Err(self.settled(&identity, doubt, refusal)) };
        match self.ask(&previous).await {
            Ok(credentials) if cannot_sign => {
                current.report_sign_failure(&previous, &Failure::new(&refusal));
                Ok(credentials.obtained_with(Some(SignerId::of(previous.leaf()).standing_in())))
            }
            Ok(credentials) => {
                current.report_refusal(&identity, &previous, &Failure::new(&refusal));
                Ok(credentials.obtained_with(Some(SignerId::of(previous.leaf()).standing_in())))
            }
            // The earlier certificate fails in the same way, so the new one is not the cause.
            Err(again) if again.may_be_of_the_certificate() || matches!(again, Error::Signing(_)) => {
                Err(self.settled(&identity, doubt, refusal))
            }
            Err(other) => Err(other),
        }
    }

    /// The error to report for a refused call of `identity`. `doubt` says that the certificate is not valid by the
    /// local clock.
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

    /// Tells the identity AWS's time, unless the `Date` of this answer was ignored as nonsense.
    fn pass_on_time(&self, answer: &AwsAnswer) {
        let (now, now_at_aws) = (self.caller.now().wall, self.caller.now_at_aws());
        let date = answer.header("date").and_then(clock::parse_http_date);
        if date.is_some_and(|date| (date - now_at_aws).abs() <= BELIEVED) {
            self.identity.note_aws_time(now_at_aws - now, now);
        }
    }

    async fn ask(&self, identity: &Arc<Identity>) -> Result<Credentials, Error> {
        self.caller.ask(|| self.signed_request(Arc::clone(identity)), |answer| self.read(answer)).await
    }

    fn read(&self, answer: &AwsAnswer) -> Result<Credentials, Error> {
        let read = if answer.is_success() { self.credentials(answer) } else { Err(refusal(answer)) };
        if !matches!(read, Err(Error::Foreign { .. })) {
            self.pass_on_time(answer);
        }
        read
    }

    async fn signed_request(&self, identity: Arc<Identity>) -> Result<Signed, Error> {
        let CreateSession { region, endpoint, variant, .. } = &self.asked;
        let ServiceUrl { uri, host } =
            ServiceUrl::new(endpoint.as_deref(), (Service::RolesAnywhere, region, *variant), PATH)?;
        let body = self.body()?;
        let service = Service::RolesAnywhere.signing_name();
        let scope = CredentialScope::new(self.caller.now_at_aws(), region.clone(), service);
        let (signed_host, signed_body) = (host.clone(), body.clone());
        let headers = tokio::task::spawn_blocking(move || {
            let request = X509Request { method: "POST", path: PATH, host: &signed_host, body: &signed_body };
            signing::sign(request, &identity, &scope)
        })
        .await
        .map_err(|_| Error::Broken("signing panicked"))??;

        let mut request = Request::post(uri).header(http::header::HOST, &host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|_| Error::Broken("a signed header is malformed"))?;
        Ok(Signed { request, host })
    }

    fn body(&self) -> Result<Bytes, Error> {
        let body = CreateSessionRequest {
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

    fn credentials(&self, reply: &AwsAnswer) -> Result<Credentials, Error> {
        // serde_json's messages can quote the input, which contains secrets, so the error has only the position.
        let answer: CreateSessionResponse = serde_json::from_slice(reply.body()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            reply.not_understood(OPERATION, format!("not the expected JSON at line {line} column {column}"))
        })?;
        let Some(member) = answer.credential_set.into_iter().next() else {
            return Err(reply.not_understood(OPERATION, "it contains no credentials"));
        };
        let CredentialResponse { credentials: raw, role_arn, assumed_role_user } = member;
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

fn refusal(answer: &AwsAnswer) -> Error {
    let body = ErrorBody::parse(answer.body());
    answer.refused(OPERATION, body.kind(answer.header("x-amzn-errortype")), body.message.as_deref())
}

#[cfg(test)]
mod tests;
