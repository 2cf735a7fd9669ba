//! What a refusal of Bedrock means, and what a person can do about it.
//!
//! Types and messages are those of the runtime's API reference and of the field (Bedrock user guide,
//! "troubleshooting").

use http::StatusCode;

use crate::upstream::UNTYPED;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// One kind of refusal.
struct Row {
    /// Bedrock's type begins with one of these.
    kinds: &'static [&'static str],
    /// Bedrock's message, in lower case, contains one of these.
    says: &'static [&'static str],
    reason: Reason,
    hint: &'static str,
}

/// The first row that matches counts.
#[rustfmt::skip]
const REFUSALS: &[Row] = &[
    Row {
        kinds: &["ModelNotReadyException"],
        says: &[""],
        reason: Reason::AwsUnavailable,
        hint: "the model is being loaded: try again in a minute or two; `bedrock invoke --retries` repeats a call",
    },
    Row {
        kinds: &["ModelTimeoutException"],
        says: &[""],
        reason: Reason::AwsUnavailable,
        hint: "the model took too long: ask for fewer tokens, or use `bedrock invoke --stream`",
    },
    Row {
        kinds: &["ModelErrorException", "ModelStreamErrorException"],
        says: &[""],
        reason: Reason::AwsUnavailable,
        hint: "the model itself failed: try again, or check the request",
    },
    Row {
        kinds: &["InternalServerException", "InternalFailure", "ServiceUnavailable"],
        says: &[""],
        reason: Reason::AwsUnavailable,
        hint: "Bedrock has a problem: try again later; `bedrock invoke --retries` repeats a call",
    },
    Row {
        kinds: &["ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"],
        says: &[""],
        reason: Reason::Throttled,
        hint: LESS,
    },
    Row {
        kinds: &[""],
        says: &["rate exceeded"],
        reason: Reason::Throttled,
        hint: LESS,
    },
    Row {
        kinds: &["ServiceQuotaExceededException"],
        says: &[""],
        reason: Reason::Refused,
        hint: "have the quota raised in the Service Quotas console",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["explicit deny in a service control policy"],
        reason: Reason::ExplicitDeny,
        hint: SERVICE_CONTROL_POLICY,
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["explicit deny"],
        reason: Reason::ExplicitDeny,
        hint: "an explicit deny overrides every allow: change the policy that contains it (the role's, the session's, or the organization's)",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["service control policy"],
        reason: Reason::NotAuthorized,
        hint: SERVICE_CONTROL_POLICY,
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["session policy"],
        reason: Reason::NotAuthorized,
        hint: "the session's policy (the Roles Anywhere profile's, or a step's) must allow the action as well as the role's own",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["permissions boundary"],
        reason: Reason::NotAuthorized,
        hint: "the role's permissions boundary must allow the action as well as its policy",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["aws-marketplace"],
        reason: Reason::ModelNotEnabled,
        hint: "a user who may use AWS Marketplace has to enable the model once for the account",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["access to the model"],
        reason: Reason::ModelNotEnabled,
        hint: "request access to the model in this Region: Bedrock console, \"Model access\"",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &["not authorized to perform"],
        reason: Reason::NotAuthorized,
        hint: "the role's policy must allow the action that AWS names: for calls (bedrock:InvokeModel, bedrock:InvokeModelWithResponseStream) on the model and, for an inference profile, on the profile and on the model in each of its Regions",
    },
    Row {
        kinds: &["AccessDeniedException"],
        says: &[""],
        reason: Reason::AccessDenied,
        hint: "check the role's policy (bedrock:InvokeModel, bedrock:InvokeModelWithResponseStream), the service control policies, and whether the model is enabled in this Region",
    },
    Row {
        kinds: &["ValidationException"],
        says: &["on-demand throughput"],
        reason: Reason::RequestInvalid,
        hint: "call this model through an inference profile: prefix its id, such as `us.` (`anchord bedrock models` lists them)",
    },
    Row {
        kinds: &["ValidationException"],
        says: &["model identifier is invalid", "invalid model identifier"],
        reason: Reason::RequestInvalid,
        hint: "there is no such model in this Region: `anchord bedrock models` lists the available ones",
    },
    Row {
        kinds: &["ValidationException"],
        says: &["malformed input request", "request body"],
        reason: Reason::RequestInvalid,
        hint: "compare the body with what this model accepts; with `--converse` all models accept the same",
    },
    Row {
        kinds: &["ValidationException"],
        says: &["operation not allowed"],
        reason: Reason::ModelNotEnabled,
        hint: "the account may not use the model yet: ask AWS Support",
    },
    Row {
        kinds: &["ValidationException"],
        says: &[""],
        reason: Reason::RequestInvalid,
        hint: "compare the request with what this model accepts; with `--converse` all models accept the same",
    },
    Row {
        kinds: &["ResourceNotFoundException"],
        says: &["use case details"],
        reason: Reason::ModelNotEnabled,
        hint: "submit the use case form once for the account: Bedrock console, \"Model access\"",
    },
    Row {
        kinds: &["ResourceNotFoundException"],
        says: &["end of its life"],
        reason: Reason::ResourceNotFound,
        hint: "AWS has withdrawn this version: choose a newer one from `anchord bedrock models`",
    },
    Row {
        kinds: &["ResourceNotFoundException"],
        says: &[""],
        reason: Reason::ResourceNotFound,
        hint: "there is no such model in this Region and account: compare with `anchord bedrock models`, and check `--region`",
    },
    Row {
        kinds: &["ExpiredToken"],
        says: &[""],
        reason: Reason::CredentialsExpired,
        hint: "the session's credentials have expired: check `anchord status` and this host's clock",
    },
    Row {
        kinds: &["UnrecognizedClientException", "InvalidClientTokenId"],
        says: &[""],
        reason: Reason::KeysUnknown,
        hint: "the credentials are not valid in this Region: the Region may be of another partition, or not enabled for the account",
    },
    Row {
        kinds: &["InvalidSignatureException", "SignatureDoesNotMatch"],
        says: &["scoped"],
        reason: Reason::SignatureRefused,
        hint: "the call was signed for another Region than the endpoint's: check `--region` and `--endpoint-url`",
    },
    Row {
        kinds: &["InvalidSignatureException", "SignatureDoesNotMatch"],
        says: &[""],
        reason: Reason::SignatureRefused,
        hint: "check whether this host's clock is right, and whether a proxy rewrites requests",
    },
    Row {
        kinds: &["MissingAuthenticationTokenException", "IncompleteSignatureException"],
        says: &[""],
        reason: Reason::Refused,
        hint: "a proxy may have removed the Authorization header",
    },
    Row {
        kinds: &["-"],
        says: &[""],
        reason: Reason::Refused,
        hint: UNTYPED,
    },
];

const LESS: &str = "wait, use an inference profile (its Regions share the load), or have the quota raised; `bedrock invoke --retries` repeats a call";

const SERVICE_CONTROL_POLICY: &str =
    "a service control policy of the organization denies it: ask the organization's administrators";

/// The row of a refusal; its type is `-` if the answer has none.
fn row(kind: &str, message: &str) -> Option<&'static Row> {
    let words = message.to_ascii_lowercase();
    REFUSALS.iter().find(|row| {
        row.kinds.iter().any(|begin| kind.starts_with(begin))
            && row.says.iter().any(|part| words.contains(part))
    })
}

/// The reason of a refusal. `status` is `None` if it came within a stream.
pub(super) fn reason(status: Option<StatusCode>, kind: &str, message: &str) -> Reason {
    let reason = row(kind, message).map_or(Reason::Refused, |row| row.reason);
    match status {
        // Most of these have a status of 4xx, but the caller is not the cause.
        _ if matches!(reason, Reason::Throttled | Reason::AwsUnavailable) => reason,
        None => reason,
        Some(StatusCode::TOO_MANY_REQUESTS) => Reason::Throttled,
        Some(StatusCode::REQUEST_TIMEOUT) => Reason::AwsUnavailable,
        Some(status) if status.is_client_error() => reason,
        // Redirects too: AWS sends none, so a proxy or portal on the network path is not ready.
        Some(_) => Reason::AwsUnavailable,
    }
}

/// What a person can do about it.
pub(super) fn hint(kind: &str, message: &str) -> Option<Text> {
    row(kind, message).map(|row| row.hint.into())
}

/// The resource that AWS names in the message: a profile, or the model behind it in one of its Regions.
pub(super) fn resource(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("on resource: ")?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

    /// Status, type, message as AWS words it; reason, and a part of the hint.
    #[rustfmt::skip]
    const TABLE: &[(u16, &str, &str, Reason, &str)] = &[
        (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", Reason::ModelNotEnabled, "Model access"),
        (403, "AccessDeniedException", "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/x because no identity-based policy allows the bedrock:InvokeModel action", Reason::NotAuthorized, "the role's policy must allow"),
        (403, "AccessDeniedException", "User: x is not authorized to perform: bedrock:InvokeModel with an explicit deny in a service control policy", Reason::ExplicitDeny, "organization"),
        (403, "AccessDeniedException", "User: x is not authorized to perform: bedrock:InvokeModel on resource: y with an explicit deny in an identity-based policy", Reason::ExplicitDeny, "explicit deny"),
        (403, "AccessDeniedException", "User: x is not authorized to perform: bedrock:InvokeModel because no service control policy allows the bedrock:InvokeModel action", Reason::NotAuthorized, "organization"),
        (403, "AccessDeniedException", "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model.", Reason::ModelNotEnabled, "Marketplace"),
        (403, "AccessDeniedException", "User: x is not authorized to perform: bedrock:InvokeModel because no session policy allows the action", Reason::NotAuthorized, "session's policy"),
        (400, "ValidationException", "The provided model identifier is invalid.", Reason::RequestInvalid, "anchord bedrock models"),
        (400, "ValidationException", "Invocation of model ID x with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model.", Reason::RequestInvalid, "inference profile"),
        (400, "ValidationException", "Malformed input request: #: required key [messages] not found", Reason::RequestInvalid, "--converse"),
        (404, "ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier.", Reason::ResourceNotFound, "--region"),
        (404, "ResourceNotFoundException", "Model use case details have not been submitted for this account.", Reason::ModelNotEnabled, "use case form"),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Reason::Throttled, "quota"),
        (400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account.", Reason::Refused, "Service Quotas"),
        (429, "ModelNotReadyException", "Model is not ready for inference. Wait and try your request again.", Reason::AwsUnavailable, "loaded"),
        (408, "ModelTimeoutException", "Model has timed out in processing the request.", Reason::AwsUnavailable, "--stream"),
        (424, "ModelErrorException", "The model returned an error.", Reason::AwsUnavailable, "itself failed"),
        (403, "ExpiredTokenException", "The security token included in the request is expired", Reason::CredentialsExpired, "anchord status"),
        (403, "UnrecognizedClientException", "The security token included in the request is invalid.", Reason::KeysUnknown, "partition"),
        (403, "InvalidSignatureException", "Credential should be scoped to a valid region.", Reason::SignatureRefused, "--region"),
        (403, "InvalidSignatureException", "Signature expired: 20260311T120000Z is now earlier than ...", Reason::SignatureRefused, "clock"),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", Reason::AwsUnavailable, "--retries"),
        (500, "InternalServerException", "The system encountered an unexpected error.", Reason::AwsUnavailable, "--retries"),
        (409, "ConflictException", "Something new.", Reason::Refused, ""),
        (502, "-", "Bad Gateway", Reason::AwsUnavailable, "portal"),
        (302, "-", "Found", Reason::AwsUnavailable, "portal"),
    ];

    #[test]
    fn every_refusal_has_its_reason_and_says_what_to_do() {
        for (status, kind, message, expected, part) in TABLE {
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(reason(Some(status), kind, message), *expected, "{kind}: {message}");
            let hint = hint(kind, message);
            assert_eq!(hint.is_some(), !part.is_empty(), "{kind}: {message}");
            assert!(hint.unwrap_or_default().contains(part), "{kind}: {message}");
        }
    }

    #[test]
    fn an_exception_within_a_stream_has_the_class_of_its_type() {
        assert_eq!(reason(None, "ThrottlingException", "").class(), Class::Throttled);
        assert_eq!(reason(None, "ModelStreamErrorException", "").class(), Class::Transient);
        assert_eq!(reason(None, "ValidationException", "").class(), Class::Denied);
    }

    #[test]
    fn each_row_is_found_by_each_of_its_words() {
        for row in REFUSALS {
            for (kind, says) in
                row.kinds.iter().flat_map(|kind| row.says.iter().map(move |says| (kind, says)))
            {
                assert_eq!(hint(kind, &says.to_uppercase()), Some(row.hint.into()), "{kind}: {says}");
            }
        }
    }

    #[test]
    fn the_resource_is_the_one_that_aws_names() {
        let named = "User: x is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:m because";

        assert_eq!(resource(named), Some("arn:aws:bedrock:m"));
        assert_eq!(resource("User: x is not authorized to perform: bedrock:InvokeModel"), None);
        assert_eq!(resource("on resource: "), None);
    }
}
