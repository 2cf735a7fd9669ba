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
use anchord_aws::bedrock::ModelId;
use anchord_aws::bedrock::Request;
use anchord_aws::upstream::Https;
use anchord_config as config;
use anchord_config::Environment;
use anchord_core::credentials::Keys;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::host;
use anchord_core::failure::Failure;

/// How long a model may be silent, as for `bedrock invoke`.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked of Bedrock, and where that is.
pub(super) struct Models {
    /// Where a model may think longer than other services.
    https: Https,
    /// The one that is called.
    model: Option<ModelId>,
    /// What AWS_ENDPOINT_URL_BEDROCK or AWS_ENDPOINT_URL names.
    control: Option<String>,
    /// What AWS_ENDPOINT_URL_BEDROCK_RUNTIME or AWS_ENDPOINT_URL names.
    runtime: Option<String>,
}

impl Models {
    pub(super) fn new(https: Https, model: Option<ModelId>, environment: &Environment) -> Self {
        let named = |own| bedrock::endpoint_in(environment, own).map(|(_, url)| url.to_owned());
        let (control, runtime) = ("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME");
        Self { https, model, control: named(control), runtime: named(runtime) }
    }

    /// Whether whoever asks means to use Bedrock: not every session is for it.
    pub(super) fn are_needed(&self) -> bool {
        self.model.is_some()
    }

    pub(super) fn endpoints(&self, session: &config::Session) -> Vec<CheckedEndpoint> {
        let endpoint = |id: &str, name: &str, service, named: &Option<String>| {
            let own = || format!("https://{}", host(service, &session.region, session.variant));
            CheckedEndpoint { id: id.into(), name: name.into(), url: named.clone().unwrap_or_else(own) }
        };
        vec![
            endpoint("bedrock", "Bedrock", Service::Bedrock, &self.control),
            endpoint("bedrock-runtime", "Bedrock runtime", Service::BedrockRuntime, &self.runtime),
        ]
    }

    /// The calls, with what `held` has; `obstacle` tells what keeps them from a URL.
    pub(super) async fn steps(
        &self,
        session: &config::Session,
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
        session: &config::Session,
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
        session: &config::Session,
        way: &AwsNetwork<'_>,
        keys: &Keys,
    ) -> Step {
        let listed = async {
            let client = self.client(session, way, self.control.as_ref())?;
            client.foundation_models(keys).await.map_err(Failure::from)
        };
        match listed.await {
            Ok(models) => subject.ok(format!("{} models in {}", models.len(), session.region)),
            Err(failure) => {
                let failed = subject.failed("the models cannot be listed", &failure);
                let step = allowing(failed, &failure, &json!(["bedrock:ListFoundationModels"]), "*");
                let hint = "have the role's policy allow it with the statement below; to call models is allowed apart";
                if step.suggestions.is_empty() { step } else { step.hinting(hint) }
            }
        }
    }

    async fn called(
        &self,
        subject: &Subject,
        model: &ModelId,
        session: &config::Session,
        way: &AwsNetwork<'_>,
        keys: &Keys,
    ) -> Step {
        let name = model.as_str();
        let body = json!({
            "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }],
            "inferenceConfig": { "maxTokens": 1 },
        });
        let answer = async {
            model.check_region(&session.region)?;
            let client = self.client(session, way, self.runtime.as_ref())?;
            let request = Request::converse(model).with_body(Bytes::from(body.to_string()));
            let reply = client.call(keys, &request).await?;
            Ok::<Value, Failure>(reply.json::<Value>()?)
        };
        match answer.await {
            Ok(answer) => {
                let tokens = |kind: &str| answer["usage"][kind].as_u64().unwrap_or(0);
                let (sent, made) = (tokens("inputTokens"), tokens("outputTokens"));
                subject.ok(format!("{name} answers; {sent} tokens sent and {made} made are billed"))
            }
            Err(failure) => {
                let partition = session.region.partition().as_str();
                let arn = match name.starts_with("arn:") {
                    true => name.to_owned(),
                    false => format!("arn:{partition}:bedrock:*::foundation-model/{name}"),
                };
                let actions = json!(["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]);
                allowing(
                    subject.failed(format!("{name} does not answer"), &failure),
                    &failure,
                    &actions,
                    &arn,
                )
            }
        }
    }
}

/// With the statement that the role's policy lacks, if it is that.
fn allowing(step: Step, failure: &Failure, actions: &Value, resource: &str) -> Step {
    let message = failure.message();
    if !message.contains("not authorized to perform") || message.contains("explicit deny") {
        return step;
    }
    // AWS names what was meant: a profile, or the model behind it in one of its Regions.
    let named = message.split("on resource: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": named.unwrap_or(resource) });
    step.suggesting("policy_statement", statement)
}
