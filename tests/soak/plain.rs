//! AWS without a wire: the same answers, made into what the real issuer would make of them. Signing takes most of the
//! time of a run over the wire; this is for the many seeds that look at the session alone.

use std::sync::Arc;
use std::time::Duration;

use anchord::credentials::Credentials;
use anchord::credentials::Keys;
use anchord::failure::Failure;
use anchord::secret::Secret;
use anchord::upstream::BoxFuture;
use anchord::upstream::Error;
use anchord::upstream::Issuer;
use anchord::upstream::Operation;
use anchord::upstream::TransportError;
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
    Arc::new(Plain { world: Arc::clone(world) })
}

struct Plain {
    world: Arc<World>,
}

impl Issuer for Plain {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(async {
            let certificate = self.world.lock().sky.certificate;
            let answer = aws::call(&self.world, Asked { signed_at: None, certificate }).await;
            self.read(&answer).map_err(Failure::from)
        })
    }
}

impl Plain {
    fn read(&self, answer: &Answer) -> Result<Credentials, Error> {
        match &answer.outcome {
            Outcome::Issued(set) => Ok(self.credentials(answer, *set)),
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

    fn credentials(&self, answer: &Answer, set: Set) -> Credentials {
        let now = self.world.times.host();
        let behind = answer.date.map_or(Span::ZERO, |date| date.replace_nanosecond(0).unwrap() - now);
        let earlier = if behind > Span::seconds(30) { behind } else { Span::ZERO };
        let keys = Keys {
            access_key_id: set.key_id(),
            secret_access_key: Secret::new(set.secret()),
            session_token: Some(Secret::new(set.token())),
        };
        Credentials::new(keys, now, set.ends_at - earlier, Some("123456789012".into()))
            .unwrap()
            .ending_at_aws(set.ends_at)
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
