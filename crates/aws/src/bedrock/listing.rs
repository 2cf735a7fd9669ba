//! Lists of models.

use serde::Deserialize;

/// A foundation model, as in ListFoundationModels.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FoundationModel {
    /// Its id in calls.
    pub model_id: String,
    /// Its name for people.
    #[serde(default)]
    pub model_name: String,
    /// Its maker.
    #[serde(default)]
    pub provider_name: String,
    /// `TEXT`, `IMAGE` and so on.
    #[serde(default)]
    pub input_modalities: Vec<String>,
    /// `TEXT`, `EMBEDDING` and so on.
    #[serde(default)]
    pub output_modalities: Vec<String>,
    /// Whether it can answer with a stream.
    #[serde(default)]
    pub response_streaming_supported: bool,
    /// `ON_DEMAND`, `INFERENCE_PROFILE`, `PROVISIONED`.
    #[serde(default)]
    pub inference_types_supported: Vec<String>,
    /// The stage of its life.
    #[serde(default)]
    pub model_lifecycle: Lifecycle,
}

/// The stage of a model's life.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Lifecycle {
    /// `ACTIVE` or `LEGACY`.
    #[serde(default)]
    pub status: String,
}

/// An inference profile, as in ListInferenceProfiles.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InferenceProfile {
    /// Its id.
    pub inference_profile_id: String,
    /// Its ARN.
    pub inference_profile_arn: String,
    /// Its name for people.
    #[serde(default)]
    pub inference_profile_name: String,
    /// `ACTIVE`.
    #[serde(default)]
    pub status: String,
    /// `SYSTEM_DEFINED` or `APPLICATION`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

impl InferenceProfile {
    /// Its name in calls: its id, or its ARN for an application's profile, which has no other name.
    pub fn model_id(&self) -> &str {
        match self.kind.as_str() {
            "APPLICATION" => &self.inference_profile_arn,
            _ => &self.inference_profile_id,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundationModels {
    pub(super) model_summaries: Vec<FoundationModel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProfilePage {
    pub(super) inference_profile_summaries: Vec<InferenceProfile>,
    pub(super) next_token: Option<String>,
}
