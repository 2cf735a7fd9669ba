//! Why a call failed, or its answer is incomplete.

use std::time::Duration;

use http::HeaderMap;
use http::StatusCode;
use time::OffsetDateTime;

use super::refusal;
use crate::signing::Unsignable;
use crate::upstream;
use crate::upstream::ErrorBody;
use crate::upstream::Foreign;
use crate::upstream::TransportError;
use anchord_core::clock;
use anchord_core::endpoint::Service;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// Why a call failed, or its answer is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be signed.
    #[error(transparent)]
    Unsignable(#[from] Unsignable),
    /// The signed request is not valid HTTP.
    #[error("the request cannot be sent: its path or a header is malformed")]
    Unsendable,
    /// No complete reply arrived.
    #[error(transparent)]
    NoAnswer(upstream::Error),
    /// Nothing arrived from a model within the time limit.
    #[error("no answer from {host}: nothing arrived for {} s", limit.as_secs_f64())]
    TooQuiet {
        /// Host and port.
        host: String,
        /// The time limit.
        limit: Duration,
    },
    /// AWS answered with an error.
    #[error("AWS answered {status} {kind}: {message} (request id {request_id})")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// `ValidationException` and so on; `-` if the reply names none.
        kind: String,
        /// AWS's words.
        message: String,
        /// For AWS support; `-` if the reply names none.
        request_id: String,
        /// How long AWS asks to wait.
        retry_after: Option<Duration>,
        /// How far the local clock is off, in seconds.
        clock_off_by: i64,
    },
    /// Something other than AWS answered.
    #[error("{foreign}")]
    Foreign {
        /// What it answered.
        foreign: Foreign,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// A success that cannot be used.
    #[error("AWS's answer cannot be used: {why} (request id {request_id})")]
    NotUnderstood {
        /// What is wrong with it.
        why: &'static str,
        /// For AWS support; `-` if the reply names none.
        request_id: String,
    },
    /// Bedrock ended a stream with an error.
    #[error("Bedrock ended the stream with {kind}: {message} (request id {request_id})")]
    BrokenOff {
        /// `ModelStreamErrorException` and so on.
        kind: String,
        /// AWS's words.
        message: String,
        /// For AWS support; `-` if the reply names none.
        request_id: String,
    },
    /// A stream ended before the model had finished.
    #[error("the stream from {host} ended before the model had finished")]
    Cut {
        /// Host and port.
        host: String,
        /// The cause, if known.
        #[source]
        source: Option<TransportError>,
    },
}

impl Error {
    /// The resource that the policies do not allow the call on, if AWS names it.
    pub fn unauthorized_resource(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } if self.reason() == Reason::NotAuthorized => {
                refusal::resource(message)
            }
            _ => None,
        }
    }

    /// The error if no reply, or only its beginning, came from `host`.
    pub(super) fn no_answer(service: Service, host: &str, source: TransportError) -> Self {
        let host = host.to_owned();
        match source {
            TransportError::Silent(limit) if service == Service::BedrockRuntime => {
                Self::TooQuiet { host, limit }
            }
            source => Self::NoAnswer(upstream::Error::NoAnswer { host, source }),
        }
    }

    /// The error for a refusal with these headers and this body. `now` is the local time.
    pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], now: OffsetDateTime) -> Self {
        let error = ErrorBody::parse(body);
        let kind = error.kind(header(headers, "x-amzn-errortype"));
        if let Some(foreign) = Foreign::of(status, headers, body, kind) {
            return Self::Foreign { foreign, retry_after: upstream::retry_after(headers, now) };
        }
        let message = error.message.as_deref().or(status.canonical_reason()).unwrap_or_default();
        let aws = header(headers, "date").and_then(clock::parse_http_date);
        Self::Refused {
            status,
            kind: printable(kind),
            message: printable(message),
            request_id: request_id(headers),
            retry_after: upstream::retry_after(headers, now),
            clock_off_by: aws.map_or(0, |aws| (now - aws).whole_seconds()),
        }
    }
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Unsignable(error) => error.reason(),
            Self::Unsendable => Reason::Bug,
            Self::NoAnswer(error) => error.reason(),
            Self::TooQuiet { .. } | Self::Cut { .. } => Reason::NoAnswer,
            Self::NotUnderstood { .. } => Reason::AnswerUnusable,
            Self::Refused { status, kind, message, .. } => refusal::reason(Some(*status), kind, message),
            Self::BrokenOff { kind, message, .. } => refusal::reason(None, kind, message),
            Self::Foreign { foreign, .. } => foreign.reason(),
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::TooQuiet { .. } | Self::Cut { source: Some(TransportError::Silent(_)), .. } => {
                Some(TOO_QUIET.into())
            }
            Self::NoAnswer(error) => error.hint(),
            Self::Refused { status, clock_off_by, .. }
                if *status == StatusCode::FORBIDDEN
                    && clock_off_by.unsigned_abs() > upstream::CLOCK_TOLERANCE.as_secs() =>
            {
                Some(
                    format!("this host's clock is off by {} s: synchronise it", clock_off_by.unsigned_abs())
                        .into(),
                )
            }
            Self::Refused { kind, message, .. } | Self::BrokenOff { kind, message, .. } => {
                refusal::hint(kind, message)
            }
            Self::Foreign { foreign, .. } => Some(foreign.hint()),
            Self::NotUnderstood { .. } => {
                Some("check whether a proxy or portal answered instead of AWS".into())
            }
            Self::Cut { .. } => Some("the answer is incomplete: call again".into()),
            Self::Unsignable(_) | Self::Unsendable => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Foreign { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

const TOO_QUIET: &str =
    "models may think for minutes: raise `--timeout`, or check whether a proxy blocks the connection";

/// AWS's text, shortened and without control characters, for one line of a terminal.
pub(super) fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    let plain = |character: char| match character {
        // AWS writes "isn’t".
        '\u{2018}' | '\u{2019}' => '\'',
        '\n' | '\r' | '\t' => ' ',
        character if character.is_ascii_graphic() || character == ' ' => character,
        _ => '?',
    };
    let text: String = text.trim().chars().map(plain).take(MAX_CHARS).collect();
    if text.is_empty() { "-".into() } else { text }
}

pub(super) fn request_id(headers: &HeaderMap) -> String {
    printable(header(headers, "x-amzn-requestid").unwrap_or_default())
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use anchord_core::failure::Class;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    fn refused(status: u16, headers: &[(&'static str, &str)], body: &str) -> Error {
        let headers =
            headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Error::refused(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), NOON)
    }

    #[test]
    fn a_refusal_is_told_in_awss_own_words() {
        let error = refused(
            400,
            &[
                ("x-amzn-errortype", "ValidationException:http://internal.amazon.com/"),
                ("x-amzn-requestid", "r-1"),
            ],
            r#"{"message":"on-demand throughput isn’t\nsupported"}"#,
        );

        assert_eq!(
            error.to_string(),
            "AWS answered 400 Bad Request ValidationException: on-demand throughput isn't supported (request id r-1)"
        );
        assert_eq!(error.class(), Class::Denied);
    }

    #[test]
    fn a_refusal_that_the_clock_explains_says_so() {
        let error = refused(
            403,
            &[("x-amzn-errortype", "InvalidSignatureException"), ("date", "Wed, 11 Mar 2026 12:10:00 GMT")],
            "{}",
        );

        assert_eq!(error.hint().unwrap(), "this host's clock is off by 600 s: synchronise it");
    }

    #[test]
    fn a_model_that_thinks_too_long_is_no_matter_of_the_settings() {
        let silent = |service| {
            let silent = TransportError::Silent(Duration::from_millis(1500));
            Error::no_answer(service, "host:1", silent)
        };

        let model = silent(Service::BedrockRuntime);
        assert_eq!(model.to_string(), "no answer from host:1: nothing arrived for 1.5 s");
        assert!(model.hint().unwrap().contains("`--timeout`"));
        assert!(silent(Service::Bedrock).hint().unwrap().contains("`upstream.read_timeout`"));
        assert_eq!(silent(Service::Bedrock).class(), model.class());
    }

    #[test]
    fn a_refusal_without_a_word_is_still_one_line() {
        let error = refused(503, &[("retry-after", "7"), ("x-amzn-requestid", "r-1")], "\u{1b}[31m");

        assert_eq!(
            error.to_string(),
            "AWS answered 503 Service Unavailable -: Service Unavailable (request id r-1)"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(error.class(), Class::Transient);
    }

    #[test]
    fn a_portals_403_is_no_refusal_of_bedrock() {
        let error =
            refused(403, &[("content-type", "text/html"), ("retry-after", "7")], "<html>\u{1b}[31mlog in");

        assert_eq!(
            error.to_string(),
            "a proxy or another intermediary answered instead of AWS: 403 Forbidden (as text/html)"
        );
        assert_eq!(error.class(), Class::Transient);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert!(error.hint().unwrap().contains("portal"), "{error}");
    }
}
