//! What a front end decides about a request: a reply, or a request to a session for credentials.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use serde::Serialize;

use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_session::Freshness;
use anchord_session::Handle;

/// How a request is answered.
#[derive(Debug)]
pub enum Decision {
    /// With this reply.
    Reply(Reply),
    /// With credentials, once a session has them.
    Credentials(CredentialsRequest),
}

impl From<Reply> for Decision {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Asks a session for credentials on behalf of a client that may have them.
pub struct CredentialsRequest {
    /// The session.
    pub session: Handle,
    /// How long the credentials must still be valid.
    pub freshness: Freshness,
    /// How long the client can wait.
    pub patience: Duration,
    /// Makes the reply.
    pub render: Render,
}

/// How long clients of HTTP wait for credentials. SDKs wait 1 s for a response, Go's SDK v2 half of that for IMDS; it
/// asks again after a time-out as it does after 503, so a longer wait costs it nothing.
pub(super) const PATIENCE: Duration = Duration::from_millis(850);

/// Makes the reply from the session's credentials, or from the reason for which it has none.
pub type Render = Box<dyn FnOnce(Result<&Credentials, &Failure>) -> Reply + Send>;

impl fmt::Debug for CredentialsRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CredentialsRequest")
            .field("session", &self.session.name())
            .field("freshness", &self.freshness)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A complete HTTP response. `Debug` prints its body as `[redacted]`, and the body is wiped after its last byte is
/// sent.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Secret<Vec<u8>>,
    denial: Option<&'static str>,
}

impl Reply {
    /// A status without a body. Errors of IMDS must not have one, because some clients read it as a role name.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Secret::new(Vec::new()), denial: None }
    }

    /// 200 with a plain text.
    pub fn text(text: &str) -> Self {
        Self::with(StatusCode::OK, "text/plain", Secret::new(text.as_bytes().to_vec()))
    }

    /// A status with a body that is JSON already.
    pub fn json(status: StatusCode, body: Secret<Vec<u8>>) -> Self {
        Self::with(status, "application/json", body)
    }

    /// An error with `{"code":…,"message":…}`, the form that container credentials clients read.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::explained(status, code, message, None, None)
    }

    /// The answer to a method other than GET.
    pub fn only_get() -> Self {
        let reply = Self::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "only GET is allowed");
        reply.header(header::ALLOW, HeaderValue::from_static("GET"))
    }

    /// An error with a session's failure: message, hint and reason. Only for clients that may see them.
    pub fn failed(status: StatusCode, code: &str, failure: &Failure) -> Self {
        Self::explained(status, code, failure.message(), failure.hint(), Some(failure.reason()))
    }

    /// An error with a hint and the reason of a failure.
    pub fn explained(
        status: StatusCode,
        code: &str,
        message: &str,
        hint: Option<&str>,
        reason: Option<Reason>,
    ) -> Self {
        #[derive(Serialize)]
        struct ErrorBody<'a> {
            code: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            hint: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            class: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason_code: Option<&'static str>,
        }
        let class = reason.map(|reason| reason.class().as_str());
        let body = ErrorBody { code, message, hint, class, reason_code: reason.map(Reason::as_str) };
        let body = serde_json::to_vec(&body).expect("strings are always JSON");
        Self::json(status, Secret::new(body))
    }

    fn with(status: StatusCode, content_type: &'static str, body: Secret<Vec<u8>>) -> Self {
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers: vec![content_type], body, denial: None }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Marks this reply as a refusal, which the server logs with `why`. The client does not see `why`.
    pub fn denied(mut self, why: &'static str) -> Self {
        self.denial = Some(why);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body, empty if there is none.
    pub fn body(&self) -> &Secret<Vec<u8>> {
        &self.body
    }

    /// Why the client was refused, if it was.
    pub fn denial(&self) -> Option<&'static str> {
        self.denial
    }

    /// The value of a header, if it is text.
    pub fn header_value(&self, name: &HeaderName) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value.to_str().ok()
    }

    /// The response for hyper, with the body in one piece, so that it gets a `Content-Length`.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        struct Owner(Secret<Vec<u8>>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                self.0.expose()
            }
        }
        let mut response = Response::new(Full::new(Bytes::from_owner(Owner(self.body))));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        // Caches between us and the client must not store credentials.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_code_and_message_and_a_hint_only_if_there_is_one() {
        let plain = Reply::error(StatusCode::NOT_FOUND, "NotFound", "no such \"session\"");
        let explained =
            Reply::explained(StatusCode::SERVICE_UNAVAILABLE, "U", "m", Some("wait"), Some(Reason::Refused));

        assert_eq!(plain.body().expose(), br#"{"code":"NotFound","message":"no such \"session\""}"#);
        assert_eq!(
            explained.body().expose(),
            br#"{"code":"U","message":"m","hint":"wait","class":"denied","reason_code":"refused"}"#
        );
        assert_eq!(plain.header_value(&header::CONTENT_TYPE), Some("application/json"));
    }

    #[test]
    fn the_body_of_a_reply_is_not_printed() {
        let printed = format!("{:?}", Reply::text("wJalrXUtnFEMI"));

        assert!(printed.contains("[redacted]") && !printed.contains("wJalr"), "{printed}");
    }
}
