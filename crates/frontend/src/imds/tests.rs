//! The requests that SDKs send to IMDS.

use time::Duration;

use super::*;
use crate::support;
use crate::support::Session;
use crate::support::settle;
use crate::support::text;
use anchord_core::access::Principal;
use anchord_core::entropy::Entropy;

const LIFE: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "300");
const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/app";

fn imds(session: &Session) -> Imds {
    let tokens = TokenAuthority::new(&Secret::new([7; 32]), session.clock.clone(), Entropy::system());
    Imds::new(session.handle.clone(), RoleName::parse("app").unwrap(), tokens)
}

fn token(imds: &Imds) -> String {
    imds.tokens.issue(TimeToLive::parse(b"21600").unwrap()).unwrap().expose().clone()
}

async fn get(imds: &Imds, path: &str) -> Reply {
    let head = support::head("GET", path, &[("x-aws-ec2-metadata-token", &token(imds))]);
    settle(imds.route(&head, &support::root())).await
}

async fn ask(imds: &Imds, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    settle(imds.route(&support::head(method, path, headers), &support::root())).await
}

#[tokio::test]
async fn a_token_is_granted_for_exactly_the_life_asked_for() {
    let imds = imds(&Session::live("app"));

    for asked in ["1", "300", "21600"] {
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", asked)];
        let reply = ask(&imds, "PUT", "/latest/api/token", &headers).await;

        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(reply.header_value(&TTL), Some(asked));
        assert!(imds.tokens.accepts(reply.body().expose()), "the body is the token and nothing else");
    }
}

#[tokio::test]
async fn a_token_request_without_one_valid_life_is_a_bad_request() {
    let imds = imds(&Session::live("app"));
    let ttl = "x-aws-ec2-metadata-token-ttl-seconds";

    for headers in [vec![], vec![(ttl, "0")], vec![(ttl, "21601")], vec![(ttl, "5"), (ttl, "5")]] {
        let reply = ask(&imds, "PUT", "/latest/api/token", &headers).await;
        assert_eq!((reply.status(), text(&reply)), (StatusCode::BAD_REQUEST, ""), "{headers:?}");
    }
}

#[tokio::test]
async fn without_a_living_token_every_path_answers_401_with_an_empty_body() {
    let session = Session::live("app");
    let imds = imds(&session);
    let expired = token(&imds);
    session.clock.suspend(std::time::Duration::from_secs(21_600 + 61));

    for path in [LIST, CREDENTIALS, "/latest/meta-data/placement/region", "/latest/api/token", "/nowhere"] {
        let name = "x-aws-ec2-metadata-token";
        for headers in [vec![], vec![(name, "AQAEA")], vec![(name, expired.as_str())]] {
            let reply = ask(&imds, "GET", path, &headers).await;
            assert_eq!((reply.status(), text(&reply)), (StatusCode::UNAUTHORIZED, ""), "{path}");
        }
        let fresh = token(&imds);
        let reply = ask(&imds, "GET", path, &[(name, &fresh), (name, &fresh)]).await;
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "two tokens are none");
    }
}

/// A reload happens after a client has read the list and before it reads the document.
#[tokio::test(start_paused = true)]
async fn a_role_that_was_just_listed_is_answered_with_the_session_that_took_its_place() {
    let (old, new) = (Session::live("old"), Session::live("new"));
    let renamed = |session: &Session, role: &str, before: &Imds| {
        let imds = Imds { role: RoleName::parse(role).unwrap(), ..imds(session) };
        imds.in_place_of(before)
    };
    let second = renamed(&new, "second", &imds(&old));
    let other = support::credentials_with_token("another-session-token");
    new.hold(other);

    let reply = get(&second, CREDENTIALS).await;

    assert_eq!(reply.status(), StatusCode::OK);
    assert!(text(&reply).contains("another-session-token"), "the new session's, never the old one's");
    assert_eq!(text(&get(&second, LIST).await), "second");
    let third = renamed(&new, "third", &second);
    for name in ["app", "second", "third"] {
        assert_eq!(get(&third, &format!("{LIST}{name}")).await.status(), StatusCode::OK, "{name}");
    }
    assert_eq!(get(&third, &format!("{LIST}fourth")).await.status(), StatusCode::NOT_FOUND);
    tokio::time::advance(SHOWN).await;
    for (name, status) in [("app", 404), ("second", 404), ("third", 200)] {
        assert_eq!(get(&third, &format!("{LIST}{name}")).await.status(), status, "{name}");
    }
}

#[tokio::test]
async fn the_list_is_exactly_one_name_with_and_without_a_slash() {
    let imds = imds(&Session::live("app"));

    for path in [LIST, LIST.trim_end_matches('/'), "//latest/meta-data/iam/security-credentials-extended/"] {
        let reply = get(&imds, path).await;
        assert_eq!((reply.status(), text(&reply)), (StatusCode::OK, "app"), "{path}");
    }
}

#[tokio::test]
async fn the_role_named_by_the_list_has_the_document_and_no_other_has() {
    let imds = imds(&Session::live("app"));
    let document = document::render(&support::credentials());

    for path in [CREDENTIALS, "/latest/meta-data/iam/security-credentials-extended/%61pp"] {
        let reply = get(&imds, path).await;
        assert_eq!((reply.status(), reply.body()), (StatusCode::OK, &document), "{path}");
    }
    for other in ["App", "app2", "ap", "app%2Fx", "app/x", "app%00"] {
        let reply = get(&imds, &format!("{LIST}{other}")).await;
        assert_eq!((reply.status(), text(&reply)), (StatusCode::NOT_FOUND, ""), "{other}");
    }
}

#[tokio::test]
async fn without_credentials_list_and_document_answer_503_with_an_empty_body() {
    let imds = imds(&Session::lapsed("app"));

    for path in [LIST, CREDENTIALS] {
        let reply = get(&imds, path).await;
        assert_eq!((reply.status(), text(&reply)), (StatusCode::SERVICE_UNAVAILABLE, ""), "{path}");
    }
}

#[tokio::test]
async fn credentials_that_were_listed_are_still_served_30_seconds_later() {
    let session = Session::live("app");
    let imds = imds(&session);

    session.leave(Duration::seconds(61));
    assert_eq!(get(&imds, LIST).await.status(), StatusCode::OK);
    session.leave(Duration::seconds(32));

    assert_eq!(get(&imds, CREDENTIALS).await.status(), StatusCode::OK);
    assert_eq!(get(&imds, LIST).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    session.leave(Duration::seconds(29));
    assert_eq!(get(&imds, CREDENTIALS).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_the_first_credentials_but_never_900_ms() {
    let session = Session::pending("app");
    let imds = imds(&session);
    let asked_at = Instant::now();

    let too_late = get(&imds, LIST).await;
    let waited = asked_at.elapsed();
    let (in_time, ()) = tokio::join!(get(&imds, LIST), async {
        tokio::time::advance(std::time::Duration::from_millis(800)).await;
        session.obtain();
    });

    assert_eq!(too_late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(waited >= PATIENCE && waited <= std::time::Duration::from_millis(900), "{waited:?}");
    assert_eq!(in_time.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_region_is_told_in_all_three_places_once_it_is_known() {
    let session = Session::live("app");
    let nowhere = imds(&session);
    let somewhere = imds(&session).at("eu-west-1", Some("123456789012"));

    for (path, expected) in [
        ("/latest/meta-data/placement/region", "eu-west-1"),
        ("/latest/meta-data/placement/availability-zone/", "eu-west-1a"),
        (
            "/latest/dynamic/instance-identity/document",
            r#"{"region":"eu-west-1","availabilityZone":"eu-west-1a","accountId":"123456789012"}"#,
        ),
    ] {
        let known = get(&somewhere, path).await;
        let unknown = get(&nowhere, path).await;
        assert_eq!((known.status(), text(&known)), (StatusCode::OK, expected), "{path}");
        assert_eq!((unknown.status(), text(&unknown)), (StatusCode::NOT_FOUND, ""), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let imds = imds(&Session::live("app"));
    let token = token(&imds);
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];

    for (method, path, allowed) in [
        ("GET", "/latest/api/token", "PUT"),
        ("POST", "/latest/api/token", "PUT"),
        ("PUT", LIST, "GET"),
        ("HEAD", LIST, "GET"),
        ("DELETE", CREDENTIALS, "GET"),
        ("OPTIONS", "/nowhere", "GET"),
    ] {
        let reply = ask(&imds, method, path, &headers).await;
        assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(reply.header_value(&header::ALLOW), Some(allowed), "{method} {path}");
    }
}

#[test]
fn a_role_name_is_what_iam_allows() {
    for good in ["a", "Role+=,.@_-9", &"r".repeat(64)] {
        assert_eq!(RoleName::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "a b", "a/b", "a\n", "rôle", &"r".repeat(65)] {
        assert!(RoleName::parse(bad).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_users_own_keys_are_never_shown_however_they_came_to_be_held() {
    let session = Session::pending("app");
    session.hold(support::credentials_without_token());
    let imds = imds(&session);

    for path in [LIST, CREDENTIALS] {
        let reply = get(&imds, path).await;
        assert_eq!((reply.status(), text(&reply)), (StatusCode::SERVICE_UNAVAILABLE, ""), "{path}");
    }
}

#[tokio::test]
async fn a_caller_whom_the_session_is_not_for_learns_nothing_and_gets_no_token() {
    let session = Session::live("app");
    let imds = imds(&session).for_callers(Access::Only(vec![Principal::User("alice".into())]));
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)], caller: &Caller| {
        let reply = settle(imds.route(&support::head(method, path, headers), caller)).await;
        assert!(reply.status().is_success() || reply.body().expose().is_empty());
        reply
    };
    let alice = Caller::who_is(support::TCP_PEER, &[Principal::User("alice".into())]);
    let bob = Caller::who_is(support::TCP_PEER, &[Principal::User("bob".into())]);

    let token = ask("PUT", "/latest/api/token", &[LIFE], &alice).await;
    let token = ("x-aws-ec2-metadata-token", text(&token).to_owned());
    let with_token = [(token.0, token.1.as_str())];

    assert_eq!(ask("GET", LIST, &with_token, &alice).await.status(), StatusCode::OK);
    assert_eq!(ask("PUT", "/latest/api/token", &[LIFE], &bob).await.status(), StatusCode::FORBIDDEN);
    for path in [LIST, "/latest/meta-data/placement/region", "/none"] {
        let stolen = ask("GET", path, &with_token, &bob).await;
        assert_eq!(stolen.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(stolen.denial().is_some());
    }
}

#[tokio::test]
async fn a_session_for_everybody_is_served_to_callers_whom_the_kernel_does_not_know() {
    let session = Session::live("app");
    let open = imds(&session).for_callers(Access::Anybody);
    let closed = imds(&session);
    let head = support::head("PUT", "/latest/api/token", &[LIFE]);
    let stranger = Caller::stranger(support::TCP_PEER);

    assert_eq!(settle(open.route(&head, &stranger)).await.status(), StatusCode::OK);
    assert_eq!(settle(closed.route(&head, &stranger)).await.status(), StatusCode::FORBIDDEN);
}
