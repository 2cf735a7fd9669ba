//! What a front end answers, and what it has to wait for first.

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

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// The answer is known.
    Reply(Reply),
    /// The answer depends on a session.
    Hand(Hand),
}

impl From<Reply> for Decision {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Credentials that a caller may have once the session has them.
pub struct Hand {
    /// Whose credentials.
    pub session: Handle,
    /// How much life they must have left.
    pub freshness: Freshness,
    /// How long the caller can be kept waiting.
    pub patience: Duration,
    /// Renders what the session gave, or its failure.
    pub answer: Answer,
}

/// Renders the outcome of a wait.
pub type Answer = Box<dyn FnOnce(Result<&Credentials, &Failure>) -> Reply + Send>;

impl fmt::Debug for Hand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hand")
            .field("session", &self.session.name())
            .field("freshness", &self.freshness)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// An answer, complete. Its body prints as `[redacted]` and is overwritten when the last byte is sent.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Secret<Vec<u8>>,
    denial: Option<&'static str>,
}

impl Reply {
    /// A status alone. IMDS clients take any text of an error for a role name, so they get none.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Secret::new(Vec::new()), denial: None }
    }

    /// 200 with text.
    pub fn text(text: &str) -> Self {
        Self::with(StatusCode::OK, "text/plain", Secret::new(text.as_bytes().to_vec()))
    }

    /// A JSON body that is already written.
    pub fn json(status: StatusCode, body: Secret<Vec<u8>>) -> Self {
        Self::with(status, "application/json", body)
    }

    /// `{"code":…,"message":…}`, as clients of the container provider read errors.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::explained(status, code, message, None, None)
    }

    /// The answer to a method other than GET.
    pub fn only_get() -> Self {
        let reply =
            Self::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "only GET is served here");
        reply.header(header::ALLOW, HeaderValue::from_static("GET"))
    }

    /// What ails a session, whole, for those who may know.
    pub fn failed(status: StatusCode, code: &str, failure: &Failure) -> Self {
        Self::explained(status, code, failure.message(), failure.hint(), Some(failure.reason()))
    }

    /// An error that also says what a person can do.
    pub fn explained(
        status: StatusCode,
        code: &str,
        message: &str,
        hint: Option<&str>,
        reason: Option<Reason>,
    ) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
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
        let body = Body { code, message, hint, class, reason_code: reason.map(Reason::as_str) };
        let body = serde_json::to_vec(&body).expect("strings are always JSON");
        Self::json(status, Secret::new(body))
    }

    fn with(status: StatusCode, content_type: &'static str, body: Secret<Vec<u8>>) -> Self {
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers: vec![content_type], body, denial: None }
    }

    /// The same answer with one more header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same answer, marked as a refusal that an operator may want to know of; `why` is for the log only.
    pub fn denied(mut self, why: &'static str) -> Self {
        self.denial = Some(why);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body.
    pub fn body(&self) -> &Secret<Vec<u8>> {
        &self.body
    }

    /// Why the caller was refused, if it was.
    pub fn denial(&self) -> Option<&'static str> {
        self.denial
    }

    /// The value of a header, where it is text.
    pub fn header_value(&self, name: &HeaderName) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value.to_str().ok()
    }

    /// The answer as it goes out: with `Content-Length`, in one piece.
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
        // No cache between us and the client may keep what we hand out, however it came to be there.
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
    fn the_body_of_an_answer_is_not_printed() {
        let printed = format!("{:?}", Reply::text("wJalrXUtnFEMI"));

        assert!(printed.contains("[redacted]") && !printed.contains("wJalr"), "{printed}");
    }
}
