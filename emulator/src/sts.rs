//! STS: `AssumeRole`, `GetSessionToken` and `GetCallerIdentity`, by the Query protocol. A caller and its form in, an
//! outcome or a refusal out; no sockets, no state, and the time is an argument.

use time::Duration;
use time::OffsetDateTime;

use crate::canonical::Incoming;
use crate::keyring::CallerKind;
use crate::keyring::Principal;
use crate::log::Facts;
use crate::reply::Refusal;
use crate::setup::Setup;
use crate::sigv4::Claim;
use crate::sigv4::Complaint;
use crate::sigv4::ComplaintKind;
use crate::sts::form::AssumeRole;
use crate::sts::form::Form;

pub(crate) mod form;
pub(crate) mod xml;

/// The only version of the protocol.
const VERSION: &str = "2011-06-15";
/// The longest session of a role that another role assumed.
const LONGEST_CHAINED: i64 = 3600;

/// What a call comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Who the caller is.
    Identity,
    /// A session that was granted and awaits its credentials.
    Session(Box<Grant>),
}

/// A session that was granted and awaits its credentials.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) action: &'static str,
    pub(crate) principal: Principal,
    /// Empty for a user's.
    pub(crate) role_arn: String,
    pub(crate) session_name: String,
    pub(crate) expires_at: OffsetDateTime,
    /// In per cent of what there is room for; none if there is nothing to pack.
    pub(crate) packed_policy_size: Option<usize>,
}

/// Whether a request is for STS: its only path, unless another service's signature says otherwise.
pub(crate) fn is_for(incoming: &Incoming) -> bool {
    incoming.path == "/"
        && (incoming.method == "POST" || incoming.parameters().iter().any(|(name, _)| name == "Action"))
}

/// What a request says, for the log.
pub(crate) fn facts(incoming: &Incoming) -> Facts {
    let form = Form::of(incoming);
    let claim = Claim::of(incoming);
    Facts {
        action: form.get("Action").map(str::to_owned),
        signer: claim.as_ref().map(|claim| claim.access_key_id.clone()),
        scope_region: claim.map(|claim| claim.region),
        duration_seconds: form.get("DurationSeconds").and_then(|seconds| seconds.parse().ok()),
        role_arn: form.get("RoleArn").map(str::to_owned),
        parameters: form.for_log(),
        ..Facts::default()
    }
}

/// Decides a call of somebody whose signature was verified.
pub(crate) fn decide(
    setup: &Setup,
    caller: &Principal,
    form: &Form,
    now: OffsetDateTime,
) -> Result<Outcome, Refusal> {
    if setup.sts_region_disabled {
        let message = format!(
            "STS is not activated in this region for account:{}. Your account administrator can activate STS in \
             this region using the IAM Console.",
            setup.account_id
        );
        return Err(Refusal::new(403, "RegionDisabledException", &message, "the Region is disabled"));
    }
    let (action, version) = (form.get("Action").unwrap_or_default(), form.get("Version"));
    match action {
        "GetCallerIdentity" | "AssumeRole" | "GetSessionToken" if version == Some(VERSION) => {}
        _ => {
            let version = version.unwrap_or("NO_VERSION_SPECIFIED");
            let message = format!("Could not find operation {action} for version {version}");
            return Err(Refusal::new(400, "InvalidAction", &message, message.as_str()));
        }
    }
    match action {
        "GetCallerIdentity" => {
            permit(setup, caller, "sts:GetCallerIdentity", "*").map(|()| Outcome::Identity)
        }
        "GetSessionToken" => session_token(setup, caller, form, now),
        _ => assume_role(setup, caller, &AssumeRole::of(form)?, now),
    }
}

/// A complaint about a signature, in this service's words.
pub(crate) fn complaint(complaint: &Complaint) -> Refusal {
    let (status, kind) = match complaint.kind {
        ComplaintKind::Missing => (403, "MissingAuthenticationToken"),
        ComplaintKind::Incomplete => (400, "IncompleteSignature"),
        ComplaintKind::Unknown => (403, "InvalidClientTokenId"),
        // The API reference says 400 of another exception; what clients report is 403.
        ComplaintKind::Expired => (403, "ExpiredToken"),
        ComplaintKind::Stale => (400, "RequestExpired"),
        ComplaintKind::Mismatch => (403, "SignatureDoesNotMatch"),
    };
    Refusal::new(status, kind, &complaint.message, complaint.reason.as_str())
}

fn session_token(
    setup: &Setup,
    caller: &Principal,
    form: &Form,
    now: OffsetDateTime,
) -> Result<Outcome, Refusal> {
    let seconds = form.duration(900..=129_600)?.unwrap_or(43_200);
    if caller.kind != CallerKind::User {
        let message = "Cannot call GetSessionToken with session credentials";
        return Err(Refusal::new(403, "AccessDenied", message, message));
    }
    permit(setup, caller, "sts:GetSessionToken", "*")?;
    Ok(Outcome::Session(Box::new(Grant {
        action: "GetSessionToken",
        principal: Principal { kind: CallerKind::UserSession, ..caller.clone() },
        role_arn: String::new(),
        session_name: String::new(),
        expires_at: now + Duration::seconds(seconds),
        packed_policy_size: None,
    })))
}

fn assume_role(
    setup: &Setup,
    caller: &Principal,
    input: &AssumeRole,
    now: OffsetDateTime,
) -> Result<Outcome, Refusal> {
    let chained = caller.kind == CallerKind::RoleSession;
    if chained && input.seconds > LONGEST_CHAINED {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(validation(message));
    }
    check_trust(setup, caller, input)?;
    check_tags(setup, caller, input)?;
    let source_identity = source_identity(setup, caller, input)?;
    let role = setup.roles.get(&input.role_arn);
    if input.seconds > i64::from(setup.max_session_seconds) {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(validation(message));
    }
    let packed_policy_size = input.packed_policy_size();
    if let Some(size) = packed_policy_size.filter(|size| *size > 100) {
        let message = format!("Packed size of session policies and tags consumes {size}% of allotted space.");
        return Err(Refusal::new(400, "PackedPolicyTooLarge", &message, message.as_str()));
    }

    let mut principal = Principal::role_session(&input.role_arn, &input.session_name);
    principal.source_identity = source_identity;
    principal.transitive_tags = caller.transitive_tags.clone();
    principal.transitive_tags.extend(input.transitive_tags());
    let seconds = role.and_then(|role| role.grant_seconds).map_or(input.seconds, i64::from);
    Ok(Outcome::Session(Box::new(Grant {
        action: "AssumeRole",
        principal,
        role_arn: input.role_arn.clone(),
        session_name: input.session_name.clone(),
        expires_at: now + Duration::seconds(seconds),
        packed_policy_size,
    })))
}

/// Whether caller and role trust each other; a caller never learns which of them does not.
fn check_trust(setup: &Setup, caller: &Principal, input: &AssumeRole) -> Result<(), Refusal> {
    let role_arn = &input.role_arn;
    let external_id = setup.roles.get(role_arn).and_then(|role| role.external_id.as_deref());
    let reason = if setup.denied_actions.contains("sts:AssumeRole") {
        "the caller's policy denies sts:AssumeRole".to_owned()
    } else if !role_arn.starts_with(&format!("arn:{}:", setup.partition())) {
        format!("`{role_arn}` is of another partition")
    } else if setup.trust_policy_refusals.contains(role_arn) {
        format!("`{role_arn}` has a trust policy that refuses")
    } else if external_id.is_some() && external_id != input.external_id.as_deref() {
        format!("`{role_arn}` wants another external id")
    } else {
        return Ok(());
    };
    Err(denied(caller, "sts:AssumeRole", role_arn, &reason))
}

fn check_tags(setup: &Setup, caller: &Principal, input: &AssumeRole) -> Result<(), Refusal> {
    let has = |key: &str| input.tags.iter().any(|(name, _)| name == key);
    if let Some((key, _)) = caller.transitive_tags.iter().find(|(key, _)| has(key)) {
        let message =
            format!("Session tag {key} was set as transitive by an earlier session and cannot be set again.");
        return Err(validation(&message));
    }
    let inherited = |key: &str| caller.transitive_tags.iter().any(|(name, _)| name == key);
    let required =
        setup.roles.get(&input.role_arn).map(|role| role.required_tags.as_slice()).unwrap_or_default();
    let missing = required.iter().find(|key| !has(key) && !inherited(key));
    let tagged = !input.tags.is_empty() || !caller.transitive_tags.is_empty();
    let reason = match missing {
        Some(key) => format!("the tag {key} is missing"),
        None if tagged && setup.denied_actions.contains("sts:TagSession") => {
            "sts:TagSession is denied".to_owned()
        }
        None => return Ok(()),
    };
    Err(denied(caller, "sts:TagSession", &input.role_arn, &reason))
}

/// The source identity of the new session. It cannot be changed once it is set, and roles must permit that it is.
fn source_identity(setup: &Setup, caller: &Principal, input: &AssumeRole) -> Result<Option<String>, Refusal> {
    let inherited = caller.source_identity.as_ref();
    let chosen = inherited.or(input.source_identity.as_ref());
    let reason = if chosen.is_some() && setup.denied_actions.contains("sts:SetSourceIdentity") {
        "sts:SetSourceIdentity is denied, and there is a source identity"
    } else if input.source_identity.is_some() && chosen != input.source_identity.as_ref() {
        "the source identity was set to another one by an earlier session"
    } else {
        return Ok(chosen.cloned());
    };
    Err(denied(caller, "sts:SetSourceIdentity", &input.role_arn, reason))
}

fn permit(setup: &Setup, caller: &Principal, action: &str, resource: &str) -> Result<(), Refusal> {
    if setup.denied_actions.contains(action) {
        return Err(denied(caller, action, resource, &format!("{action} is denied")));
    }
    Ok(())
}

fn denied(caller: &Principal, action: &str, resource: &str, reason: &str) -> Refusal {
    let message =
        format!("User: {} is not authorized to perform: {action} on resource: {resource}", caller.arn);
    Refusal::new(403, "AccessDenied", &message, reason)
}

pub(crate) fn validation(message: &str) -> Refusal {
    Refusal::new(400, "ValidationError", message, message)
}
