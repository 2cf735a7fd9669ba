//! The steps about Bedrock: which models the Region has, and whether one of them answers.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use serde_json::json;

use super::network::AwsNetwork;
use super::network::CheckedEndpoint;
use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use crate::cli::verbs::bedrock;
use anchord_aws::bedrock::Client;
use anchord_aws::bedrock::EndpointOptions;
use anchord_aws::bedrock::EndpointUrl;
use anchord_aws::bedrock::Error as BedrockError;
use anchord_aws::bedrock::ModelId;
use anchord_aws::bedrock::Request;
use anchord_aws::upstream::Https;
use anchord_config as config;
use anchord_config::Environment;
use anchord_core::credentials::Keys;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::host;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// How long a model may be silent, as for `bedrock invoke`.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// The calls of Bedrock to make, and their endpoints.
pub(super) struct Models {
    /// The client, with a longer read timeout because models may think for minutes.
    https: Https,
    /// The model to call, if one is requested.
    model: Option<ModelId>,
    /// The URL in AWS_ENDPOINT_URL_BEDROCK or AWS_ENDPOINT_URL.
    control: Option<String>,
    /// The URL in AWS_ENDPOINT_URL_BEDROCK_RUNTIME or AWS_ENDPOINT_URL.
    runtime: Option<String>,
}

impl Models {
    pub(super) fn new(https: Https, model: Option<ModelId>, environment: &Environment) -> Self {
        let named = |own| bedrock::endpoint_in(environment, own).map(|(_, url)| url.to_owned());
        let (control, runtime) = ("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME");
        Self { https, model, control: named(control), runtime: named(runtime) }
    }

    /// Whether the user wants to use Bedrock. Not every session needs it.
    pub(super) fn are_needed(&self) -> bool {
        self.model.is_some()
    }

    pub(super) fn endpoints(&self, session: &config::SessionSettings) -> Vec<CheckedEndpoint> {
        let endpoint = |id: &str, name: &str, service, named: &Option<String>| {
            let own = || format!("https://{}", host(service, &session.region, session.variant));
            CheckedEndpoint { id: id.into(), name: name.into(), url: named.clone().unwrap_or_else(own) }
        };
        vec![
            endpoint("bedrock", "Bedrock", Service::Bedrock, &self.control),
            endpoint("bedrock-runtime", "Bedrock runtime", Service::BedrockRuntime, &self.runtime),
        ]
    }

    /// The steps, with the keys in `held`; `obstacle` gives the failed step that blocks a URL.
    pub(super) async fn steps(
        &self,
        session: &config::SessionSettings,
        way: &AwsNetwork<'_>,
        held: &Result<Keys, Subject>,
        obstacle: impl Fn(&str) -> Option<Subject>,
    ) -> Vec<Step> {
        let urls: Vec<_> = self.endpoints(session).into_iter().map(|endpoint| endpoint.url).collect();
        let ready = |url: &str| match (held, obstacle(url)) {
            (Ok(keys), None) => Ok(keys),
            (Err(obstacle), _) => Err(obstacle.clone()),
            (_, Some(obstacle)) => Err(obstacle),
        };
        let list = Subject::new("bedrock-models", "ListFoundationModels");
        let mut steps = vec![match ready(&urls[0]) {
            Err(obstacle) => list.skipped_after(&obstacle),
            Ok(keys) => {
                let step = self.listed(&list, session, way, keys).await;
                if self.are_needed() { step } else { step.not_needed() }
            }
        }];
        if let Some(model) = &self.model {
            let call = Subject::new("bedrock-converse", "Converse");
            steps.push(match ready(&urls[1]) {
                Err(obstacle) => call.skipped_after(&obstacle),
                Ok(keys) => self.called(&call, model, session, way, keys).await,
            });
        }
        steps
    }

    fn client(
        &self,
        session: &config::SessionSettings,
        way: &AwsNetwork<'_>,
        endpoint: Option<&String>,
    ) -> Result<Client, Failure> {
        let endpoint = endpoint.map(|text| text.parse::<EndpointUrl>()).transpose()?;
        let target = EndpointOptions { region: session.region.clone(), variant: session.variant, endpoint };
        Ok(Client::new(self.https.clone(), way.clock.clone(), target))
    }

    async fn listed(
        &self,
        subject: &Subject,
        session: &config::SessionSettings,
        way: &AwsNetwork<'_>,
        keys: &Keys,
    ) -> Step {
        let listed = async {
            let client = self.client(session, way, self.control.as_ref())?;
            client.foundation_models(keys).await.map_err(Unanswered::from)
        };
        match listed.await {
            Ok(models) => subject.ok(format!("{} models in {}", models.len(), session.region)),
            Err(unanswered) => {
                let failed = subject.failed("the models cannot be listed", &unanswered.failure);
                let step = unanswered.allowing(failed, &json!(["bedrock:ListFoundationModels"]), "*");
                let hint = "add the suggested statement to the role's policy; calling models needs other permissions";
                if step.suggestions.is_empty() { step } else { step.hinting(hint) }
            }
        }
    }

    async fn called(
        &self,
        subject: &Subject,
        model: &ModelId,
        session: &config::SessionSettings,
        way: &AwsNetwork<'_>,
        keys: &Keys,
    ) -> Step {
        let name = model.as_str();
        let body = json!({
            "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }],
            "inferenceConfig": { "maxTokens": 1 },
        });
        let answer = async {
            model.check_region(&session.region).map_err(Failure::from)?;
            let client = self.client(session, way, self.runtime.as_ref())?;
            let request = Request::converse(model).with_body(Bytes::from(body.to_string()));
            let reply = client.call(keys, &request).await?;
            Ok::<Value, Unanswered>(reply.json::<Value>()?)
        };
        match answer.await {
            Ok(answer) => {
                let tokens = |kind: &str| answer["usage"][kind].as_u64().unwrap_or(0);
                let (sent, made) = (tokens("inputTokens"), tokens("outputTokens"));
                subject.ok(format!("{name} answers; {sent} input and {made} output tokens were billed"))
            }
            Err(unanswered) => {
                let partition = session.region.partition().as_str();
                let arn = match name.starts_with("arn:") {
                    true => name.to_owned(),
                    false => format!("arn:{partition}:bedrock:*::foundation-model/{name}"),
                };
                let actions = json!(["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]);
                let failed = subject.failed(format!("{name} does not answer"), &unanswered.failure);
                unanswered.allowing(failed, &actions, &arn)
            }
        }
    }
}

/// Why Bedrock gave no answer that can be used.
struct Unanswered {
    failure: Failure,
    /// The resource that the policies do not allow the call on, if AWS names it.
    resource: Option<String>,
}

impl From<BedrockError> for Unanswered {
    fn from(error: BedrockError) -> Self {
        let resource = error.unauthorized_resource().map(str::to_owned);
        Self { failure: error.into(), resource }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self { failure, resource: None }
    }
}

impl Unanswered {
    /// The step with the statement that the role's policy lacks, if that is the cause. `resource` counts if AWS names
    /// none.
    fn allowing(&self, step: Step, actions: &Value, resource: &str) -> Step {
        if self.failure.reason() != Reason::NotAuthorized {
            return step;
        }
        let resource = self.resource.as_deref().unwrap_or(resource);
        step.suggesting(
            "policy_statement",
            json!({ "Effect": "Allow", "Action": actions, "Resource": resource }),
        )
    }
}
