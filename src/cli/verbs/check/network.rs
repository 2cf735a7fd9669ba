//! The steps to an endpoint: DNS lookup, connection, TLS and one request; and AWS's time.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Uri;
use tokio::net::TcpStream;

use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_aws::upstream;
use anchord_aws::upstream::Transport;
use anchord_config as config;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// How AWS is reached.
pub(super) struct AwsNetwork<'a> {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) settings: &'a config::Upstream,
    pub(super) clock: &'a Clock,
}

/// An endpoint that a session calls.
#[derive(Clone, Debug)]
pub(super) struct CheckedEndpoint {
    /// The part before the dot in the ids of its steps.
    pub(super) id: String,
    /// The name to show.
    pub(super) name: String,
    /// `https://host[:port]`.
    pub(super) url: String,
}

/// The result of probing an endpoint.
#[derive(Default)]
pub(super) struct Probed {
    pub(super) steps: Vec<Step>,
    /// AWS's time minus this host's, if a reply has a date.
    pub(super) skew: Option<time::Duration>,
}

/// The time limit if the settings have none.
const PATIENCE: Duration = Duration::from_secs(30);

impl CheckedEndpoint {
    fn request(&self) -> Subject {
        self.subject("https", "HTTPS")
    }

    fn subject(&self, id: &str, what: &str) -> Subject {
        Subject::new(format!("{}.{id}", self.id), format!("{}: {what}", self.name))
    }
}

impl Probed {
    /// Whether later steps can call it.
    pub(super) fn is_reached(&self) -> bool {
        self.obstacle().is_none()
    }

    /// The failed step that prevents calls.
    pub(super) fn obstacle(&self) -> Option<Subject> {
        self.steps.iter().find(|step| step.is_failed()).map(|step| step.subject.clone())
    }
}

impl AwsNetwork<'_> {
    /// Looks the endpoint's name up, connects, and sends one request whose answer may be anything.
    pub(super) async fn probe(&self, endpoint: &CheckedEndpoint) -> Probed {
        let (name, connect) = (endpoint.subject("name", "name"), endpoint.subject("connect", "connection"));
        let mut probed = Probed::default();
        let uri: Uri = endpoint.url.parse().unwrap_or_default();
        let Some(host) = uri.host() else {
            let error = upstream::Error::Endpoint { endpoint: endpoint.url.clone() };
            probed.steps.push(name.failed("cannot be called", &error.into()));
            return probed;
        };
        let port = uri.port_u16().unwrap_or(443);
        let first = match self.proxy(&uri) {
            Some((proxy, port)) => {
                probed.steps.push(name.skipped("the proxy looks it up"));
                self.connected(&proxy, port, "the proxy ").await
            }
            None => {
                probed.steps.push(looked_up(&name, host, port).await);
                match probed.is_reached() {
                    true => self.connected(host, port, "").await,
                    false => Err(None),
                }
            }
        };
        probed.steps.push(match first {
            Ok(found) => connect.ok(found),
            Err(Some(failure)) => connect.failed("no answer", &failure),
            Err(None) => connect.skipped_after(&name),
        });
        match probed.obstacle() {
            None => self.ask(endpoint, host, port, &mut probed).await,
            Some(obstacle) => probed.steps.push(endpoint.request().skipped_after(&obstacle)),
        }
        probed
    }

    /// The proxy's host and port, if this URI is reached through one.
    fn proxy(&self, uri: &Uri) -> Option<(String, u16)> {
        let url = self.settings.proxy.clone()?;
        let proxy = upstream::Proxy { url, exceptions: self.settings.no_proxy.clone() };
        proxy.is_for(uri).then(|| proxy.place())?
    }

    async fn connected(&self, host: &str, port: u16, whose: &str) -> Result<String, Option<Failure>> {
        let limit = self.settings.connect_timeout.unwrap_or(PATIENCE);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let connected = tokio::time::timeout(limit, TcpStream::connect((bare, port))).await;
        let why = match connected {
            Ok(Ok(stream)) => {
                let address =
                    stream.peer_addr().map_or_else(|_| format!("{host}:{port}"), |peer| peer.to_string());
                return Ok(format!("{whose}{address} accepts connections"));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        let hint = "check this host's routes and firewalls, and HTTPS_PROXY if there is a proxy";
        let message = format!("cannot connect to {whose}{host}:{port}: {why}");
        Err(Some(Failure::of(Reason::NoAnswer, message, Some(hint.into()))))
    }

    async fn ask(&self, endpoint: &CheckedEndpoint, host: &str, port: u16, probed: &mut Probed) {
        let subject = endpoint.request();
        let shown = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        let failed = |failure: &Failure| subject.failed("no answer over TLS", failure);
        let request = Request::get(format!("{}/", endpoint.url.trim_end_matches('/'))).body(Bytes::new());
        let Ok(request) = request else {
            let error = upstream::Error::Endpoint { endpoint: endpoint.url.clone() };
            probed.steps.push(failed(&error.into()));
            return;
        };
        let sent_at = self.clock.now();
        let limit = tokio::time::timeout(PATIENCE, self.transport.send(request)).await;
        probed.steps.push(match limit {
            Ok(Ok(reply)) => {
                let read_at = self.clock.now();
                let date = reply.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
                let skew = date.and_then(clock::parse_http_date);
                // A date between the two instants is right: the difference is network delay.
                probed.skew = skew.map(|aws| aws - aws.clamp(sent_at.min(read_at), read_at));
                subject.ok(format!("{shown} answers"))
            }
            Ok(Err(source)) => failed(&upstream::Error::NoAnswer { host: shown, source }.into()),
            Err(_) => {
                let message = format!("no answer from {shown} within {} s", PATIENCE.as_secs());
                let hint = "check whether a firewall or proxy blocks the connection";
                failed(&Failure::of(Reason::NoAnswer, message, Some(hint.into())))
            }
        });
    }
}

async fn looked_up(subject: &Subject, host: &str, port: u16) -> Step {
    if host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
        return subject.ok(format!("{host} is an address"));
    }
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
    let why = match found {
        Ok(Ok(found)) => {
            let addresses: Vec<String> = found.map(|address: SocketAddr| address.ip().to_string()).collect();
            if !addresses.is_empty() {
                return subject.ok(format!("{host} is {}", addresses.join(", ")));
            }
            "no addresses".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    let hint = "check /etc/resolv.conf and that the Region exists; behind a proxy, set HTTPS_PROXY";
    let failure = Failure::of(Reason::NoAnswer, format!("cannot look up {host}: {why}"), Some(hint.into()));
    subject.failed("not found", &failure)
}

/// Allows for network delay, and for `Date`, which has whole seconds.
const TOLERANCE: time::Duration = time::Duration::seconds(30);

/// The largest difference between this host's clock and the dates of the replies.
fn worst(skews: impl Iterator<Item = time::Duration>) -> Option<time::Duration> {
    skews.max_by_key(|skew| skew.abs())
}

/// The time to add to this host's clock to get AWS's time, by the replies.
pub(super) fn correction(skews: impl Iterator<Item = time::Duration>) -> time::Duration {
    worst(skews).filter(|skew| skew.abs() > TOLERANCE).unwrap_or_default()
}

/// The step that compares this host's clock with AWS's.
pub(super) fn clock_step(skews: impl Iterator<Item = time::Duration>) -> Step {
    let subject = Subject::new("clock", "clock");
    let Some(skew) = worst(skews) else {
        return subject.skipped("no reply contained AWS's time");
    };
    if skew.abs() <= TOLERANCE {
        return subject.ok(format!("within {} s of AWS's clock", TOLERANCE.whole_seconds()));
    }
    let direction = if skew.is_positive() { "behind" } else { "ahead of" };
    let found = format!("this host's clock is {} s {direction} AWS's", skew.abs().whole_seconds());
    let hint = "synchronise it (`timedatectl`, chrony, ntpd)";
    if skew.unsigned_abs() <= upstream::CLOCK_TOLERANCE {
        return subject
            .warning(found, format!("{hint}; AWS refuses signatures if the difference exceeds 300 s"));
    }
    let why = "AWS refuses signatures whose date is more than 300 s off. anchord corrects its own dates, but not every \
               SDK does, and all SDKs use this clock to decide whether credentials have expired";
    let failure = Failure::of(Reason::ClockOff, why, Some(hint.into()));
    subject.failed(found, &failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::check::report::State;
    use anchord_core::endpoint::Variant;
    use anchord_core::issuer::BoxFuture;
    use anchord_core::secret::Secret;

    #[test]
    fn the_clock_is_judged_by_the_reply_that_is_furthest_off() {
        let judged = |seconds: &[i64]| {
            let step = clock_step(seconds.iter().map(|seconds| time::Duration::seconds(*seconds)));
            (step.state, step.detail)
        };

        assert_eq!(judged(&[0, -30]), (State::Ok, "within 30 s of AWS's clock".into()));
        assert_eq!(judged(&[3, 31]), (State::Warning, "this host's clock is 31 s behind AWS's".into()));
        assert_eq!(judged(&[-301, 2]), (State::Failed, "this host's clock is 301 s ahead of AWS's".into()));
        assert_eq!(judged(&[]).0, State::Skipped);
        let corrected = |seconds: &[i64]| {
            correction(seconds.iter().map(|seconds| time::Duration::seconds(*seconds))).whole_seconds()
        };
        assert_eq!((corrected(&[0, -30]), corrected(&[-301, 2]), corrected(&[])), (0, -301, 0));
    }

    #[test]
    fn a_proxy_is_asked_except_for_whom_it_is_not() {
        let settings = |proxy: &str| config::Upstream {
            connect_timeout: None,
            read_timeout: None,
            ca_file: None,
            proxy: Some(Secret::new(proxy.into())),
            no_proxy: Some("localhost,.internal".into()),
            verifies_servers: true,
            variant: Variant::default(),
        };
        let clock = Clock::system();
        let proxy = |proxy: &str, uri: &str| {
            let transport = Arc::new(Unreachable);
            let way = AwsNetwork { transport, settings: &settings(proxy), clock: &clock };
            way.proxy(&uri.parse().unwrap())
        };
        let chosen = Some(("proxy.example".to_owned(), 3128));

        let with_login = "http://user:canary@proxy.example:3128";
        assert_eq!(proxy(with_login, "https://sts.us-east-1.amazonaws.com"), chosen);
        assert_eq!(proxy("proxy.example:3128", "https://sts.us-east-1.amazonaws.com"), chosen);
        assert_eq!(proxy(with_login, "https://vpce.internal"), None);
    }

    struct Unreachable;

    impl Transport for Unreachable {
        fn send(
            &self,
            _: Request<Bytes>,
        ) -> BoxFuture<'_, Result<upstream::HttpReply, upstream::TransportError>> {
            Box::pin(std::future::pending())
        }
    }
}
