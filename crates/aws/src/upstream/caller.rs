//! What all calls of one session share: the transport, and what is known of AWS's clock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use http::Uri;
use time::OffsetDateTime;

use super::Error;
use super::ErrorBody;
use super::Foreign;
use super::HttpReply;
use super::Transport;
use super::answer::AwsAnswer;
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

/// Calls AWS for one session. Its clones share what replies have shown about AWS's clock.
#[derive(Clone)]
pub struct Caller {
    transport: Arc<dyn Transport>,
    clock: Clock,
    skew: Arc<Skew>,
    is_waiting: Arc<AtomicBool>,
}

/// A signed request.
pub(super) struct Signed {
    pub(super) request: Request<Bytes>,
    /// The host that it goes to, for messages.
    pub(super) host: String,
}

impl Caller {
    /// Calls through `transport`. The local clock counts as right until a reply shows that it is wrong.
    pub fn new(transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Self { transport, clock, skew: Arc::default(), is_waiting: Arc::default() }
    }

    /// Local time, which clients use.
    pub(super) fn now(&self) -> Moment {
        self.clock.moment()
    }

    /// AWS's time, for signatures.
    pub(super) fn now_at_aws(&self) -> OffsetDateTime {
        let now = self.now();
        now.wall + self.skew.ahead(now)
    }

    /// Whether the current call still waits for permission to send, so that nothing has been sent.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// How far AWS's clock is ahead, by the last reply with a `Date`.
    pub(super) fn clock_offset(&self) -> Option<ClockOffset> {
        self.skew.last()
    }

    /// Makes a call. If it is refused and its reply shows that the local clock is wrong, the call is signed and sent
    /// again without a pause, because a client may be waiting.
    ///
    /// # Errors
    /// Those of `sign`, of the transport and of `read`.
    pub(super) async fn ask<T, Signing>(
        &self,
        sign: impl Fn() -> Signing,
        read: impl Fn(&AwsAnswer) -> Result<T, Error>,
    ) -> Result<T, Error>
    where
        Signing: Future<Output = Result<Signed, Error>>,
    {
        let answer = self.send(sign().await?).await?;
        match read(&answer) {
            // AWS denies a call for its wrong date. A throttled call must wait.
            Err(refused @ Error::Refused { .. })
                if answer.clock_corrected() && refused.class() == Class::Denied =>
            {
                read(&self.send(sign().await?).await?)
            }
            result => result,
        }
    }

    async fn send(&self, Signed { request, host }: Signed) -> Result<AwsAnswer, Error> {
        self.is_waiting.store(true, Ordering::Relaxed);
        let _permit = self.transport.permit(request.uri().authority().cloned()).await;
        self.is_waiting.store(false, Ordering::Relaxed);
        let sent = self.clock.moment();
        let reply = self.transport.send(request).await.map_err(|source| Error::NoAnswer { host, source })?;
        let read = self.clock.moment();
        let mut clock_corrected = false;
        // The clock of a portal says nothing about AWS's.
        if let Some(aws) = date(&reply)
            && !is_foreign(&reply)
        {
            clock_corrected = self.skew.learn(aws, sent, read);
        }
        Ok(AwsAnswer::new(reply, read, self.skew.last(), clock_corrected))
    }
}

fn date(reply: &HttpReply) -> Option<OffsetDateTime> {
    clock::parse_http_date(reply.headers().get("date")?.to_str().ok()?)
}

/// Whether something other than AWS answered. Looks for the type of an error in each format of AWS's services.
fn is_foreign(reply: &HttpReply) -> bool {
    let (status, headers, body) = (reply.status(), reply.headers(), reply.body().expose());
    if status.is_success() {
        return Foreign::is_page(headers, body);
    }
    Foreign::of(status, headers, body, &named_type(body)).is_some()
}

/// The type of an error in a body of JSON or XML; empty if it has none.
fn named_type(body: &[u8]) -> String {
    let json = ErrorBody::parse(body);
    if !json.kind(None).is_empty() {
        return json.kind(None).to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

/// The URL of a call.
pub(super) struct ServiceUrl {
    pub(super) uri: Uri,
    /// The `Host` header, without the default port of `https`.
    pub(super) host: String,
}

/// `endpoint`, or by default the URL of AWS's own host for the service.
pub(super) fn url_of(
    endpoint: Option<&str>,
    (service, region, variant): (Service, &Region, Variant),
) -> String {
    let own = || format!("https://{}", endpoint::host(service, region, variant));
    endpoint.map_or_else(own, str::to_owned)
}

impl ServiceUrl {
    /// `path` at `endpoint`, or by default at AWS's own host for `service`.
    ///
    /// # Errors
    /// If `endpoint` is not an `https` URL.
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
