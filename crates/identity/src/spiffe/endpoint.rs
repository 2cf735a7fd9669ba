//! Where the agent listens: the value of `SPIFFE_ENDPOINT_SOCKET`.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The place of a Workload API (SPIFFE Workload Endpoint, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEndpoint {
    pub(super) place: SocketAddress,
    /// As the settings have it, for messages.
    text: String,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketAddress {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl WorkloadEndpoint {
    /// A Unix socket's path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            SocketAddress::Unix(path) => Some(path),
            SocketAddress::Tcp(_) => None,
        }
    }

    /// The port, if it is reached over TCP.
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            SocketAddress::Unix(_) => None,
            SocketAddress::Tcp(address) => Some(address.port()),
        }
    }
}

/// `unix:///run/spire/agent.sock`, `unix:/run/spire/agent.sock` or `tcp://127.0.0.1:8081`.
impl FromStr for WorkloadEndpoint {
    type Err = MalformedEndpoint;

    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        let place = if let Some(rest) = after_scheme(text, "unix:") {
            SocketAddress::Unix(socket_path(rest)?)
        } else if let Some(rest) = after_scheme(text, "tcp:") {
            SocketAddress::Tcp(address(rest)?)
        } else if text.starts_with('/') && !text.contains(['?', '#']) {
            return Err(MalformedEndpoint::NoScheme);
        } else {
            return Err(MalformedEndpoint::UnknownScheme);
        };
        Ok(Self { place, text: text.into() })
    }
}

impl fmt::Display for WorkloadEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Schemes are not case-sensitive (RFC 3986, 3.1).
fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = text.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn socket_path(rest: &str) -> Result<PathBuf, MalformedEndpoint> {
    if rest.contains(['?', '#']) {
        return Err(MalformedEndpoint::Excess);
    }
    let path = match rest.strip_prefix("//") {
        Some(hierarchy) if hierarchy.starts_with('/') => hierarchy,
        Some(_) => return Err(MalformedEndpoint::Authority),
        None if rest.starts_with('/') => rest,
        None => return Err(MalformedEndpoint::RelativePath),
    };
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    if path == "/" || decoded.contains(&0) || decoded.len() > LONGEST_PATH {
        return Err(MalformedEndpoint::NotAPath);
    }
    Ok(PathBuf::from(OsString::from_vec(decoded)))
}

/// unix(7): `sun_path` has 108 bytes, of which the last is zero.
const LONGEST_PATH: usize = 107;

fn address(rest: &str) -> Result<SocketAddr, MalformedEndpoint> {
    let authority = rest.strip_prefix("//").ok_or(MalformedEndpoint::NotAnAddress)?;
    if authority.contains(['/', '?', '#', '@']) {
        return Err(MalformedEndpoint::Excess);
    }
    let address = authority.parse().map_err(|_| match authority.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(_) => MalformedEndpoint::NoPort,
        Err(_) => MalformedEndpoint::NotAnAddress,
    });
    address.and_then(|address: SocketAddr| match address.port() {
        0 => Err(MalformedEndpoint::NoPort),
        _ => Ok(address),
    })
}

/// A text that is not an endpoint, completing "`spiffe_socket` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEndpoint {
    /// A plain path.
    #[error("is a path, not a URI")]
    NoScheme,
    /// Neither `unix:` nor `tcp:`.
    #[error("is neither a unix: nor a tcp: URI")]
    UnknownScheme,
    /// `unix://host/path`, or `unix://path`.
    #[error("has a host, which a unix: URI may not have")]
    Authority,
    /// `unix:path`.
    #[error("has a relative path")]
    RelativePath,
    /// A path that cannot be the path of a socket.
    #[error("is not the path of a socket, which has 1 to 107 bytes")]
    NotAPath,
    /// A query, a fragment, a user, or a path after an address.
    #[error("has more parts than a Workload API's address may have")]
    Excess,
    /// A name, or no host at all.
    #[error("has no IP address")]
    NotAnAddress,
    /// An IP address without a port.
    #[error("has no port")]
    NoPort,
}

impl MalformedEndpoint {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NoScheme => "write unix:// in front of the path".into(),
            Self::Authority => "write three slashes, as in unix:///run/spire/agent/public/api.sock".into(),
            Self::NotAnAddress | Self::NoPort => {
                "write an IP address and a port, as in tcp://127.0.0.1:8081".into()
            }
            Self::UnknownScheme | Self::RelativePath | Self::NotAPath | Self::Excess => {
                "write unix:///path/of/the/socket or tcp://ADDRESS:PORT and no more".into()
            }
        }
    }
}
