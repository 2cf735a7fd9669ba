//! The verbs that call no model.

use anchord_aws::upstream;
use anchord_aws::upstream::Https;
use anchord_aws::upstream::Timeouts;
use anchord_core::clock::Clock;
use anchord_emulator::Model;
use anchord_emulator::ModelKind;
use serde_json::Value;

use super::HAIKU;
use super::bedrock;
use super::calls;
use super::invoked;
use super::told;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

#[tokio::test]
async fn models_and_profiles_are_listed() {
    let stage = Stage::new().await;
    let endpoint = stage.emulator.endpoint();

    let table = process::to_the_end(bedrock(&stage, &["models", "--endpoint-url", &endpoint])).await;
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        rows.contains(&vec![HAIKU, "Anthropic", "TEXT", "TEXT", "yes", "ON_DEMAND", "ACTIVE"]),
        "{}",
        table.stdout
    );
    let profile = format!("us.{HAIKU}");
    assert!(rows.contains(&vec![profile.as_str(), profile.as_str(), "ACTIVE"]), "{}", table.stdout);

    let mut command = bedrock(&stage, &["models", "--json"]);
    command.env("AWS_ENDPOINT_URL_BEDROCK", &endpoint);
    let listed = process::to_the_end(command).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["region"], "us-east-1");
    assert_eq!(listed["foundation_models"].as_array().unwrap().len(), 3);
    let profiles = listed["inference_profiles"].as_array().unwrap();
    assert_eq!(
        profiles.iter().map(|profile| profile["type"].as_str().unwrap()).collect::<Vec<_>>(),
        ["APPLICATION", "SYSTEM_DEFINED"]
    );
}

#[tokio::test]
async fn profiles_are_listed_to_the_last_page() {
    let stage = Stage::with(|setup| {
        let profile = |number| Model::new(ModelKind::InferenceProfile, &format!("us.p{number}"), "Anybody");
        setup.models.extend((0..1500).map(profile));
    })
    .await;

    let endpoint = stage.emulator.endpoint();
    let ran = process::to_the_end(bedrock(&stage, &["models", "--json", "--endpoint-url", &endpoint])).await;

    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed["inference_profiles"].as_array().unwrap().len(), 1502);
}

#[tokio::test]
async fn models_are_shown_even_where_profiles_may_not_be_listed() {
    let stage = Stage::new().await;
    stage.emulator.set_denied("bedrock:ListInferenceProfiles", true);

    let ran =
        process::to_the_end(bedrock(&stage, &["models", "--endpoint-url", &stage.emulator.endpoint()])).await;

    assert_eq!(ran.code, 3);
    assert!(
        ran.stdout.contains(HAIKU) && ran.stderr.contains("bedrock:ListInferenceProfiles"),
        "{}",
        ran.stderr
    );
}

/// What Bedrock answers to a list asked for with this key.
async fn status_with_bearer(stage: &Stage, key: &str) -> u16 {
    let tls = upstream::client_config(Some(&stage.path("tls-ca.pem")), &Clock::system()).unwrap();
    let https = Https::new(tls, Timeouts { connect: None, read: None }, None).unwrap();
    let request = http::Request::get(format!("{}/foundation-models", stage.emulator.endpoint()))
        .header("authorization", format!("Bearer {key}"));
    https.open(request.body(bytes::Bytes::new()).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_api_key_is_printed_alone_and_bedrock_takes_it() {
    let stage = Stage::new().await;

    let ran = process::to_the_end(bedrock(&stage, &["api-key"])).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let key = ran.stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("bedrock-api-key-") && !key.contains(char::is_whitespace));
    assert_eq!(status_with_bearer(&stage, key).await, 200);
    assert_eq!(status_with_bearer(&stage, &key.replace('A', "B")).await, 403);
    assert!(calls(&stage).iter().all(|call| call.is_bearer));
}

#[tokio::test]
async fn an_api_key_says_when_it_ends_and_warns_once_if_that_is_sooner_than_asked() {
    let stage = Stage::new().await;
    let ends_at = |ran: &Ran| {
        let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(printed["region"], "eu-west-1");
        assert!(printed["api_key"].as_str().unwrap().starts_with("bedrock-api-key-"));
        printed["expires_at"].as_str().unwrap().to_owned()
    };

    let short =
        process::to_the_end(bedrock(&stage, &["api-key", "--json", "--region", "eu-west-1", "--ttl", "15m"]))
            .await;
    assert_eq!((short.code, short.stderr.as_str()), (0, ""));
    let long =
        process::to_the_end(bedrock(&stage, &["api-key", "--json", "--region", "eu-west-1", "--ttl", "2h"]))
            .await;
    assert_eq!(long.code, 0);
    assert!(ends_at(&short) < ends_at(&long));
    assert_eq!(
        long.stderr,
        format!("anchord: warning: the key expires with the session's credentials, at {}\n", ends_at(&long))
    );
    for ttl in ["0s", "13h", "soon"] {
        let ran = process::to_the_end(bedrock(&stage, &["api-key", "--ttl", ttl])).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ttl}");
    }
}

#[tokio::test]
async fn without_credentials_there_is_no_key_and_no_call() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let key = process::to_the_end(bedrock(&stage, &["api-key"])).await;
    let (line, hint) = told(&key, 3);
    assert!(line.contains("Unable to assume role") && hint.contains("trust policy"), "{line}");
    let call = invoked(&stage, HAIKU, &["--converse", "--message", "hi"]).await;
    assert!(!call.stderr.is_empty() && call.stdout.is_empty());
    assert!(calls(&stage).is_empty());
}
