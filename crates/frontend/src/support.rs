//! What the front ends' tests have in common: sessions that tests script, request heads, answers.

use std::sync::Arc;

use http::request::Parts;
use time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::sync::watch;

use super::Bearer;
use super::Caller;
use super::Decision;
use super::Peer;
use super::Reply;
use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::secret::Secret;
use anchord_session::Handle;
use anchord_session::Phase;
use anchord_session::Snapshot;

pub(super) const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);
/// The same by both clocks, as a manual clock has it that starts then.
pub(super) const AT: Moment = Moment { wall: NOON, up: Duration::HOUR };
pub(super) const SECRET_KEY: &str = "canary-secret-key";
pub(super) const SESSION_TOKEN: &str = "canary-session-token";

/// Obtained at noon, good for an hour.
pub(super) fn credentials() -> Credentials {
    complete(SESSION_TOKEN, Duration::HOUR, Some("123456789012"))
}

pub(super) fn credentials_without_account() -> Credentials {
    complete(SESSION_TOKEN, Duration::HOUR, None)
}

pub(super) fn credentials_with_token(token: &str) -> Credentials {
    complete(token, Duration::HOUR, None)
}

/// A user's own.
pub(super) fn credentials_without_token() -> Credentials {
    let keys = Keys { session_token: None, ..credentials().keys().clone() };
    Credentials::new(keys, AT, NOON + Duration::HOUR, None).unwrap()
}

fn complete(token: &str, life: Duration, account: Option<&str>) -> Credentials {
    let keys = Keys {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: Secret::new(SECRET_KEY.into()),
        session_token: Some(Secret::new(token.into())),
    };
    Credentials::new(keys, AT, NOON + life, account.map(Into::into)).unwrap()
}

/// A session whose keeper is the test.
pub(super) struct Session {
    pub(super) handle: Handle,
    pub(super) clock: Clock,
    publish: watch::Sender<Snapshot>,
}

impl Session {
    /// Credentials with an hour left.
    pub(super) fn live(name: &str) -> Self {
        let session = Self::pending(name);
        session.obtain();
        session
    }

    /// A first attempt is under way.
    pub(super) fn pending(name: &str) -> Self {
        let clock = Clock::manual(NOON);
        let (publish, snapshots) = watch::channel(Snapshot::first(AT));
        let handle = Handle::new(name, snapshots, Arc::new(Notify::new()), clock.clone());
        Self { handle, clock, publish }
    }

    /// The last attempt failed, and nobody may hurry the next one.
    pub(super) fn lapsed(name: &str) -> Self {
        let session = Self::pending(name);
        session.publish.send_modify(|snapshot| {
            snapshot.phase = Phase::Lapsed;
            snapshot.fetching = false;
            snapshot.next_attempt_at = AT + Duration::MINUTE;
            snapshot.nudge_from = AT + Duration::HOUR;
            let hint = Some("renew the certificate".into());
            snapshot.trouble = Some(Failure::of(Reason::Refused, "AWS refused the certificate", hint));
        });
        session
    }

    /// What an attempt that succeeds publishes.
    pub(super) fn obtain(&self) {
        self.hold(credentials());
    }

    /// The same of these credentials.
    pub(super) fn hold(&self, credentials: Credentials) {
        self.publish.send_modify(|snapshot| {
            snapshot.phase = Phase::Live;
            snapshot.fetching = false;
            snapshot.inherited = false;
            snapshot.credentials = Some(Arc::new(credentials));
        });
    }

    /// What is held becomes that of earlier settings.
    pub(super) fn inherit(&self) {
        self.publish.send_modify(|snapshot| snapshot.inherited = true);
    }

    /// Lets all but `left` of the credentials' life pass.
    pub(super) fn leave(&self, left: Duration) {
        self.clock.jump(NOON + Duration::HOUR - left - self.clock.now());
        self.publish.send_modify(|snapshot| snapshot.nudge_from = AT + Duration::DAY);
    }
}

pub(super) fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Root, over TCP.
pub(super) fn root() -> Caller {
    Caller::trusted(TCP_PEER)
}

pub(super) const TCP_PEER: Peer =
    Peer::Tcp(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000));
pub(super) const UNIX_PEER: Peer = Peer::Unix { uid: 1000, gid: 1000, pid: Some(4242) };

pub(super) fn bearer(letter: char) -> Bearer {
    Bearer::parse(Secret::new(letter.to_string().repeat(Bearer::LENGTH).into_bytes())).unwrap()
}

/// The answer after the wait.
pub(super) async fn settle(decision: Decision) -> Reply {
    match decision {
        Decision::Reply(reply) => reply,
        Decision::Credentials(request) => {
            let outcome = request.session.hand_out(request.freshness, request.patience).await;
            (request.render)(outcome.as_deref())
        }
    }
}

pub(super) fn text(reply: &Reply) -> &str {
    std::str::from_utf8(reply.body().expose()).unwrap()
}

/// What a client read.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answered {
    /// A header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends a request as it is and reads one answer.
pub(super) async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Answered {
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

/// Reads one answer and not a byte more.
pub(super) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Answered {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let answered = Answered { status, head, body: String::new() };
    let length = answered.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Answered { body: String::from_utf8(body).unwrap(), ..answered }
}
