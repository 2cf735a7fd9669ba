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
use anchord_identity::NameAttributes;

/// The failed step for a `failure` of CreateSession.
pub(super) fn create_session(call: &CreateSessionCall, sent: &Sent, failure: &Failure) -> Step {
    let (subject, source) = (&call.subject, &call.asked);
    let refused = |what: &str, hint: String| subject.failed(what, failure).hinting(hint);
    match failure.reason() {
        Reason::ForeignAnswer | Reason::ForeignThrottled | Reason::RequestTooLarge => {
            subject.failed("the call did not reach AWS", failure)
        }
        Reason::RoleRefused => {
            refused("the role's trust policy does not allow this certificate", of_role(source))
                .suggesting("trust_policy_statement", trust_policy_statement(source, sent))
                .suggesting("conditions_may_name", Value::Object(condition_keys(sent)))
        }
        Reason::UntrustedCertificate => {
            refused("the certificate does not chain to the trust anchor", of_chain(source, sent))
        }
        Reason::SessionNameRefused => refused(
            "the profile does not accept a role session name",
            of_session_name(source, &call.session.name),
        ),
        Reason::SignatureRefused => refused("the signature is not accepted", of_signature(source)),
        reason @ (Reason::TrustAnchorNotFound | Reason::ProfileNotFound | Reason::ResourceNotFound) => {
            refused("trust anchor or profile not found", of_resource(source, reason))
        }
        Reason::RequestInvalid => refused("AWS rejected a value of the request", of_validation(source)),
        Reason::Throttled => refused("AWS throttles calls", of_throttling(source, failure)),
        _ => subject.failed("no credentials", failure),
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
    let name = sent.names.iter().find_map(|name| name.strip_prefix("Name:"));
    let names = [
        ("x509Subject", &*sent.subject),
        ("x509Issuer", &sent.issuer),
        ("x509SAN/Name", name.unwrap_or_default()),
    ];
    for (kind, name) in names {
        let attributes = name.parse::<NameAttributes>().ok();
        for (attribute, value) in attributes.iter().flat_map(NameAttributes::iter) {
            // Of several with one name the first is enough to see what is meant.
            keys.entry(format!("aws:PrincipalTag/{kind}/{attribute}")).or_insert_with(|| value.into());
        }
    }
    for (kind, prefix) in [("DNS", "DNS:"), ("URI", "URI:")] {
        let found = sent.names.iter().find_map(|name| name.strip_prefix(prefix));
        if let Some(found) = found {
            keys.insert(format!("aws:PrincipalTag/x509SAN/{kind}"), found.into());
        }
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

    #[test]
    fn conditions_may_name_what_roles_anywhere_makes_tags_of() {
        let sent = Sent {
            subject: "CN=robot-7,O=Acme\\, Inc,O=Other".into(),
            issuer: "CN=Issuing CA".into(),
            names: vec![
                "email:a@b.example".into(),
                "Name:CN=Robot,O=Acme".into(),
                "DNS:robot-7.example".into(),
                "URI:spiffe://acme/r".into(),
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
