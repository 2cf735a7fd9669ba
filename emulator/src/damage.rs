//! What a fault makes of an answer: the service's usual shapes with something missing, or somebody else's.

use serde_json::Value;
use serde_json::json;
use time::Duration;
use time::OffsetDateTime;

use crate::answer::Answer;
use crate::answer::Body;
use crate::answer::Ending;
use crate::bedrock;
use crate::bedrock::event_stream;
use crate::canonical::Incoming;
use crate::encode;
use crate::faults::Fault;
use crate::keyring::Principal;
use crate::reply::Cause;
use crate::reply::Refusal;
use crate::service::Service;
use crate::setup::Setup;
use crate::sigv4;
use crate::sts;
use crate::sts::xml;
use crate::sts::xml::Credentials;

/// The answer that a fault puts in the place of a decision, for `role_arn` where one was asked for.
pub(crate) fn answer(
    setup: &Setup,
    service: Service,
    incoming: &Incoming,
    role_arn: Option<&str>,
    fault: &Fault,
    now: OffsetDateTime,
) -> Answer {
    let answer = match fault {
        Fault::SignatureRefused => refused(setup, service, &signature(service, incoming)),
        Fault::Throttle { retry_after } => {
            let refusal = throttled(service, "fault");
            Answer { retry_after: *retry_after, ..refused(setup, service, &refusal) }
        }
        Fault::Status(status) => refused(setup, service, &internal(service, *status, "fault")),
        Fault::Unavailable { retry_after } => {
            let refusal = internal(service, 503, "fault");
            Answer { retry_after: Some(*retry_after), ..refused(setup, service, &refusal) }
        }
        Fault::Html(status) => Answer::html(*status),
        Fault::Denied { message } => {
            let kind = match service {
                Service::Sts => "AccessDenied",
                Service::RolesAnywhere | Service::Bedrock => "AccessDeniedException",
            };
            refused(setup, service, &Refusal::new(403, kind, message, "fault"))
        }
        Fault::Reset => Answer { ending: Ending::Reset, ..Answer::json(500, &Value::Null) },
        Fault::Slow(_)
        | Fault::Hold
        | Fault::Close
        | Fault::AnotherRole(_)
        | Fault::StreamException { .. }
        | Fault::StreamCut
        | Fault::StreamHold => Answer::json(500, &Value::Null),
        Fault::Malformed
        | Fault::Truncated
        | Fault::EmptyCredentialSet
        | Fault::PartialCredentials
        | Fault::Expired
        | Fault::Oversized => match service {
            Service::RolesAnywhere => damaged_session(setup, role_arn, fault, now),
            Service::Sts => damaged_assumption(role_arn, fault, now),
            Service::Bedrock => damaged_json(fault),
        },
    };
    Answer { at: Some(now), ..answer }
}

/// A refusal as it is sent.
pub(crate) fn refused(setup: &Setup, service: Service, refusal: &Refusal) -> Answer {
    match service {
        Service::RolesAnywhere => setup.readings.refused(refusal),
        Service::Bedrock => Answer::refused(refusal),
        Service::Sts => {
            let answer = Answer::xml(refusal.status, |request_id| xml::refusal(refusal, request_id));
            Answer { error_type: Some(refusal.kind), ..answer }
        }
    }
}

/// The service's refusal of one call too many.
pub(crate) fn throttled(service: Service, reason: &str) -> Refusal {
    match service {
        Service::RolesAnywhere => {
            Refusal::new(429, "ThrottlingException", "Rate exceeded", reason).because(Cause::Throttling)
        }
        Service::Sts => Refusal::new(400, "Throttling", "Rate exceeded", reason),
        Service::Bedrock => {
            let message = "Too many requests, please wait before trying again.";
            Refusal::new(429, "ThrottlingException", message, reason)
        }
    }
}

fn signature(service: Service, incoming: &Incoming) -> Refusal {
    match service {
        Service::RolesAnywhere => Refusal::signature("fault"),
        Service::Sts => sts::complaint(&sigv4::refuse_anyway(incoming)),
        Service::Bedrock => bedrock::complaint(&sigv4::refuse_anyway(incoming)),
    }
}

/// The service's own failure.
pub(crate) fn internal(service: Service, status: u16, reason: &str) -> Refusal {
    match service {
        Service::Bedrock if status == 503 => {
            Refusal::new(status, "ServiceUnavailableException", "Service unavailable", reason)
        }
        Service::RolesAnywhere | Service::Bedrock => {
            Refusal::new(status, "InternalServerException", "Internal failure", reason)
        }
        Service::Sts => Refusal::new(status, "InternalFailure", "Internal failure", reason),
    }
}

fn damaged_session(setup: &Setup, role_arn: Option<&str>, fault: &Fault, now: OffsetDateTime) -> Answer {
    let role_arn = role_arn.map_or_else(|| setup.role_arn(), str::to_owned);
    let mut body = unbacked(setup, &role_arn, now);
    match fault {
        Fault::Malformed => {
            let body = Body::Whole(b"{\"credentialSet\":[{\"creden".to_vec());
            return Answer { body, ..Answer::json(201, &Value::Null) };
        }
        Fault::Truncated => return Answer { ending: Ending::Cut, ..Answer::json(201, &body) },
        Fault::EmptyCredentialSet => body["credentialSet"] = json!([]),
        Fault::PartialCredentials => {
            if let Some(Value::Object(members)) = body.pointer_mut("/credentialSet/0/credentials") {
                members.remove("sessionToken");
            }
        }
        Fault::Expired => {
            let expired_at = encode::stamp(now - Duration::HOUR);
            body["credentialSet"][0]["credentials"]["expiration"] = Value::String(expired_at);
        }
        _ => body["padding"] = Value::String("x".repeat(4 << 20)),
    }
    Answer::json(201, &body)
}

/// The shape of a session whose credentials nobody was given: what faults damage.
fn unbacked(setup: &Setup, role_arn: &str, now: OffsetDateTime) -> Value {
    let principal = Principal::role_session(role_arn, "fault");
    json!({
        "credentialSet": [{
            "assumedRoleUser": {
                "arn": principal.arn,
                "assumedRoleId": principal.user_id,
            },
            "credentials": {
                "accessKeyId": "ASIAFAULTFAULTFAULT2",
                "secretAccessKey": "fault/secret/fault/secret/fault/secret/f",
                "sessionToken": "fault-session-token",
                "expiration": encode::stamp(now + Duration::HOUR),
            },
            "packedPolicySize": 10,
            "roleArn": role_arn,
            "sourceIdentity": "CN=fault",
        }],
        "subjectArn": setup.arn("subject/fault"),
    })
}

fn damaged_assumption(role_arn: Option<&str>, fault: &Fault, now: OffsetDateTime) -> Answer {
    let principal = Principal::role_session(role_arn.unwrap_or_default(), "fault");
    let end = if *fault == Fault::Expired { now - Duration::HOUR } else { now + Duration::HOUR };
    let credentials = Credentials {
        access_key_id: "ASIAFAULTFAULTFAULT2",
        secret_access_key: "fault/secret/fault/secret/fault/secret/f",
        session_token: (*fault != Fault::PartialCredentials).then_some("fault-session-token"),
        expiration: &encode::stamp(end),
    };
    let credentials = (*fault != Fault::EmptyCredentialSet).then_some(&credentials);
    let answer = Answer::xml(200, |request_id| {
        let mut text = xml::assumed(&principal, credentials, request_id);
        match fault {
            Fault::Malformed => text.truncate(100),
            Fault::Oversized => text += &format!("<!-- {} -->\n", "x".repeat(4 << 20)),
            _ => {}
        }
        text
    });
    if *fault == Fault::Truncated { Answer { ending: Ending::Cut, ..answer } } else { answer }
}

/// Bedrock gives out no credentials: what damages them leaves nothing of its answers.
fn damaged_json(fault: &Fault) -> Answer {
    match fault {
        Fault::Malformed => {
            Answer { body: Body::Whole(b"{\"output\":{\"mess".to_vec()), ..Answer::json(200, &Value::Null) }
        }
        Fault::Truncated => Answer { ending: Ending::Cut, ..Answer::json(200, &json!({ "output": {} })) },
        Fault::Oversized => Answer::json(200, &json!({ "padding": "x".repeat(4 << 20) })),
        _ => Answer::json(200, &json!({})),
    }
}

/// What a fault makes of a stream that was to be sent as usual; it leaves every other answer alone.
pub(crate) fn stream(answer: &mut Answer, fault: &Fault) {
    let Body::Pieces(pieces) = &mut answer.body else { return };
    match fault {
        Fault::StreamHold => answer.ending = Ending::HeldMidway,
        Fault::StreamCut => {
            pieces.truncate(pieces.len() / 2);
            // Half a frame is worse than one too few.
            if let Some(last) = pieces.last_mut() {
                last.truncate(last.len() / 2);
            }
            answer.ending = Ending::Cut;
        }
        Fault::StreamException { kind, message } => {
            pieces.truncate(pieces.len() / 2);
            pieces.push(event_stream::exception(kind, &json!({ "message": message })));
        }
        _ => {}
    }
}
