//! Bedrock: who may talk to which model, by what names, what it says, and how streams end.

use anchord_emulator::Emulator;
use anchord_emulator::Fault;
use anchord_emulator::Service;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use time::Duration;

use crate::sigv4::Call;
use crate::sigv4::Keys;
use crate::sigv4::deliver;
use crate::sigv4::encode;
use crate::support::Answer;
use crate::support::Client;
use crate::support::Signed;
use crate::support::World;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";

fn hello() -> Value {
    json!({ "messages": [{ "role": "user", "content": [{ "text": "Hello world" }] }] })
}

fn to_claude() -> Value {
    let messages = json!([{ "role": "user", "content": "Hello world" }]);
    json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": messages })
}

fn call(emulator: &Emulator, model: &str, verb: &str, body: &Value) -> Call {
    let path = format!("/model/{}/{verb}", encode(model));
    Call::new(emulator, "POST", &path, "bedrock", &body.to_string()).with("content-type", "application/json")
}

impl World {
    async fn say(&self, model: &str, verb: &str, body: &Value) -> Answer {
        call(&self.emulator, model, verb, body).send(&self.emulator, &Keys::of_user()).await
    }

    /// The frames of a stream, as headers and payload, and whether it ended as it should.
    async fn stream(&self, verb: &str, body: &Value) -> (Vec<(String, Value)>, bool) {
        let call = call(&self.emulator, HAIKU, verb, body).with("connection", "close");
        let mut client = Client::connect(&self.emulator).await.unwrap();
        client.write(&call.sign(&Keys::of_user())).await.unwrap();
        let answer = client.read_to_end().await.unwrap();
        assert_eq!(answer.header("content-type"), "application/vnd.amazon.eventstream");
        let (bytes, ended) = unchunked(&answer.body);
        let (events, rest) = events(&bytes);
        (events, ended && rest == 0)
    }
}

/// What chunks carry, and whether the last of them came.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return (bytes, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + length) else { break };
        bytes.extend_from_slice(chunk);
        rest = &rest[end + 4 + length..];
    }
    (bytes, false)
}

/// The type and payload of each whole frame, and how many bytes are left over.
fn events(mut rest: &[u8]) -> (Vec<(String, Value)>, usize) {
    let mut events = Vec::new();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
    while rest.len() >= 12 && rest.len() >= number(&rest[..4]) {
        let (frame, after) = rest.split_at(number(&rest[..4]));
        let headers_end = 12 + number(&frame[4..8]);
        let kind_length = usize::from(frame[12]);
        let value = 12 + 1 + kind_length + 1;
        let length = usize::from(u16::from_be_bytes(frame[value..value + 2].try_into().unwrap()));
        let kind = String::from_utf8(frame[value + 2..value + 2 + length].to_vec()).unwrap();
        let payload = serde_json::from_slice(&frame[headers_end..frame.len() - 4]).unwrap();
        events.push((kind, payload));
        rest = after;
    }
    (events, rest.len())
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    let message = body["message"].as_str().or_else(|| body["Message"].as_str()).unwrap().to_owned();
    (answer.status, answer.header("x-amzn-errortype").to_owned(), message)
}

#[tokio::test]
async fn a_model_answers_by_each_of_its_names() {
    let world = World::with(|setup| setup.bedrock_region = "us-east-1".to_owned()).await;
    let arn = |rest: &str| format!("arn:aws:{rest}");
    let names = [
        HAIKU.to_owned(),
        format!("us.{HAIKU}"),
        arn(&format!("bedrock:us-east-1::foundation-model/{HAIKU}")),
        arn(&format!("bedrock:us-east-1:123456789012:inference-profile/us.{HAIKU}")),
        arn("bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"),
        arn("bedrock:us-east-1:123456789012:provisioned-model/b1c2d3e4f5a6"),
        arn("bedrock:us-east-1:123456789012:custom-model/amazon.titan-text-express-v1:0:8k/c1d2e3f4a5b6"),
        arn("bedrock:us-east-1:123456789012:custom-model-deployment/d1e2f3a4b5c6"),
        arn("bedrock:us-east-1:123456789012:imported-model/e1f2a3b4c5d6"),
        arn("sagemaker:us-east-1:123456789012:endpoint/example-endpoint"),
    ];
    for name in &names {
        let mut call = call(&world.emulator, name, "converse", &hello());
        call.region = "us-east-1".to_owned();
        let answer = call.send(&world.emulator, &Keys::of_user()).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(world.emulator.requests().pop().unwrap().model_id.as_ref(), Some(name));
    }
    for name in [
        "unknown",
        "a1b2c3d4e5f6",
        "arn:aws:bedrock:us-west-2::foundation-model/amazon.titan-text-express-v1",
    ] {
        let mut call = call(&world.emulator, name, "converse", &hello());
        call.region = "us-east-1".to_owned();
        let message = "The provided model identifier is invalid.".to_owned();
        let answer = call.send(&world.emulator, &Keys::of_user()).await;
        assert_eq!(refusal(&answer), (400, "ValidationException".to_owned(), message), "{name}");
    }
}

#[tokio::test]
async fn conversations_and_invocations_echo_and_count_words() {
    let world = World::new().await;
    let answer = world.say(HAIKU, "converse", &hello()).await.json();
    assert_eq!(answer["output"]["message"]["content"][0]["text"], "You said: Hello world");
    assert_eq!(answer["usage"], json!({ "inputTokens": 2, "outputTokens": 4, "totalTokens": 6 }));

    let answer = world.say(HAIKU, "invoke", &to_claude()).await;
    assert_eq!(answer.header("x-amzn-bedrock-input-token-count"), "2");
    assert_eq!(answer.json()["content"][0]["text"], "You said: Hello world");
    assert_eq!(answer.json()["usage"], json!({ "input_tokens": 2, "output_tokens": 4 }));
    let titan = world.say("amazon.titan-text-express-v1", "invoke", &json!({ "inputText": "Hi" })).await;
    assert_eq!(titan.json()["content"][0]["text"], "You said: Hi");
}

#[tokio::test]
async fn what_no_model_can_read_is_invalid_and_what_is_not_enabled_denied() {
    let world = World::new().await;
    for (verb, body) in [
        ("converse", json!({})),
        ("converse", json!({ "messages": [] })),
        ("converse", json!({ "messages": [{ "role": "user", "content": "text" }] })),
        ("converse", json!({ "messages": [{ "role": "assistant", "content": [{ "text": "I" }] }] })),
        ("invoke", json!([])),
        ("invoke", json!({ "max_tokens": 1, "messages": [] })),
        ("converse-stream", json!("text")),
    ] {
        let answer = world.say(HAIKU, verb, &body).await;
        assert_eq!(
            (answer.status, refusal(&answer).1.as_str()),
            (400, "ValidationException"),
            "{verb} {body}"
        );
    }
    let message = "You don't have access to the model with the specified model ID.".to_owned();
    let denied = (403, "AccessDeniedException".to_owned(), message);
    let opus = "anthropic.claude-3-opus-20240229-v1:0";
    assert_eq!(refusal(&world.say(opus, "converse", &hello()).await), denied);
    world.emulator.set_denied("bedrock:InvokeModel", true);
    let told = refusal(&world.say(HAIKU, "converse", &hello()).await).2;
    assert!(told.contains("is not authorized to perform: bedrock:InvokeModel on resource: arn:"), "{told}");
    let unknown = world.say(HAIKU, "destroy", &hello()).await;
    assert_eq!(refusal(&unknown).0, 404);
}

#[tokio::test]
async fn streams_say_the_same_in_pieces() {
    let world = World::new().await;
    let (events, ended) = world.stream("converse-stream", &hello()).await;
    assert!(ended);
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds[0], "messageStart");
    assert_eq!(kinds[kinds.len() - 3..], ["contentBlockStop", "messageStop", "metadata"]);
    let text: String = events.iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str()).collect();
    assert_eq!(text, "You said: Hello world");

    let (events, ended) = world.stream("invoke-with-response-stream", &to_claude()).await;
    assert!(ended && events.len() > 6 && events.iter().all(|(kind, _)| kind == "chunk"));
}

#[tokio::test]
async fn a_stream_may_break_off_or_end_in_an_exception_and_nothing_else_minds() {
    let world = World::new().await;
    let exception = Fault::StreamException {
        kind: "modelStreamErrorException".to_owned(),
        message: "The model stumbled.".to_owned(),
    };
    world.emulator.script([exception, Fault::StreamCut]);

    let (events, ended) = world.stream("converse-stream", &hello()).await;
    let (kind, payload) = events.last().unwrap();
    assert_eq!((kind.as_str(), ended), ("modelStreamErrorException", true));
    assert_eq!((payload["message"].as_str(), events.len() > 2), (Some("The model stumbled."), true));
    let (events, ended) = world.stream("converse-stream", &hello()).await;
    assert!(!ended && !events.is_empty());
    world.emulator.script([Fault::StreamCut]);
    assert_eq!(world.say(HAIKU, "converse", &hello()).await.status, 200);
}

#[tokio::test]
async fn a_held_stream_goes_on_after_its_release() {
    let world = World::new().await;
    world.emulator.script([Fault::StreamHold]);
    let stream = async { world.stream("converse-stream", &hello()).await };
    let release = async {
        world.emulator.wait_for_held(1).await;
        world.emulator.release();
    };
    let ((events, ended), ()) = tokio::join!(stream, release);
    assert!(ended && events.iter().any(|(kind, _)| kind == "metadata"));
}

#[tokio::test]
async fn models_and_profiles_are_listed() {
    let world = World::new().await;
    let list = async |path: &str, query: &str| {
        let mut call = Call::new(&world.emulator, "GET", path, "bedrock", "");
        query.clone_into(&mut call.query);
        call.send(&world.emulator, &Keys::of_user()).await.json()
    };

    let models = list("/foundation-models", "byProvider=anthropic").await;
    let models = models["modelSummaries"].as_array().unwrap();
    assert_eq!((models.len(), &models[0]["modelId"]), (2, &json!(HAIKU)));
    let first = list("/inference-profiles", "maxResults=1").await;
    assert_eq!(first["inferenceProfileSummaries"][0]["type"], "SYSTEM_DEFINED");
    let token = first["nextToken"].as_str().unwrap();
    let second = list("/inference-profiles", &format!("maxResults=1&nextToken={token}")).await;
    assert_eq!(second["inferenceProfileSummaries"][0]["type"], "APPLICATION");
    assert_eq!(second.get("nextToken"), None);
    let model = list(&format!("/foundation-models/{}", encode(HAIKU)), "").await;
    assert_eq!(model["modelDetails"]["providerName"], "Anthropic");
}

#[tokio::test]
async fn a_bad_signature_is_refused_in_the_words_of_bedrock() {
    let world = World::new().await;
    let good = call(&world.emulator, HAIKU, "converse", &hello());
    let user = Keys::of_user();
    let stranger = Keys { id: "AKIASTRANGERSTRANGER".to_owned(), ..user.clone() };
    let forger = Keys { secret: "wrong".to_owned(), ..user.clone() };
    let scoped = |region: &str, service: &str| {
        let (region, service) = (region.to_owned(), service.to_owned());
        Call { region, service, ..good.clone() }
    };
    let region = crate::support::REGION;
    for (call, keys, kind, told) in [
        (
            &good,
            &stranger,
            "UnrecognizedClientException",
            "security token included in the request is invalid",
        ),
        (&good, &forger, "InvalidSignatureException", "The request signature we calculated does not match"),
        (&scoped("us-east-1", "bedrock"), &user, "InvalidSignatureException", "scoped to a valid region."),
        (
            &scoped(region, "bedrock-runtime"),
            &user,
            "InvalidSignatureException",
            "correct service: 'bedrock'.",
        ),
    ] {
        let (status, error_type, message) = refusal(&call.send(&world.emulator, keys).await);
        assert_eq!((status, error_type.as_str()), (403, kind));
        assert!(message.contains(told), "{message}");
    }
    let logged = world.emulator.requests_to(Service::Bedrock).pop().unwrap();
    assert_eq!((logged.action.as_deref(), logged.signer), (Some("Converse"), Some(user.id.clone())));

    let encoded_once = Call { canonical_path: Some(good.path.clone()), ..good.clone() };
    let answer = encoded_once.send(&world.emulator, &user).await;
    assert_eq!(refusal(&answer).1, "InvalidSignatureException", "a path is encoded twice");

    let mut unsigned = good.sign(&user);
    unsigned.headers.retain(|(name, _)| name != "authorization");
    let answer = deliver(&world.emulator, &unsigned).await;
    assert_eq!(refusal(&answer).1, "MissingAuthenticationTokenException");
    assert_eq!(world.send(&world.draft()).await.status, 201);
    let session = Keys::of(&world.emulator.issued()[0]);
    world.emulator.set_clock_offset(Duration::hours(2));
    let late = Call { at: world.emulator.now(), ..good };
    assert_eq!(refusal(&late.send(&world.emulator, &session).await).1, "ExpiredTokenException");
}

#[tokio::test]
async fn a_bearer_token_that_is_no_key_is_refused_and_not_logged() {
    let world = World::new().await;
    let mut request = call(&world.emulator, HAIKU, "converse", &hello()).sign(&Keys::of_user());
    request.set("authorization", "Bearer bedrock-api-key-Y2FuYXJ5");
    let answer = deliver(&world.emulator, &request).await;

    let message = "Authentication failed: Please make sure your API Key is valid.".to_owned();
    assert_eq!(refusal(&answer), (403, "AccessDeniedException".to_owned(), message));
    let logged = world.emulator.requests().pop().unwrap();
    assert!(logged.is_bearer && !format!("{logged:?}").contains("Y2FuYXJ5"), "{logged:?}");
}

#[tokio::test]
async fn faults_speak_bedrocks_language() {
    let world = World::new().await;
    world.emulator.script([Fault::Throttle { retry_after: None }, Fault::Status(503), Fault::Malformed]);

    assert_eq!(refusal(&world.say(HAIKU, "converse", &hello()).await).1, "ThrottlingException");
    assert_eq!(refusal(&world.say(HAIKU, "converse", &hello()).await).1, "ServiceUnavailableException");
    let broken = world.say(HAIKU, "converse", &hello()).await;
    assert!(broken.status == 200 && serde_json::from_slice::<Value>(&broken.body).is_err());
}

/// Nobody's connection but this one speaks HTTP/2, which the emulator takes of whoever offers it.
#[tokio::test]
async fn over_http_2_the_authority_is_signed_as_the_host_or_by_its_own_name() {
    let world = World::new().await;
    let as_host = call(&world.emulator, HAIKU, "converse-stream", &hello());
    let mut by_name = as_host.clone();
    ":authority".clone_into(&mut by_name.headers[0].0);
    for call in [as_host, by_name] {
        stream_over_http_2(&world, call.sign(&Keys::of_user())).await;
    }
}

async fn stream_over_http_2(world: &World, signed: Signed) {
    let tls = crate::support::tls(&world.emulator, &[b"h2"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let (method, path) = signed.line.split_once(' ').unwrap();
    let mut request =
        hyper::Request::builder().method(method).uri(format!("{}{path}", world.emulator.endpoint()));
    for (name, value) in signed.headers.iter().filter(|(name, _)| name != "host" && name != ":authority") {
        request = request.header(name, value);
    }
    let response =
        sender.send_request(request.body(Full::new(Bytes::from(signed.body))).unwrap()).await.unwrap();

    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let (events, rest) = events(&body);
    assert_eq!((events.last().unwrap().0.as_str(), rest), ("metadata", 0));
    assert_eq!(world.emulator.requests().pop().unwrap().version, "HTTP/2.0");
}
