//! AWS's refusals of CreateSession and of STS's calls. Only this table interprets their words; those of Bedrock's
//! refusals have their own, in `bedrock/refusal.rs`.
//!
//! Types and messages are those of the CreateSession API and of the field (Roles Anywhere user guide,
//! "troubleshooting"), and of the STS API reference ("Common Errors", and the errors of each operation).

use http::StatusCode;

use super::Operation;
use super::foreign;
use anchord_core::failure::Reason;
use anchord_core::text::Part;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// What a refusal means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusalMeaning {
    pub(super) reason: Reason,
    /// What to do.
    pub(super) hint: Option<Text>,
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
    hint: &'static [Part<'static>],
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

#[rustfmt::skip]
const TRUST_POLICY: &[Part<'static>] =
    &[Say("the role's trust policy must allow sts:AssumeRole to the ARN that AWS names (sts:TagSession for tags, sts:SetSourceIdentity for a source identity), its conditions ("), Key("external_id"), Say(", tags, source identity) must match, and the caller's own policy must allow sts:AssumeRole on the role")];

/// The first row that matches counts.
#[rustfmt::skip]
const REFUSALS: &[Row] = &[
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["untrusted signing certificate"],
        reason: Reason::UntrustedCertificate,
        hint: &[Say("the leaf does not chain to the trust anchor: give the missing intermediates, name the right trust anchor, or check whether the leaf was revoked or lacks an extension that Roles Anywhere requires (`anchord certificate show`)")],
    },
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["rolesessionname", "role session name"],
        reason: Reason::SessionNameRefused,
        hint: &[Say("remove "), Key("role_session_name"), Say(", or let the profile accept it (acceptRoleSessionName)")],
    },
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["unable to assume role"],
        reason: Reason::RoleRefused,
        hint: &[Say("the role's trust policy refuses: it must allow rolesanywhere.amazonaws.com sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity, and its conditions (aws:SourceArn, certificate attributes) must match; the profile must list the role")],
    },
    Row {
        of: CREATE_SESSION,
        kinds: &[""],
        says: &["invalid signature"],
        reason: Reason::SignatureRefused,
        hint: &[Say("key and leaf match; check the Region (the trust anchor's), a proxy that rewrites headers, and this host's clock")],
    },
    Row {
        of: CREATE_SESSION,
        kinds: &["ResourceNotFound"],
        says: &[""],
        reason: Reason::ResourceNotFound,
        hint: &[Say("the trust anchor or profile does not exist in this Region, or is disabled: compare the ARNs and "), Key("roles_anywhere_region")],
    },
    Row {
        of: CREATE_SESSION,
        kinds: &["Validation"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: &[Say("compare the ARNs and "), Key("duration"), Say(" with what the profile and the role's maximum session duration allow")],
    },
    Row {
        of: CREATE_SESSION,
        kinds: &["AccessDenied"],
        says: &[""],
        reason: Reason::AccessDenied,
        hint: &[Say("make sure that the profile lists the role, the role trusts the trust anchor, and profile and trust anchor are enabled")],
    },
    Row {
        of: STS,
        kinds: &["InvalidClientTokenId", "UnrecognizedClientException"],
        says: &[""],
        reason: Reason::KeysUnknown,
        hint: &[Say("AWS does not know these keys: check whether they were deleted or deactivated, and whether "), Key("sts_region"), Say(" is in their partition (China, GovCloud)")],
    },
    Row {
        of: STS,
        kinds: &["RequestExpired"],
        says: &[""],
        reason: Reason::SignatureExpired,
        hint: &[Say("the request's date is too far from AWS's time: check this host's clock")],
    },
    Row {
        of: STS,
        kinds: &["SignatureDoesNotMatch"],
        says: &["signature expired", "not yet current"],
        reason: Reason::SignatureExpired,
        hint: &[Say("the request's date is too far from AWS's time: check this host's clock")],
    },
    Row {
        of: STS,
        kinds: &["SignatureDoesNotMatch"],
        says: &["scoped"],
        reason: Reason::SignatureRefused,
        hint: &[Say("the call was signed for another Region than the endpoint's: check "), Key("sts_region"), Say(" and "), Key("sts_endpoint")],
    },
    Row {
        of: STS,
        kinds: &["SignatureDoesNotMatch", "IncompleteSignature"],
        says: &[""],
        reason: Reason::SignatureRefused,
        hint: &[Say("check whether the secret access key belongs to the access key ID, and whether a proxy rewrites requests")],
    },
    Row {
        of: STS,
        kinds: &["ExpiredToken"],
        says: &[""],
        reason: Reason::CredentialsExpired,
        hint: &[Say("the credentials that made the call have expired: check this host's clock")],
    },
    Row {
        of: STS,
        kinds: &["OptInRequired"],
        says: &[""],
        reason: Reason::Refused,
        hint: &[Say("the account is not active, or not signed up for STS: check its billing")],
    },
    Row {
        of: STS,
        kinds: &["RegionDisabled"],
        says: &[""],
        reason: Reason::Refused,
        hint: &[Say("STS is not activated in that Region: activate it (IAM console, account settings), or set "), Key("sts_region"), Say(" to another one")],
    },
    Row {
        of: STS,
        kinds: &["PackedPolicyTooLarge"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: &[Say("session policy and tags together exceed AWS's packed size limit: shorten the policy, put parts of it into managed policies, or send fewer tags")],
    },
    Row {
        of: STS,
        kinds: &["MalformedPolicyDocument"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: &[Say("AWS cannot parse the session policy: check its JSON and policy grammar")],
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["session credentials"],
        reason: Reason::AccessDenied,
        hint: &[Say("temporary keys cannot be used here: use a user's access keys (AKIA…)")],
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["root account", "assumed by root"],
        reason: Reason::AccessDenied,
        hint: &[Say("the keys of an account's root cannot assume roles: use a user's access keys")],
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["explicit deny"],
        reason: Reason::ExplicitDeny,
        hint: &[Say("an explicit deny overrides every allow: change the policy that contains it (the user's or role's, the session's, or the organization's)")],
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["sts:tagsession"],
        reason: Reason::RoleRefused,
        hint: &[Say("the role's trust policy, and the caller's own policy, must allow sts:TagSession besides sts:AssumeRole; or send no tags")],
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["sts:setsourceidentity"],
        reason: Reason::RoleRefused,
        hint: &[Say("the role's trust policy, and the caller's own policy, must allow sts:SetSourceIdentity besides sts:AssumeRole; a source identity that is set cannot be changed further along a chain")],
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &["multi-factor", "mfa"],
        reason: Reason::AccessDenied,
        hint: &[Say("a policy requires multi-factor authentication, which a daemon cannot do: exempt this user")],
    },
    Row {
        of: ASSUME_ROLE,
        kinds: &["AccessDenied"],
        says: &["not authorized to perform"],
        reason: Reason::RoleRefused,
        hint: TRUST_POLICY,
    },
    Row {
        of: ASSUME_ROLE,
        kinds: &["AccessDenied"],
        says: &[""],
        reason: Reason::AccessDenied,
        hint: TRUST_POLICY,
    },
    Row {
        of: STS,
        kinds: &["AccessDenied"],
        says: &[""],
        reason: Reason::AccessDenied,
        hint: &[Say("check the policies of the user and of its organization")],
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["role chaining"],
        reason: Reason::RequestInvalid,
        hint: &[Say("if a role assumes a role, the credentials live for an hour at most: make its "), Key("duration"), Say(" 1h or less")],
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["maxsessionduration"],
        reason: Reason::RequestInvalid,
        hint: &[Say("make "), Key("duration"), Say(" shorter, or raise the role's maximum session duration (IAM, MaxSessionDuration)")],
    },
    Row {
        of: GET_SESSION_TOKEN,
        kinds: &["Validation", "InvalidParameter"],
        says: &["durationseconds"],
        reason: Reason::RequestInvalid,
        hint: &[Key("duration"), Say(" may be 15 minutes to 36 hours; with the keys of an account's root, at most an hour")],
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["durationseconds"],
        reason: Reason::RequestInvalid,
        hint: &[Key("duration"), Say(" may be 15 minutes to 12 hours; if a role assumes the role, at most an hour")],
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["transitive"],
        reason: Reason::RequestInvalid,
        hint: &[Say("a transitive tag of an earlier step cannot be set again: leave it out here")],
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &["tag"],
        reason: Reason::RequestInvalid,
        hint: &[Say("AWS accepts up to 50 tags, keys of 1 to 128 characters and values of up to 256, and each key once")],
    },
    Row {
        of: STS,
        kinds: &["Validation", "InvalidParameter"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: &[Say("AWS names the value that it does not accept: compare it with the settings")],
    },
];

/// What a refusal with this status, type and message means. The type is `-` if the answer has none.
pub(super) fn of(operation: Operation, status: StatusCode, kind: &str, message: &str) -> RefusalMeaning {
    let words = message.to_ascii_lowercase();
    let row = REFUSALS.iter().find(|row| row.matches(operation, kind, &words));
    let hint = match row {
        _ if is_about_size(status, kind) => Some(foreign::TOO_LARGE.into()),
        Some(row) => Some(row.hint.into()),
        None => (kind == "-").then(|| foreign::UNTYPED.into()),
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

/// Whether the request was too large for what answered: AWS itself would name a type.
pub(super) fn is_about_size(status: StatusCode, kind: &str) -> bool {
    kind == "-" && foreign::is_about_size(status)
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

                assert_eq!(refusal.hint, Some(row.hint.into()), "{kind}: {says}");
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
