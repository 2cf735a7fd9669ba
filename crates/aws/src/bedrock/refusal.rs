//! What a refusal of Bedrock means, and what a person can do about it.
//!
//! Types and messages are those of the runtime's API reference and of the field (Bedrock user guide,
//! "troubleshooting").

use http::StatusCode;

use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// The reason of a refusal. `status` is `None` if it came within a stream.
pub(super) fn reason(status: Option<StatusCode>, kind: &str, message: &str) -> Reason {
    match kind {
        "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" => {
            return Reason::Throttled;
        }
        // Most of these have a status of 4xx, but the caller is not the cause.
        "ModelNotReadyException"
        | "ModelTimeoutException"
        | "ModelErrorException"
        | "ModelStreamErrorException"
        | "InternalServerException"
        | "InternalFailure"
        | "ServiceUnavailableException"
        | "ServiceUnavailable" => return Reason::AwsUnavailable,
        _ if message.contains("Rate exceeded") => return Reason::Throttled,
        _ => {}
    }
    match status {
        Some(StatusCode::TOO_MANY_REQUESTS) => Reason::Throttled,
        Some(StatusCode::REQUEST_TIMEOUT) => Reason::AwsUnavailable,
        Some(status) if status.is_client_error() => denial(kind),
        // Redirects too: AWS sends none, so a proxy or portal on the network path is not ready.
        Some(_) => Reason::AwsUnavailable,
        None => denial(kind),
    }
}

/// The reason of a refusal of the call itself.
fn denial(kind: &str) -> Reason {
    match kind {
        "AccessDeniedException" => Reason::AccessDenied,
        "ValidationException" => Reason::RequestInvalid,
        "ResourceNotFoundException" => Reason::ResourceNotFound,
        "ExpiredTokenException" | "ExpiredToken" => Reason::CredentialsExpired,
        "UnrecognizedClientException" | "InvalidClientTokenId" => Reason::KeysUnknown,
        "InvalidSignatureException" | "SignatureDoesNotMatch" => Reason::SignatureRefused,
        _ => Reason::Refused,
    }
}

/// What a person can do about it.
pub(super) fn hint(kind: &str, message: &str) -> Option<Text> {
    let message = message.to_ascii_lowercase();
    let hint = match kind {
        "AccessDeniedException" => access_denied(&message),
        "ValidationException" => validation(&message),
        "ResourceNotFoundException" => not_found(&message),
        "ThrottlingException" | "TooManyRequestsException" => {
            "wait, use an inference profile (its Regions share the load), or have the quota raised; `bedrock invoke --retries` repeats a call"
        }
        "ServiceQuotaExceededException" => "have the quota raised in the Service Quotas console",
        "ModelNotReadyException" => {
            "the model is being loaded: try again in a minute or two; `bedrock invoke --retries` repeats a call"
        }
        "ModelTimeoutException" => {
            "the model took too long: ask for fewer tokens, or use `bedrock invoke --stream`"
        }
        "ModelErrorException" | "ModelStreamErrorException" => {
            "the model itself failed: try again, or look at what was sent"
        }
        "ExpiredTokenException" | "ExpiredToken" => {
            "the session's credentials have expired: check `anchord status` and this host's clock"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            "AWS does not know the credentials there: the Region may be of another partition, or not enabled for the account"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" if message.contains("scoped") => {
            "the call was signed for another Region than the endpoint's: see `--region` and `--endpoint-url`"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            "check whether this host's clock is right, and whether a proxy on the way rewrites requests"
        }
        "MissingAuthenticationTokenException" | "IncompleteSignatureException" => {
            "a proxy on the way may have removed the Authorization header"
        }
        "InternalServerException"
        | "InternalFailure"
        | "ServiceUnavailableException"
        | "ServiceUnavailable" => {
            "Bedrock has a problem: try again later; `bedrock invoke --retries` repeats a call"
        }
        "-" => {
            "AWS names a type in each refusal: check whether a proxy or portal on the way answers in its place"
        }
        _ => return None,
    };
    Some(hint.into())
}

fn access_denied(message: &str) -> &'static str {
    if message.contains("service control policy") {
        "a service control policy of the organization denies it: ask the organization's administrators"
    } else if message.contains("session policy") {
        "the session's policy (the Roles Anywhere profile's, or a step's) must allow the action as well as the role's own"
    } else if message.contains("permissions boundary") {
        "the role's permissions boundary must allow the action as well as its policy"
    } else if message.contains("aws-marketplace") {
        "a user who may use AWS Marketplace has to enable the model once for the account"
    } else if message.contains("don't have access to the model") || message.contains("access to the model") {
        "request access to the model in this Region: Bedrock console, \"Model access\""
    } else if message.contains("not authorized to perform") {
        "the role's policy must allow the action that AWS names: for calls (bedrock:InvokeModel, bedrock:InvokeModelWithResponseStream) on the model and, for an inference profile, on the profile and on the model in each of its Regions"
    } else {
        "see the role's policy (bedrock:InvokeModel, bedrock:InvokeModelWithResponseStream), the service control policies, and whether the model is enabled in this Region"
    }
}

fn validation(message: &str) -> &'static str {
    if message.contains("on-demand throughput") {
        "this model is called through an inference profile, such as `us.` before the model's id: `anchord bedrock models` lists them"
    } else if message.contains("model identifier is invalid") || message.contains("invalid model identifier")
    {
        "there is no such model in this Region: `anchord bedrock models` lists those there are"
    } else if message.contains("malformed input request") || message.contains("request body") {
        "compare the body with what this model accepts; with `--converse` all models accept the same"
    } else if message.contains("operation not allowed") {
        "the account may not use the model yet: ask AWS Support"
    } else {
        "compare the request with what this model accepts; with `--converse` all models accept the same"
    }
}

fn not_found(message: &str) -> &'static str {
    if message.contains("use case details") {
        "fill in the form about the use case once for the account: Bedrock console, \"Model access\""
    } else if message.contains("end of its life") {
        "AWS has withdrawn this version: choose a newer one from `anchord bedrock models`"
    } else {
        "there is no such model in this Region and account: compare with `anchord bedrock models`, and see `--region`"
    }
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

    /// Status, type, message as AWS words it; class, and a part of the hint.
    #[rustfmt::skip]
    const TABLE: &[(u16, &str, &str, Class, &str)] = &[
        (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", Class::Denied, "Model access"),
        (403, "AccessDeniedException", "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/x because no identity-based policy allows the bedrock:InvokeModel action", Class::Denied, "the role's policy must allow"),
        (403, "AccessDeniedException", "User: x is not authorized to perform: bedrock:InvokeModel with an explicit deny in a service control policy", Class::Denied, "organization"),
        (403, "AccessDeniedException", "User: x is not authorized to perform: bedrock:InvokeModel because no session policy allows the action", Class::Denied, "session's policy"),
        (400, "ValidationException", "The provided model identifier is invalid.", Class::Denied, "anchord bedrock models"),
        (400, "ValidationException", "Invocation of model ID x with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model.", Class::Denied, "inference profile"),
        (400, "ValidationException", "Malformed input request: #: required key [messages] not found", Class::Denied, "--converse"),
        (404, "ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier.", Class::Denied, "--region"),
        (404, "ResourceNotFoundException", "Model use case details have not been submitted for this account.", Class::Denied, "the form"),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Class::Throttled, "quota"),
        (400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account.", Class::Denied, "Service Quotas"),
        (429, "ModelNotReadyException", "Model is not ready for inference. Wait and try your request again.", Class::Transient, "loaded"),
        (408, "ModelTimeoutException", "Model has timed out in processing the request.", Class::Transient, "--stream"),
        (424, "ModelErrorException", "The model returned an error.", Class::Transient, "itself failed"),
        (403, "ExpiredTokenException", "The security token included in the request is expired", Class::Denied, "anchord status"),
        (403, "UnrecognizedClientException", "The security token included in the request is invalid.", Class::Denied, "partition"),
        (403, "InvalidSignatureException", "Credential should be scoped to a valid region.", Class::Denied, "--region"),
        (403, "InvalidSignatureException", "Signature expired: 20260311T120000Z is now earlier than ...", Class::Denied, "clock"),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", Class::Transient, "--retries"),
        (500, "InternalServerException", "The system encountered an unexpected error.", Class::Transient, "--retries"),
        (409, "ConflictException", "Something new.", Class::Denied, ""),
        (502, "-", "Bad Gateway", Class::Transient, "portal"),
        (302, "-", "Found", Class::Transient, "portal"),
    ];

    #[test]
    fn every_refusal_has_its_class_and_says_what_to_do() {
        for (status, kind, message, expected, part) in TABLE {
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(reason(Some(status), kind, message).class(), *expected, "{kind}: {message}");
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
}
