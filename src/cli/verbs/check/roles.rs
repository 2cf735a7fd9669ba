//! Explains why a role of a chain cannot be assumed.

use serde_json::Value;
use serde_json::json;

use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_aws::upstream::AssumeRole;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// The principal that assumes a role.
pub(super) struct Principal {
    /// The ARN of the role or user, if known.
    pub(super) arn: Option<String>,
    /// Whether the chain began with a certificate. Its name continues as the source identity.
    pub(super) is_certified: bool,
}

/// The failed step for AWS's refusal.
pub(super) fn refused(
    subject: &Subject,
    step: &AssumeRole,
    principal: &Principal,
    failure: &Failure,
) -> Step {
    let found = format!("{} could not be assumed", step.role.as_str());
    let failed = subject.failed(found, failure);
    let Some(arn) = principal.arn.as_ref().filter(|_| failure.reason() == Reason::RoleRefused) else {
        return failed;
    };
    let hint = format!(
        "add the suggested statements to the trust policy of {} and to a policy of {arn}, or check why the existing \
         statements do not apply",
        step.role.as_str()
    );
    failed
        .hinting(hint)
        .suggesting("trust_policy_statement", trust_policy_statement(step, principal, arn))
        .suggesting("callers_policy_statement", policy_statement(step, principal))
}

fn actions(step: &AssumeRole, principal: &Principal) -> Vec<&'static str> {
    let mut actions = vec!["sts:AssumeRole"];
    // A certificate's session carries tags and a source identity, which each later role must allow.
    if principal.is_certified || !step.tags.is_empty() {
        actions.push("sts:TagSession");
    }
    if principal.is_certified || step.source_identity.is_some() {
        actions.push("sts:SetSourceIdentity");
    }
    actions
}

fn trust_policy_statement(step: &AssumeRole, principal: &Principal, arn: &str) -> Value {
    let mut statement = json!({
        "Effect": "Allow",
        "Principal": { "AWS": arn },
        "Action": actions(step, principal),
    });
    if let Some(external_id) = &step.external_id {
        statement["Condition"] = json!({ "StringEquals": { "sts:ExternalId": external_id } });
    }
    statement
}

fn policy_statement(step: &AssumeRole, principal: &Principal) -> Value {
    json!({ "Effect": "Allow", "Action": actions(step, principal), "Resource": step.role.as_str() })
}
