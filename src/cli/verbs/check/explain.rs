//! Explains a refusal of CreateSession with this session's ARNs and this certificate's names.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::call::CreateSessionCall;
use super::certificate::Sent;
use crate::cli::output::check::report::Step;
use anchord_aws::upstream::CreateSession;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_identity::AlternativeName;
use anchord_identity::NameAttributes;

/// The failed step for a `failure` of CreateSession.
pub(super) fn create_session(call: &CreateSessionCall, sent: &Sent, failure: &Failure) -> Step {
    let source = &call.asked;
    let step = call.subject.failed(headline(failure.reason()), failure);
    match failure.reason() {
        Reason::RoleRefused => step
            .hinting(of_role(source))
            .suggesting("trust_policy_statement", trust_policy_statement(source, sent))
            .suggesting("conditions_may_name", Value::Object(condition_keys(sent))),
        Reason::UntrustedCertificate => step.hinting(of_chain(source, sent)),
        Reason::SessionNameRefused => step.hinting(of_session_name(source, &call.session.name)),
        Reason::SignatureRefused => step.hinting(of_signature(source)),
        reason @ (Reason::TrustAnchorNotFound | Reason::ProfileNotFound | Reason::ResourceNotFound) => {
            step.hinting(of_resource(source, reason))
        }
        Reason::RequestInvalid => step.hinting(of_validation(source)),
        Reason::Throttled => step.hinting(of_throttling(source, failure)),
        _ => step,
    }
}

/// The headline of failures that are no refusal: of the network, of a file, of this host.
const NO_CREDENTIALS: &str = "no credentials";

/// What CreateSession's failure means, in a few words.
fn headline(reason: Reason) -> &'static str {
    match reason {
        Reason::ForeignAnswer | Reason::ForeignThrottled | Reason::RequestTooLarge => {
            "the call did not reach AWS"
        }
        Reason::RoleRefused => "the role's trust policy does not allow this certificate",
        Reason::UntrustedCertificate => "the certificate does not chain to the trust anchor",
        Reason::SessionNameRefused => "the profile does not accept a role session name",
        Reason::SignatureRefused => "the signature is not accepted",
        Reason::TrustAnchorNotFound | Reason::ProfileNotFound | Reason::ResourceNotFound => {
            "trust anchor or profile not found"
        }
        Reason::RequestInvalid => "AWS rejected a value of the request",
        Reason::Throttled => "AWS throttles calls",
        Reason::AccessDenied | Reason::Refused => "AWS refuses the call",
        _ => NO_CREDENTIALS,
    }
}

fn of_role(source: &CreateSession) -> String {
    format!(
        "add the suggested statement to the trust policy of {}, or check why its conditions do not match this \
         certificate; also check that {} lists the role",
        source.role.as_str(),
        source.profile.as_str()
    )
}

/// The statement that allows this certificate's subject through this trust anchor.
fn trust_policy_statement(source: &CreateSession, sent: &Sent) -> Value {
    let mut condition = json!({ "ArnEquals": { "aws:SourceArn": source.trust_anchor.as_str() } });
    let keys = condition_keys(sent);
    let name = "aws:PrincipalTag/x509Subject/CN";
    if let Some(common_name) = keys.get(name) {
        condition["StringEquals"] = json!({ name: common_name });
    }
    json!({
        "Effect": "Allow",
        "Principal": { "Service": "rolesanywhere.amazonaws.com" },
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        "Condition": condition,
    })
}

/// The attributes of the leaf that Roles Anywhere makes tags of (user guide, trust model).
fn condition_keys(sent: &Sent) -> Map<String, Value> {
    let mut keys = Map::new();
    let directory_name = sent.names.iter().find_map(|name| match name {
        AlternativeName::Directory(attributes) => Some(attributes.clone()),
        _ => None,
    });
    let names = [
        ("x509Subject", sent.subject.parse::<NameAttributes>().ok()),
        ("x509Issuer", sent.issuer.parse().ok()),
        ("x509SAN/Name", directory_name),
    ];
    // Of several with one name the first is enough to see what is meant.
    for (kind, attributes) in &names {
        for (attribute, value) in attributes.iter().flat_map(NameAttributes::iter) {
            keys.entry(format!("aws:PrincipalTag/{kind}/{attribute}")).or_insert_with(|| value.into());
        }
    }
    for name in &sent.names {
        let (kind, value) = match name {
            AlternativeName::Dns(name) => ("DNS", name),
            AlternativeName::Uri(uri) => ("URI", uri),
            AlternativeName::Email(_) | AlternativeName::Directory(_) => continue,
        };
        keys.entry(format!("aws:PrincipalTag/x509SAN/{kind}")).or_insert_with(|| value.as_str().into());
    }
    keys
}

fn of_chain(source: &CreateSession, sent: &Sent) -> String {
    let intermediates: Vec<_> = sent.intermediates.iter().map(|name| format!("`{name}`")).collect();
    let issued = match intermediates.as_slice() {
        [] => format!("the leaf `{}`, issued by {}, was sent alone", sent.subject, sent.ends_at),
        intermediates => format!(
            "the leaf `{}` was sent with {}; the chain ends at {}",
            sent.subject,
            intermediates.join(", "),
            sent.ends_at
        ),
    };
    format!(
        "{issued}: {} must contain that CA's certificate with the same key; otherwise set `intermediates` to the \
         certificates in between, or check whether the leaf is on a CRL that was imported into Roles Anywhere",
        source.trust_anchor.as_str()
    )
}

fn of_session_name(source: &CreateSession, session: &str) -> String {
    format!(
        "remove `role_session_name` (now `{}`) from session `{}`, or have {} accept it: \
         aws rolesanywhere update-profile --accept-role-session-name",
        source.role_session_name.as_deref().unwrap_or_default(),
        session,
        source.profile.as_str()
    )
}

fn of_signature(source: &CreateSession) -> String {
    let target = match &source.endpoint {
        Some(endpoint) => format!("{endpoint} (from `endpoint`), which must belong to that Region"),
        None => "that Region's usual endpoint".to_owned(),
    };
    format!(
        "key and leaf belong together (see above), so something else differs: the request is signed for {} and sent to \
         {target}; a proxy may change headers or the host; check this host's clock above",
        source.region
    )
}

fn of_resource(source: &CreateSession, reason: Reason) -> String {
    let (anchor, profile) = (source.trust_anchor.as_str(), source.profile.as_str());
    let which = match reason {
        Reason::TrustAnchorNotFound => anchor.to_owned(),
        Reason::ProfileNotFound => profile.to_owned(),
        _ => format!("{anchor} and {profile}"),
    };
    format!(
        "compare {which} with what Roles Anywhere shows in {} of account {}, and check that it is enabled there",
        source.region,
        source.trust_anchor.account_id()
    )
}

fn of_validation(source: &CreateSession) -> String {
    format!(
        "`duration` is {} s: the role's maximum session duration (MaxSessionDuration of {}) must allow it; \
         {} may also demand instance properties, which anchord does not send",
        source.duration.as_secs(),
        source.role.as_str(),
        source.profile.as_str()
    )
}

fn of_throttling(source: &CreateSession, failure: &Failure) -> String {
    let wait = failure.retry_after().map_or(60, |wait| wait.as_secs());
    format!(
        "wait {wait} s and try again; account {} may make ten CreateSession calls a second in {}, and there are limits \
         for each certificate and address: find the other programs that call",
        source.trust_anchor.account_id(),
        source.region
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchord_core::failure::Class;

    /// Reasons that only calls of STS and of Bedrock have.
    const OF_OTHER_CALLS: &[Reason] = &[
        Reason::SignatureExpired,
        Reason::NotAuthorized,
        Reason::ExplicitDeny,
        Reason::ModelNotEnabled,
        Reason::KeysUnknown,
        Reason::CredentialsExpired,
    ];

    #[test]
    fn each_refusal_of_create_session_has_a_headline_of_its_own() {
        for reason in Reason::ALL {
            let is_refusal = matches!(reason.class(), Class::Denied | Class::Throttled);
            if is_refusal && !OF_OTHER_CALLS.contains(reason) {
                assert_ne!(headline(*reason), NO_CREDENTIALS, "{reason}");
            }
        }
    }

    #[test]
    fn conditions_may_name_what_roles_anywhere_makes_tags_of() {
        let sent = Sent {
            subject: "CN=robot-7,O=Acme\\, Inc,O=Other".into(),
            issuer: "CN=Issuing CA".into(),
            names: vec![
                AlternativeName::Email("a@b.example".into()),
                AlternativeName::Directory("CN=Robot,O=Acme".parse().unwrap()),
                AlternativeName::Dns("robot-7.example".into()),
                AlternativeName::Uri("spiffe://acme/r".into()),
            ],
            ..Sent::default()
        };

        let expected = json!({
            "aws:PrincipalTag/x509Subject/CN": "robot-7",
            "aws:PrincipalTag/x509Subject/O": "Acme, Inc",
            "aws:PrincipalTag/x509Issuer/CN": "Issuing CA",
            "aws:PrincipalTag/x509SAN/Name/CN": "Robot",
            "aws:PrincipalTag/x509SAN/Name/O": "Acme",
            "aws:PrincipalTag/x509SAN/DNS": "robot-7.example",
            "aws:PrincipalTag/x509SAN/URI": "spiffe://acme/r",
        });
        assert_eq!(Value::Object(condition_keys(&sent)), expected);
    }
}
