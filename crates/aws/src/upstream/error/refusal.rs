//! AWS's refusals of CreateSession and of STS's calls. No other code interprets AWS's words.
//!
//! Types and messages are those of the CreateSession API and of the field (Roles Anywhere user guide,
//! "troubleshooting"), and of the STS API reference ("Common Errors", and the errors of each operation).

use http::StatusCode;

use super::Operation;
use super::foreign;
use anchord_core::failure::Reason;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefusalMeaning {
    pub(super) reason: Reason,
    /// What to do.
    pub(super) hint: Option<&'static str>,
}

/// One kind of refusal.
struct Row {
    /// The operations that are refused in this way.
    of: &'static [Operation],
    /// AWS's type begins with one of these.
    kinds: &'static [&'static str],
    /// AWS's message, in lower case, contains one of these.
    says: &'static [&'static str],
    reason: Reason,
    hint: &'static str,
}

impl Row {
    /// `words` is the message in lower case.
    fn matches(&self, operation: Operation, kind: &str, words: &str) -> bool {
        self.of.contains(&operation)
            && self.kinds.iter().any(|begin| kind.starts_with(begin))
            && self.says.iter().any(|part| words.contains(part))
    }
}

const CREATE_SESSION: &[Operation] = &[Operation::CreateSession];
const STS: &[Operation] = &[Operation::AssumeRole, Operation::GetSessionToken, Operation::GetCallerIdentity];
const ASSUME_ROLE: &[Operation] = &[Operation::AssumeRole];
const GET_SESSION_TOKEN: &[Operation] = &[Operation::GetSessionToken];

/// The first row that matches counts.
#[rustfmt::skip]
const REFUSALS: &[Row] = &[
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["untrusted signing certificate"],
        reason: Reason::UntrustedCertificate,
        hint: "the leaf does not lead to the trust anchor: give the missing intermediates, name the right trust anchor, or check whether the leaf was revoked or lacks what AWS's guide demands (`anchord certificate show`)",
    },
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["rolesessionname", "role session name"],
        reason: Reason::SessionNameRefused,
        hint: "remove `role_session_name`, or let the profile accept it (acceptRoleSessionName)",
    },
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["unable to assume role"],
        reason: Reason::RoleRefused,
        hint: "the role's trust policy refuses: it must allow rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity, and its conditions (aws:SourceArn, certificate attributes) must match; the profile must list the role",
    },
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["invalid signature"],
        reason: Reason::SignatureRefused,
        hint: "key and leaf match, so look at the Region (the trust anchor's), a proxy that rewrites headers, and this host's clock",
    },
    Row {
        of: CREATE_SESSION,
        kinds: &["ResourceNotFound"],
        says: &[""],
        reason: Reason::ResourceNotFound,
        hint: "the trust anchor or profile does not exist in this Region, or is disabled: compare the ARNs and `roles_anywhere_region`",
    },
    Row {
        of: CREATE_SESSION,
        kinds: &["Validation"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: "compare the ARNs and `duration` with what the profile and the role's maximum session duration allow",
    },
    Row {
        of: CREATE_SESSION,
        kinds: &["AccessDenied"],
        says: &[""],
        reason: Reason::AccessDenied,
        hint: "make sure that the profile lists the role, the role trusts the trust anchor, and profile and trust anchor are enabled",
    },
    Row {
        of: STS,
        kinds: &["InvalidClientTokenId", "UnrecognizedClientException"],
        says: &[""],
        reason: Reason::KeysUnknown,
        hint: "AWS does not know these keys: check whether they were deleted or deactivated, and whether `sts_region` is in their partition (China, GovCloud)",
    },
    Row {
        of: STS,
        kinds: &["RequestExpired"],
        says: &[""],
        reason: Reason::SignatureExpired,
        hint: "AWS finds the request too old or too new: check this host's clock",
    },
    Row {
        of: STS,
        kinds: &["SignatureDoesNotMatch"],
        says: &["signature expired", "not yet current"],
        reason: Reason::SignatureExpired,
        hint: "AWS finds the request too old or too new: check this host's clock",
    },
    Row {
        of: STS,
        kinds: &["SignatureDoesNotMatch"],
        says: &["scoped"],
        reason: Reason::SignatureRefused,
        hint: "the call was signed for another Region than the endpoint's: see `sts_region` and `sts_endpoint`",
    },
    Row {
        of: STS,
        kinds: &["SignatureDoesNotMatch", "IncompleteSignature"],
        says: &[""],
        reason: Reason::SignatureRefused,
        hint: "check whether the secret access key belongs to the access key ID, and whether a proxy on the way rewrites requests",
    },
    Row {
        of: STS,
        kinds: &["ExpiredToken"],
        says: &[""],
        reason: Reason::CredentialsExpired,
        hint: "the credentials that made the call have expired: check this host's clock",
    },
    Row {
        of: STS,
        kinds: &["OptInRequired"],
        says: &[""],
        reason: Reason::Refused,
        hint: "the account is not active, or not signed up for STS: see its billing",
    },
    Row {
        of: STS,
        kinds: &["RegionDisabled"],
        says: &[""],
        reason: Reason::Refused,
        hint: "STS is not activated in that Region: activate it (IAM console, account settings), or set `sts_region` to another one",
    },
    Row {
        of: STS,
        kinds: &["PackedPolicyTooLarge"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: "session policy and tags are too large together once AWS has packed them: shorten the policy, put parts of it into managed policies, or send fewer tags",
    },
    Row {
        of: STS,
        kinds: &["MalformedPolicyDocument"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: "the session policy is not one that AWS understands: see its JSON and its grammar",
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["session credentials"],
        reason: Reason::AccessDenied,
        hint: "temporary keys cannot be used here: give a user's own, AKIA…",
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["root account", "assumed by root"],
        reason: Reason::AccessDenied,
        hint: "the keys of an account's root cannot assume roles: give those of a user",
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["sts:tagsession"],
        reason: Reason::RoleRefused,
        hint: "the role's trust policy, and the caller's own policy, must allow sts:TagSession besides sts:AssumeRole; or send no tags",
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["sts:setsourceidentity"],
        reason: Reason::RoleRefused,
        hint: "the role's trust policy, and the caller's own policy, must allow sts:SetSourceIdentity besides sts:AssumeRole; a source identity that is set cannot be changed further along a chain",
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["multi-factor", "mfa"],
        reason: Reason::AccessDenied,
        hint: "a policy requires multi-factor authentication, which a daemon cannot do: exempt this user",
    },
    Row {
        of: ASSUME_ROLE,
        kinds: &["AccessDenied"],
        says: &[""],
        reason: Reason::RoleRefused,
        hint: "the role's trust policy must allow sts:AssumeRole to the ARN that AWS names (sts:TagSession for tags, sts:SetSourceIdentity for a source identity), its conditions (`external_id`, tags, source identity) must match, and the caller's own policy must allow sts:AssumeRole on the role",
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &[""],
        reason: Reason::AccessDenied,
        hint: "check the policies of the user and of its organisation",
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["role chaining"],
        reason: Reason::RequestInvalid,
        hint: "if a role assumes a role, the credentials live for an hour at most: make its `duration` 1h or less",
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["maxsessionduration"],
        reason: Reason::RequestInvalid,
        hint: "make `duration` shorter, or raise the role's maximum session duration (IAM, MaxSessionDuration)",
    },
    Row {
        of: GET_SESSION_TOKEN,
        kinds: &["Validation", "InvalidParameter"],
        says: &["durationseconds"],
        reason: Reason::RequestInvalid,
        hint: "`duration` may be 15 minutes to 36 hours; with the keys of an account's root, at most an hour",
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["durationseconds"],
        reason: Reason::RequestInvalid,
        hint: "`duration` may be 15 minutes to 12 hours; if a role assumes the role, at most an hour",
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["transitive"],
        reason: Reason::RequestInvalid,
        hint: "a transitive tag of an earlier step cannot be set again: leave it out here",
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["tag"],
        reason: Reason::RequestInvalid,
        hint: "AWS accepts up to 50 tags, keys of 1 to 128 characters and values of up to 256, and each key once",
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: "AWS names the value that it does not accept: compare it with the settings",
    },
];

const NAMELESS: &str =
    "AWS names a type in each refusal: check whether a proxy or portal on the way answers in its place";

/// What a refusal with this status, type and message means. The type is `-` if the answer has none.
pub(super) fn of(operation: Operation, status: StatusCode, kind: &str, message: &str) -> RefusalMeaning {
    let words = message.to_ascii_lowercase();
    let row = REFUSALS.iter().find(|row| row.matches(operation, kind, &words));
    let hint = match row {
        _ if kind == "-" && foreign::is_about_size(status) => Some(foreign::TOO_LARGE),
        Some(row) => Some(row.hint),
        None => (kind == "-").then_some(NAMELESS),
    };
    let reason = if is_throttled(status, kind, message) {
        Reason::Throttled
    } else if status == StatusCode::REQUEST_TIMEOUT || !status.is_client_error() {
        // Redirects too: AWS sends none, so a proxy or portal on the network path is not ready.
        Reason::AwsUnavailable
    } else {
        match row.map(|row| row.reason) {
            Some(Reason::ResourceNotFound) => not_found(&words),
            Some(reason) => reason,
            None => Reason::Refused,
        }
    };
    RefusalMeaning { reason, hint }
}

fn is_throttled(status: StatusCode, kind: &str, message: &str) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || ["Throttl", "TooManyRequests", "RequestLimitExceeded"].iter().any(|begin| kind.starts_with(begin))
        || message.contains("Rate exceeded")
}

/// Which resource Roles Anywhere did not find, if its message says so.
fn not_found(words: &str) -> Reason {
    match (words.contains("anchor"), words.contains("profile")) {
        (true, false) => Reason::TrustAnchorNotFound,
        (false, true) => Reason::ProfileNotFound,
        _ => Reason::ResourceNotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_found_by_each_of_its_words() {
        for row in REFUSALS {
            for (kind, says) in
                row.kinds.iter().flat_map(|kind| row.says.iter().map(move |says| (kind, says)))
            {
                let refusal = of(*row.of.last().unwrap(), StatusCode::FORBIDDEN, kind, &says.to_uppercase());

                assert_eq!(refusal.hint, Some(row.hint), "{kind}: {says}");
            }
        }
    }

    #[test]
    fn the_reason_tells_what_was_refused() {
        let cases = [
            (403, "AccessDeniedException", "Unable to assume role for arn", Reason::RoleRefused),
            (404, "ResourceNotFoundException", "TrustAnchor not found", Reason::TrustAnchorNotFound),
            (404, "ResourceNotFoundException", "Profile not found", Reason::ProfileNotFound),
            (404, "ResourceNotFoundException", "", Reason::ResourceNotFound),
            (400, "TooManyRequestsException", "", Reason::Throttled),
            (400, "RequestLimitExceeded", "", Reason::Throttled),
            (403, "SomethingNew", "", Reason::Refused),
            (503, "ServiceUnavailable", "", Reason::AwsUnavailable),
        ];
        for (status, kind, message, reason) in cases {
            let status = StatusCode::from_u16(status).unwrap();

            assert_eq!(
                of(Operation::CreateSession, status, kind, message).reason,
                reason,
                "{kind}: {message}"
            );
        }
    }
}
