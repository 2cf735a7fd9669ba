//! Passes each request that the guard admits to its front end. Pure.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use tokio::sync::watch;

use super::Caller;
use super::Container;
use super::Decision;
use super::Imds;
use super::Peer;
use super::Reply;
use super::RequestGuard;
use super::Socket;

/// Decides how requests are answered, without waiting.
pub trait Route: Send + Sync + 'static {
    /// Decides a request by its head and its caller.
    fn route(&self, head: &Parts, caller: &Caller) -> Decision;
}

impl<F: Fn(&Parts, &Caller) -> Decision + Send + Sync + 'static> Route for F {
    fn route(&self, head: &Parts, caller: &Caller) -> Decision {
        self(head, caller)
    }
}

/// Wraps routes that never change for [`super::Server`]. Routes that change need a `watch::Sender`.
pub fn fixed(route: impl Route) -> watch::Receiver<Arc<dyn Route>> {
    watch::channel(Arc::new(route) as Arc<dyn Route>).1
}

/// The front ends of one listener.
#[derive(Clone, Debug)]
pub struct Router(RouterKind);

#[derive(Clone, Debug)]
enum RouterKind {
    Tcp(Arc<TcpRouter>),
    Unix(Socket),
}

#[derive(Debug)]
struct TcpRouter {
    guard: RequestGuard,
    imds: Option<Imds>,
    container: Option<Container>,
}

impl Router {
    /// A router for TCP. `guard` checks every request first. A front end that is `None` is off.
    pub fn tcp(guard: RequestGuard, imds: Option<Imds>, container: Option<Container>) -> Self {
        Self(RouterKind::Tcp(Arc::new(TcpRouter { guard, imds, container })))
    }

    /// A router for a Unix socket, which file permissions protect.
    pub fn unix(socket: Socket) -> Self {
        Self(RouterKind::Unix(socket))
    }
}

impl Route for Router {
    fn route(&self, head: &Parts, caller: &Caller) -> Decision {
        match (&self.0, caller.peer()) {
            (RouterKind::Unix(socket), Peer::Unix { .. }) => socket.route(head, caller),
            // No settings lead here. A bug must not serve the socket's paths where no file permission protects them.
            (RouterKind::Unix(_), Peer::Tcp(_)) => {
                refused(head, "this path is served only on the Unix socket").into()
            }
            (RouterKind::Tcp(router), _) => router.route(head, caller),
        }
    }
}

impl TcpRouter {
    fn route(&self, head: &Parts, caller: &Caller) -> Decision {
        if let Err(denial) = self.guard.admit(head) {
            return refused(head, denial.as_str()).into();
        }
        match (&self.imds, &self.container) {
            (_, Some(container)) if speaks_json(head) => container.route(head),
            (Some(imds), _) => imds.route(head, caller),
            (None, Some(container)) => container.route(head),
            (None, None) => Reply::empty(StatusCode::NOT_FOUND).into(),
        }
    }
}

/// Whether the path belongs to container credentials or to the socket. Their errors have JSON bodies.
pub(super) fn speaks_json(head: &Parts) -> bool {
    let path = head.uri.path();
    path == "/v1" || path.starts_with("/v1/")
}

/// 403, with a body only for container clients, which report it. Some IMDS clients would read it as a role name.
fn refused(head: &Parts, why: &'static str) -> Reply {
    let reply = if speaks_json(head) {
        Reply::error(StatusCode::FORBIDDEN, "Forbidden", why)
    } else {
        Reply::empty(StatusCode::FORBIDDEN)
    };
    reply.denied(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RoleName;
    use crate::TokenAuthority;
    use crate::support;
    use crate::support::Session;
    use crate::support::settle;
    use crate::support::text;
    use anchord_core::entropy::Entropy;
    use anchord_core::secret::Secret;

    const TTL: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "300");

    fn imds(session: &Session) -> Imds {
        let tokens = TokenAuthority::new(&Secret::new([7; 32]), session.clock.clone(), Entropy::system());
        Imds::new(session.handle.clone(), RoleName::parse("app").unwrap(), tokens)
    }

    fn both() -> Router {
        let session = Session::live("app");
        let container = Container::new().with(session.handle.clone(), vec![support::bearer('a')]);
        Router::tcp(RequestGuard::new([]), Some(imds(&session)), Some(container))
    }

    async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        settle(router.route(&support::head(method, path, headers), &support::root())).await
    }

    #[tokio::test]
    async fn one_listener_serves_imds_and_container_clients() {
        let router = both();
        let bearer = "a".repeat(43);

        let token = ask(&router, "PUT", "/latest/api/token", &[("host", "localhost"), TTL]).await;
        let headers = [("host", "localhost"), ("authorization", bearer.as_str())];
        let credentials = ask(&router, "GET", "/v1/credentials/app", &headers).await;

        assert_eq!((token.status(), credentials.status()), (StatusCode::OK, StatusCode::OK));
    }

    #[tokio::test]
    async fn valid_tokens_and_bearers_do_not_help_past_the_guard() {
        let router = both();
        let bearer = "a".repeat(43);

        for (name, value) in [
            ("host", "evil.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("origin", "http://localhost"),
            ("sec-fetch-site", "none"),
        ] {
            let mut headers = vec![(name, value), ("authorization", bearer.as_str()), TTL];
            if name != "host" {
                headers.push(("host", "localhost"));
            }
            let imds = ask(&router, "PUT", "/latest/api/token", &headers).await;
            let container = ask(&router, "GET", "/v1/credentials/app", &headers).await;
            assert_eq!((imds.status(), text(&imds)), (StatusCode::FORBIDDEN, ""), "{name}");
            assert_eq!(container.status(), StatusCode::FORBIDDEN, "{name}");
            assert!(text(&container).starts_with(r#"{"code":"Forbidden""#), "{name}");
        }
    }

    #[tokio::test]
    async fn a_front_end_that_is_switched_off_answers_nothing() {
        let session = Session::live("app");
        let only_imds = Router::tcp(RequestGuard::new([]), Some(imds(&session)), None);
        let container = Container::new().with(session.handle.clone(), vec![support::bearer('a')]);
        let only_container = Router::tcp(RequestGuard::new([]), None, Some(container));
        let neither = Router::tcp(RequestGuard::new([]), None, None);
        let host = ("host", "localhost");

        let status = async |router, method, path| ask(router, method, path, &[host, TTL]).await.status();

        assert_eq!(status(&only_imds, "GET", "/v1/credentials").await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&only_container, "PUT", "/latest/api/token").await, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(status(&neither, "GET", "/v1/credentials").await, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_operators_channel_is_not_served_over_tcp() {
        let router = Router::unix(Socket::new(Vec::new(), crate::ListenerStatus::default()));
        let head = support::head("GET", "/v1/status", &[("host", "localhost")]);

        assert_eq!(
            settle(router.route(&head, &Caller::trusted(support::UNIX_PEER))).await.status(),
            StatusCode::OK
        );
        assert_eq!(settle(router.route(&head, &support::root())).await.status(), StatusCode::FORBIDDEN);
    }
}
