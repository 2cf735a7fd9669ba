//! SDKs that talk to models, and to STS, with what the daemon gives them. Roles Anywhere is in one Region, and what they
//! talk to in another.

use anchord_core::event;
use std::process::Command;

use anchord_emulator::AccessKey;
use anchord_emulator::Fault;
use anchord_emulator::LoggedRequest;
use anchord_emulator::Service;
use serde_json::Value;
use serde_json::json;

use crate::ROOM;
use crate::channels::Channel;
use crate::programs::Variables;
use crate::sdks;
use crate::sdks::Sdk;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const PROFILE: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6";

const CERTIFICATE: &str = "certificate = \"leaf.pem\"\nprivate_key = \"key.pem\"";
const ACCESS_KEYS: &str = "source = \"access-keys\"\naccess_keys = \"file:user\"";

/// A daemon whose certificate is good in Oregon, and models in Virginia.
struct Scene {
    stage: Stage,
    daemon: Daemon,
}

impl Scene {
    async fn new() -> Self {
        Self::with(CERTIFICATE, "").await
    }

    /// A session with these lines on where its credentials come from, and these tables after it.
    async fn with(lines: &str, tables: &str) -> Self {
        let stage = Stage::with(|setup| {
            "us-west-2".clone_into(&mut setup.region);
            setup.trust_anchors[0].arn = setup.trust_anchor_arn();
            setup.profiles[0].arn = setup.profile_arn();
        })
        .await;
        let endpoint = stage.emulator.endpoint();
        let lines = format!("{lines}\nregion = \"us-east-1\"\nsts_endpoint = \"{endpoint}\"");
        let session = if lines.contains("access-keys") {
            let AccessKey { access_key_id, secret_access_key, .. } = AccessKey::sample();
            stage.write("user", &format!("{access_key_id}:{secret_access_key}\n"));
            format!("[session.bedrock]\n{lines}\n")
        } else {
            stage.session_of("bedrock", &lines)
        };
        stage.configure(&format!("{session}{tables}"));
        let daemon = stage.daemon().await;
        Self { stage, daemon }
    }

    /// What came of each call of a program that finds its credentials by these variables.
    async fn play(&self, mut command: Command, variables: Variables, model: &str) -> Value {
        command.arg(model);
        let ran = self.run(command, variables).await;
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
    }

    /// A program that finds AWS here, and its credentials by these variables.
    async fn run(&self, mut command: Command, variables: Variables) -> Ran {
        let endpoint = self.stage.emulator.endpoint();
        let ca = self.stage.path("tls-ca.pem");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command
            .envs(process::home(self.stage.path("home")))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1");
        command.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_MAX_ATTEMPTS", "1");
        command.env("AWS_CA_BUNDLE", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
        command.envs(variables);
        process::to_the_end(command).await
    }

    async fn variables(&self, channel: Channel) -> Variables {
        channel.variables(&self.stage, &self.daemon.http().await, "")
    }

    async fn with_boto3(&self, channel: Channel, model: &str) -> Value {
        self.play(sdks::python("bedrock_boto3.py"), self.variables(channel).await, model).await
    }

    /// The key that the daemon serves beside the credentials.
    async fn api_key(&self) -> String {
        let authorization = format!("authorization: {}", self.stage.bearer("bedrock"));
        let reply =
            client::tcp(&self.daemon.http().await, "GET", "/v1/bedrock/api-key", &authorization).await;
        reply.json()["api_key"].as_str().unwrap().to_owned()
    }

    /// The calls of Bedrock, each of which must have been answered to whom Roles Anywhere knows.
    fn calls(&self) -> Vec<LoggedRequest> {
        let emulator = &self.stage.emulator;
        let calls = emulator.requests_to(Service::Bedrock);
        let issued = emulator.issued().remove(0);
        for call in &calls {
            assert_eq!(call.status, Some(200), "{call:?}");
            assert_eq!(call.scope_region.as_deref(), Some("us-east-1"));
            assert_eq!(call.signer.as_ref(), Some(&issued.access_key_id));
        }
        let sessions = emulator.requests_to(Service::RolesAnywhere);
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].scope_region.as_deref(), Some("us-west-2"));
        calls
    }
}

fn assert_all_said(came: &Value, text: &str) {
    for (call, came) in came.as_object().unwrap() {
        let expected = if call == "list_foundation_models" { HAIKU } else { text };
        assert!(came.as_str().unwrap().starts_with(expected), "{call}: {came}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_talks_to_models_in_another_region_than_its_certificates() {
    let _place = ROOM.acquire().await.unwrap();
    for (channel, model) in [(Channel::ContainerFile, HAIKU), (Channel::Imds, PROFILE)] {
        let scene = Scene::new().await;
        let came = scene.with_boto3(channel, model).await;

        assert_all_said(&came, "You said: Hello from boto3");
        let calls = scene.calls();
        assert_eq!(calls.len(), 5, "{came}");
        assert!(calls.iter().all(|call| call.model_id.as_deref().is_none_or(|id| id == model)), "{calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_talks_to_models_with_the_daemons_api_key_and_no_credentials() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    let key = scene.api_key().await;
    let variables = vec![("AWS_BEARER_TOKEN_BEDROCK", key), ("AWS_EC2_METADATA_DISABLED", "true".to_owned())];

    let came = scene.play(sdks::python("bedrock_boto3.py"), variables, PROFILE).await;

    assert_all_said(&came, "You said: Hello from boto3");
    let calls = scene.calls();
    assert!(calls.len() == 5 && calls.iter().all(|call| call.is_bearer), "{calls:?}");
}

/// Through the helper that asks the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_lists_models_and_knows_who_it_is() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    for (arguments, told) in [
        (
            ["sts", "get-caller-identity", "--query", "Arn"],
            "arn:aws:sts::123456789012:assumed-role/ExampleRole/",
        ),
        (["bedrock", "list-foundation-models", "--query", "modelSummaries[].modelId"], HAIKU),
        (
            ["bedrock", "list-inference-profiles", "--query", "inferenceProfileSummaries[].type"],
            "APPLICATION",
        ),
    ] {
        let mut command = Sdk::Awscli.command();
        command.args(arguments).args(["--output", "text"]);
        let ran = scene.run(command, scene.variables(Channel::Process).await).await;
        assert!(ran.code == 0 && ran.stdout.contains(told), "{ran:?}");
    }
    assert_eq!(scene.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_talks_to_models_over_http_2_as_it_does_by_default() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    let variables = scene.variables(Channel::ContainerFile).await;

    let came = scene.play(sdks::node("bedrock_javascript.mjs"), variables, PROFILE).await;

    assert_all_said(&came, "You said: Hello from JavaScript");
    let calls = scene.calls();
    assert!(calls.len() == 2 && calls.iter().all(|call| call.version == "HTTP/2.0"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_talks_to_models_with_a_printed_api_key_and_no_credentials() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    let printed = scene.stage.run(&["bedrock", "api-key", "--ttl", "15m"]).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    let variables = vec![("AWS_BEARER_TOKEN_BEDROCK", printed.stdout.trim_end().to_owned())];

    let came = scene.play(sdks::node("bedrock_javascript.mjs"), variables, HAIKU).await;

    assert_all_said(&came, "You said: Hello from JavaScript");
    let calls = scene.calls();
    assert!(calls.len() == 2 && calls.iter().all(|call| call.is_bearer), "{calls:?}");
}

/// Whoever may talk is asked once, when a stream begins: new credentials are nothing to a stream of the old.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_while_the_daemon_renews_its_credentials() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    let emulator = &scene.stage.emulator;
    let listing_and_talking_at_once = [Fault::Close, Fault::Close];
    emulator.script_for(Service::Bedrock, listing_and_talking_at_once.into_iter().chain([Fault::StreamHold]));

    let renew = async {
        emulator.wait_for_held(1).await;
        scene.stage.install(&scene.stage.leaf());
        scene.daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
        emulator.release();
    };
    let (came, ()) = tokio::join!(scene.with_boto3(Channel::ContainerFile, HAIKU), renew);

    assert_all_said(&came, "You said: Hello from boto3");
}

/// It is the emulator that is judged here: SDKs understand its refusals and its exceptions as they do Bedrock's.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_understands_what_the_emulator_refuses() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    let exception = Fault::StreamException {
        kind: "modelStreamErrorException".to_owned(),
        message: "The model stumbled.".to_owned(),
    };
    scene.stage.emulator.set_denied("bedrock:ListFoundationModels", true);
    let throttle = Fault::Throttle { retry_after: None };
    let faults = [Fault::Close, throttle, exception, Fault::Close, Fault::StreamCut];
    scene.stage.emulator.script_for(Service::Bedrock, faults);

    let came = scene.with_boto3(Channel::ContainerFile, HAIKU).await;

    for (call, told) in [
        ("list_foundation_models", "is not authorized to perform: bedrock:ListFoundationModels on"),
        ("converse", "ThrottlingException: "),
        ("converse_stream", "The model stumbled."),
        ("invoke_model", "You said: "),
        ("invoke_model_with_response_stream", "Error: "),
    ] {
        assert!(came[call].as_str().unwrap().contains(told), "{call}: {}", came[call]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_is_the_role_at_the_end_of_the_chain() {
    let _place = ROOM.acquire().await.unwrap();
    let steps = "[[session.bedrock.assume_role]]\nrole_arn = \"arn:aws:iam::111122223333:role/path/Between\"\n\
                 [[session.bedrock.assume_role]]\nrole_arn = \"arn:aws:iam::444455556666:role/Models\"\n\
                 session_name = \"robot-7\"\n";
    for (lines, first) in [(CERTIFICATE, "CreateSession"), (ACCESS_KEYS, "AssumeRole")] {
        let scene = Scene::with(lines, steps).await;
        let variables = scene.variables(Channel::Imds).await;

        let came = scene.play(sdks::python("sts_boto3.py"), variables, "").await;
        let said = scene.with_boto3(Channel::ContainerFile, HAIKU).await;

        assert_eq!(came["get_caller_identity"], "arn:aws:sts::444455556666:assumed-role/Models/robot-7");
        assert_eq!(said["converse"], "You said: Hello from boto3");
        let issued = scene.stage.emulator.issued();
        assert_eq!(issued[0].action, first);
        let models = issued.iter().find(|set| set.role_session_name == "robot-7").unwrap();
        let calls = scene.stage.emulator.requests_to(Service::Bedrock);
        assert!(calls.iter().all(|call| call.signer.as_ref() == Some(&models.access_key_id)), "{calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_is_the_user_whose_access_keys_the_daemon_has() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::with(ACCESS_KEYS, "").await;
    let variables = scene.variables(Channel::Imds).await;

    let came = scene.play(sdks::python("sts_boto3.py"), variables, "").await;

    assert_eq!(came["get_caller_identity"], "arn:aws:iam::123456789012:user/ExampleUser");
    let key = scene.api_key().await;
    let variables = vec![("AWS_BEARER_TOKEN_BEDROCK", key)];
    let said = scene.play(sdks::python("bedrock_boto3.py"), variables, HAIKU).await;
    assert_all_said(&said, "You said: Hello from boto3");
}

/// Here, too, the emulator is judged.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_understands_what_the_emulator_says_as_sts() {
    let _place = ROOM.acquire().await.unwrap();
    let scene = Scene::new().await;
    let variables = scene.variables(Channel::Imds).await;
    let reader = "arn:aws:sts::111122223333:assumed-role/Reader/chained True True";

    let chained = scene.play(sdks::python("sts_boto3.py"), variables, "").await;
    let AccessKey { access_key_id, secret_access_key, .. } = AccessKey::sample();
    let variables = vec![("AWS_ACCESS_KEY_ID", access_key_id), ("AWS_SECRET_ACCESS_KEY", secret_access_key)];
    let of_user = scene.play(sdks::python("sts_boto3.py"), variables, "").await;

    assert_eq!((&chained["assume_role"], &of_user["assume_role"]), (&json!(reader), &json!(reader)));
    let told = |came: &Value, call: &str| came[call].as_str().unwrap().to_owned();
    assert!(told(&chained, "chain_for_too_long").contains("exceeds the 1 hour session limit"), "{chained}");
    assert!(told(&chained, "get_session_token").contains("(AccessDenied)"), "{chained}");
    assert_eq!(told(&of_user, "get_session_token"), "ASIA");
    let calls = scene.stage.emulator.requests_to(Service::Sts);
    let tagged = calls.iter().find(|call| call.parameter("Tags.member.1.Key").is_some()).unwrap();
    assert_eq!(tagged.parameter("Tags.member.1.Key"), Some("team & co"));
    assert_eq!(tagged.parameter("Tags.member.1.Value"), Some("r\u{f6}d"));
}
