//! Which models there are, by every name that one may have.

use serde_json::Value;
use serde_json::json;

use crate::canonical::Incoming;
use crate::reply::Refusal;
use crate::setup::Model;
use crate::setup::ModelKind;
use crate::setup::Setup;

impl Model {
    /// Its ARN in the Region in which Bedrock is played.
    pub fn arn(&self, setup: &Setup) -> String {
        let (partition, region) = (setup.partition(), &setup.bedrock_region);
        let account_id = if self.kind == ModelKind::Foundation { "" } else { &setup.account_id };
        let (service, kind) = resource(self.kind);
        format!("arn:{partition}:{service}:{region}:{account_id}:{kind}/{}", self.id)
    }
}

/// The service and the kind of resource in an ARN.
fn resource(kind: ModelKind) -> (&'static str, &'static str) {
    match kind {
        ModelKind::Foundation => ("bedrock", "foundation-model"),
        ModelKind::InferenceProfile => ("bedrock", "inference-profile"),
        ModelKind::ApplicationInferenceProfile => ("bedrock", "application-inference-profile"),
        ModelKind::ProvisionedThroughput => ("bedrock", "provisioned-model"),
        ModelKind::Custom => ("bedrock", "custom-model"),
        ModelKind::CustomDeployment => ("bedrock", "custom-model-deployment"),
        ModelKind::Imported => ("bedrock", "imported-model"),
        ModelKind::MarketplaceEndpoint => ("sagemaker", "endpoint"),
    }
}

/// The model of this id or ARN. Only foundation models and the service's own inference profiles have a name without one.
pub(crate) fn find<'a>(setup: &'a Setup, id: &str) -> Result<&'a Model, Refusal> {
    let has_name = |model: &&Model| match model.kind {
        ModelKind::Foundation | ModelKind::InferenceProfile => model.id == id || model.arn(setup) == id,
        _ => model.arn(setup) == id,
    };
    setup.models.iter().find(has_name).ok_or_else(|| {
        let message = "The provided model identifier is invalid.";
        Refusal::new(400, "ValidationException", message, format!("there is no model `{id}`"))
    })
}

/// What `ListFoundationModels` answers.
pub(crate) fn foundation_models(setup: &Setup, incoming: &Incoming) -> Value {
    let provider = parameter(incoming, "byProvider");
    let wanted = |model: &&Model| {
        model.kind == ModelKind::Foundation
            && provider.as_ref().is_none_or(|provider| model.provider.eq_ignore_ascii_case(provider))
    };
    let summaries: Vec<Value> =
        setup.models.iter().filter(wanted).map(|model| summary(setup, model)).collect();
    json!({ "modelSummaries": summaries })
}

pub(crate) fn summary(setup: &Setup, model: &Model) -> Value {
    json!({
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "inputModalities": ["TEXT"],
        "modelArn": model.arn(setup),
        "modelId": model.id,
        "modelLifecycle": { "status": "ACTIVE" },
        "modelName": model.id,
        "outputModalities": ["TEXT"],
        "providerName": model.provider,
        "responseStreamingSupported": true,
    })
}

/// What `ListInferenceProfiles` answers, in pages if there is a `maxResults`.
pub(crate) fn inference_profiles(setup: &Setup, incoming: &Incoming) -> Result<Value, Refusal> {
    let number = |name: &str, default: usize| match parameter(incoming, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Refusal::invalid(format!("{name} is invalid"))),
    };
    let (start, most) = (number("nextToken", 0)?, number("maxResults", 1000)?);
    let wanted = parameter(incoming, "type");
    let all: Vec<Value> = setup
        .models
        .iter()
        .filter_map(|model| profile(setup, model))
        .filter(|profile| wanted.as_deref().is_none_or(|wanted| profile["type"] == wanted))
        .collect();
    let page: Vec<&Value> = all.iter().skip(start).take(most).collect();
    let mut answer = json!({ "inferenceProfileSummaries": page });
    if start + page.len() < all.len() {
        answer["nextToken"] = json!((start + page.len()).to_string());
    }
    Ok(answer)
}

fn profile(setup: &Setup, model: &Model) -> Option<Value> {
    let kind = match model.kind {
        ModelKind::InferenceProfile => "SYSTEM_DEFINED",
        ModelKind::ApplicationInferenceProfile => "APPLICATION",
        _ => return None,
    };
    let of_models = setup.models.iter().filter(|other| other.kind == ModelKind::Foundation);
    let models: Vec<Value> = of_models
        .filter(|other| model.id.ends_with(&other.id))
        .map(|other| json!({ "modelArn": other.arn(setup) }))
        .collect();
    Some(json!({
        "inferenceProfileArn": model.arn(setup),
        "inferenceProfileId": model.id,
        "inferenceProfileName": model.id,
        "models": models,
        "status": "ACTIVE",
        "type": kind,
    }))
}

fn parameter(incoming: &Incoming, name: &str) -> Option<String> {
    incoming.parameters().into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
}
