//! Simulated SDKs. Each refreshes its credentials with the time windows and retries of its family.

use std::sync::Arc;
use std::time::Duration;

use anchord_core::clock::parse_rfc3339;
use anchord_frontend::Caller;
use anchord_frontend::Decision;
use anchord_frontend::Peer;
use anchord_frontend::Route as _;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use time::Duration as Span;
use time::OffsetDateTime;

use crate::process::BEARER;
use crate::process::ROLE;
use crate::process::SESSION;
use crate::random::Random;
use crate::sets::RESERVE;
use crate::trace::Event;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sdk {
    Boto3,
    JavaScript,
    Rust,
    CommonRuntime,
    Go,
    Java,
    Net,
    Cpp,
    /// A command line tool with `credential_process`, which runs it for each command.
    Tool,
}

const ALL: [Sdk; 9] = [
    Sdk::Boto3,
    Sdk::JavaScript,
    Sdk::Rust,
    Sdk::CommonRuntime,
    Sdk::Go,
    Sdk::Java,
    Sdk::Net,
    Sdk::Cpp,
    Sdk::Tool,
];

#[derive(Clone, Copy, Debug)]
enum Channel {
    Imds,
    Container,
    Socket,
}

/// The credentials that an SDK has, and their end as it knows it.
#[derive(Clone, Copy, Debug)]
struct Held {
    obtained_at: OffsetDateTime,
    ends_at: OffsetDateTime,
}

/// A program that calls AWS at random intervals.
pub(crate) struct Client {
    world: Arc<World>,
    number: usize,
    sdk: Sdk,
    channel: Channel,
    random: Random,
    /// The longest time between two of its calls.
    rests: Duration,
    held: Option<Held>,
    token: Option<Token>,
    /// How wrong the clock was when it last sent a request.
    asked_with: Span,
}

struct Token {
    text: String,
    taken_at: Duration,
}

/// The outcome of a request.
enum Reply {
    Is(StatusCode, Vec<u8>),
    /// No process ran, or it ended before it answered.
    Nothing,
}

/// The documents of all channels. The socket's has another name for the token.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: String,
    expiration: String,
    account_id: String,
}

const PEER: Peer =
    Peer::Tcp(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000));
const TOOL: Peer = Peer::Unix { uid: 1000, gid: 1000, pid: None };
const PROMISED: Span = Span::seconds(30);

impl Client {
    pub(crate) fn new(world: &Arc<World>, number: usize) -> Self {
        let mut random = Random::new(world.seed, &format!("client {number}"));
        let sdk = random.pick(&ALL);
        let channel = match sdk {
            Sdk::Tool => Channel::Socket,
            _ => random.pick(&[Channel::Imds, Channel::Container]),
        };
        let rests = match sdk {
            Sdk::Net => Duration::from_secs(120),
            Sdk::Cpp => Duration::from_secs(300),
            _ => random.seconds(10..2400),
        };
        let world = Arc::clone(world);
        Self { world, number, sdk, channel, random, rests, held: None, token: None, asked_with: Span::ZERO }
    }

    pub(crate) async fn run(mut self) {
        let longest = u64::try_from(self.rests.as_millis()).unwrap();
        loop {
            let rest = match self.sdk {
                Sdk::Net | Sdk::Cpp => self.rests + self.random.millis(0..50),
                _ => self.random.millis(0..longest),
            };
            tokio::time::sleep(rest).await;
            if self.wants() {
                self.refresh().await;
            }
        }
    }

    /// Whether the SDK gets new credentials before its next call to AWS.
    fn wants(&self) -> bool {
        let Some(held) = self.held else { return true };
        let left = held.ends_at - self.world.times.host();
        let life = held.ends_at - held.obtained_at;
        match self.sdk {
            Sdk::Boto3 => left < Span::minutes(15),
            Sdk::JavaScript | Sdk::CommonRuntime => left < Span::minutes(5),
            Sdk::Rust => left < Span::seconds(10),
            Sdk::Go => left < window(life),
            Sdk::Java => left < Span::min(life / 2, life - Span::minutes(5)),
            Sdk::Net | Sdk::Cpp | Sdk::Tool => true,
        }
    }

    async fn refresh(&mut self) {
        let tries = match self.sdk {
            Sdk::Cpp | Sdk::Tool => 1,
            Sdk::Net => 5,
            _ => 3,
        };
        for _ in 0..tries {
            if let Some(held) = self.fetch().await {
                self.held = Some(held);
                return;
            }
            let pause = if self.sdk == Sdk::Net { 200..201 } else { 500..1500 };
            tokio::time::sleep(self.random.millis(pause)).await;
        }
        match (self.sdk, &mut self.held) {
            (Sdk::CommonRuntime, held) => *held = None,
            // These SDKs keep their credentials and ask again some minutes later.
            (Sdk::JavaScript | Sdk::Rust | Sdk::Go, Some(held)) => {
                let later = self.world.times.host() + self.random.seconds(300..600);
                held.ends_at = held.ends_at.max(later);
            }
            _ => {}
        }
    }

    async fn fetch(&mut self) -> Option<Held> {
        match self.channel {
            Channel::Imds => self.fetch_from_imds().await,
            Channel::Container => {
                let headers = [("host", "127.0.0.1:9911"), ("authorization", BEARER)];
                self.document("/v1/credentials", &headers, RESERVE).await
            }
            Channel::Socket => {
                let path = format!("/v1/sessions/{SESSION}/credential-process");
                self.document(&path, &[], RESERVE).await
            }
        }
    }

    async fn fetch_from_imds(&mut self) -> Option<Held> {
        const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
        let token = self.token().await?;
        let headers = [("host", "localhost"), ("x-aws-ec2-metadata-token", token.as_str())];
        let Reply::Is(status, body) = self.ask("GET", ROLES, &headers).await else { return None };
        match status {
            StatusCode::OK if body == ROLE.as_bytes() => {}
            // If the clock is set forward, the SDK's token expires early.
            StatusCode::UNAUTHORIZED => {
                self.token = None;
                return None;
            }
            _ => {
                self.refused("the list", status, &body, RESERVE);
                return None;
            }
        }
        tokio::time::sleep(self.random.millis(0..20)).await;
        self.document(&format!("{ROLES}{ROLE}"), &headers, PROMISED).await
    }

    /// A token that is valid for six hours. Some SDKs request a new one each time.
    async fn token(&mut self) -> Option<String> {
        let awake = self.world.times.awake();
        let keeps = !matches!(self.sdk, Sdk::Boto3 | Sdk::CommonRuntime);
        let known = self.token.as_ref().filter(|token| awake < token.taken_at + Duration::from_secs(21_600));
        if let Some(token) = known.filter(|_| keeps) {
            return Some(token.text.clone());
        }
        let headers = [("host", "localhost"), ("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
        match self.ask("PUT", "/latest/api/token", &headers).await {
            Reply::Is(StatusCode::OK, body) => {
                let text = String::from_utf8(body).unwrap();
                self.token = Some(Token { text: text.clone(), taken_at: awake });
                Some(text)
            }
            Reply::Is(status, _) => {
                self.world.breaks(format!("a token was answered with {status}"));
                None
            }
            Reply::Nothing => None,
        }
    }

    async fn document(&mut self, path: &str, headers: &[(&str, &str)], reserve: Span) -> Option<Held> {
        let Reply::Is(status, body) = self.ask("GET", path, headers).await else { return None };
        if status != StatusCode::OK {
            self.refused(path, status, &body, reserve);
            return None;
        }
        match self.judge(&body, reserve) {
            Ok(held) => Some(held),
            Err(why) => {
                self.world.breaks(format!("client {} ({:?}) got {path}: {why}", self.number, self.sdk));
                None
            }
        }
    }

    /// Reads a document like an SDK, then checks that the daemon may have handed it out.
    fn judge(&mut self, body: &[u8], reserve: Span) -> Result<Held, String> {
        let document: Document = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let ends_at = parse_rfc3339(&document.expiration).ok_or("the end is no date")?;
        let times = &self.world.times;
        let mut state = self.world.lock();
        let issued = state.sky.issued.iter().rev().find(|set| set.key_id() == document.access_key_id);
        let set = *issued.ok_or("AWS never issued that")?;
        let parts = (document.secret_access_key, document.token, document.account_id);
        if parts != (set.secret(), set.token(), "123456789012".into()) {
            return Err("the parts are of different sets".into());
        }
        let is_dead = state.sets.judge(set, ends_at, reserve, times.now())?;
        state.counts.answered += 1;
        state.counts.lied_to += u64::from(is_dead);
        state.trace.note(times, Event::Handed { client: self.number, set: set.number });
        state.look(times);
        drop(state);
        Ok(self.believe(ends_at))
    }

    fn believe(&mut self, ends_at: OffsetDateTime) -> Held {
        let obtained_at = self.world.times.host();
        let left = ends_at - obtained_at;
        // botocore extends credentials that are about to expire, because it takes IMDS to be down.
        let stretches = self.sdk == Sdk::Boto3 && matches!(self.channel, Channel::Imds);
        if stretches && left < Span::minutes(15) {
            return Held { obtained_at, ends_at: obtained_at + self.random.seconds(1020..1500) };
        }
        Held { obtained_at, ends_at }
    }

    fn refused(&self, what: &str, status: StatusCode, body: &[u8], reserve: Span) {
        let times = &self.world.times;
        let mut state = self.world.lock();
        state.trace.note(times, Event::Refused { client: self.number });
        state.counts.refused_rightly += 1;
        let told = String::from_utf8_lossy(body);
        let (number, sdk) = (self.number, self.sdk);
        let whom = format!("client {number} ({sdk:?}) was answered {status} {told} for {what}");
        if status != StatusCode::SERVICE_UNAVAILABLE {
            state.breaks(times, whom);
        } else if self.asked_with != times.offset() {
            // The clock was set while the SDK waited. It notices when it asks again.
        } else if let Some(held) = state.sets.must_serve(reserve, times.now()) {
            let left = held.left(times.now());
            state.breaks(times, format!("{whom} while set {} could be held for {left}", held.number));
        } else if state.health.is_well() {
            state.breaks(times, format!("{whom} while all was well"));
        }
    }

    /// Handles one request like the front ends' server after it has read the head.
    async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let head = head(method, path, headers);
        let mut asked = None;
        loop {
            self.asked_with = self.world.times.offset();
            let running = self.world.process().as_ref().map(|process| match self.channel {
                Channel::Socket => (process.number, process.unix.clone(), TOOL),
                Channel::Imds | Channel::Container => (process.number, process.tcp.clone(), PEER),
            });
            // The process has ended, or it is another one, which does not have this connection.
            let running = running.filter(|(number, ..)| asked.is_none_or(|asked| asked == *number));
            let Some((number, router, peer)) = running else {
                self.world.lock().counts.unheard += 1;
                return Reply::Nothing;
            };
            asked = Some(number);
            let (reply, has_ended) = match router.route(&head, &Caller::trusted(peer)) {
                Decision::Reply(reply) => (reply, false),
                Decision::Credentials(request) => {
                    let session = request.session.clone();
                    let outcome = session.hand_out(request.freshness, request.patience).await;
                    ((request.render)(outcome.as_deref()), session.has_ended())
                }
            };
            // Otherwise a reload has replaced the session.
            if reply.status().is_success() || !has_ended {
                return Reply::Is(reply.status(), reply.body().expose().clone());
            }
        }
    }
}

fn window(life: Span) -> Span {
    match life {
        life if life <= Span::minutes(20) => Span::minutes(5),
        life if life < Span::minutes(90) => Span::minutes(15),
        _ => Span::HOUR,
    }
}

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}
