//! What to do about a proxy that does not open a tunnel.

use http::StatusCode;

use super::foreign::PROXY_LOGIN;
use crate::upstream::NoTunnel;

/// What to do, by the proxy's answer.
pub(super) fn hint(refusal: &NoTunnel) -> &'static str {
    let Some(status) = refusal.status else {
        if refusal.speaks_no_http {
            return "the server there is not an HTTP proxy: check the host and the port in HTTPS_PROXY; use https:// for a \
                    proxy that is reached over TLS";
        }
        return NO_TUNNEL;
    };
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED if refusal.refuses_basic => {
            "the proxy does not accept Basic authentication, the only scheme that is supported (it asks for Negotiate, NTLM or \
             the like): let the proxy allow this host without a login, or name in HTTPS_PROXY a local proxy that logs in to \
             it (such as cntlm)"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED if refusal.has_login => {
            "the proxy refuses this login: check the user and the password in HTTPS_PROXY (percent-encode special \
             characters, such as %40 for @), and whether it accepts Basic authentication"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_LOGIN,
        StatusCode::UNAUTHORIZED => {
            "the server is a web server (a proxy would send 407): make sure that HTTPS_PROXY names a proxy for \
             HTTPS, and its port"
        }
        StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
            "the proxy forbids this endpoint: allow it there (CONNECT), or name it in NO_PROXY if this host can reach it \
             directly"
        }
        StatusCode::TOO_MANY_REQUESTS => "the proxy is overloaded; anchord retries",
        StatusCode::NOT_IMPLEMENTED
        | StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => {
            "the server there does not open tunnels (CONNECT): make sure that HTTPS_PROXY names a proxy for HTTPS, and its port"
        }
        status if status.is_redirection() || status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED => PORTAL,
        status if status.is_server_error() => {
            "the proxy cannot reach the endpoint: make sure that it can resolve the name and connect; name a VPC endpoint in \
             NO_PROXY"
        }
        _ => NO_TUNNEL,
    }
}

/// What to do if nothing says why.
const NO_TUNNEL: &str =
    "the proxy does not open a tunnel to the endpoint: allow it there, or name another proxy in HTTPS_PROXY";

/// What to do if a login page answers.
const PORTAL: &str = "a captive portal intercepts the connection: log in to it, or make sure that HTTPS_PROXY names a proxy and no web server";
