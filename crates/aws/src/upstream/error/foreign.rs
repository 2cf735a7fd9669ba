//! Whose answer it is: AWS's own, or that of something on the way (a proxy, a firewall, a captive portal).
//!
//! AWS names the type of a refusal in the header `X-Amzn-Errortype`, or in the body as `code` or `__type` (Smithy, AWS
//! restJson1, "Operation error serialization"; STS's XML has `Code`), and gives each reply an `x-amzn-RequestId` (AWS
//! General Reference, "Common headers"; S3's kin call it `x-amz-request-id`). Proxies add headers of their own and pass
//! these on; none invents them. So a reply without any of the three is not AWS's, whatever its status says, and nor is
//! a web page: no call that is made here is answered in HTML.

use std::fmt;

use http::HeaderMap;
use http::StatusCode;
use http::header;

use anchord_core::failure::Reason;

/// An answer that something other than AWS gave in AWS's place. It says nothing about certificates and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its HTTP status.
    pub status: StatusCode,
    /// What it calls itself.
    server: Option<String>,
    content_type: Option<String>,
}

/// How its message begins.
const WHO: &str = "something on the way answered in AWS's place";

impl Foreign {
    /// The answer with these `headers`, if it is not AWS's; `kind` is the type that its head or body names.
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
        let begins_with = |text: &[u8], prefix: &str| {
            text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let body = body.trim_ascii_start();
        stated.is_some_and(|stated| begins_with(stated.as_bytes(), "text/html"))
            || begins_with(body, "<!doctype html")
            || begins_with(body, "<html")
    }

    /// Whether what was sent is too large for it: a longer chain of certificates may be why.
    pub fn finds_it_too_large(&self) -> bool {
        is_about_size(self.status)
    }

    /// A page may stand there for a minute or a week; what asks to wait, or cannot take what is sent, means it.
    pub fn reason(&self) -> Reason {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => Reason::ForeignThrottled,
            status if is_about_size(status) => Reason::RequestTooLarge,
            _ => Reason::ForeignAnswer,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self.status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_LOGIN,
            status if is_about_size(status) => TOO_LARGE,
            StatusCode::BAD_REQUEST => {
                "AWS names a type in each refusal: check whether a proxy or portal on the way answers in its place, or \
                 whether it takes no headers as large as the certificates are"
            }
            StatusCode::NETWORK_AUTHENTICATION_REQUIRED => {
                "a portal stands in the way: log in to it (open a web page from this host)"
            }
            status if status.is_server_error() => {
                "a proxy or portal on the way, or a load balancer of AWS's, is unwell: the call is tried again"
            }
            _ => {
                "AWS names a type in each refusal: check whether a proxy or portal on the way answers in its place \
                 (open a web page from this host; look at HTTPS_PROXY)"
            }
        }
    }
}

/// What to do where a proxy wants to know who asks.
pub(super) const PROXY_LOGIN: &str =
    "the proxy wants a login: give it in HTTPS_PROXY, as `http://user:password@host:port`";

/// What to do where a request does not fit.
pub(super) const TOO_LARGE: &str = "the certificates are sent as headers, and these are too large for whatever answered: register a CA closer to the leaf as the trust anchor, so that fewer intermediates are sent, or let the proxy take larger headers";

/// Whether a status says that a request is too large.
pub(super) fn is_about_size(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::PAYLOAD_TOO_LARGE)
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

/// A header's words, if they are a few plain ones: strangers write them, and logs show them.
fn harmless(text: &str) -> Option<String> {
    const MAX_CHARS: usize = 60;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'`' || byte == b' ';
    let text = text.trim();
    let text = text.get(..MAX_CHARS).unwrap_or(text);
    (!text.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
}

/// Whether this is how AWS names types of errors: `AccessDeniedException`, `ValidationError`. Portals write `Forbidden`.
fn is_type(kind: &str) -> bool {
    let is_word = kind.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_word && ["Exception", "Error", "Fault"].iter().any(|end| kind.len() > end.len() && kind.ends_with(end))
}

/// Whether this is an error as STS writes it (AWS Query protocol), whose codes have all kinds of endings.
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
        let begin = "something on the way answered in AWS's place: 403 Forbidden";

        assert_eq!(told(&[]), begin);
        assert_eq!(told(&[("server", "squid/6.1")]), format!("{begin} (from the server `squid/6.1`)"));
        assert_eq!(
            told(&[("server", "nginx"), ("content-type", "text/html")]),
            format!("{begin} (from the server `nginx`, as text/html)")
        );
        assert_eq!(told(&[("content-type", "text/html")]), format!("{begin} (as text/html)"));
        assert_eq!(told(&[("server", "a`b"), ("content-type", "\t")]), begin);
        assert!(told(&[("server", &"x".repeat(500))]).len() < 150);
    }
}
