//! The operator's channel: a Unix socket for `credential_process` helpers and for `anchord status`.
//!
//! Each session's settings decide who may use it. Errors contain causes and hints, which contain no secrets.

mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::StatusCode;
use http::request::Parts;
use percent_encoding::percent_decode_str;
pub use status::Background;
pub use status::CertificateStatus;
pub use status::FailureStatus;
pub use status::ListenerStatus;
pub use status::SessionStatus;
pub use status::StatusDocument;

use super::Bearer;
use super::Caller;
use super::CredentialsRequest;
use super::Decision;
use super::Reply;
use super::caller::Verdict;
use super::process;
use anchord_core::access::Access;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_session::Freshness;
use anchord_session::Handle;

/// The sessions that local processes can use by name.
#[derive(Clone, Debug)]
pub struct Socket {
    sessions: Vec<Handle>,
    settings: BTreeMap<String, Vec<SettingDigest>>,
    access: BTreeMap<String, Access>,
    bearers: BTreeMap<String, Bearer>,
    listeners: ListenerStatus,
    backgrounds: Backgrounds,
}

/// Returns what the status shows beside the state of the session with this number.
#[derive(Clone)]
struct Backgrounds(Arc<dyn Fn(usize) -> Background + Send + Sync>);

impl fmt::Debug for Backgrounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Backgrounds")
    }
}

/// The name of a session's option and a digest of its value.
pub type SettingDigest = (&'static str, u64);

impl Socket {
    /// Serves `sessions` to root and the daemon's user; `listeners` is shown in the status.
    pub fn new(sessions: Vec<Handle>, listeners: ListenerStatus) -> Self {
        let backgrounds = Backgrounds(Arc::new(|_| Background::default()));
        Self {
            sessions,
            settings: BTreeMap::new(),
            access: BTreeMap::new(),
            bearers: BTreeMap::new(),
            listeners,
            backgrounds,
        }
    }

    /// Sets what the status shows of each session beside its state. Sessions are counted from 0.
    #[must_use]
    pub fn with_backgrounds(self, background: impl Fn(usize) -> Background + Send + Sync + 'static) -> Self {
        Self { backgrounds: Backgrounds(Arc::new(background)), ..self }
    }

    /// Sets the digests of a session's settings. A request that states other ones is refused.
    #[must_use]
    pub fn with_settings(mut self, session: &str, settings: Vec<SettingDigest>) -> Self {
        self.settings.insert(session.into(), settings);
        self
    }

    /// Also serves a session to those whom `access` admits.
    #[must_use]
    pub fn for_callers(mut self, session: &str, access: Access) -> Self {
        self.access.insert(session.into(), access);
        self
    }

    /// Gives `bearer` to callers who may use the session, so that programs can use it for container credentials.
    #[must_use]
    pub fn with_bearer(mut self, session: &str, bearer: Bearer) -> Self {
        self.bearers.insert(session.into(), bearer);
        self
    }

    /// Decides a request. A session that the caller may not use does not exist for it.
    pub fn route(&self, head: &Parts, caller: &Caller) -> Decision {
        let (visible, is_unclear) = self.visible(caller);
        if visible.is_empty() && !self.sessions.is_empty() {
            return if is_unclear { unclear() } else { not_for(caller) }.into();
        }
        if head.method != Method::GET {
            return Reply::only_get().into();
        }
        let path = head.uri.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        if path == "/v1/status" {
            return self.status(&visible).into();
        }
        let Some((name, resource)) = session_resource(path) else {
            return Reply::error(StatusCode::NOT_FOUND, "NotFound", "no such path").into();
        };
        let Some((_, session)) = visible.iter().find(|(_, session)| session.name() == name) else {
            return unknown(&name, &visible).into();
        };
        let stated = head.uri.query().unwrap_or_default();
        let differing = self.differing(&name, stated);
        if !differing.is_empty() {
            return other_settings(&name, &differing).into();
        }
        // The client states the present settings, but the credentials were obtained with earlier ones.
        if !stated.is_empty() && session.snapshot().inherited {
            return earlier_settings(&name).into();
        }
        match resource {
            SessionResource::Settings => Reply::json(StatusCode::OK, Secret::new(b"{}".to_vec())).into(),
            SessionResource::CredentialProcess => credential_process(session),
            SessionResource::Bearer => self.bearer(&name).into(),
        }
    }

    /// The options of `query` that the session sets differently. An option that occurs several times, in the query or
    /// in the settings, matches if any of its values does.
    fn differing<'q>(&self, name: &str, query: &'q str) -> Vec<&'q str> {
        let settings = self.settings.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut stated: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (option, digest) = part.split_once('=').unwrap_or((part, ""));
            stated.entry(option).or_default().push(digest);
        }
        for (option, digest) in settings {
            let stated_digests = stated.get(option).map(Vec::as_slice).unwrap_or_default();
            if stated_digests.iter().any(|stated| u64::from_str_radix(stated, 16) == Ok(*digest)) {
                stated.remove(option);
            }
        }
        stated.into_keys().collect()
    }

    fn bearer(&self, name: &str) -> Reply {
        match self.bearers.get(name) {
            Some(bearer) => Reply::json(StatusCode::OK, Secret::new(bearer.expose().to_vec())),
            None => {
                let message = "the daemon serves no container credentials";
                let hint = "set `enabled = true` in [container], and restart the daemon";
                let reason = Some(Reason::InvalidSetting);
                Reply::explained(StatusCode::CONFLICT, "NoContainer", message, Some(hint), reason)
            }
        }
    }

    /// The sessions that the caller may use, with their numbers. And whether the user database may admit it to others.
    fn visible(&self, caller: &Caller) -> (Vec<(usize, &Handle)>, bool) {
        let nobody = Access::Only(Vec::new());
        let mut visible = Vec::new();
        let mut is_unclear = false;
        for (number, session) in self.sessions.iter().enumerate() {
            let access = self.access.get(session.name()).unwrap_or(&nobody);
            match caller.may(access) {
                Verdict::Admitted => visible.push((number, session)),
                Verdict::Refused => {}
                Verdict::Unclear => is_unclear = true,
            }
        }
        (visible, is_unclear)
    }

    fn status(&self, visible: &[(usize, &Handle)]) -> Reply {
        let mut sessions = Vec::new();
        for (number, session) in visible {
            sessions.push(SessionStatus::of(session, (self.backgrounds.0)(*number)));
        }
        let status = StatusDocument {
            version: env!("CARGO_PKG_VERSION").into(),
            sessions,
            listeners: self.listeners.clone(),
        };
        let body = serde_json::to_vec(&status).expect("strings, numbers and booleans are always JSON");
        Reply::json(StatusCode::OK, Secret::new(body))
    }
}

/// The answer to a caller who may use no session. It learns what its own user is, and no more.
fn not_for(caller: &Caller) -> Reply {
    let message = match caller.connection().uid {
        Some(uid) => format!("the daemon's settings do not allow user {uid} to use a session"),
        None => "the daemon's settings do not allow this caller to use a session".to_owned(),
    };
    let hint = "ask the administrator of this host to add you to the daemon's access group, or to `allow` of a session";
    let reply = Reply::explained(
        StatusCode::FORBIDDEN,
        "NotAllowed",
        &message,
        Some(hint),
        Some(Reason::DaemonForbidden),
    );
    reply.denied("the settings do not allow this caller to use a session")
}

fn unclear() -> Reply {
    let message = "the host's user database does not answer, so the daemon cannot tell who you are";
    Reply::explained(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message, Some("try again"), None)
}

fn unknown(name: &str, visible: &[(usize, &Handle)]) -> Reply {
    let known: Vec<_> = visible.iter().map(|(_, session)| format!("`{}`", session.name())).collect();
    let hint = match known.as_slice() {
        [] => "no sessions are configured".to_owned(),
        known => format!("the sessions are {}", known.join(", ")),
    };
    let message = format!("there is no session `{name}`");
    Reply::explained(StatusCode::NOT_FOUND, "UnknownSession", &message, Some(&hint), None)
}

/// What a path names of a session.
enum SessionResource {
    Bearer,
    CredentialProcess,
    Settings,
}

/// The session's name in `path` and what the path names of it.
fn session_resource(path: &str) -> Option<(String, SessionResource)> {
    let (name, resource) = path.strip_prefix("/v1/sessions/")?.rsplit_once('/')?;
    let resource = match resource {
        "bearer" => SessionResource::Bearer,
        "credential-process" => SessionResource::CredentialProcess,
        "settings" => SessionResource::Settings,
        _ => return None,
    };
    Some((percent_decode_str(name).decode_utf8().ok()?.into_owned(), resource))
}

fn other_settings(name: &str, options: &[&str]) -> Reply {
    // The query is the client's text, so only what can be an option's name is repeated.
    let is_name = |option: &&&str| {
        option.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    let options: Vec<_> = options.iter().filter(is_name).map(|option| format!("`{option}`")).collect();
    let message =
        format!("the daemon's session `{name}` has other settings than asked for: {}", options.join(", "));
    let hint = "remove them from this command's flags, ANCHORD_ variables and settings file, or change the daemon's \
                settings and reload it";
    Reply::explained(
        StatusCode::CONFLICT,
        "OtherSettings",
        &message,
        Some(hint),
        Some(Reason::InvalidSetting),
    )
}

fn earlier_settings(name: &str) -> Reply {
    let message =
        format!("the daemon still hands out credentials of its earlier settings of session `{name}`");
    let hint = "run `anchord status` to see why the new settings do not work yet";
    Reply::explained(
        StatusCode::CONFLICT,
        "EarlierSettings",
        &message,
        Some(hint),
        Some(Reason::InvalidSetting),
    )
}

fn credential_process(session: &Handle) -> Decision {
    let render = |outcome: Result<&_, &Failure>| match outcome {
        Ok(credentials) => {
            let line = process::render(credentials).expose().as_bytes().to_vec();
            Reply::json(StatusCode::OK, Secret::new(line))
        }
        Err(failure) => Reply::failed(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", failure),
    };
    Decision::Credentials(CredentialsRequest {
        session: session.clone(),
        freshness: Freshness::Full,
        patience: PATIENCE,
        render: Box::new(render),
    })
}

/// SDKs wait for a `credential_process` for a minute or longer. Ours gives up after 10 s.
const PATIENCE: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::support;
    use crate::support::Session;
    use crate::support::settle;
    use crate::support::text;
    use anchord_core::access::Principal;

    async fn get(socket: &Socket, path: &str) -> Reply {
        settle(socket.route(&support::head("GET", path, &[]), &support::root())).await
    }

    fn socket(sessions: &[&Session]) -> Socket {
        let handles = sessions.iter().map(|session| session.handle.clone()).collect();
        let http = vec!["http://127.0.0.1:9911".into()];
        Socket::new(handles, ListenerStatus { http, ..ListenerStatus::default() })
    }

    #[tokio::test]
    async fn a_helper_gets_the_output_for_the_session_it_names() {
        let app = Session::live("app");

        let reply = get(&socket(&[&app]), "/v1/sessions/%61pp/credential-process").await;

        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(text(&reply), process::render(&support::credentials()).expose());
    }

    #[tokio::test]
    async fn an_unknown_session_is_answered_with_the_known_names() {
        let (app, batch) = (Session::live("app"), Session::live("batch"));

        let reply = get(&socket(&[&app, &batch]), "/v1/sessions/other/credential-process").await;

        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            text(&reply),
            concat!(
                r#"{"code":"UnknownSession","message":"there is no session `other`","#,
                r#""hint":"the sessions are `app`, `batch`"}"#
            )
        );
    }

    #[tokio::test]
    async fn a_helper_is_told_why_there_are_no_credentials_and_what_to_do() {
        let app = Session::lapsed("app");

        let reply = get(&socket(&[&app]), "/v1/sessions/app/credential-process").await;

        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            text(&reply),
            r#"{"code":"Unavailable","message":"AWS refused the certificate","hint":"renew the certificate","class":"denied","reason_code":"refused"}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_waits_eight_seconds_for_an_attempt_under_way() {
        let app = Session::pending("app");
        let socket = socket(&[&app]);
        let asked_at = tokio::time::Instant::now();

        let too_late = get(&socket, "/v1/sessions/app/credential-process").await;
        let waited = asked_at.elapsed();
        let (in_time, ()) = tokio::join!(get(&socket, "/v1/sessions/app/credential-process"), async {
            tokio::time::advance(Duration::from_secs(7)).await;
            app.obtain();
        });

        assert_eq!((too_late.status(), waited.as_secs()), (StatusCode::SERVICE_UNAVAILABLE, 8));
        assert_eq!(in_time.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn the_status_shows_what_is_wrong_with_a_certificate_unless_the_last_attempt_has_said_it() {
        let sessions = [Session::live("app"), Session::lapsed("batch"), Session::live("audit")];
        let told = sessions[1].handle.shown().trouble;
        let background = move |number: usize| {
            let fault = match number {
                0 => Some(Failure::of(Reason::InvalidSetting, "it hangs", Some("look".into()))),
                1 => told.clone(),
                _ => None,
            };
            Background { fault, ..Background::default() }
        };
        let socket = socket(&sessions.each_ref()).with_backgrounds(background);

        let reply = get(&socket, "/v1/status").await;

        let shown: serde_json::Value = serde_json::from_str(text(&reply)).unwrap();
        let of = |number: usize| shown["sessions"][number]["certificate_trouble"].clone();
        assert_eq!(
            of(0),
            json!({ "class": "misconfigured", "reason_code": "invalid_setting", "message": "it hangs", "hint": "look" })
        );
        assert!(of(1).is_null() && of(2).is_null(), "{shown}");
    }

    #[tokio::test]
    async fn the_status_shows_what_is_public_of_every_session() {
        let (app, batch) = (Session::live("app"), Session::lapsed("batch"));

        let background = |number: usize| Background {
            role_arn: (number == 0).then(|| "arn:aws:iam::123456789012:role/r".into()),
            region: (number == 0).then(|| "us-east-1".into()),
            certificate: (number == 0).then(|| CertificateStatus {
                subject: "CN=robot-7".into(),
                serial: "17".into(),
                not_after: "2026-03-15T13:00:00Z".into(),
                days_left: 4,
                warnings: Vec::new(),
            }),
            fault: None,
        };

        let reply = get(&socket(&[&app, &batch]).with_backgrounds(background), "/v1/status").await;

        let shown: serde_json::Value = serde_json::from_str(text(&reply)).unwrap();
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "sessions": [
                {
                    "name": "app", "phase": "live", "access_key_id": "ASIAEXAMPLE",
                    "expires_at": "2026-03-11T13:00:00Z", "fetching": false,
                    "next_attempt_at": "2026-03-11T12:00:00Z", "consecutive_failures": 0,
                    "role_arn": "arn:aws:iam::123456789012:role/r", "region": "us-east-1",
                    "certificate": {
                        "subject": "CN=robot-7", "serial": "17", "not_after": "2026-03-15T13:00:00Z", "days_left": 4,
                    },
                },
                {
                    "name": "batch", "phase": "lapsed", "fetching": false,
                    "next_attempt_at": "2026-03-11T12:01:00Z", "consecutive_failures": 0,
                    "trouble": {
                        "class": "denied", "reason_code": "refused", "message": "AWS refused the certificate",
                        "hint": "renew the certificate",
                    },
                },
            ],
            "listeners": { "http": ["http://127.0.0.1:9911"], "socket": null },
        });
        assert_eq!(shown, expected);
    }

    #[tokio::test]
    async fn the_status_shows_times_as_a_clock_has_them_that_was_set() {
        let (app, batch) = (Session::live("app"), Session::lapsed("batch"));
        for session in [&app, &batch] {
            session.clock.jump(-time::Duration::hours(2));
        }

        let reply = get(&socket(&[&app, &batch]), "/v1/status").await;

        let shown: serde_json::Value = serde_json::from_str(text(&reply)).unwrap();
        assert_eq!(shown["sessions"][0]["expires_at"], "2026-03-11T11:00:00Z");
        assert_eq!(shown["sessions"][1]["next_attempt_at"], "2026-03-11T10:01:00Z");
    }

    #[tokio::test]
    async fn a_request_that_says_how_its_session_is_set_is_answered_only_if_it_is_so() {
        let (app, batch) = (Session::live("app"), Session::live("batch"));
        let socket = socket(&[&app, &batch]).with_settings("app", vec![("duration", 1), ("role_arn", 0xab)]);
        let ask = async |what: &str| {
            let reply = get(&socket, &format!("/v1/sessions/{what}")).await;
            (reply.status().as_u16(), text(&reply).to_owned())
        };

        for query in ["", "?", "?role_arn=ab", "?duration=0001&role_arn=00ab", "?role_arn=7&role_arn=ab"] {
            assert_eq!(ask(&format!("app/credential-process{query}")).await.0, 200, "{query}");
            assert_eq!(ask(&format!("app/settings{query}")).await, (200, "{}".into()), "{query}");
        }
        let refused = ask("app/credential-process?role_arn=7&tpm=1&duration=1").await;
        assert_eq!(refused.0, 409);
        assert!(
            refused.1.contains("`app` has other settings than asked for: `role_arn`, `tpm`"),
            "{}",
            refused.1
        );
        assert!(refused.1.contains(r#""class":"misconfigured""#), "{}", refused.1);
        for query in ["role_arn", "role_arn=", "role_arn=xyz", "ROLE=ab"] {
            assert_eq!(ask(&format!("app/settings?{query}")).await.0, 409, "{query}");
        }
        assert_eq!(ask("batch/settings?duration=1").await.0, 409, "another session's are not its own");
        assert_eq!(ask("none/settings?duration=1").await.0, 404);
    }

    #[tokio::test]
    async fn what_is_held_of_earlier_settings_is_given_only_to_requests_that_state_none() {
        let app = Session::live("app");
        app.inherit();
        let socket = socket(&[&app]).with_settings("app", vec![("role_arn", 0xab)]);
        let ask = async |what: &str| get(&socket, &format!("/v1/sessions/app/{what}")).await;

        assert_eq!(ask("credential-process").await.status(), StatusCode::OK);
        for what in ["credential-process", "settings"] {
            let refused = ask(&format!("{what}?role_arn=ab")).await;
            assert_eq!(refused.status(), StatusCode::CONFLICT);
            assert_eq!(
                text(&refused),
                concat!(
                    r#"{"code":"EarlierSettings","message":"the daemon still hands out credentials of its earlier "#,
                    r#"settings of session `app`","hint":"run `anchord status` to see why the new settings do not work yet","#,
                    r#""class":"misconfigured","reason_code":"invalid_setting"}"#
                )
            );
        }
        app.obtain();
        assert_eq!(ask("credential-process?role_arn=ab").await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn other_paths_and_methods_have_an_error_with_code_and_message() {
        let socket = socket(&[]);

        assert_eq!(get(&socket, "/v1/sessions/app").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(get(&socket, "/v1/credentials").await.status(), StatusCode::NOT_FOUND);
        let post = settle(socket.route(&support::head("POST", "/v1/status", &[]), &support::root())).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        let none = get(&socket, "/v1/sessions/app/credential-process").await;
        assert!(text(&none).contains("no sessions are configured"));
    }

    #[tokio::test]
    async fn a_session_that_a_caller_may_not_use_does_not_exist_for_it() {
        let (app, batch) = (Session::live("app"), Session::live("batch"));
        let bots = Principal::Group("bots".into());
        let socket = socket(&[&app, &batch]).for_callers("app", Access::Only(vec![bots.clone()]));
        let ask = async |path: &str, caller: &Caller| {
            settle(socket.route(&support::head("GET", path, &[]), caller)).await
        };
        let bot = Caller::who_is(support::UNIX_PEER, &[bots]);

        assert_eq!(ask("/v1/sessions/app/credential-process", &bot).await.status(), StatusCode::OK);
        let other = ask("/v1/sessions/batch/credential-process", &bot).await;
        assert_eq!(other.status(), StatusCode::NOT_FOUND);
        assert!(text(&other).contains("the sessions are `app`\""), "{}", text(&other));
        let status = ask("/v1/status", &bot).await;
        let status: serde_json::Value = serde_json::from_str(text(&status)).unwrap();
        assert_eq!(status["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(status["sessions"][0]["name"], "app");
    }

    #[tokio::test]
    async fn a_bearer_is_given_to_callers_who_may_use_its_session_and_to_no_others() {
        let (app, batch) = (Session::live("app"), Session::live("batch"));
        let bots = Principal::Group("bots".into());
        let socket = socket(&[&app, &batch])
            .for_callers("app", Access::Only(vec![bots.clone()]))
            .with_bearer("app", support::bearer('a'))
            .with_bearer("batch", support::bearer('b'));
        let bot = Caller::who_is(support::UNIX_PEER, &[bots]);
        let ask = async |session: &str, caller: &Caller| {
            let path = format!("/v1/sessions/{session}/bearer");
            settle(socket.route(&support::head("GET", &path, &[]), caller)).await
        };

        let given = ask("app", &bot).await;
        assert_eq!(
            (given.status(), given.body().expose().as_slice()),
            (StatusCode::OK, support::bearer('a').expose())
        );
        assert_eq!(ask("batch", &bot).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(ask("app", &Caller::stranger(support::UNIX_PEER)).await.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_caller_who_may_use_no_session_is_told_so_and_nothing_else() {
        let app = Session::live("app");
        let socket = socket(&[&app]);
        let stranger = Caller::stranger(support::UNIX_PEER);

        for path in
            ["/v1/status", "/v1/sessions/app/credential-process", "/v1/sessions/none/settings", "/none"]
        {
            let reply = settle(socket.route(&support::head("GET", path, &[]), &stranger)).await;

            assert_eq!(reply.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(text(&reply).contains(r#""reason_code":"daemon_forbidden""#), "{}", text(&reply));
            assert!(!text(&reply).contains("app"), "{}", text(&reply));
            assert!(reply.denial().is_some());
        }
    }
}
