//! Recognises answers that are not AWS's but come from the network path: a proxy, a firewall, a captive portal.
//!
//! AWS names the type of a refusal in the header `X-Amzn-Errortype`, or in the body as `code` or `__type` (Smithy, AWS
//! restJson1, "Operation error serialization"; STS's XML has `Code`), and gives each reply an `x-amzn-RequestId` (AWS
//! General Reference, "Common headers"; S3 and similar services call it `x-amz-request-id`). Proxies add headers of
//! their own and pass these on; none invents them. So a reply without any of the three is not AWS's, whatever its
//! status. A web page is not AWS's either: no call of this program is answered in HTML.

use std::fmt;

use http::HeaderMap;
use http::StatusCode;
use http::header;

use anchord_core::failure::Reason;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// An answer from something other than AWS. It says nothing about certificates and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its HTTP status.
    pub status: StatusCode,
    /// The `Server` header.
    server: Option<String>,
    content_type: Option<String>,
}

/// What to do about a refusal without a type.
pub(crate) const UNTYPED: &str =
    "AWS's own errors name a type: check whether a proxy or portal answered instead of AWS";

/// How its message begins.
const WHO: &str = "a proxy or another intermediary answered instead of AWS";

impl Foreign {
    /// The answer, if it is not AWS's. `kind` is the type of error that its headers or its body name.
    pub fn of(status: StatusCode, headers: &HeaderMap, body: &[u8], kind: &str) -> Option<Self> {
        let has = |name: &str| headers.contains_key(name);
        let is_aws_type = is_type(kind) || (!kind.is_empty() && is_query_error(body));
        let is_named = has("x-amzn-errortype") || (is_aws_type && !Self::is_page(headers, body));
        let is_numbered = has("x-amzn-requestid") || has("x-amz-request-id");
        if is_named || (is_numbered && !Self::is_page(headers, body)) {
            return None;
        }
        let shown = |name| headers.get(name).and_then(|value| value.to_str().ok()).and_then(harmless);
        Some(Self { status, server: shown(header::SERVER), content_type: shown(header::CONTENT_TYPE) })
    }

    /// Whether a reply is a web page.
    pub fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
        let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let body = body.trim_ascii_start();
        stated.is_some_and(|stated| begins_with(stated.as_bytes(), "text/html"))
            || begins_with(body, "<!doctype html")
            || begins_with(body, "<html")
    }

    /// Whether the request was too large for it, perhaps because of the certificate chain.
    pub fn finds_it_too_large(&self) -> bool {
        is_about_size(self.status)
    }

    /// The reason for the failure. A portal's page may go away in a minute or a week, so most answers count as
    /// temporary; a server that asks to wait, or that cannot accept the size of the request, is taken at its word.
    pub fn reason(&self) -> Reason {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => Reason::ForeignThrottled,
            status if is_about_size(status) => Reason::RequestTooLarge,
            _ => Reason::ForeignAnswer,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Text {
        match self.status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_LOGIN.into(),
            status if is_about_size(status) => TOO_LARGE.into(),
            StatusCode::BAD_REQUEST => {
                Text::of(&[Say(UNTYPED), Say("; or the proxy refuses headers as large as the certificates")])
            }
            StatusCode::NETWORK_AUTHENTICATION_REQUIRED => {
                "a captive portal intercepts the connection: log in to it (open a web page from this host)"
                    .into()
            }
            status if status.is_server_error() => {
                "a proxy, a portal or an AWS load balancer failed; anchord retries".into()
            }
            _ => Text::of(&[Say(UNTYPED), Say(" (open a web page from this host; check HTTPS_PROXY)")]),
        }
    }
}

/// What to do about a proxy that requires a login.
pub(super) const PROXY_LOGIN: &str =
    "the proxy requires a login: set it in HTTPS_PROXY, as `http://user:password@host:port`";

/// What to do about a request that is too large.
pub(super) const TOO_LARGE: &str = "the certificates are sent as headers, which are too large for the server that answered: register a CA closer to the leaf as the trust anchor, so that fewer intermediates are sent, or let the proxy accept larger headers";

/// Whether a status says that a request is too large.
pub(super) fn is_about_size(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::PAYLOAD_TOO_LARGE)
}

/// In any case.
fn begins_with(text: &[u8], prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
}

impl fmt::Display for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{WHO}: {}", self.status)?;
        match (&self.server, &self.content_type) {
            (Some(server), Some(kind)) => write!(formatter, " (from the server `{server}`, as {kind})"),
            (Some(server), None) => write!(formatter, " (from the server `{server}`)"),
            (None, Some(kind)) => write!(formatter, " (as {kind})"),
            (None, None) => Ok(()),
        }
    }
}

/// A header's text if it is short and plain: logs show it, and its sender is unknown.
fn harmless(text: &str) -> Option<String> {
    const MAX_CHARS: usize = 60;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'`' || byte == b' ';
    let text = text.trim();
    let text = text.get(..MAX_CHARS).unwrap_or(text);
    (!text.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
}

/// Whether `kind` has the form of AWS's types of errors: `AccessDeniedException`, `ValidationError`. Portals send
/// others, such as `Forbidden`.
fn is_type(kind: &str) -> bool {
    let is_word = kind.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_word && ["Exception", "Error", "Fault"].iter().any(|end| kind.len() > end.len() && kind.ends_with(end))
}

/// Whether this is an error of STS (AWS Query protocol). Its codes have many different endings.
fn is_query_error(body: &[u8]) -> bool {
    let head = &body[..body.len().min(1024)];
    head.windows(b"<ErrorResponse".len()).any(|window| window == b"<ErrorResponse")
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_bears_aws_marks_is_aws_answer() {
        let html = ("content-type", "text/html; charset=utf-8");
        let json = ("content-type", "application/json");
        let id = ("x-amzn-requestid", "id-1");
        let kind = ("x-amzn-errortype", "AccessDeniedException");
        let cases = [
            (vec![], "", false),
            (vec![("server", "squid")], "", false),
            (vec![json], "", false),
            (vec![html, id], "<html>", false),
            (vec![id], " <!DOCTYPE HTML><p>", false),
            (vec![id], "<HTML>", false),
            (vec![id, json], "{}", true),
            (vec![("x-amz-request-id", "id-1")], "<ErrorResponse>", true),
            (vec![kind], "", true),
            (vec![kind, html], "", true),
        ];
        for (pairs, body, is_aws) in cases {
            let foreign = Foreign::of(StatusCode::FORBIDDEN, &headers(&pairs), body.as_bytes(), "");

            assert_eq!(foreign.is_none(), is_aws, "{pairs:?} {body}");
        }
    }

    /// A proxy may take headers away that it does not know.
    #[test]
    fn a_type_in_the_body_alone_is_awss_word_and_a_portals_code_is_not() {
        let cases = [
            ("AccessDeniedException", "{}", true),
            ("ValidationError", "{}", true),
            ("AccessDenied", r#"<?xml version="1.0"?><ErrorResponse xmlns="x">"#, true),
            ("AccessDenied", "{}", false),
            ("Forbidden", "{}", false),
            ("Error", "{}", false),
            ("FORBIDDEN", "{}", false),
            ("403", "{}", false),
            ("Access denied", "{}", false),
            ("blocked", "{}", false),
            ("AccessDeniedException", "<html>", false),
        ];
        for (kind, body, is_aws) in cases {
            let foreign = Foreign::of(StatusCode::FORBIDDEN, &HeaderMap::new(), body.as_bytes(), kind);

            assert_eq!(foreign.is_none(), is_aws, "{kind} {body}");
        }
    }

    #[test]
    fn each_answer_of_a_stranger_has_its_class_and_hint() {
        let cases = [
            (200, Class::Transient, "portal"),
            (302, Class::Transient, "portal"),
            (400, Class::Transient, "portal"),
            (403, Class::Transient, "portal"),
            (404, Class::Transient, "portal"),
            (407, Class::Transient, "login"),
            (413, Class::Misconfigured, "headers"),
            (429, Class::Throttled, "portal"),
            (431, Class::Misconfigured, "fewer intermediates"),
            (502, Class::Transient, "load balancer"),
        ];
        for (status, class, hint) in cases {
            let foreign =
                Foreign::of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), b"", "").unwrap();

            assert_eq!(foreign.reason().class(), class, "{status}");
            assert!(foreign.hint().contains(hint), "{status}: {}", foreign.hint());
        }
    }

    #[test]
    fn it_is_called_what_it_calls_itself_in_a_few_plain_words() {
        let told = |pairs: &[(&'static str, &str)]| {
            Foreign::of(StatusCode::FORBIDDEN, &headers(pairs), b"", "").unwrap().to_string()
        };
        let begin = "a proxy or another intermediary answered instead of AWS: 403 Forbidden";

        assert_eq!(told(&[]), begin);
        assert_eq!(told(&[("server", "squid/6.1")]), format!("{begin} (from the server `squid/6.1`)"));
        assert_eq!(
            told(&[("server", "nginx"), ("content-type", "text/html")]),
            format!("{begin} (from the server `nginx`, as text/html)")
        );
        assert_eq!(told(&[("content-type", "text/html")]), format!("{begin} (as text/html)"));
        assert_eq!(told(&[("server", "a`b"), ("content-type", "\t")]), begin);
        assert!(told(&[("server", &"x".repeat(500))]).len() < 160);
    }
}
