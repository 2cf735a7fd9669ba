//! What a refused or failed call means, and what a person can do about it.
//!
//! [`refusal`] explains AWS's refusals, [`foreign`] answers that are not AWS's, [`proxy`] proxies that open no tunnel.

mod body;
mod foreign;
mod proxy;
mod refusal;

use std::fmt;
use std::time::Duration;

pub(crate) use body::ErrorBody;
pub use foreign::Foreign;
#[cfg(feature = "bedrock")]
pub(crate) use foreign::UNTYPED;
use http::StatusCode;

use self::refusal::RefusalMeaning;
use super::TransportError;
use super::tls::NotInFile;
use crate::access_keys::AccessKeysError;
use crate::signing::Unsignable;
use anchord_core::arn::RoleArn;
use anchord_core::failure::Class;
use anchord_core::failure::Classify;
use anchord_core::failure::Detail;
use anchord_core::failure::Reason;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;
use anchord_identity as identity;

/// An operation of AWS's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Roles Anywhere: gets credentials for a certificate.
    CreateSession,
    /// STS: gets credentials of another role.
    AssumeRole,
    /// STS: gets temporary credentials of a user.
    GetSessionToken,
    /// STS: says to whom credentials belong.
    GetCallerIdentity,
}

impl Operation {
    /// Its name in AWS's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateSession => "CreateSession",
            Self::AssumeRole => "AssumeRole",
            Self::GetSessionToken => "GetSessionToken",
            Self::GetCallerIdentity => "GetCallerIdentity",
        }
    }

    /// Its name between two texts, for messages; empty for CreateSession, which most sessions call.
    fn between(self, before: &'static str, after: &'static str) -> OperationPhrase {
        OperationPhrase { before, operation: self, after }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

struct OperationPhrase {
    before: &'static str,
    operation: Operation,
    after: &'static str,
}

impl fmt::Display for OperationPhrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Operation::CreateSession => Ok(()),
            other => write!(formatter, "{}{other}{}", self.before, self.after),
        }
    }
}

/// Why an attempt got no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The certificate is not valid by the local clock. It was sent anyway, and the call failed for a reason that does
    /// not say whether AWS accepts it.
    #[error("{doubt} by this host's clock; AWS, which uses its own clock, granted no credentials: {failure}")]
    InDoubt {
        /// What the local clock says.
        doubt: Box<identity::Error>,
        /// Why the call failed.
        failure: Box<Error>,
    },
    /// A user's access keys cannot be read.
    #[error(transparent)]
    AccessKeys(#[from] AccessKeysError),
    /// The private key cannot sign.
    #[error("the request could not be signed")]
    Signing(#[from] identity::SignFailure),
    /// The request cannot be signed.
    #[error(transparent)]
    Unsignable(#[from] Unsignable),
    /// The setting for the endpoint is not a usable URL.
    #[error("`{endpoint}` is not an endpoint")]
    Endpoint {
        /// The setting.
        endpoint: String,
    },
    /// No complete reply arrived.
    #[error("no answer from {host}")]
    NoAnswer {
        /// Host and port.
        host: String,
        /// Why.
        source: TransportError,
    },
    /// AWS answered with an error.
    #[error(
        "AWS answered {}{status} {kind}: {message} (request id {request_id})",
        .operation.between("", " with ")
    )]
    Refused {
        /// What was asked.
        operation: Operation,
        /// HTTP status.
        status: StatusCode,
        /// `AccessDeniedException` and so on; `-` if the reply names none.
        kind: String,
        /// AWS's words.
        message: String,
        /// For AWS support; `-` if the reply names none.
        request_id: String,
        /// How long AWS asks to wait.
        retry_after: Option<Duration>,
        /// How far the local clock was off when the request was signed, in seconds; zero if it agreed.
        clock_off_by: i64,
    },
    /// Something other than AWS answered.
    #[error("{foreign}{}", .operation.between(" (requested: ", ")"))]
    Foreign {
        /// What was asked.
        operation: Operation,
        /// What it answered.
        foreign: Foreign,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// A success that cannot be used.
    #[error(
        "AWS's answer{} cannot be used: {why} (status {status}, request id {request_id})",
        .operation.between(" to ", "")
    )]
    NotUnderstood {
        /// What was asked.
        operation: Operation,
        /// What is wrong with it.
        why: String,
        /// HTTP status.
        status: StatusCode,
        /// For AWS support; `-` if the reply names none.
        request_id: String,
    },
    /// The credentials are for another role than the requested one. They are not used.
    #[error(
        "AWS's answer{} is for `{answered}`, not for the requested role `{}` (request id {request_id})",
        .operation.between(" to ", ""), .asked.as_str()
    )]
    AnotherRole {
        /// What was asked.
        operation: Operation,
        /// The requested role.
        asked: RoleArn,
        /// The role, or the session of a role, that the answer names.
        answered: String,
        /// For AWS support; `-` if the reply names none.
        request_id: String,
    },
    /// An invariant of this program does not hold.
    #[error("{0}")]
    Broken(&'static str),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Identity(error) => error.reason(),
            Self::InDoubt { failure, .. } => failure.reason(),
            Self::AccessKeys(error) => error.reason(),
            Self::Signing(error) => error.reason(),
            Self::Unsignable(error) => error.reason(),
            Self::AnotherRole { .. } => Reason::WrongRole,
            Self::Broken(_) => Reason::Bug,
            Self::Endpoint { .. } => Reason::InvalidSetting,
            Self::NoAnswer { source, .. } if certificate_fault(source).is_some() => Reason::ServerUntrusted,
            Self::NoAnswer { .. } => Reason::NoAnswer,
            Self::NotUnderstood { .. } => Reason::AnswerUnusable,
            Self::Refused { operation, status, kind, message, .. } => {
                refusal::of(*operation, *status, kind, message).reason
            }
            Self::Foreign { foreign, .. } => foreign.reason(),
        }
    }

    fn detail(&self) -> Option<Detail> {
        match self {
            Self::InDoubt { failure, .. } => failure.detail(),
            Self::Refused { kind, .. } => Some(Detail::AwsType(kind.clone())),
            Self::NoAnswer { source, .. } => no_answer_detail(source),
            _ => None,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Identity(error) => error.hint(),
            Self::InDoubt { doubt, .. } => doubt.hint(),
            Self::AccessKeys(error) => error.hint(),
            Self::Endpoint { .. } => Some("an endpoint is `https://host` or `https://host:port`".into()),
            Self::NoAnswer { source, .. } => certificate_fault(source).or_else(|| no_answer_hint(source)),
            Self::Refused { operation, status, kind, message, clock_off_by, .. } => {
                let RefusalMeaning { hint, .. } = refusal::of(*operation, *status, kind, message);
                // If the request is too large, the clock is not the cause.
                let clock = clock_hint(*clock_off_by).filter(|_| !refusal::is_about_size(*status, kind));
                clock.or(hint)
            }
            Self::Foreign { foreign, .. } => Some(foreign.hint()),
            Self::NotUnderstood { .. } => {
                Some("check whether a proxy or portal answered instead of AWS".into())
            }
            Self::AnotherRole { .. } => Some(Text::of(&[
                Say("its credentials are not used: check whether "),
                Key("endpoint"),
                Say(" points to AWS, and whether a proxy or cache mixes up answers"),
            ])),
            Self::Signing(error) => error.hint(),
            Self::Unsignable(_) | Self::Broken(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InDoubt { failure, .. } => failure.retry_after(),
            Self::Refused { retry_after, .. } | Self::Foreign { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::InDoubt { failure, .. } => failure.is_local(),
            Self::Identity(_)
            | Self::AccessKeys(_)
            | Self::Signing(_)
            | Self::Unsignable(_)
            | Self::Broken(_) => true,
            Self::Endpoint { .. }
            | Self::NoAnswer { .. }
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::NotUnderstood { .. }
            | Self::AnotherRole { .. } => false,
        }
    }
}

impl Error {
    /// Whether AWS might accept another certificate: it understood the call and refused it, or the chain was too large.
    pub(super) fn may_be_of_the_certificate(&self) -> bool {
        match self {
            Self::Foreign { foreign, .. } => foreign.finds_it_too_large(),
            _ => self.class() == Class::Denied,
        }
    }
}

/// AWS accepts signatures with a date that is wrong by up to this much, in either direction.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

fn clock_hint(off_by: i64) -> Option<Text> {
    let off_by = off_by.unsigned_abs();
    (off_by > CLOCK_TOLERANCE.as_secs())
        .then(|| format!("this host's clock is off by {off_by} s: synchronise it").into())
}

fn no_answer_detail(source: &TransportError) -> Option<Detail> {
    match source.cause() {
        TransportError::Silent(_) => Some(Detail::TimedOut),
        TransportError::Incomplete(error) if error.is_timeout() => Some(Detail::TimedOut),
        TransportError::Incomplete(error) if error.is_connect() => Some(Detail::NotConnected),
        _ => None,
    }
}

fn no_answer_hint(source: &TransportError) -> Option<Text> {
    if let TransportError::NoTunnel(refusal) = source.cause() {
        return Some(proxy::hint(refusal).into());
    }
    let detail = no_answer_detail(source);
    let unconnected = detail == Some(Detail::NotConnected);
    if detail == Some(Detail::TimedOut) {
        return Some(Text::of(&[
            Say("check whether a firewall or proxy blocks the connection; the limits are "),
            Key("upstream.connect_timeout"),
            Say(" and "),
            Key("upstream.read_timeout"),
        ]));
    }
    if unconnected && matches!(source, TransportError::Through { .. }) {
        return Some(
            "make sure that HTTPS_PROXY names the proxy's host and port (http or https, no SOCKS), and that this host can reach it; name hosts that are \
             reached directly in NO_PROXY"
                .into(),
        );
    }
    unconnected.then(|| {
        "make sure that this host can reach the endpoint, directly or through HTTPS_PROXY, and that the Region exists".into()
    })
}

/// What to do if rustls has refused the server's certificate.
fn certificate_fault(source: &TransportError) -> Option<Text> {
    let TransportError::Incomplete(error) = source.cause() else { return None };
    tls_error(error).and_then(|error| match error {
        rustls::Error::InvalidCertificate(fault) => Some(certificate_hint(fault)),
        rustls::Error::Other(other) if other.0.is::<NotInFile>() => Some(Text::of(&[
            Say(
                "add the server's root to that file (perhaps that of a proxy that inspects TLS), or leave out ",
            ),
            Key("upstream.ca_file"),
            Say(" and AWS_CA_BUNDLE to use the system's roots"),
        ])),
        _ => None,
    })
}

/// Searches the causes. An `io::Error` has to be unwrapped, because its `source` skips the wrapped error itself.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => tls_error(wrapped),
        None => tls_error(error.source()?),
    }
}

pub(super) fn certificate_hint(fault: &rustls::CertificateError) -> Text {
    use rustls::CertificateError as Fault;
    match fault {
        Fault::UnknownIssuer => {
            Text::of(&[Say("if a proxy inspects TLS, name its root with "), Key("upstream.ca_file")])
        }
        Fault::Expired
        | Fault::ExpiredContext { .. }
        | Fault::NotValidYet
        | Fault::NotValidYetContext { .. } => {
            "the server's certificate is not valid now: check this host's clock".into()
        }
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
            let say = "another server answers for the endpoint: check ";
            Text::of(&[Say(say), Key("endpoint"), Say(", DNS and the proxy")])
        }
        // rustls has no variant for this error of webpki.
        Fault::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "the server presents the certificate of a CA (CA:true) as its own: let it present one that the CA has issued".into()
        }
        _ => Text::of(&[
            Say("the server's certificate was refused: check "),
            Key("endpoint"),
            Say(", the proxy and "),
            Key("upstream.ca_file"),
        ]),
    }
}
