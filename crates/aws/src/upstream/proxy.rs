//! The forward proxy: which hosts it is for, and why it does not open a tunnel.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::Uri;
use percent_encoding::percent_decode_str;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use anchord_core::secret::Secret;

/// A forward proxy for HTTPS.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// `http://user:password@host:port`.
    pub url: Secret<String>,
    /// The hosts to reach without it, as in `NO_PROXY`.
    pub exceptions: Option<String>,
}

/// Why a proxy did not open a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTunnel {
    /// The proxy's host and port.
    pub proxy: String,
    /// The status of its answer, if known.
    pub status: Option<StatusCode>,
    /// The host that its answer redirects to.
    pub elsewhere: Option<String>,
    /// Whether the settings have a login for it.
    pub has_login: bool,
    /// Whether it lists authentication schemes (`Negotiate`, `NTLM`) without Basic.
    pub refuses_basic: bool,
    /// Whether its answer is not HTTP.
    pub speaks_no_http: bool,
}

/// The answer to CONNECT.
enum ConnectReply {
    Http(Head),
    NotHttp,
}

/// The head of a proxy's answer, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    elsewhere: Option<String>,
    refuses_basic: bool,
}

impl std::fmt::Display for NoTunnel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the proxy {} did not open a tunnel", self.proxy)?;
        if let Some(status) = self.status {
            write!(formatter, ": it answered {status}")?;
        } else if self.speaks_no_http {
            write!(formatter, ": its answer is not HTTP")?;
        }
        match &self.elsewhere {
            Some(host) => write!(formatter, " and redirects to {host}"),
            None => Ok(()),
        }
    }
}

impl Proxy {
    /// Whether requests to this URI go through the proxy.
    pub fn is_for(&self, uri: &Uri) -> bool {
        const HTTPS: u16 = 443;
        let Some(host) = uri.host() else { return true };
        let exceptions = self.exceptions.as_deref().unwrap_or_default();
        !is_excepted(exceptions, host, uri.port_u16().unwrap_or(HTTPS))
    }

    /// Its host and port, without the login; `None` if the URL has no host.
    pub fn place(&self) -> Option<(String, u16)> {
        let (scheme, rest) = self.parts();
        let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let (_, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match host_and_port(rest[..end].trim()) {
            ("", _) => None,
            (host, Some(port)) => Some((host.to_owned(), port)),
            (host, None) => Some((host.to_owned(), default)),
        }
    }

    /// The URL for a parser of URLs. Some characters in a login, such as `DOMAIN\user` or `user:p/w`, would end the
    /// host there, so they are percent-encoded.
    pub(super) fn url(&self) -> Secret<String> {
        let (scheme, rest) = self.parts();
        let Some((login, place)) = rest.rsplit_once('@') else {
            return Secret::new(format!("{scheme}://{rest}"));
        };
        // Allocated at full length: a string that grows leaves copies of the password in memory.
        let mut url = String::with_capacity(scheme.len() + 4 + 3 * login.len() + place.len());
        url.push_str(scheme);
        url.push_str("://");
        for letter in login.chars() {
            match letter {
                '\\' => url.push_str("%5C"),
                '/' => url.push_str("%2F"),
                '?' => url.push_str("%3F"),
                '#' => url.push_str("%23"),
                _ => url.push(letter),
            }
        }
        url.push('@');
        url.push_str(place);
        Secret::new(url)
    }

    /// Finds out why it does not open a tunnel to `target` (`host:port`). `status` is what it answered, if known.
    ///
    /// The HTTP client reports neither its status nor its authentication schemes, so this asks the proxy once more. It
    /// does not send a login again that was refused: accounts are locked after a few failures.
    pub(super) async fn no_tunnel(
        &self,
        target: &str,
        status: Option<StatusCode>,
        limit: Option<Duration>,
    ) -> NoTunnel {
        const PATIENCE: Duration = Duration::from_secs(5);
        let login = self.login();
        let mut refusal = NoTunnel {
            proxy: self.shown(),
            status,
            elsewhere: None,
            has_login: login.is_some(),
            refuses_basic: false,
            speaks_no_http: false,
        };
        let login = login.filter(|_| status.is_none());
        match tokio::time::timeout(limit.unwrap_or(PATIENCE), self.ask(target, login)).await {
            Ok(Some(ConnectReply::Http(head))) => {
                refusal.status = status.or(Some(head.status));
                refusal.elsewhere = head.elsewhere;
                refusal.refuses_basic = head.refuses_basic;
            }
            Ok(Some(ConnectReply::NotHttp)) => refusal.speaks_no_http = true,
            Ok(None) | Err(_) => {}
        }
        refusal
    }

    /// Its host and port, for messages.
    pub(super) fn shown(&self) -> String {
        match self.place() {
            Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
            None => "of HTTPS_PROXY".into(),
        }
    }

    fn parts(&self) -> (&str, &str) {
        let url = self.url.expose().trim();
        url.split_once("://").unwrap_or(("http", url))
    }

    /// User and password, encoded for Basic authentication.
    fn login(&self) -> Option<Secret<String>> {
        let (login, _) = self.parts().1.rsplit_once('@')?;
        let decoded = Secret::new(percent_decode_str(login).collect::<Vec<u8>>());
        Some(Secret::new(STANDARD.encode(decoded.expose())))
    }

    /// Sends CONNECT for `target` and reads the answer; `None` if there is none.
    async fn ask(&self, target: &str, login: Option<Secret<String>>) -> Option<ConnectReply> {
        const LONGEST_HEAD: usize = 8 << 10;
        // A proxy that is reached over TLS would need a second TLS client, which is not worth it.
        if self.parts().0.eq_ignore_ascii_case("https") {
            return None;
        }
        let (host, port) = self.place()?;
        let mut stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
        let login = login.map(|login| format!("Proxy-Authorization: Basic {}\r\n", login.expose()));
        let login = Secret::new(login.unwrap_or_default());
        let head =
            Secret::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login.expose()));
        stream.write_all(head.expose().as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        while answer.len() < LONGEST_HEAD && !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await.ok()? == 0 {
                break;
            }
        }
        if answer.is_empty() {
            return None;
        }
        Some(match read_head(&String::from_utf8_lossy(&answer)) {
            Some(head) => ConnectReply::Http(head),
            None => ConnectReply::NotHttp,
        })
    }
}

/// Reads the status, the host of a `Location`, and the authentication schemes.
fn read_head(head: &str) -> Option<Head> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let is_http = words.next()?.starts_with("HTTP/");
    let status = words.next()?.parse().ok().filter(|_| is_http)?;
    let mut location = None;
    let (mut names_a_login, mut takes_basic) = (false, false);
    for (name, value) in lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("location") && location.is_none() {
            location = Some(value.trim());
        } else if name.eq_ignore_ascii_case("proxy-authenticate") {
            names_a_login = true;
            // One line may list several schemes. Commas separate them, and also their parameters.
            let mut schemes = value.split(',').filter_map(|part| part.split_whitespace().next());
            takes_basic |= schemes.any(|scheme| scheme.eq_ignore_ascii_case("basic"));
        }
    }
    let host = location.and_then(|location| location.parse::<Uri>().ok()?.host().map(str::to_owned));
    Some(Head {
        status,
        elsewhere: host.filter(|host| is_plain_host(host)),
        refuses_basic: names_a_login && !takes_basic,
    })
}

/// A host that can be logged: the proxy chooses it, and it may be malicious.
fn is_plain_host(host: &str) -> bool {
    host.len() <= 100 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b))
}

/// Whether a list such as `NO_PROXY` has an entry for the host and port.
///
/// It supports each form of Go's `httpproxy`: `*`, networks in CIDR, and IP addresses and domains (with their
/// subdomains) with or without a port, in any case. There are three differences from Go. `.domain` and `*.domain`
/// include the domain itself, as in curl. Loopback is not excepted by default, as in curl and boto3, because a user may
/// want a proxy even there. Internationalised names are not converted, because AWS has none. Dots at the end of names
/// and spaces as separators work as in curl.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    let address = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let mut entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries.any(|entry| excepts(entry, &bare, address, port))
}

/// Whether one entry is for the host, which is `address` if that is one.
fn excepts(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Some(address), Some((network, bits))) = (address, network(entry)) {
        return is_within(address, network, bits);
    }
    let (name, wanted) = host_and_port(entry);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    match (address, name.parse::<IpAddr>()) {
        (Some(address), Ok(excepted)) => address == excepted.to_canonical(),
        // A domain is never the end of an address.
        (Some(_), Err(_)) | (None, Ok(_)) => false,
        (None, Err(_)) => is_below(host, name),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(domain);
    let domain = domain.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
    let Some(before) = host.strip_suffix(&domain) else { return false };
    !domain.is_empty() && (before.is_empty() || before.ends_with('.'))
}

/// `host`, `host:port`, `[address]`, `[address]:port` or an address of IPv6 alone.
fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.rsplit_once(':') {
        // As in a URL, an empty port is the same as none.
        Some((host, "")) if !host.contains(':') => (host, None),
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    // IPv4-mapped IPv6 addresses are compared as IPv4 addresses.
    const MAPPED: u8 = 96;
    match address.to_canonical() {
        canonical if canonical != address && (MAPPED..=longest).contains(&bits) => {
            Some((canonical, bits - MAPPED))
        }
        _ => (bits <= longest).then_some((address, bits)),
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VPCE: &str = "vpce-0abc.rolesanywhere.us-east-1.vpce.amazonaws.com";

    /// The forms of Go's `httpproxy`, and those of curl beside them.
    #[test]
    fn every_form_of_no_proxy_excepts_its_host() {
        for (list, host, port) in [
            ("*", VPCE, 443),
            ("*", "127.0.0.1", 8443),
            ("foo, *", "[::1]", 443),
            ("vpce.amazonaws.com", VPCE, 443),
            (".vpce.amazonaws.com", VPCE, 443),
            ("*.vpce.amazonaws.com", VPCE, 443),
            ("*.amazonaws.com:443", VPCE, 443),
            ("VPCE.Amazonaws.COM", VPCE, 443),
            ("amazonaws.com.", VPCE, 443),
            ("amazonaws.com", "sts.AMAZONAWS.com.", 443),
            (VPCE, VPCE, 443),
            ("localhost,  .amazonaws.com ,", VPCE, 443),
            ("localhost amazonaws.com", VPCE, 443),
            (".example.com", "example.com", 443),
            ("example.com:8443", "example.com", 8443),
            (".example.com:8443", "a.example.com", 8443),
            ("127.0.0.1", "127.0.0.1", 8443),
            ("127.0.0.1:8443", "127.0.0.1", 8443),
            ("10.0.0.0/8, 127.0.0.0/8", "127.9.9.9", 443),
            ("0.0.0.0/0", "192.0.2.1", 443),
            ("::1", "[::1]", 443),
            ("[::1]", "[::1]", 443),
            ("[::1]:8443", "[::1]", 8443),
            ("fd00:ec2::/32", "[fd00:ec2::254]", 443),
            ("::/0", "[2001:db8::1]", 443),
            ("127.0.0.1", "[::ffff:127.0.0.1]", 443),
            ("localhost", "LOCALHOST", 443),
            ("amazonaws.com:", VPCE, 443),
            (".amazonaws.com:", VPCE, 443),
            ("127.0.0.1:", "127.0.0.1", 8443),
            ("[::1]:", "[::1]", 8443),
            ("::ffff:127.0.0.0/104", "127.9.9.9", 443),
            ("::ffff:127.0.0.0/104", "[::ffff:127.9.9.9]", 443),
        ] {
            assert!(is_excepted(list, host, port), "`{list}` is for {host}:{port}");
        }
    }

    #[test]
    fn no_form_of_no_proxy_excepts_another_host() {
        for (list, host, port) in [
            ("", VPCE, 443),
            (",, ,", VPCE, 443),
            ("notamazonaws.com", "amazonaws.com", 443),
            ("amazonaws.com", "notamazonaws.com", 443),
            ("*amazonaws.com", "notamazonaws.com", 443),
            ("amazonaws.com:8443", VPCE, 443),
            ("127.0.0.1:8443", "127.0.0.1", 443),
            ("[::1]:8443", "[::1]", 443),
            ("127.0.0.2", "127.0.0.1", 443),
            ("127.0.0.0/33", "127.0.0.1", 443),
            ("127.0.0.0/8", "128.0.0.1", 443),
            ("0.0.0.0/0", "[2001:db8::1]", 443),
            ("0.0.1", "127.0.0.1", 443),
            ("10.0.0.0/8", "10.example", 443),
            (".", VPCE, 443),
            ("*.", VPCE, 443),
            (":443", VPCE, 443),
            (":", VPCE, 443),
            ("::ffff:127.0.0.0/104", "128.0.0.1", 443),
            ("::ffff:0.0.0.0/129", "127.0.0.1", 443),
            ("localhost", "127.0.0.1", 443),
        ] {
            assert!(!is_excepted(list, host, port), "`{list}` is not for {host}:{port}");
        }
    }

    #[test]
    fn a_proxy_is_named_without_its_login() {
        let shown = |url: &str| Proxy { url: Secret::new(url.into()), exceptions: None }.shown();

        assert_eq!(shown("http://user:p%40s@proxy.corp:3128"), "proxy.corp:3128");
        assert_eq!(shown("http://DOMAIN\\user:can@ry@proxy.corp:3128/"), "proxy.corp:3128");
        assert_eq!(shown("proxy.corp:8080 "), "proxy.corp:8080");
        assert_eq!(shown("proxy.corp"), "proxy.corp:80");
        assert_eq!(shown("https://proxy.corp"), "proxy.corp:443");
        assert_eq!(shown("http://[2001:db8::1]:3128"), "[2001:db8::1]:3128");
        assert_eq!(shown("http://proxy.corp:/"), "proxy.corp:80");
    }

    #[test]
    fn a_login_keeps_its_characters_and_the_proxy_its_host() {
        let url = |url: &str| {
            let proxy = Proxy { url: Secret::new(url.into()), exceptions: None };
            proxy.url().expose().clone()
        };

        assert_eq!(url("http://D\\u:a/b?c#d@proxy:3128/"), "http://D%5Cu:a%2Fb%3Fc%23d@proxy:3128/");
        assert_eq!(url("u:p%40@s@proxy:3128"), "http://u:p%40@s@proxy:3128");
        assert_eq!(url(" HTTPS://proxy "), "HTTPS://proxy");
        assert_eq!(url("proxy:3128"), "http://proxy:3128");
    }

    #[test]
    fn what_a_proxy_answers_is_read_without_a_strangers_words() {
        let read = |head: &str| read_head(head).map(|head| (head.status, head.elsewhere));
        let portal = "HTTP/1.1 302 Found\r\nLocation: https://login.corp/?token=canary\r\n\r\nLocation: x";

        assert_eq!(read(portal), Some((StatusCode::FOUND, Some("login.corp".into()))));
        assert_eq!(read("HTTP/1.0 502 Bad\r\n\r\n"), Some((StatusCode::BAD_GATEWAY, None)));
        assert_eq!(read("SSH-2.0-OpenSSH 200\r\n"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn a_proxy_refuses_basic_where_it_names_other_logins_alone() {
        for (lines, refuses) in [
            ("", false),
            ("Proxy-Authenticate: Basic realm=\"a\"\r\n", false),
            ("Proxy-Authenticate: Negotiate\r\nproxy-authenticate: bASIC realm=\"a\"\r\n", false),
            ("Proxy-Authenticate: Negotiate, NTLM, Basic realm=\"a\"\r\n", false),
            ("Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n", true),
            ("Proxy-Authenticate:Digest realm=\"Basic\", nonce=\"b\"\r\n", true),
        ] {
            let head = format!("HTTP/1.1 407 No\r\n{lines}\r\n");
            assert_eq!(read_head(&head).unwrap().refuses_basic, refuses, "{lines}");
        }
    }
}
