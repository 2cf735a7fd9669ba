//! An issuer without HTTP and signatures, which turns the simulated responses into the same results as the real issuer.
//!
//! Most seeds use it, because they test the session alone, and signing takes most of the time of the real issuer.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anchord_aws::upstream::Error;
use anchord_aws::upstream::Operation;
use anchord_aws::upstream::TransportError;
use anchord_core::clock::CLOCK_STEP;
use anchord_core::clock::ClockOffset;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::credentials::SignerId;
use anchord_core::credentials::end_by_wall;
use anchord_core::failure::Failure;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use http::StatusCode;
use time::Duration as Span;

use crate::aws;
use crate::aws::Answer;
use crate::aws::Asked;
use crate::aws::Garbage;
use crate::aws::Outcome;
use crate::aws::RetryAfter;
use crate::aws::SILENCE;
use crate::aws::Set;
use crate::world::World;

/// The issuer of one process.
pub(crate) fn issuer(world: &Arc<World>) -> Arc<dyn Issuer> {
    Arc::new(Plain { world: Arc::clone(world), clock_offset: Mutex::default() })
}

struct Plain {
    world: Arc<World>,
    clock_offset: Mutex<Option<ClockOffset>>,
}

impl Issuer for Plain {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async {
            let certificate = self.world.lock().sky.certificate;
            let sent = self.world.times.clock.moment();
            let answer = aws::call(&self.world, Asked { signed_at: None, certificate }).await;
            self.hear(&answer, sent);
            self.read(&answer, certificate).map_err(Failure::from)
        })
    }

    fn clock_offset(&self) -> Option<ClockOffset> {
        *self.clock_offset.lock().unwrap()
    }
}

impl Plain {
    /// Learns AWS's time like `upstream`.
    fn hear(&self, answer: &Answer, sent: Moment) {
        let at = self.world.times.clock.moment();
        let Some(date) = answer.date else { return };
        let date = date.replace_nanosecond(0).unwrap();
        let sent_at = at.when_up(sent.up).wall;
        let measured = date - date.clamp(sent_at, at.wall);
        let near_zero_is_zero = |span: Span| if span.abs() > CLOCK_STEP { span } else { Span::ZERO };
        let (ahead, at_most) = (near_zero_is_zero(measured), near_zero_is_zero(date - sent_at));
        *self.clock_offset.lock().unwrap() = Some(ClockOffset { ahead, at_most, at });
    }

    fn read(&self, answer: &Answer, certificate: usize) -> Result<Credentials, Error> {
        match &answer.outcome {
            Outcome::Issued(set) => Ok(self.credentials(*set, certificate)),
            Outcome::Refused { status, kind, message, retry_after } => Err(Error::Refused {
                operation: Operation::CreateSession,
                status: *status,
                kind: (*kind).into(),
                message: (*message).into(),
                request_id: "-".into(),
                retry_after: match retry_after {
                    RetryAfter::Seconds(seconds) => Some(Duration::from_secs(*seconds)),
                    RetryAfter::Date(at) => {
                        Some((*at - self.world.times.truth()).try_into().unwrap_or_default())
                    }
                    RetryAfter::Absent | RetryAfter::Nonsense => None,
                },
                clock_off_by: 0,
            }),
            Outcome::Garbled(Garbage::Redirect) => Err(not_understood(StatusCode::FOUND)),
            Outcome::Garbled(Garbage::Oversized) => Err(no_answer(TransportError::TooLarge)),
            Outcome::Garbled(_) => Err(not_understood(StatusCode::CREATED)),
            Outcome::Reset | Outcome::Silent => Err(no_answer(TransportError::Silent(SILENCE))),
        }
    }

    fn credentials(&self, set: Set, certificate: usize) -> Credentials {
        let now = self.world.times.clock.moment();
        let ahead = self.clock_offset().map(|date| date.at_most).unwrap_or_default();
        let keys = Keys {
            access_key_id: set.key_id(),
            secret_access_key: Secret::new(set.secret()),
            session_token: Some(Secret::new(set.token())),
        };
        Credentials::new(keys, now, end_by_wall(set.ends_at, ahead), Some("123456789012".into()))
            .unwrap()
            .ending_at_aws(set.ends_at)
            .living_for(set.ends_at - (now.wall + ahead))
            .obtained_with(Some(SignerId::of(&certificate.to_le_bytes())))
    }
}

fn not_understood(status: StatusCode) -> Error {
    Error::NotUnderstood {
        operation: Operation::CreateSession,
        why: "it is garbled".into(),
        status,
        request_id: "-".into(),
    }
}

fn no_answer(source: TransportError) -> Error {
    Error::NoAnswer { host: "aws".into(), source }
}
