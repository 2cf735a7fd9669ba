//! The container credentials endpoint: `/v1/credentials` and `/v1/credentials/<session>`.
//!
//! Each session has its own bearer tokens. A client without a valid one gets 401 for every path, so it cannot find out
//! which sessions exist. Failures never lock a client out, because SDKs repeat each failed request a few times in a
//! row.

use http::Method;
use http::StatusCode;
use http::header;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::ApiKeys;
use super::Bearer;
use super::CredentialsRequest;
use super::Decision;
use super::Reply;
use super::document;
use super::guard;
use super::reply::PATIENCE;
use anchord_core::credentials::Credentials;
use anchord_session::Freshness;
use anchord_session::Handle;

/// The sessions that container clients can use, each with its bearer tokens.
#[derive(Clone, Debug, Default)]
pub struct Container {
    sessions: Vec<ContainerSession>,
}

#[derive(Clone, Debug)]
struct ContainerSession {
    session: Handle,
    /// The current token, and older ones that clients may still have.
    bearers: Vec<Bearer>,
    api_keys: Option<ApiKeys>,
}

/// What a path names.
struct Resource {
    kind: ResourceKind,
    /// The session's name. Without one, the client's bearer token selects the session, as on EKS, so that all clients
    /// can have the same URL.
    session: Option<String>,
}

enum ResourceKind {
    Credentials,
    ApiKey,
}

impl Container {
    /// A container endpoint without sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a session, which clients with any of `bearers` can use.
    pub fn with(mut self, session: Handle, bearers: Vec<Bearer>) -> Self {
        self.sessions.push(ContainerSession { session, bearers, api_keys: None });
        self
    }

    /// Adds API keys for Bedrock to the session that was added last.
    pub fn with_api_keys(mut self, api_keys: ApiKeys) -> Self {
        if let Some(last) = self.sessions.last_mut() {
            last.api_keys = Some(api_keys);
        }
        self
    }

    /// Decides a request.
    pub fn route(&self, head: &Parts) -> Decision {
        if head.method != Method::GET {
            return Reply::only_get().into();
        }
        let authorized = self.authorized_by(head);
        if authorized.is_empty() {
            return unauthorized();
        }
        let Some(resource) = resource(head.uri.path()) else { return not_found() };
        let found = match &resource.session {
            Some(name) => authorized.iter().find(|found| found.session.name() == name),
            None => authorized.first(),
        };
        let Some(ContainerSession { session, api_keys, .. }) = found else {
            let exists =
                self.sessions.iter().any(|other| resource.session.as_deref() == Some(other.session.name()));
            return if exists { unauthorized() } else { not_found() };
        };
        match (resource.kind, api_keys.clone()) {
            (ResourceKind::Credentials, _) => credentials_of(session, document::reply),
            (ResourceKind::ApiKey, Some(api_keys)) => {
                credentials_of(session, move |credentials| api_keys.reply(credentials))
            }
            (ResourceKind::ApiKey, None) => not_found(),
        }
    }

    /// The sessions that the client's bearer token belongs to. Compares it with every token of every session, so that
    /// the time taken does not show which one matched.
    fn authorized_by(&self, head: &Parts) -> Vec<&ContainerSession> {
        let mut authorized = Vec::new();
        let Some(presented) = guard::single_value(&head.headers, &header::AUTHORIZATION) else {
            return authorized;
        };
        for session in &self.sessions {
            let mut matches = false;
            for bearer in &session.bearers {
                matches |= bearer.is(presented);
            }
            if matches {
                authorized.push(session);
            }
        }
        authorized
    }
}

/// What `path` names, if it is one of ours. One slash at the end makes no difference.
fn resource(path: &str) -> Option<Resource> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (kind, rest) = match path.strip_prefix("/v1/credentials") {
        Some(rest) => (ResourceKind::Credentials, rest),
        None => (ResourceKind::ApiKey, path.strip_prefix("/v1/bedrock/api-key")?),
    };
    if rest.is_empty() {
        return Some(Resource { kind, session: None });
    }
    let name = percent_decode_str(rest.strip_prefix('/')?).decode_utf8().ok()?;
    Some(Resource { kind, session: Some(name.into_owned()) })
}

fn credentials_of(session: &Handle, render: impl FnOnce(&Credentials) -> Reply + Send + 'static) -> Decision {
    let render = |outcome: Result<&Credentials, &_>| match outcome {
        Ok(credentials) => render(credentials),
        Err(_) => Reply::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "Unavailable",
            "no credentials at the moment; check anchord's log for the reason",
        ),
    };
    Decision::Credentials(CredentialsRequest {
        session: session.clone(),
        freshness: Freshness::Full,
        patience: PATIENCE,
        render: Box::new(render),
    })
}

fn unauthorized() -> Decision {
    let message = "the Authorization header has no valid token for this session";
    Reply::error(StatusCode::UNAUTHORIZED, "Unauthorized", message)
        .denied("no valid container bearer token")
        .into()
}

fn not_found() -> Decision {
    Reply::error(StatusCode::NOT_FOUND, "NotFound", "no such path").into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::support;
    use crate::support::Session;
    use crate::support::settle;
    use crate::support::text;

    fn two_sessions() -> (Container, Session, Session) {
        let (app, batch) = (Session::live("app"), Session::live("batch"));
        let container = Container::new()
            .with(app.handle.clone(), vec![support::bearer('a'), support::bearer('p')])
            .with(batch.handle.clone(), vec![support::bearer('b')]);
        (container, app, batch)
    }

    async fn get(container: &Container, path: &str, letter: char) -> Reply {
        let bearer = String::from_utf8(support::bearer(letter).expose().to_vec()).unwrap();
        settle(container.route(&support::head("GET", path, &[("authorization", &bearer)]))).await
    }

    #[tokio::test]
    async fn a_sessions_bearer_gets_its_credentials_with_and_without_the_name_and_a_slash() {
        let (container, ..) = two_sessions();
        let document = document::render(&support::credentials());

        for path in ["/v1/credentials", "/v1/credentials/", "/v1/credentials/app", "/v1/credentials/%61pp/"] {
            let reply = get(&container, path, 'a').await;
            assert_eq!((reply.status(), reply.body()), (StatusCode::OK, &document), "{path}");
            assert_eq!(reply.header_value(&header::CONTENT_TYPE), Some("application/json"));
        }
    }

    #[tokio::test]
    async fn the_bearer_before_a_rotation_still_opens_its_session() {
        let (container, ..) = two_sessions();

        assert_eq!(get(&container, "/v1/credentials/app", 'p').await.status(), StatusCode::OK);
        assert_eq!(get(&container, "/v1/credentials", 'p').await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_bearer_selects_its_own_session_where_the_path_names_none() {
        let (container, ..) = two_sessions();

        for (letter, name) in [('a', "app"), ('b', "batch")] {
            let bearer = String::from_utf8(support::bearer(letter).expose().to_vec()).unwrap();
            let decision =
                container.route(&support::head("GET", "/v1/credentials", &[("authorization", &bearer)]));
            assert!(format!("{decision:?}").contains(&format!("{name:?}")), "{decision:?}");
        }
    }

    #[tokio::test]
    async fn the_bearer_of_one_session_does_not_open_another() {
        let (container, ..) = two_sessions();

        assert_eq!(get(&container, "/v1/credentials/batch", 'a').await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(get(&container, "/v1/credentials/app", 'b').await.status(), StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn names_cannot_be_guessed_without_a_valid_bearer() {
        let (container, ..) = two_sessions();
        let paths = ["/v1/credentials/app", "/v1/credentials/none", "/v1/credentials", "/v1/x", "/v1"];

        let mut strangers = Vec::new();
        for path in paths {
            let bare = settle(container.route(&support::head("GET", path, &[]))).await;
            let wrong = get(&container, path, 'x').await;
            strangers.extend([bare, wrong].map(|reply| (reply.status(), text(&reply).to_owned())));
        }

        assert!(strangers.iter().all(|answer| *answer == strangers[0]), "{strangers:?}");
        assert_eq!(strangers[0].0, StatusCode::UNAUTHORIZED);
        assert_eq!(get(&container, "/v1/credentials/none", 'a').await.status(), StatusCode::NOT_FOUND);
        assert_eq!(get(&container, "/v1/x", 'a').await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_bearer_has_to_match_byte_for_byte() {
        let (container, ..) = two_sessions();
        let bearer = "a".repeat(Bearer::LENGTH);

        for wrong in [format!("Bearer {bearer}"), bearer.to_uppercase(), format!("{bearer}a"), String::new()]
        {
            let head = support::head("GET", "/v1/credentials/app", &[("authorization", &wrong)]);
            assert_eq!(settle(container.route(&head)).await.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        }
        let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
        let head = support::head("GET", "/v1/credentials/app", &twice);
        assert_eq!(settle(container.route(&head)).await.status(), StatusCode::UNAUTHORIZED, "two are none");
    }

    #[tokio::test]
    async fn unavailable_is_503_with_code_and_message_and_without_the_cause() {
        let app = Session::lapsed("app");
        let container = Container::new().with(app.handle.clone(), vec![support::bearer('a')]);

        let reply = get(&container, "/v1/credentials/app", 'a').await;

        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            text(&reply),
            r#"{"code":"Unavailable","message":"no credentials at the moment; check anchord's log for the reason"}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_never_waits_900_ms() {
        let app = Session::pending("app");
        let container = Container::new().with(app.handle.clone(), vec![support::bearer('a')]);
        let asked_at = tokio::time::Instant::now();

        let reply = get(&container, "/v1/credentials", 'a').await;

        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!((PATIENCE..Duration::from_millis(900)).contains(&asked_at.elapsed()));
    }

    #[tokio::test]
    async fn credentials_with_a_minute_or_less_left_are_not_handed_out() {
        let app = Session::live("app");
        let container = Container::new().with(app.handle.clone(), vec![support::bearer('a')]);

        app.leave(time::Duration::seconds(61));
        assert_eq!(get(&container, "/v1/credentials", 'a').await.status(), StatusCode::OK);
        app.leave(time::Duration::seconds(59));

        let reply = get(&container, "/v1/credentials", 'a').await;
        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn the_same_bearer_opens_the_sessions_api_key_for_bedrock() {
        let (app, batch) = (Session::live("app"), Session::live("batch"));
        let region = anchord_core::arn::Region::parse("eu-west-1").unwrap();
        let container = Container::new()
            .with(app.handle.clone(), vec![support::bearer('a')])
            .with_api_keys(ApiKeys::new(region.clone(), app.clock.clone()))
            .with(batch.handle.clone(), vec![support::bearer('b')]);

        for path in ["/v1/bedrock/api-key", "/v1/bedrock/api-key/app", "/v1/bedrock/api-key/app/"] {
            let reply = get(&container, path, 'a').await;
            let body: serde_json::Value = serde_json::from_str(text(&reply)).unwrap();
            let twelve_hours = anchord_aws::signing::LONGEST_API_KEY;
            let credentials = support::credentials();
            let key = anchord_aws::signing::bedrock_api_key(
                credentials.keys(),
                &region,
                app.clock.now(),
                twelve_hours,
            );
            assert_eq!(reply.status(), StatusCode::OK);
            assert_eq!(body["api_key"], key.unwrap().expose().as_str());
            assert_eq!(body["expires_at"], "2026-03-11T13:00:00Z", "it ends with the credentials");
            assert_eq!(body["region"], "eu-west-1");
        }
        let status = async |path, letter| get(&container, path, letter).await.status();
        assert_eq!(status("/v1/bedrock/api-key/app", 'b').await, StatusCode::UNAUTHORIZED);
        assert_eq!(status("/v1/bedrock/api-key/app", 'x').await, StatusCode::UNAUTHORIZED);
        assert_eq!(status("/v1/bedrock/api-key/none", 'a').await, StatusCode::NOT_FOUND);
        assert_eq!(status("/v1/bedrock/api-key/batch", 'b').await, StatusCode::NOT_FOUND);
        app.leave(time::Duration::seconds(59));
        assert_eq!(status("/v1/bedrock/api-key", 'a').await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_failing_client_is_never_locked_out() {
        let (container, ..) = two_sessions();

        for _ in 0..100 {
            assert_eq!(get(&container, "/v1/credentials/app", 'x').await.status(), StatusCode::UNAUTHORIZED);
        }

        assert_eq!(get(&container, "/v1/credentials/app", 'a').await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn every_error_has_code_and_message() {
        let (container, ..) = two_sessions();
        let replies = [
            get(&container, "/v1/credentials/none", 'a').await,
            get(&container, "/v1/credentials/none", 'x').await,
            settle(container.route(&support::head("PUT", "/v1/credentials", &[]))).await,
        ];

        for reply in replies {
            let body: serde_json::Value = serde_json::from_str(text(&reply)).unwrap();
            assert!(body["code"].is_string() && body["message"].is_string(), "{body}");
        }
    }
}
