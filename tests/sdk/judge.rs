//! botocore as the judge of what is made without asking anybody: hosts, signatures and API keys.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anchord_aws::signing;
use anchord_aws::signing::CredentialScope;
use anchord_aws::signing::V4Request;
use anchord_core::arn::Region;
use anchord_core::credentials::Keys;
use anchord_core::endpoint;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::Variant;
use anchord_core::secret::Secret;
use serde_json::Value;
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::sdks;

const AT: OffsetDateTime = datetime!(2026-02-28 23:59:59 UTC);

/// What the judge says to each question.
fn ask(questions: &[Value]) -> Vec<Value> {
    let mut command = sdks::python("judge.py");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut judge = command.spawn().expect("there is a Python; tests/run makes it");
    let asked = serde_json::to_vec(questions).unwrap();
    judge.stdin.take().unwrap().write_all(&asked).unwrap();
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_host_in_every_region_is_the_one_that_botocore_asks() {
    let answer = ask(&[json!({ "what": "hosts" })]).remove(0);
    let all = answer.as_array().unwrap();
    let somewhere = all.iter().filter(|judged| judged["host"].is_string()).count();
    assert!(somewhere > 500, "only {somewhere} hosts were judged");
    let mut differences = Vec::new();
    for judged in all {
        // What is nowhere cannot differ.
        let Some(expected) = judged["host"].as_str() else { continue };
        let service = Service::ALL.into_iter().find(|service| judged["service"] == service.label()).unwrap();
        let region = Region::parse(judged["region"].as_str().unwrap()).unwrap();
        let flag = |name: &str| judged[name].as_bool().unwrap();
        let variant = Variant { fips: flag("fips"), dual_stack: flag("dual_stack") };
        let host = endpoint::host(service, &region, variant);
        if host != expected {
            differences.push(format!("{host} instead of {expected} ({variant:?})"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

struct Signer {
    id: &'static str,
    secret: &'static str,
    token: Option<&'static str>,
}

const SIGNERS: [Signer; 2] = [
    Signer { id: "ASIAEXAMPLE", secret: "secret/key+with=signs", token: Some("token//with+and=signs~%20") },
    Signer { id: "AKIAEXAMPLE", secret: "another", token: None },
];

impl Signer {
    fn keys(&self) -> Keys {
        Keys {
            access_key_id: self.id.to_owned(),
            secret_access_key: Secret::new(self.secret.to_owned()),
            session_token: self.token.map(|token| Secret::new(token.to_owned())),
        }
    }

    fn question(&self, what: &str, region: &str) -> Value {
        json!({
            "what": what,
            "at": AT.unix_timestamp(),
            "id": self.id,
            "secret": self.secret,
            "token": self.token,
            "region": region,
        })
    }
}

#[test]
fn calls_of_sts_and_of_models_by_any_name_are_signed_as_botocore_signs_them() {
    let models = [
        "/foundation-models",
        "/foundation-models?byProvider=Anthropic&byOutputModality=TEXT",
        "/inference-profiles?maxResults=10&nextToken=a%2Bb%2F%3D",
        "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke",
        "/model/us.anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Famazon.titan-text-express-v1/invoke",
        "/model/arn%3Aaws%3Asagemaker%3Aus-east-1%3A123456789012%3Aendpoint%2Fa_b.c~d-e/converse",
    ];
    let (mut questions, mut ours) = (Vec::new(), Vec::new());
    let said = "{\"messages\":[\"h\u{e4}llo\"]}";
    let form = "Action=AssumeRole&Tags.member.1.Value=a%20%26%20b%2B%C3%A4&Version=2011-06-15";
    let mut calls: Vec<_> =
        models.iter().map(|path| (Service::BedrockRuntime, *path, "application/json", said)).collect();
    calls.push((Service::Sts, "/", "application/x-www-form-urlencoded; charset=utf-8", form));
    for (signer, call) in SIGNERS.iter().flat_map(|signer| calls.iter().map(move |call| (signer, call))) {
        let (service, path, content_type, body) = *call;
        let region = Region::parse("us-east-1").unwrap();
        let host = endpoint::host(service, &region, Variant::default());
        let url = format!("https://{host}{path}");
        let mut question = signer.question("signed", region.as_str());
        question["method"] = json!("POST");
        question["url"] = json!(url);
        question["content_type"] = json!(content_type);
        question["body"] = json!(body);
        question["service"] = json!(service.signing_name());
        questions.push(question);

        let scope = CredentialScope::new(AT, region, service.signing_name());
        let headers = [("content-type", content_type)];
        let call = V4Request { method: "POST", url: &url, headers: &headers, body: body.as_bytes() };
        let signed = signing::sign_v4(&call, &signer.keys(), &scope).unwrap();
        let (_, authorization) = signed.into_iter().find(|(name, _)| *name == "authorization").unwrap();
        ours.push((path, authorization));
    }
    for ((path, ours), expected) in ours.into_iter().zip(ask(&questions)) {
        assert_eq!(ours, expected.as_str().unwrap(), "{path}");
    }
}

#[test]
fn api_keys_are_those_of_awss_generator() {
    let (mut questions, mut ours) = (Vec::new(), Vec::new());
    for signer in &SIGNERS {
        for (region, seconds) in [("us-east-1", 43_200), ("us-gov-west-1", 900), ("cn-north-1", 1)] {
            let mut question = signer.question("api_key", region);
            question["seconds"] = json!(seconds);
            questions.push(question);
            let region = Region::parse(region).unwrap();
            let life = Duration::from_secs(seconds);
            ours.push(signing::bedrock_api_key(&signer.keys(), &region, AT, life).unwrap());
        }
    }
    for (ours, expected) in ours.iter().zip(ask(&questions)) {
        assert_eq!(ours.expose().as_str(), expected.as_str().unwrap());
    }
}
