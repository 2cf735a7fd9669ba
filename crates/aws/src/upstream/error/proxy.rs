//! What to do about a proxy that opens no tunnel.

use http::StatusCode;

use super::foreign::PROXY_LOGIN;
use crate::upstream::NoTunnel;

/// What to do, by what the proxy answered.
pub(super) fn hint(refusal: &NoTunnel) -> &'static str {
    let Some(status) = refusal.status else {
        if refusal.speaks_no_http {
            return "whatever answers there is no HTTP proxy: see the host and the port in HTTPS_PROXY; a proxy that is \
                    reached over TLS is named with https://";
        }
        return "the proxy opens no tunnel to the endpoint: let it, or name another in HTTPS_PROXY";
    };
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED if refusal.refuses_basic => {
            "the proxy takes no Basic login, the only kind that is sent (it asks for Negotiate, NTLM or the like): have it \
             let this host in without one, or name in HTTPS_PROXY a local proxy that logs in to it (such as cntlm)"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED if refusal.has_login => {
            "the proxy does not take this login: check the user and the password in HTTPS_PROXY (special characters are \
             written in percent, such as %40 for @), and that it takes Basic"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_LOGIN,
        StatusCode::UNAUTHORIZED => {
            "a web server that wants a login answers there, for a proxy says 407: make sure that HTTPS_PROXY names a proxy for \
             HTTPS, and its port"
        }
        StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
            "the proxy forbids this endpoint: have it allowed there (CONNECT), or name it in NO_PROXY if this host reaches it \
             directly"
        }
        StatusCode::TOO_MANY_REQUESTS => "the proxy has too much to do: the call is tried again",
        StatusCode::NOT_IMPLEMENTED
        | StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => {
            "whatever answers there opens no tunnels (CONNECT): make sure that HTTPS_PROXY names a proxy for HTTPS, and its port"
        }
        status if status.is_redirection() || status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED => PORTAL,
        status if status.is_server_error() => {
            "the proxy does not reach the endpoint: make sure that it knows the name and has a way to it; name a VPC endpoint in \
             NO_PROXY"
        }
        _ => "the proxy opens no tunnel to the endpoint: let it, or name another in HTTPS_PROXY",
    }
}

/// What to do where a login page answers.
const PORTAL: &str =
    "a portal stands in the way: log in to it, or make sure that HTTPS_PROXY names a proxy and no web server";
