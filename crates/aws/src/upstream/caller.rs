//! What all calls of one session share: the way to AWS, and what is known of AWS's clock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use http::Uri;
use serde::Deserialize;
use time::OffsetDateTime;

use super::Error;
use super::Foreign;
use super::Reply;
use super::Transport;
use super::answer::Answer;
use super::skew::Skew;
use anchord_core::arn::Region;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::clock::ClockOffset;
use anchord_core::clock::Moment;
use anchord_core::endpoint;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::Variant;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;

/// Whoever calls AWS for one session. A wrong local clock that one reply shows is known to all its clones.
#[derive(Clone)]
pub struct Caller {
    transport: Arc<dyn Transport>,
    clock: Clock,
    skew: Arc<Skew>,
    is_waiting: Arc<AtomicBool>,
}

/// A request that is ready to be sent.
pub(super) struct Signed {
    pub(super) request: Request<Bytes>,
    /// Whom it goes to, for messages.
    pub(super) host: String,
}

impl Caller {
    /// Calls by `transport`; the local clock is taken to be right until a reply says otherwise.
    pub fn new(transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Self { transport, clock, skew: Arc::default(), is_waiting: Arc::default() }
    }

    /// Local time, which clients judge by.
    pub(super) fn now(&self) -> Moment {
        self.clock.moment()
    }

    /// AWS's time, which signatures carry.
    pub(super) fn now_at_aws(&self) -> OffsetDateTime {
        let now = self.now();
        now.wall + self.skew.ahead(now)
    }

    /// Whether the call under way waits for its turn, and nothing has been sent.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// The last `Date` that a reply had.
    pub(super) fn clock_offset(&self) -> Option<ClockOffset> {
        self.skew.last()
    }

    /// One call, and one more where the clock may be why it was refused: a client that waits cannot wait for a pause.
    pub(super) async fn ask<T, Signing>(
        &self,
        sign: impl Fn() -> Signing,
        read: impl Fn(&Answer) -> Result<T, Error>,
    ) -> Result<T, Error>
    where
        Signing: Future<Output = Result<Signed, Error>>,
    {
        let answer = self.send(sign().await?).await?;
        match read(&answer) {
            // A wrong date is a reason to deny; whoever is throttled, or told to wait, waits.
            Err(refused @ Error::Refused { .. })
                if answer.clock_corrected() && refused.class() == Class::Denied =>
            {
                read(&self.send(sign().await?).await?)
            }
            result => result,
        }
    }

    async fn send(&self, Signed { request, host }: Signed) -> Result<Answer, Error> {
        self.is_waiting.store(true, Ordering::Relaxed);
        let _turn = self.transport.turn(request.uri().authority().cloned()).await;
        self.is_waiting.store(false, Ordering::Relaxed);
        let sent = self.clock.moment();
        let reply = self.transport.send(request).await.map_err(|source| Error::NoAnswer { host, source })?;
        let read = self.clock.moment();
        let date = reply.headers().get("date").and_then(|date| date.to_str().ok());
        // A portal's clock says nothing of AWS's.
        let date = date.filter(|_| !is_foreign(&reply));
        let clock_corrected =
            date.and_then(clock::parse_http_date).is_some_and(|aws| self.skew.learn(aws, sent, read));
        Ok(Answer::new(reply, read, self.skew.last(), clock_corrected))
    }
}

/// Whether something on the way answered. The type of an error is looked for in each form that AWS's services write.
fn is_foreign(reply: &Reply) -> bool {
    let (status, headers, body) = (reply.status(), reply.headers(), reply.body().expose());
    if status.is_success() {
        return Foreign::is_page(headers, body);
    }
    Foreign::of(status, headers, body, &named_type(body)).is_some()
}

/// The type of an error in a body of JSON or XML; empty where there is none.
fn named_type(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Named {
        #[serde(rename = "__type", alias = "code")]
        kind: Option<String>,
    }
    if let Ok(Named { kind: Some(kind) }) = serde_json::from_slice(body) {
        return kind.rsplit('#').next().unwrap_or_default().to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

/// What a call is sent to.
pub(super) struct Target {
    /// The URL.
    pub(super) uri: Uri,
    /// What the `Host` header says for it: without the port that `https` implies.
    pub(super) host: String,
}

/// The URL of `endpoint`, or else of the host that is AWS's own for the service.
pub(super) fn url_of(
    endpoint: Option<&str>,
    (service, region, variant): (Service, &Region, Variant),
) -> String {
    let own = || format!("https://{}", endpoint::host(service, region, variant));
    endpoint.map_or_else(own, str::to_owned)
}

impl Target {
    /// A path of `service` at `endpoint`, or else at the host that is AWS's own for it.
    pub(super) fn new(
        endpoint: Option<&str>,
        (service, region, variant): (Service, &Region, Variant),
        path: &str,
    ) -> Result<Self, Error> {
        let endpoint = url_of(endpoint, (service, region, variant));
        let uri: Option<Uri> = format!("{}{path}", endpoint.trim_end_matches('/')).parse().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("https"));
        let host = uri.as_ref().and_then(|uri| match uri.port_u16() {
            Some(port) if port != 443 => Some(format!("{}:{port}", uri.host()?)),
            _ => uri.host().map(str::to_owned),
        });
        let (uri, host) = uri.zip(host).ok_or(Error::Endpoint { endpoint })?;
        Ok(Self { uri, host })
    }
}
