//! A simulated AWS: issues sets of credentials, remembers them, and fails when the script says so.

use std::time::Duration;

use http::StatusCode;
use time::Duration as Span;
use time::OffsetDateTime;

use crate::random::Random;
use crate::script::Condition;
use crate::script::Fault;
use crate::trace::Event;
use crate::world::World;

/// What a call tells AWS about its caller.
pub(crate) struct Asked {
    /// The date of the signature, if there is one.
    pub(crate) signed_at: Option<OffsetDateTime>,
    pub(crate) certificate: usize,
}

/// AWS's response, if there is one.
pub(crate) struct Answer {
    /// The value of the `Date` header.
    pub(crate) date: Option<OffsetDateTime>,
    /// Whether `date` is missing or wrong.
    pub(crate) is_misdated: bool,
    pub(crate) outcome: Outcome,
}

impl Answer {
    fn new(date: Option<OffsetDateTime>, outcome: Outcome) -> Self {
        Self { date, is_misdated: false, outcome }
    }
}

pub(crate) enum Outcome {
    Issued(Set),
    Refused { status: StatusCode, kind: &'static str, message: &'static str, retry_after: RetryAfter },
    Garbled(Garbage),
    Reset,
    Silent,
}

/// One set of credentials that AWS issued. Its parts are derived from its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) number: usize,
    pub(crate) ends_at: OffsetDateTime,
}

impl Set {
    pub(crate) fn key_id(self) -> String {
        format!("ASIA{:08}", self.number)
    }

    pub(crate) fn secret(self) -> String {
        format!("secret-{}", self.number)
    }

    pub(crate) fn token(self) -> String {
        format!("token-{}", self.number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    Absent,
    Seconds(u64),
    Date(OffsetDateTime),
    Nonsense,
}

impl RetryAfter {
    fn any(random: &mut Random, now: OffsetDateTime) -> Self {
        match random.below(12) {
            0..=6 => Self::Absent,
            7 => Self::Seconds(random.below(3)),
            8 => Self::Seconds(random.below(30)),
            9 => Self::Seconds(random.pick(&[120, 900, 86_400])),
            10 => Self::Date(now + random.seconds(0..200)),
            _ => Self::Nonsense,
        }
    }
}

/// A response with a status of success and an invalid body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbage {
    Empty,
    Truncated,
    Portal,
    Redirect,
    NoSet,
    EmptyKey,
    NoDate,
    /// Complete, but valid for years.
    Immortal,
    Oversized,
}

const GARBAGE: [Garbage; 9] = [
    Garbage::Empty,
    Garbage::Truncated,
    Garbage::Portal,
    Garbage::Redirect,
    Garbage::NoSet,
    Garbage::EmptyKey,
    Garbage::NoDate,
    Garbage::Immortal,
    Garbage::Oversized,
];

/// How long the HTTPS client waits for the head of a response.
pub(crate) const SILENCE: Duration = Duration::from_secs(15);
/// How far a signature's date may be from AWS's time.
const TOLERANCE: Span = Span::minutes(5);

/// The state of AWS.
pub(crate) struct Sky {
    random: Random,
    pub(crate) condition: Option<Condition>,
    /// The newest certificate. The one before it is valid too, unless `revoked`.
    pub(crate) certificate: usize,
    pub(crate) revoked: bool,
    /// Whether AWS does not trust the CA of the newest certificate.
    pub(crate) unknown: bool,
    /// Whether the caller of the next call panics.
    pub(crate) panics: bool,
    pub(crate) issued: Vec<Set>,
}

/// The times and the outcome of a call.
struct Course {
    to_aws: Duration,
    back: Duration,
    hit: Option<Fault>,
    hangs: bool,
    panics: bool,
}

impl Sky {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "aws"),
            condition: None,
            certificate: 0,
            revoked: false,
            unknown: false,
            panics: false,
            issued: Vec::new(),
        }
    }

    fn course(&mut self) -> Course {
        let random = &mut self.random;
        let hit = self.condition.filter(|condition| random.chance(condition.percent));
        let mut course = Course {
            to_aws: random.millis(10..300),
            back: random.millis(10..700),
            hit: hit.map(|condition| condition.fault),
            hangs: false,
            panics: std::mem::take(&mut self.panics),
        };
        if course.hit == Some(Fault::Slow) {
            match random.below(3) {
                0 => course.hangs = true,
                1 => course.to_aws = random.seconds(2..50),
                _ => course.back = random.seconds(2..50),
            }
        }
        course
    }

    fn answer(&mut self, asked: &Asked, hit: Option<Fault>, now: OffsetDateTime, life: Span) -> Answer {
        let date = Some(now);
        let random = &mut self.random;
        match hit {
            None => self.honest(asked, now, life),
            Some(Fault::Slow) if random.chance(30) => Answer::new(None, Outcome::Silent),
            Some(Fault::Reset) => Answer::new(None, Outcome::Reset),
            Some(Fault::Throttled) => Answer::new(date, throttled(random, now)),
            Some(Fault::ServerError) => Answer::new(date, server_error(random, now)),
            Some(Fault::Denied) => Answer::new(date, denied(random, now)),
            Some(Fault::Malformed) => {
                let garbage = random.pick(&GARBAGE);
                // The issuer ignores the head of a response that it does not read to the end or that is not AWS's.
                let is_read = !matches!(garbage, Garbage::Oversized | Garbage::Portal | Garbage::Redirect);
                let date = date.filter(|_| is_read);
                Answer::new(date, Outcome::Garbled(garbage))
            }
            Some(Fault::ShortLife) => {
                // Not just above the reserve of a minute: credentials that can be used for seconds are renewed each
                // second.
                let life = random.pick(&[-60, 0, 30, 120, 300]);
                self.honest(asked, now, Span::seconds(life))
            }
            Some(Fault::ShortenedProfile) => {
                // The profile, or a second Region, grants less than requested.
                let less =
                    random.pick(&[Span::minutes(15), Span::max(life / 4, Span::minutes(15)), Span::HOUR]);
                self.honest(asked, now, life.min(less))
            }
            Some(Fault::WrongDate) => {
                let date = match random.below(4) {
                    0 => None,
                    1 => Some(now + random.seconds(31..10_800)),
                    2 => Some(now - random.seconds(31..10_800)),
                    _ => Some(now + Span::weeks(52 * 200)),
                };
                Answer { date, is_misdated: true, ..self.honest(asked, now, life) }
            }
            Some(_) => self.honest(asked, now, life),
        }
    }

    fn honest(&mut self, asked: &Asked, now: OffsetDateTime, life: Span) -> Answer {
        let is_off = asked.signed_at.is_some_and(|signed_at| (signed_at - now).abs() > TOLERANCE);
        let is_known = match self.certificate.checked_sub(asked.certificate) {
            Some(0) => !self.unknown,
            Some(1) => !self.revoked,
            _ => false,
        };
        let refusal = match (is_off, is_known) {
            (true, _) => "Invalid signature",
            (false, false) => "Untrusted signing certificate",
            (false, true) => return self.issue(now, now + life),
        };
        let outcome = refused(StatusCode::FORBIDDEN, "AccessDeniedException", refusal);
        Answer::new(Some(now), outcome)
    }

    fn issue(&mut self, now: OffsetDateTime, ends_at: OffsetDateTime) -> Answer {
        // AWS sends times in whole seconds.
        let ends_at = ends_at.replace_nanosecond(0).unwrap();
        let set = Set { number: self.issued.len(), ends_at };
        self.issued.push(set);
        Answer::new(Some(now), Outcome::Issued(set))
    }
}

fn refused(status: StatusCode, kind: &'static str, message: &'static str) -> Outcome {
    Outcome::Refused { status, kind, message, retry_after: RetryAfter::Absent }
}

fn throttled(random: &mut Random, now: OffsetDateTime) -> Outcome {
    let (status, kind) = random.pick(&[
        (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"),
        (StatusCode::BAD_REQUEST, "ThrottlingException"),
    ]);
    Outcome::Refused { status, kind, message: "Rate exceeded", retry_after: RetryAfter::any(random, now) }
}

fn server_error(random: &mut Random, now: OffsetDateTime) -> Outcome {
    let status = random.pick(&[
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ]);
    let retry_after = RetryAfter::any(random, now);
    Outcome::Refused { status, kind: "InternalFailure", message: "try again", retry_after }
}

fn denied(random: &mut Random, now: OffsetDateTime) -> Outcome {
    let (status, kind, message) = random.pick(&[
        (StatusCode::FORBIDDEN, "AccessDeniedException", "Unable to assume role"),
        (StatusCode::NOT_FOUND, "ResourceNotFoundException", "Profile not found"),
        (StatusCode::BAD_REQUEST, "ValidationException", "Invalid role session name"),
    ]);
    // Some proxies add a `Retry-After` to every response.
    let retry_after = if random.chance(20) { RetryAfter::any(random, now) } else { RetryAfter::Absent };
    Outcome::Refused { status, kind, message, retry_after }
}

/// One call, from the host to AWS and back. Dropping it closes the connection.
pub(crate) async fn call(world: &World, asked: Asked) -> Answer {
    let course = world.lock().sky.course();
    let mut flight = Flight::take_off(world, &asked, course.hit);
    tokio::time::sleep(course.to_aws).await;
    world.fire_in_flight();
    if course.panics {
        world.lock().strikes(Fault::AttemptPanic, &world.times);
        panic!("a deliberate panic in an attempt");
    }
    let answer = {
        let mut state = world.lock();
        let (now, life) = (world.times.truth(), Span::try_from(world.life).unwrap());
        state.sky.answer(&asked, course.hit, now, life)
    };
    if course.hangs {
        std::future::pending::<()>().await;
    }
    let is_silent = matches!(answer.outcome, Outcome::Silent);
    tokio::time::sleep(if is_silent { SILENCE } else { course.back }).await;
    flight.land(&answer);
    answer
}

/// A call in progress. It failed if it is dropped before its response has arrived.
struct Flight<'a> {
    world: &'a World,
    certificate: usize,
    sent_at: OffsetDateTime,
    landed: bool,
}

impl<'a> Flight<'a> {
    fn take_off(world: &'a World, asked: &Asked, hit: Option<Fault>) -> Self {
        world.note(Event::Called { certificate: asked.certificate });
        let mut state = world.lock();
        if let Some(hit) = hit {
            *state.hits.entry(hit).or_default() += 1;
        }
        state.taken_off(&world.times, asked.certificate);
        Self { world, certificate: asked.certificate, sent_at: world.times.truth(), landed: false }
    }

    fn land(&mut self, answer: &Answer) {
        self.landed = true;
        self.world.note(match &answer.outcome {
            Outcome::Issued(set) => Event::Issued { set: set.number, ends_at: set.ends_at },
            Outcome::Refused { kind, .. } => Event::Answered(kind),
            Outcome::Garbled(_) => Event::Answered("garbage"),
            Outcome::Reset => Event::Answered("reset"),
            Outcome::Silent => Event::Answered("silence"),
        });
        let world = self.world;
        world.lock().landed(world, self.certificate, self.sent_at, answer);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.world.note(Event::Lost);
            self.world.lock().lost(&self.world.times);
        }
    }
}
