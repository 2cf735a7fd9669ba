//! What all calls of one session share: the way to AWS, and what is known of AWS's clock.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::Uri;
use time::OffsetDateTime;

use super::Error;
use super::Foreign;
use super::Transport;
use super::answer::Answer;
use super::skew::Skew;
use crate::arn::Region;
use crate::clock;
use crate::clock::Clock;
use crate::clock::Moment;
use crate::clock::Reading;
use crate::endpoint;
use crate::endpoint::Service;
use crate::endpoint::Variant;
use crate::failure::Class;
use crate::failure::Classify as _;

/// Whoever calls AWS for one session. A wrong local clock that one reply shows is known to all its clones.
#[derive(Clone)]
pub struct Caller {
    transport: Arc<dyn Transport>,
    clock: Clock,
    skew: Arc<Skew>,
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
        Self { transport, clock, skew: Arc::default() }
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

    /// The last `Date` that a reply had.
    pub(super) fn last_date(&self) -> Option<Reading> {
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
        let sent = self.clock.moment();
        let reply = self.transport.send(request).await.map_err(|source| Error::NoAnswer { host, source })?;
        let read = self.clock.moment();
        let date = reply.headers().get("date").and_then(|date| date.to_str().ok());
        // A portal's clock says nothing of AWS's.
        let date = date.filter(|_| !Foreign::is_page(reply.headers(), reply.body().expose()));
        let clock_corrected =
            date.and_then(clock::parse_http_date).is_some_and(|aws| self.skew.learn(aws, sent, read));
        Ok(Answer::new(reply, read, self.skew.last(), clock_corrected))
    }
}

/// What a call is sent to.
pub(super) struct Target {
    /// The URL.
    pub(super) uri: Uri,
    /// What the `Host` header says for it: without the port that `https` implies.
    pub(super) host: String,
}

impl Target {
    /// A path of `service` at `endpoint`, or else at the host that is AWS's own for it.
    pub(super) fn new(
        endpoint: Option<&str>,
        (service, region, variant): (Service, &Region, Variant),
        path: &str,
    ) -> Result<Self, Error> {
        let own = || format!("https://{}", endpoint::host(service, region, variant));
        let endpoint = endpoint.map_or_else(own, str::to_owned);
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
