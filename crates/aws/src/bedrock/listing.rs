//! Which models there are.

use serde::Deserialize;

/// A foundation model, as ListFoundationModels tells of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FoundationModel {
    /// What a call names it by.
    pub model_id: String,
    /// Its name for people.
    #[serde(default)]
    pub model_name: String,
    /// Who made it.
    #[serde(default)]
    pub provider_name: String,
    /// `TEXT`, `IMAGE` and so on.
    #[serde(default)]
    pub input_modalities: Vec<String>,
    /// `TEXT`, `EMBEDDING` and so on.
    #[serde(default)]
    pub output_modalities: Vec<String>,
    /// Whether it answers in pieces.
    #[serde(default)]
    pub response_streaming_supported: bool,
    /// `ON_DEMAND`, `INFERENCE_PROFILE`, `PROVISIONED`.
    #[serde(default)]
    pub inference_types_supported: Vec<String>,
    /// Where it is in its life.
    #[serde(default)]
    pub model_lifecycle: Lifecycle,
}

/// Where a model is in its life.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Lifecycle {
    /// `ACTIVE` or `LEGACY`.
    #[serde(default)]
    pub status: String,
}

/// An inference profile, as ListInferenceProfiles tells of it.
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
    /// What a call names it by: an application's profile has no other name than its ARN.
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
