//! The Roles Anywhere endpoints that a session may ask, and what is asked of each.

use super::network::Endpoint;
use crate::cli::output::check::report::Subject;
use anchord_aws::upstream::CreateSession;
use anchord_config as config;

/// A Roles Anywhere that a session may ask.
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    /// The step that asks it.
    pub(super) subject: Subject,
    /// What is asked of it.
    pub(super) asked: CreateSession,
    /// The session as if it ended there, and knew no other.
    pub(super) session: config::SessionSettings,
}

/// Those of `session`, which begins with `source`.
pub(super) fn calls(session: &config::SessionSettings, source: &config::CertificateSource) -> Vec<Call> {
    let call = |endpoint: (&str, &str), subject: (&str, &str), asked: &CreateSession| {
        let endpoint = Endpoint { id: endpoint.0.into(), name: endpoint.1.into(), url: asked.url() };
        let alone = config::CertificateSource { first: asked.clone(), fallback: None, ..source.clone() };
        let origin = config::CredentialSource::RolesAnywhere(Box::new(alone));
        let session = config::SessionSettings { source: origin, chain: Vec::new(), ..session.clone() };
        Call { endpoint, subject: Subject::new(subject.0, subject.1), asked: asked.clone(), session }
    };
    let mut calls =
        vec![call(("roles-anywhere", "Roles Anywhere"), ("create-session", "CreateSession"), &source.first)];
    if let Some(fallback) = &source.fallback {
        let subject = ("fallback.create-session", "fallback: CreateSession");
        calls.push(call(("fallback", "fallback"), subject, fallback));
    }
    calls
}
