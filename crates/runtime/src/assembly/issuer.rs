//! Makes a session's issuer, and the identity that it signs with, from the session's settings.

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

/// A session's certificate and key, shared by the signer and the watcher of their files. `None` if the session uses
/// access keys.
pub fn identity(session: &config::SessionSettings) -> Option<Arc<identity::Current>> {
    let source = session.identity()?.clone();
    Some(Arc::new(identity::Current::new(&session.name, source)))
}

/// The issuer of a session's credentials. `identity` is the result of [`identity()`] for the same session, and `held`
/// the end of the credentials that the session has already.
pub fn issuer(
    session: &config::SessionSettings,
    identity: Option<Arc<identity::Current>>,
    transport: Arc<dyn Transport>,
    clock: &Clock,
    held: Option<End>,
) -> Arc<dyn Issuer> {
    // All calls share one caller, because it learns from each reply how far the local clock is off.
    let caller = Caller::new(transport, clock.clone());
    let first = match &session.source {
        config::CredentialSource::RolesAnywhere(source) => {
            roles_anywhere(session, source, identity, &caller, (clock, held))
        }
        config::CredentialSource::AccessKeys(source) => {
            Arc::new(AccessKeySession::new(source.keys.clone(), exchange(session, source), caller.clone()))
        }
    };
    if session.chain.is_empty() {
        return first;
    }
    Arc::new(AssumedRole::new(&session.name, first, session.chain.clone(), caller))
}

/// With a chain the keys themselves assume the first role. Temporary credentials would add a call and no permission.
fn exchange(session: &config::SessionSettings, source: &config::AccessKeySource) -> AccessKeyMode {
    if source.get_session_token && session.chain.is_empty() {
        return AccessKeyMode::SessionToken { duration: source.duration, sts: session.sts.clone() };
    }
    AccessKeyMode::AsIs { life: source.duration }
}

fn roles_anywhere(
    session: &config::SessionSettings,
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
