//! Bedrock, control and runtime: which models there are, and what they say. A caller and a request in, a reply or a
//! refusal out; no sockets, no state.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use crate::bedrock::chat::Chat;
use crate::bedrock::event_stream::event;
use crate::canonical;
use crate::canonical::Incoming;
use crate::keyring::Principal;
use crate::log::Facts;
use crate::reply::Refusal;
use crate::setup::Setup;
use crate::sigv4::Claim;
use crate::sigv4::Complaint;
use crate::sigv4::ComplaintKind;

pub(crate) mod api_key;
mod chat;
pub(crate) mod event_stream;
pub(crate) mod models;

/// An operation, as its path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    ListFoundationModels,
    GetFoundationModel,
    ListInferenceProfiles,
    InvokeModel,
    InvokeModelWithResponseStream,
    Converse,
    ConverseStream,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ListFoundationModels => "ListFoundationModels",
            Self::GetFoundationModel => "GetFoundationModel",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::InvokeModel => "InvokeModel",
            Self::InvokeModelWithResponseStream => "InvokeModelWithResponseStream",
            Self::Converse => "Converse",
            Self::ConverseStream => "ConverseStream",
        }
    }

    /// The permission it needs: conversations need those of invocations.
    fn permission(self) -> String {
        let name = match self {
            Self::Converse => "InvokeModel",
            Self::ConverseStream => "InvokeModelWithResponseStream",
            _ => self.name(),
        };
        format!("bedrock:{name}")
    }
}

/// What is asked for: an operation and, if it is about one, a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) action: Action,
    pub(crate) model_id: Option<String>,
}

impl Target {
    /// A model's id is one segment of the path, however many slashes it has itself.
    pub(crate) fn of(incoming: &Incoming) -> Option<Self> {
        let path: Vec<&str> = incoming.path.split('/').skip(1).collect();
        let (action, id) = match (incoming.method.as_str(), path.as_slice()) {
            ("GET", ["foundation-models"]) => (Action::ListFoundationModels, None),
            ("GET", ["foundation-models", id]) => (Action::GetFoundationModel, Some(id)),
            ("GET", ["inference-profiles"]) => (Action::ListInferenceProfiles, None),
            ("POST", ["model", id, "invoke"]) => (Action::InvokeModel, Some(id)),
            ("POST", ["model", id, "invoke-with-response-stream"]) => {
                (Action::InvokeModelWithResponseStream, Some(id))
            }
            ("POST", ["model", id, "converse"]) => (Action::Converse, Some(id)),
            ("POST", ["model", id, "converse-stream"]) => (Action::ConverseStream, Some(id)),
            _ => return None,
        };
        Some(Self { action, model_id: id.map(|id| canonical::percent_decode(id)) })
    }
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    Json(Value),
    /// The frames of an event stream.
    Events(Vec<Vec<u8>>),
}

/// Whether a request is for Bedrock.
pub(crate) fn is_for(incoming: &Incoming) -> bool {
    let first = incoming.path.split('/').nth(1);
    matches!(first, Some("foundation-models" | "inference-profiles" | "model"))
}

/// What a request says, for the log.
pub(crate) fn facts(incoming: &Incoming) -> Facts {
    let target = Target::of(incoming);
    let claim = Claim::of(incoming).or_else(|| api_key::claim(incoming));
    Facts {
        action: target.as_ref().map(|target| target.action.name().to_owned()),
        model_id: target.and_then(|target| target.model_id),
        is_bearer: api_key::bearer(incoming).is_some(),
        signer: claim.as_ref().map(|claim| claim.access_key_id.clone()),
        scope_region: claim.map(|claim| claim.region),
        ..Facts::default()
    }
}

/// Decides a call of somebody whose signature or API key was verified.
pub(crate) fn decide(setup: &Setup, caller: &Principal, incoming: &Incoming) -> Result<Reply, Refusal> {
    let target = Target::of(incoming).ok_or_else(|| {
        let reason = format!("{} {} is no operation", incoming.method, incoming.path);
        Refusal::new(404, "UnknownOperationException", "Unknown operation", reason)
    })?;
    let model = target.model_id.as_deref().map(|id| models::find(setup, id)).transpose();
    let resource = match &model {
        Ok(Some(model)) => model.arn(setup),
        Ok(None) | Err(_) => "*".to_owned(),
    };
    permit(setup, caller, &target.action.permission(), &resource)?;
    let content = match (target.action, model) {
        (Action::ListFoundationModels, _) => Content::Json(models::foundation_models(setup, incoming)),
        (Action::ListInferenceProfiles, _) => Content::Json(models::inference_profiles(setup, incoming)?),
        (Action::GetFoundationModel, Ok(Some(model))) => {
            Content::Json(json!({ "modelDetails": models::summary(setup, model) }))
        }
        (Action::GetFoundationModel, _) => {
            return Err(Refusal::not_found(
                "Could not resolve the foundation model from the model identifier:",
                "model",
            ));
        }
        (action, model) => {
            let id = target.model_id.unwrap_or_default();
            return model.and_then(|model| {
                if model.is_some_and(|model| model.enabled) {
                    return speak(action, &id, incoming);
                }
                let message = "You don't have access to the model with the specified model ID.";
                Err(Refusal::new(403, "AccessDeniedException", message, format!("`{id}` is not enabled")))
            });
        }
    };
    Ok(Reply { headers: Vec::new(), content })
}

fn speak(action: Action, model_id: &str, incoming: &Incoming) -> Result<Reply, Refusal> {
    let converses = matches!(action, Action::Converse | Action::ConverseStream);
    let chat = if converses {
        Chat::of_converse(&incoming.body)?
    } else {
        Chat::of_invocation(model_id, &incoming.body)?
    };
    let mut headers = Vec::new();
    let content = match action {
        Action::Converse => Content::Json(chat.converse_answer()),
        Action::ConverseStream => {
            let events = chat.converse_events();
            Content::Events(events.iter().map(|(kind, payload)| event(kind, payload)).collect())
        }
        Action::InvokeModelWithResponseStream => {
            headers.push(("x-amzn-bedrock-content-type", "application/json".to_owned()));
            let chunk = |part: &Value| event("chunk", &json!({ "bytes": STANDARD.encode(part.to_string()) }));
            Content::Events(chat.invocation_events(model_id).iter().map(chunk).collect())
        }
        _ => {
            headers.push(("x-amzn-bedrock-input-token-count", chat.input_tokens().to_string()));
            headers.push(("x-amzn-bedrock-output-token-count", chat.output_tokens().to_string()));
            headers.push(("x-amzn-bedrock-invocation-latency", "1".to_owned()));
            Content::Json(chat.invocation_answer(model_id))
        }
    };
    Ok(Reply { headers, content })
}

/// A complaint about a signature, in this service's words.
pub(crate) fn complaint(complaint: &Complaint) -> Refusal {
    let kind = match complaint.kind {
        ComplaintKind::Missing => "MissingAuthenticationTokenException",
        ComplaintKind::Incomplete => "IncompleteSignatureException",
        ComplaintKind::Unknown => "UnrecognizedClientException",
        ComplaintKind::Expired => "ExpiredTokenException",
        ComplaintKind::Stale | ComplaintKind::Mismatch => "InvalidSignatureException",
    };
    Refusal::new(403, kind, &complaint.message, complaint.reason.as_str())
}

pub(crate) fn permit(setup: &Setup, caller: &Principal, action: &str, resource: &str) -> Result<(), Refusal> {
    if !setup.denied_actions.contains(action) {
        return Ok(());
    }
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource} because no identity-based policy \
         allows the {action} action",
        caller.arn
    );
    Err(Refusal::new(403, "AccessDeniedException", &message, format!("{action} is denied")))
}
