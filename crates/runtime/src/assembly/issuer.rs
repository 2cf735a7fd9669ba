//! What makes a session's credentials, and what it signs with, from its settings.

use std::sync::Arc;

use anchord_aws::upstream::AccessKeyMode;
use anchord_aws::upstream::AccessKeySession;
use anchord_aws::upstream::AssumedRole;
use anchord_aws::upstream::Caller;
use anchord_aws::upstream::CreateSession;
use anchord_aws::upstream::Failover;
use anchord_aws::upstream::RolesAnywhere;
use anchord_aws::upstream::Transport;
use anchord_config as config;
use anchord_core::clock::Clock;
use anchord_core::credentials::End;
use anchord_core::issuer::Issuer;
use anchord_identity as identity;

/// A session's certificate and key, shared by what signs with them and what watches their files; `None` where it has
/// none.
pub fn identity(session: &config::Session) -> Option<Arc<identity::Current>> {
    let source = session.identity()?.clone();
    Some(Arc::new(identity::Current::new(&session.name, source)))
}

/// What makes a session's credentials; `identity` is [`identity()`] of the same session, and `held` the end of the
/// credentials that it holds already.
pub fn issuer(
    session: &config::Session,
    identity: Option<Arc<identity::Current>>,
    transport: Arc<dyn Transport>,
    clock: &Clock,
    held: Option<End>,
) -> Arc<dyn Issuer> {
    // One for all calls: what one reply says of the local clock holds for the next.
    let caller = Caller::new(transport, clock.clone());
    let first = match &session.source {
        config::Source::RolesAnywhere(source) => {
            roles_anywhere(session, source, identity, &caller, (clock, held))
        }
        config::Source::AccessKeys(source) => {
            Arc::new(AccessKeySession::new(source.keys.clone(), exchange(session, source), caller.clone()))
        }
    };
    if session.chain.is_empty() {
        return first;
    }
    Arc::new(AssumedRole::new(&session.name, first, session.chain.clone(), caller))
}

/// A role is assumed with the keys themselves: temporary credentials would add a call and no right.
fn exchange(session: &config::Session, source: &config::AccessKeySource) -> AccessKeyMode {
    if source.get_session_token && session.chain.is_empty() {
        return AccessKeyMode::SessionToken { duration: source.duration, sts: session.sts.clone() };
    }
    AccessKeyMode::AsIs { life: source.duration }
}

fn roles_anywhere(
    session: &config::Session,
    source: &config::CertificateSource,
    identity: Option<Arc<identity::Current>>,
    caller: &Caller,
    (clock, held): (&Clock, Option<End>),
) -> Arc<dyn Issuer> {
    let new = || Arc::new(identity::Current::new(&session.name, source.identity.clone()));
    let identity = identity.unwrap_or_else(new);
    let of = |asked: &CreateSession| {
        Arc::new(RolesAnywhere::new(Arc::clone(&identity), asked.clone(), caller.clone()))
    };
    let first = of(&source.first);
    let Some(fallback) = &source.fallback else { return first };
    let region = fallback.region.clone();
    let both = Failover::new(&session.name, first, of(fallback), region, clock.clone());
    Arc::new(both.holding(held))
}
