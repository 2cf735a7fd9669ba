//! Refuses requests that no local program meant for this listener. Pure: a request's head and its connection decide.
//!
//! Listening on loopback keeps out other hosts, but a program on this host can still pass on their requests: a web page
//! can make a browser send one (DNS rebinding), and a proxy can forward one. No SDK sends what is refused here.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use http::HeaderMap;
use http::header;
use http::request::Parts;

use anchord_core::secret::Secret;

/// Admits requests that a local program sent to this listener directly.
#[derive(Clone, Debug)]
pub struct RequestGuard {
    addresses: Vec<IpAddr>,
}

/// The metadata service of EC2 (EC2 User Guide, "Access instance metadata").
const EC2_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const EC2_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254));

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A proxy forwarded it.
    Forwarded,
    /// A web page sent it.
    Browser,
    /// Its `Host` header names another host, or it does not have exactly one.
    Host,
}

impl Denial {
    /// The reason for logs and error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "requests forwarded by a proxy are refused",
            Self::Browser => "requests from web pages are refused",
            Self::Host => "the Host header does not name this listener",
        }
    }
}

impl RequestGuard {
    /// A guard for a listener on the addresses `own`. It also admits `localhost`, `127.0.0.1`, `::1`, and the addresses of
    /// EC2's metadata service, which hosts redirect here: SDKs then send its address. It ignores an unspecified address
    /// (`0.0.0.0`), which names no host.
    pub fn new(own: impl IntoIterator<Item = IpAddr>) -> Self {
        let always = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), EC2_V4, EC2_V6];
        let addresses = always.into_iter().chain(own).filter(|address| !address.is_unspecified()).collect();
        Self { addresses }
    }

    /// Checks a request.
    ///
    /// # Errors
    /// The reason for which it must be refused.
    pub fn admit(&self, head: &Parts) -> Result<(), Denial> {
        if is_forwarded(&head.headers) {
            return Err(Denial::Forwarded);
        }
        if is_from_browser(&head.headers) {
            return Err(Denial::Browser);
        }
        // A target in absolute form names a host too (RFC 9112, section 3.2.2); both have to be this listener.
        let target = head.uri.authority().map(http::uri::Authority::as_str);
        let host = single_value(&head.headers, &header::HOST).and_then(|host| std::str::from_utf8(host).ok());
        match (host, target) {
            (Some(host), None) if self.is_named(host) => Ok(()),
            (Some(host), Some(target)) if self.is_named(host) && self.is_named(target) => Ok(()),
            _ => Err(Denial::Host),
        }
    }

    /// Ignores case, port and brackets: SDKs send what the user wrote, the AWS Common Runtime sends `::1` without
    /// brackets, and the SDK for Kotlin sends `::1:9911`.
    fn is_named(&self, host: &str) -> bool {
        if is_bare_loopback_with_port(host) {
            return true;
        }
        let Some(name) = without_port(host) else { return false };
        name.eq_ignore_ascii_case("localhost")
            || name.parse().is_ok_and(|address: IpAddr| self.addresses.contains(&address))
    }
}

fn without_port(host: &str) -> Option<&str> {
    if host.parse::<Ipv6Addr>().is_ok() {
        return Some(host);
    }
    let (name, rest) = match host.strip_prefix('[') {
        Some(bracketed) => {
            let (name, rest) = bracketed.split_once(']')?;
            name.parse::<Ipv6Addr>().ok()?;
            (name, rest)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) => is_port(port).then_some(name),
        None => rest.is_empty().then_some(name),
    }
}

/// Whether the host is `::1:PORT`, as the SDK for Kotlin writes `[::1]:PORT`.
///
/// Without brackets, a port of up to four digits also reads as the last part of another address. No web page can make a
/// browser send either form: a name in a URL has no colons, and browsers write an address of IPv6 in brackets.
fn is_bare_loopback_with_port(host: &str) -> bool {
    host.strip_prefix("::1:").is_some_and(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .map(http::HeaderName::as_str)
        .any(|name| name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "via" | "x-real-ip"))
}

/// Does not look for `Sec-Fetch-Mode`, because `fetch` of Node.js sends it too.
fn is_from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// A header's value if the header occurs exactly once. Programs differ in which of two they use.
pub(super) fn single_value<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

/// The bearer token that a container client sends as the whole value of `Authorization`: 43 characters of base64url, so
/// that it fits a header, a file and an environment variable without encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer(Secret<Vec<u8>>);

impl Bearer {
    /// The length in bytes, which is 256 bits in base64url.
    pub const LENGTH: usize = 43;

    /// Checks that `text` has the form of a bearer token; `None` if not.
    pub fn parse(text: Secret<Vec<u8>>) -> Option<Self> {
        let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let well_formed = text.expose().len() == Self::LENGTH && text.expose().iter().all(is_base64url);
        well_formed.then_some(Self(text))
    }

    /// The characters, to write them into the file that clients read.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Whether a header's value is this token. The comparison takes constant time.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0 == Secret::new(presented.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::support;

    fn admitted(target: &str, headers: &[(&str, &str)]) -> Result<(), Denial> {
        let own = ["169.254.170.2".parse().unwrap(), "0.0.0.0".parse().unwrap()];
        RequestGuard::new(own).admit(&support::head("GET", target, headers))
    }

    #[test]
    fn every_form_in_which_sdks_name_loopback_is_admitted() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9911",
            "localhost",
            "LOCALHOST:9911",
            "LocalHost",
            "::1",
            "[::1]",
            "[::1]:9911",
            "::1:80",
            "::1:9911",
            "::1:65535",
            "0:0:0:0:0:0:0:1",
            "169.254.169.254",
            "169.254.169.254:80",
            "[fd00:ec2::254]",
            "169.254.170.2",
            "169.254.170.2:80",
        ] {
            assert_eq!(admitted("/", &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn every_other_host_is_refused() {
        for host in [
            "",
            "evil.example",
            "evil.example:9911",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "169.254.169.253",
            "127.1",
            "2130706433",
            "0.0.0.0",
            "0.0.0.0:9911",
            "[::]",
            "::ffff:127.0.0.1",
            "user@127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:port",
            "127.0.0.1:+80",
            "127.0.0.1:99999",
            "127.0.0.1:80:80",
            "[127.0.0.1]",
            "[localhost]",
            "[::1",
            "[::1]80",
            "::1:9911:",
            "::1:9911:80",
            "::1:",
            "::1:99999",
            "::1:+80",
            "::1:ffff",
            "[::1:9911]",
            "[::1:9911]:80",
            "0::1:9911",
            "::2:9911",
            "fe80::1:9911",
            "127.0.0.1 ",
            "127.0.0.1,localhost",
        ] {
            assert_eq!(admitted("/", &[("host", host)]), Err(Denial::Host), "{host:?}");
        }
    }

    #[test]
    fn a_page_at_an_address_that_ends_like_loopback_with_a_port_is_refused() {
        // What a browser sends for `http://[::1:9911]/` and `http://[::1:9911]:9911/`.
        for host in ["[::1:9911]", "[::1:9911]:9911"] {
            assert_eq!(admitted("/", &[("host", host)]), Err(Denial::Host), "{host}");
        }
        let page = [("host", "::1:9911"), ("origin", "http://evil.example")];
        assert_eq!(admitted("/", &page), Err(Denial::Browser));
        assert_eq!(admitted("http://[::1:9911]/", &[("host", "::1:9911")]), Err(Denial::Host));
    }

    #[test]
    fn a_request_without_exactly_one_host_is_refused() {
        assert_eq!(admitted("/", &[]), Err(Denial::Host));
        assert_eq!(admitted("/", &[("host", "localhost"), ("host", "localhost")]), Err(Denial::Host));
    }

    #[test]
    fn an_absolute_target_must_name_this_listener_too() {
        let host = [("host", "127.0.0.1:9911")];

        assert_eq!(admitted("http://localhost:9911/latest", &host), Ok(()));
        assert_eq!(admitted("http://evil.example/latest", &host), Err(Denial::Host));
        assert_eq!(admitted("http://user@127.0.0.1/latest", &host), Err(Denial::Host));
        assert_eq!(admitted("http://127.0.0.1/latest", &[("host", "evil.example")]), Err(Denial::Host));
    }

    #[test]
    fn a_request_that_a_proxy_forwarded_is_refused_though_the_host_fits() {
        for name in ["x-forwarded-for", "x-forwarded-host", "forwarded", "via", "x-real-ip"] {
            let headers = [("host", "localhost"), (name, "127.0.0.1")];
            assert_eq!(admitted("/", &headers), Err(Denial::Forwarded), "{name}");
        }
    }

    #[test]
    fn a_request_from_a_web_page_is_refused_though_the_host_fits() {
        for (name, value) in [("origin", "null"), ("sec-fetch-site", "same-origin")] {
            let headers = [("host", "localhost"), (name, value)];
            assert_eq!(admitted("/", &headers), Err(Denial::Browser), "{name}");
        }
        assert_eq!(admitted("/", &[("host", "localhost"), ("sec-fetch-mode", "cors")]), Ok(()));
    }

    #[test]
    fn only_43_characters_of_base64url_are_a_bearer() {
        let parse = |text: &str| Bearer::parse(Secret::new(text.as_bytes().to_vec())).is_some();

        assert!(parse(&"aZ09-_x".repeat(7)[..43]));
        assert!(!parse(&"a".repeat(42)) && !parse(&"a".repeat(44)) && !parse(""));
        for stranger in ["\n", " ", "+", "/", "=", "ä"] {
            let text = format!("{stranger}{}", "a".repeat(Bearer::LENGTH - stranger.len()));
            assert!(!parse(&text), "{stranger:?}");
        }
    }

    proptest! {
        #[test]
        fn a_bearer_is_only_itself(presented in proptest::collection::vec(any::<u8>(), 0..60), at in 0_usize..43) {
            let bearer = support::bearer('b');
            prop_assert!(bearer.is(bearer.expose()));
            prop_assert!(!bearer.is(&presented));
            let mut altered = bearer.expose().to_vec();
            altered[at] ^= 1;
            prop_assert!(!bearer.is(&altered));
        }

        #[test]
        fn a_name_that_is_neither_an_address_nor_localhost_is_never_admitted(name in "[a-z0-9.-]{1,20}\\.[a-z]{2,6}") {
            prop_assert_eq!(admitted("/", &[("host", &name)]), Err(Denial::Host));
        }
    }
}
