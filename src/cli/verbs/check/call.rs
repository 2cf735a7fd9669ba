//! The Roles Anywhere endpoints that a session may ask, and what is asked of each.

use std::time::Duration;

use super::network::Endpoint;
use crate::cli::output::check::report::Subject;
use anchord_config as config;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::host;

/// A Roles Anywhere that a session may ask.
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    /// The step that asks it.
    pub(super) subject: Subject,
    /// What is asked of it.
    pub(super) source: config::RolesAnywhere,
    /// The session as if it ended there, and knew no other.
    pub(super) session: config::Session,
}

/// Those of `session`, which begins with `source`.
pub(super) fn calls(session: &config::Session, source: &config::RolesAnywhere) -> Vec<Call> {
    let call = |endpoint: (&str, &str), subject: (&str, &str), source: config::RolesAnywhere| {
        let own = || format!("https://{}", host(Service::RolesAnywhere, &source.region, session.variant));
        let url = source.endpoint.clone().unwrap_or_else(own);
        let endpoint = Endpoint { id: endpoint.0.into(), name: endpoint.1.into(), url };
        let origin = config::Source::RolesAnywhere(Box::new(source.clone()));
        let session = config::Session { source: origin, chain: Vec::new(), ..session.clone() };
        Call { endpoint, subject: Subject::new(subject.0, subject.1), source, session }
    };
    let first = config::RolesAnywhere { fallback: None, ..source.clone() };
    let second = source.fallback.as_ref().map(|second| {
        let there = config::RolesAnywhere {
            trust_anchor: second.trust_anchor.clone(),
            profile: second.profile.clone(),
            region: second.trust_anchor.region(),
            endpoint: second.endpoint.clone(),
            ..first.clone()
        };
        call(("fallback", "fallback"), ("fallback.create-session", "fallback: CreateSession"), there)
    });
    let first = call(("roles-anywhere", "Roles Anywhere"), ("create-session", "CreateSession"), first);
    std::iter::once(first).chain(second).collect()
}

impl Call {
    /// The session's name.
    pub(super) fn session(&self) -> &str {
        &self.session.name
    }

    /// How long the credentials are to last.
    pub(super) fn duration(&self) -> Duration {
        self.session.duration
    }
}
