//! The Roles Anywhere endpoints that a session may call, and the request to each.

use super::network::CheckedEndpoint;
use crate::cli::output::check::report::Subject;
use anchord_aws::upstream::CreateSession;
use anchord_config as config;

/// One Roles Anywhere endpoint that a session may call.
pub(super) struct CreateSessionCall {
    pub(super) endpoint: CheckedEndpoint,
    /// The subject of the step that calls it.
    pub(super) subject: Subject,
    /// The request.
    pub(super) asked: CreateSession,
    /// The session with this endpoint alone, and without a chain of roles.
    pub(super) session: config::SessionSettings,
}

impl CreateSessionCall {
    /// The call that `asked` describes, for a session whose credentials come from `source`.
    fn new(
        session: &config::SessionSettings,
        source: &config::CertificateSource,
        asked: &CreateSession,
        (id, name): (&str, &str),
        subject: Subject,
    ) -> Self {
        let endpoint = CheckedEndpoint { id: id.into(), name: name.into(), url: asked.url() };
        let alone = config::CertificateSource { first: asked.clone(), fallback: None, ..source.clone() };
        let source = config::CredentialSource::RolesAnywhere(Box::new(alone));
        let session = config::SessionSettings { source, chain: Vec::new(), ..session.clone() };
        Self { endpoint, subject, asked: asked.clone(), session }
    }
}

/// The endpoints of `session`, whose first credentials come from `source`.
pub(super) fn calls(
    session: &config::SessionSettings,
    source: &config::CertificateSource,
) -> Vec<CreateSessionCall> {
    let (name, subject) =
        (("roles-anywhere", "Roles Anywhere"), Subject::new("create-session", "CreateSession"));
    let mut calls = vec![CreateSessionCall::new(session, source, &source.first, name, subject)];
    if let Some(fallback) = &source.fallback {
        let subject = Subject::new("fallback.create-session", "fallback: CreateSession");
        calls.push(CreateSessionCall::new(session, source, fallback, ("fallback", "fallback"), subject));
    }
    calls
}
