//! The Roles Anywhere endpoints that a session may call, and the request to each.

use super::network::Endpoint;
use crate::cli::output::check::report::Subject;
use anchord_aws::upstream::CreateSession;
use anchord_config as config;

/// One Roles Anywhere endpoint that a session may call.
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    /// The subject of the step that calls it.
    pub(super) subject: Subject,
    /// The request.
    pub(super) asked: CreateSession,
    /// The session with this endpoint alone, and without a chain of roles.
    pub(super) session: config::SessionSettings,
}

/// The endpoints of `session`, whose first credentials come from `source`.
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
