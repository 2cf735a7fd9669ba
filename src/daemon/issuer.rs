//! What makes a session's credentials, from its settings.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config;
use crate::identity;
use crate::upstream::Caller;
use crate::upstream::Failover;
use crate::upstream::Issuer;
use crate::upstream::Options;
use crate::upstream::RolesAnywhere;
use crate::upstream::Transport;

/// What makes a session's credentials; `identity` is [`super::identity`] of the same session.
pub fn issuer(
    session: &config::Session,
    identity: Option<Arc<identity::Current>>,
    transport: Arc<dyn Transport>,
    clock: &Clock,
) -> Arc<dyn Issuer> {
    match &session.source {
        config::Source::RolesAnywhere(source) => roles_anywhere(session, source, identity, transport, clock),
    }
}

fn roles_anywhere(
    session: &config::Session,
    source: &config::RolesAnywhere,
    identity: Option<Arc<identity::Current>>,
    transport: Arc<dyn Transport>,
    clock: &Clock,
) -> Arc<dyn Issuer> {
    let new = || Arc::new(identity::Current::new(&session.name, source.identity.clone()));
    let options = Options {
        identity: identity.unwrap_or_else(new),
        trust_anchor: source.trust_anchor.clone(),
        profile: source.profile.clone(),
        role: source.role.clone(),
        duration: session.duration,
        role_session_name: source.role_session_name.clone(),
        region: source.region.clone(),
        endpoint: source.endpoint.clone(),
        variant: session.variant,
    };
    let caller = Caller::new(transport, clock.clone());
    let of = |options| Arc::new(RolesAnywhere::new(options, caller.clone()));
    let Some(second) = &source.fallback else { return of(options) };
    let region = second.trust_anchor.region();
    let fallback = Options {
        trust_anchor: second.trust_anchor.clone(),
        profile: second.profile.clone(),
        region: region.clone(),
        endpoint: second.endpoint.clone(),
        ..options.clone()
    };
    Arc::new(Failover::new(&session.name, of(options), of(fallback), region, clock.clone()))
}
