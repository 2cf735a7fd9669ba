//! What makes a session's credentials, and what it signs with, from its settings.

use std::sync::Arc;

use anchord_aws::upstream::AccessKeyMode;
use anchord_aws::upstream::AccessKeySession;
use anchord_aws::upstream::AssumedRole;
use anchord_aws::upstream::Caller;
use anchord_aws::upstream::CreateSessionOptions;
use anchord_aws::upstream::Failover;
use anchord_aws::upstream::RolesAnywhere;
use anchord_aws::upstream::Step;
use anchord_aws::upstream::Sts;
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
    let steps = steps(session);
    if steps.is_empty() { first } else { Arc::new(AssumedRole::new(&session.name, first, steps, caller)) }
}

/// The roles that the session goes through after its first credentials.
pub fn steps(session: &config::Session) -> Vec<Step> {
    let step = |step: &config::Step| Step {
        role: step.role.clone(),
        session_name: step.session_name.clone(),
        external_id: step.external_id.clone(),
        duration: step.duration,
        policy: step.policy.clone(),
        policy_arns: step.policy_arns.clone(),
        tags: step.tags.clone(),
        transitive_tags: step.transitive_tags.clone(),
        source_identity: step.source_identity.clone(),
        sts: sts(session, &step.sts),
    };
    session.chain.iter().map(step).collect()
}

/// Where STS is asked for this session, or for one of its steps.
pub fn sts(session: &config::Session, sts: &config::Sts) -> Sts {
    Sts { region: sts.region.clone(), endpoint: sts.endpoint.clone(), variant: session.variant }
}

/// A role is assumed with the keys themselves: temporary credentials would add a call and no right.
fn exchange(session: &config::Session, source: &config::AccessKeys) -> AccessKeyMode {
    if source.get_session_token && session.chain.is_empty() {
        return AccessKeyMode::SessionToken { duration: session.duration, sts: sts(session, &session.sts) };
    }
    AccessKeyMode::AsIs { life: session.duration }
}

fn roles_anywhere(
    session: &config::Session,
    source: &config::RolesAnywhere,
    identity: Option<Arc<identity::Current>>,
    caller: &Caller,
    (clock, held): (&Clock, Option<End>),
) -> Arc<dyn Issuer> {
    let new = || Arc::new(identity::Current::new(&session.name, source.identity.clone()));
    let options = CreateSessionOptions {
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
    let of = |options| Arc::new(RolesAnywhere::new(options, caller.clone()));
    let Some(second) = &source.fallback else { return of(options) };
    let region = second.trust_anchor.region();
    let fallback = CreateSessionOptions {
        trust_anchor: second.trust_anchor.clone(),
        profile: second.profile.clone(),
        region: region.clone(),
        endpoint: second.endpoint.clone(),
        ..options.clone()
    };
    let both = Failover::new(&session.name, of(options), of(fallback), region, clock.clone());
    Arc::new(both.holding(held))
}
