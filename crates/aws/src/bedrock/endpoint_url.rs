//! The URL of an endpoint, AWS's own or another.

use std::str::FromStr;

use http::Uri;

use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// `https://host[:port][/prefix]`, such as that of a VPC endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl {
    host: String,
    prefix: String,
}

/// The text is not the URL of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an endpoint")]
pub struct NoEndpoint(String);

impl Classify for NoEndpoint {
    fn reason(&self) -> Reason {
        Reason::InvalidSetting
    }

    fn hint(&self) -> Option<Text> {
        Some("an endpoint is `https://host` or `https://host:port`; nothing is sent without TLS".into())
    }
}

impl EndpointUrl {
    /// AWS's own endpoint at `host`.
    pub(super) fn of_host(host: String) -> Self {
        Self { host, prefix: String::new() }
    }

    /// Host and port, without the default port of `https`.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The URL of `path`, which must begin with a slash.
    pub(super) fn join(&self, path: &str) -> String {
        format!("https://{}{}{path}", self.host, self.prefix)
    }
}

impl FromStr for EndpointUrl {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let refused = || NoEndpoint(without_login(text));
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        let is_plain = uri.scheme_str() == Some("https")
            && uri.query().is_none()
            && !authority.as_str().contains('@')
            && !authority.host().is_empty()
            && !uri.path().split('/').any(|label| matches!(label, "." | ".."));
        if !is_plain {
            return Err(refused());
        }
        let host = match authority.port_u16() {
            Some(port) if port != 443 => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        Ok(Self { host: host.to_ascii_lowercase(), prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

/// The text without a password, for an error.
fn without_login(text: &str) -> String {
    text.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_have_a_port_and_a_prefix() {
        for (text, url) in [
            (
                "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com",
                "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com/x",
            ),
            ("https://LOCALHOST:8443/", "https://localhost:8443/x"),
            ("https://proxy.example:443/bedrock/", "https://proxy.example/bedrock/x"),
            ("https://[::1]:9", "https://[::1]:9/x"),
        ] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().join("/x"), url);
        }
    }

    #[test]
    fn nothing_is_sent_without_tls_or_with_a_login() {
        for text in
            ["http://localhost:1", "localhost", "", "https://", "https://a?b", "https://a/../b", "ftp://a"]
        {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
        let refusal = "https://me:hunter2@host".parse::<EndpointUrl>().unwrap_err();
        assert_eq!(refusal.to_string(), "`host` is not an endpoint");
    }
}
