//! What STS's refusals mean (AWS STS API reference: "Common Errors", and the errors of each operation).

use super::Operation;

/// What to do; `message` in lower case.
pub(super) fn hint(operation: Operation, kind: &str, message: &str) -> Option<&'static str> {
    let hint = match kind {
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "these keys do not exist here: see whether they were deleted or deactivated, and whether `sts_region` is of their partition (China, GovCloud)"
        }
        "RequestExpired" => "AWS takes the request for too old or too new: check this host's clock",
        "SignatureDoesNotMatch"
            if message.contains("signature expired") || message.contains("not yet current") =>
        {
            "AWS takes the request for too old or too new: check this host's clock"
        }
        "SignatureDoesNotMatch" if message.contains("scoped") => {
            "the call was signed for another Region than the endpoint's: see `sts_region` and `sts_endpoint`"
        }
        "SignatureDoesNotMatch" | "IncompleteSignature" => {
            "see whether the secret access key belongs to the access key ID, and whether a proxy on the way rewrites requests"
        }
        "ExpiredToken" | "ExpiredTokenException" => {
            "the credentials that made the call have ended: check this host's clock"
        }
        "OptInRequired" => "the account is not active, or not signed up for STS: see its billing",
        "RegionDisabledException" => {
            "STS is not activated in that Region: activate it (IAM console, account settings), or set `sts_region` to another one"
        }
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => {
            "session policy and tags are too large together once AWS has packed them: shorten the policy, put parts of it into managed policies, or send fewer tags"
        }
        "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => {
            "the session policy is not one that AWS understands: see its JSON and its grammar"
        }
        _ if kind.starts_with("AccessDenied") => return Some(denied(operation, message)),
        _ if kind.starts_with("Validation") || kind.starts_with("InvalidParameter") => {
            return Some(invalid(operation, message));
        }
        _ => return None,
    };
    Some(hint)
}

fn denied(operation: Operation, message: &str) -> &'static str {
    if message.contains("session credentials") {
        "temporary keys cannot be used here: give a user's own, AKIA…"
    } else if message.contains("root account") || message.contains("assumed by root") {
        "roles may not be assumed with the keys of an account's root: give those of a user"
    } else if message.contains("sts:tagsession") {
        "the role's trust policy, and the caller's own policy, must allow sts:TagSession besides sts:AssumeRole; or send no tags"
    } else if message.contains("sts:setsourceidentity") {
        "the role's trust policy, and the caller's own policy, must allow sts:SetSourceIdentity besides sts:AssumeRole; a source identity that is set cannot be changed further along a chain"
    } else if message.contains("multi-factor") || message.contains("mfa") {
        "a policy demands multi-factor authentication, which a daemon does not have: exempt this user"
    } else if operation == Operation::AssumeRole {
        "the role's trust policy must allow sts:AssumeRole to the ARN that AWS names (sts:TagSession for tags, sts:SetSourceIdentity for a source identity), its conditions (`external_id`, tags, source identity) must match, and the caller's own policy must allow sts:AssumeRole on the role"
    } else {
        "see the policies of the user and of its organisation"
    }
}

fn invalid(operation: Operation, message: &str) -> &'static str {
    if message.contains("role chaining") {
        "credentials of a role that is assumed by a role live for an hour at most: make its `duration` 1h or less"
    } else if message.contains("maxsessionduration") {
        "make `duration` shorter, or raise the role's maximum session duration (IAM, MaxSessionDuration)"
    } else if message.contains("durationseconds") && operation == Operation::GetSessionToken {
        "`duration` may be 15 minutes to 36 hours; an hour at most with the keys of an account's root"
    } else if message.contains("durationseconds") {
        "`duration` may be 15 minutes to 12 hours; an hour at most where a role assumes the role"
    } else if message.contains("transitive") {
        "a transitive tag of an earlier step cannot be set again: leave it out here"
    } else if message.contains("tag") {
        "AWS takes up to 50 tags, keys of 1 to 128 characters and values of up to 256, and no key twice"
    } else {
        "AWS names the value that it does not take: compare it with the settings"
    }
}
