//! What is answered: a session, or a refusal.
//!
//! The service tells a caller little ("Invalid signature" has a dozen causes). The emulator answers with the same few
//! words and writes the cause into its log, where tests and people find it.

use serde_json::Value;
use serde_json::json;

/// A refusal: what the caller sees, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The value of `X-Amzn-ErrorType`.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// What the message is called in JSON: one part of the service writes it with a capital.
    pub(crate) member: &'static str,
    /// For the log only.
    pub(crate) reason: String,
    pub(crate) cause: Cause,
}

/// What a refusal is about, where the service may word it in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Throttling,
    Skew,
    Disabled,
    Other,
}

impl Refusal {
    pub(crate) fn new(status: u16, kind: &'static str, message: &str, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.to_owned(),
            member: "message",
            reason: reason.into(),
            cause: Cause::Other,
        }
    }

    /// 403, whatever was wrong with signature, scope, clock or headers.
    pub(crate) fn signature(reason: impl Into<String>) -> Self {
        Self::new(403, "AccessDeniedException", "Invalid signature", reason)
    }

    /// 403, the chain does not lead to the trust anchor.
    pub(crate) fn untrusted(reason: impl Into<String>) -> Self {
        Self::new(403, "AccessDeniedException", "Untrusted Signing Certificate", reason)
    }

    /// 403, the role's trust policy refuses.
    pub(crate) fn role(reason: impl Into<String>) -> Self {
        Self::new(403, "AccessDeniedException", "Unable to assume role", reason)
    }

    /// 400, a member is missing or outside of its limits.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(400, "ValidationException", &message, message.clone())
    }

    /// 404, no such enabled thing here.
    pub(crate) fn not_found(what: &str, reason: impl Into<String>) -> Self {
        Self::new(404, "ResourceNotFoundException", &format!("{what} not found"), reason)
    }

    pub(crate) fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    pub(crate) fn body(&self) -> Value {
        json!({ self.member: self.message })
    }
}
