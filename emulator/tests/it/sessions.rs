//! Sessions that are granted, and what they contain.

use anchord_emulator::Authority;
use anchord_emulator::Clock;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use serde_json::Value;
use serde_json::json;
use time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::Client;
use crate::support::Draft;
use crate::support::World;

fn expires_at(body: &Value) -> OffsetDateTime {
    let text = body["credentialSet"][0]["credentials"]["expiration"].as_str().unwrap();
    assert!(text.ends_with('Z') && text.len() == 20, "{text}");
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

#[tokio::test]
async fn a_session_has_every_member_of_the_response() {
    let now = Clock::system().now().replace_nanosecond(0).unwrap();
    let world = World::with(|setup| setup.clock = Clock::at(now)).await;
    let mut request = LeafRequest::new("host-7", KeyKind::P256);
    request.serial = Some(vec![0x0a, 0xbc]);
    let leaf = world.root.leaf(&request).unwrap();

    let answer = world.send(&Draft::new(&world.emulator, &leaf, &[])).await;

    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    let body = answer.json();
    let set = &body["credentialSet"][0];
    let issued = &world.emulator.issued()[0];
    assert_eq!(set["credentials"]["accessKeyId"], issued.access_key_id);
    assert_eq!(set["credentials"]["secretAccessKey"], issued.secret_access_key);
    assert_eq!(set["credentials"]["sessionToken"], issued.session_token);
    assert!(issued.access_key_id.starts_with("ASIA") && issued.access_key_id.len() == 20);
    assert_eq!((issued.secret_access_key.len(), issued.session_token.len()), (40, 800));
    assert_eq!(expires_at(&body), now + Duration::seconds(900));
    assert_eq!(issued.expires_at, now + Duration::seconds(900));
    assert_eq!(set["assumedRoleUser"]["arn"], "arn:aws:sts::123456789012:assumed-role/ExampleRole/0abc");
    assert!(set["assumedRoleUser"]["assumedRoleId"].as_str().unwrap().ends_with(":0abc"));
    assert_eq!(set["roleArn"], "arn:aws:iam::123456789012:role/ExampleRole");
    assert_eq!(set["sourceIdentity"], "CN=host-7");
    let subject = body["subjectArn"].as_str().unwrap();
    assert!(subject.starts_with("arn:aws:rolesanywhere:eu-central-1:123456789012:subject/"), "{subject}");
}

#[tokio::test]
async fn the_source_identity_follows_the_length_of_the_common_name() {
    let world = World::new().await;
    for (common_name, expected) in [
        ("n".repeat(61), format!("CN={}", "n".repeat(61))),
        ("n".repeat(62), "n".repeat(62)),
        ("n".repeat(64), "n".repeat(64)),
        (String::new(), "ID=0a".to_owned()),
    ] {
        let mut request = LeafRequest::new(&common_name, KeyKind::P256);
        request.serial = Some(vec![0x0a]);
        request.organization = Some("Example".to_owned());
        let leaf = world.root.leaf(&request).unwrap();

        let answer = world.send(&Draft::new(&world.emulator, &leaf, &[])).await;

        assert_eq!(answer.json()["credentialSet"][0]["sourceIdentity"], expected);
    }
}

#[tokio::test]
async fn the_session_ends_with_the_shorter_of_request_and_profile() {
    let now = Clock::system().now().replace_nanosecond(0).unwrap();
    let world = World::with(|setup| setup.clock = Clock::at(now)).await;
    for (profile, asked, expected) in
        [(3600, json!(900), 900), (3600, json!(7200), 3600), (3600, Value::Null, 3600), (3, json!(900), 3)]
    {
        world.emulator.change(|setup| setup.profiles[0].duration_seconds = profile);

        let answer = world.send(&world.draft().member("durationSeconds", asked)).await;

        assert_eq!(expires_at(&answer.json()), now + Duration::seconds(expected));
    }
}

#[tokio::test]
async fn a_named_session_has_its_name() {
    let world = World::new().await;

    let answer = world.send(&world.draft().member("roleSessionName", json!("my.session"))).await;

    let arn = &answer.json()["credentialSet"][0]["assumedRoleUser"]["arn"];
    assert!(arn.as_str().unwrap().ends_with("assumed-role/ExampleRole/my.session"), "{arn}");
    assert_eq!(world.emulator.issued()[0].role_session_name, "my.session");
}

#[tokio::test]
async fn rsa_keys_and_chains_of_five_are_as_good() {
    let world = World::new().await;
    let mut authorities = vec![Authority::root("top", KeyKind::P384).unwrap()];
    for name in ["one", "two", "three", "four", "five"] {
        let last = authorities.last().unwrap();
        authorities.push(last.intermediate(name, KeyKind::P256).unwrap());
    }
    let leaf = authorities[5].leaf(&LeafRequest::new("deep", KeyKind::Rsa2048)).unwrap();
    let chain: Vec<&[u8]> = authorities[1..].iter().rev().map(Authority::certificate_der).collect();
    world
        .emulator
        .change(|setup| setup.trust_anchors[0].certificate_pem = authorities[0].certificate_pem().to_owned());

    let answer = world.send(&Draft::new(&world.emulator, &leaf, &chain)).await;

    assert_eq!(answer.status, 201, "{:?}", world.emulator.requests());
}

#[tokio::test]
async fn p_521_and_ml_dsa_are_as_good_with_more_than_32_kb_of_chain() {
    let world = World::new().await;
    let mut authorities = vec![Authority::root("top", KeyKind::MlDsa87).unwrap()];
    for (name, kind) in [
        ("one", KeyKind::MlDsa65),
        ("two", KeyKind::MlDsa44),
        ("three", KeyKind::P521),
        ("four", KeyKind::MlDsa87),
        ("five", KeyKind::MlDsa87),
    ] {
        let last = authorities.last().unwrap();
        authorities.push(last.intermediate(name, kind).unwrap());
    }
    let chain: Vec<&[u8]> = authorities[1..].iter().rev().map(Authority::certificate_der).collect();
    world
        .emulator
        .change(|setup| setup.trust_anchors[0].certificate_pem = authorities[0].certificate_pem().to_owned());
    for kind in [KeyKind::P521, KeyKind::MlDsa44, KeyKind::MlDsa65, KeyKind::MlDsa87] {
        let leaf = authorities[5].leaf(&LeafRequest::new("deep", kind)).unwrap();
        let draft = Draft::new(&world.emulator, &leaf, &chain);
        let bytes: usize = draft.headers.iter().map(|(_, value)| value.len()).sum();

        assert!(bytes > 32 << 10, "{bytes}");
        assert_eq!(world.send(&draft).await.status, 201, "{kind}: {:?}", world.emulator.requests());

        let mut wrong = draft;
        wrong.algorithm = "AWS4-X509-RSA-SHA256".to_owned();
        assert_eq!(world.send(&wrong).await.status, 403, "{kind}");
    }
}

#[tokio::test]
async fn a_bundle_trusts_each_of_its_roots() {
    let world = World::new().await;
    let other = Authority::root("root", KeyKind::P256).unwrap();
    for bundle in [[&world.root, &other], [&other, &world.root]] {
        let bundle = bundle.map(Authority::certificate_pem).concat();
        world.emulator.change(|setup| setup.trust_anchors[0].certificate_pem = bundle);

        assert_eq!(world.send(&world.draft()).await.status, 201);
    }
}

#[tokio::test]
async fn arns_may_come_in_the_query() {
    let world = World::new().await;
    let mut draft = world.draft();
    let body: Value = serde_json::from_str(&draft.body).unwrap();
    draft.body = "{}".to_owned();
    let escape = |name: &str| body[name].as_str().unwrap().replace(':', "%3A").replace('/', "%2F");
    let pair = |name: &str| format!("{name}={}", escape(name));
    draft.canonical_query = ["profileArn", "roleArn", "trustAnchorArn"].map(pair).join("&");
    draft.query = format!(
        "trustAnchorArn={}&{}&roleArn={}",
        body["trustAnchorArn"].as_str().unwrap(),
        pair("profileArn"),
        body["roleArn"].as_str().unwrap(),
    );

    assert_eq!(world.send(&draft).await.status, 201, "{:?}", world.emulator.requests());
    assert_eq!(world.emulator.requests()[0].role_arn.as_deref(), body["roleArn"].as_str());
}

#[tokio::test]
async fn an_equals_sign_in_the_query_may_be_encoded_twice() {
    let world = World::new().await;
    for canonical in ["extra=a%3Db", "extra=a%253Db"] {
        let mut draft = world.draft();
        draft.query = "extra=a%3Db".to_owned();
        draft.canonical_query = canonical.to_owned();

        assert_eq!(world.send(&draft).await.status, 201, "{canonical}");
    }
}

#[tokio::test]
async fn more_than_64_kb_of_headers_pass() {
    let world = World::new().await;
    let mut request = world.draft().sign();
    for number in 0..10 {
        request.set(&format!("x-padding-{number}"), &"p".repeat(9000));
    }

    assert_eq!(world.deliver(&request).await.status, 201);
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_is_named_in_the_log() {
    let world = World::new().await;
    let mut client = Client::connect(&world.emulator).await.unwrap();

    for _ in 0..3 {
        assert_eq!(client.send(&world.draft().sign()).await.unwrap().status, 201);
    }
    world.send(&world.draft()).await;

    let connections: Vec<u64> = world.emulator.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 1, 2]);
    assert_eq!((world.emulator.connections(), world.emulator.sessions_created()), (2, 4));
}

#[tokio::test]
async fn the_log_tells_what_was_asked_and_holds_no_signature_or_secret() {
    let world = World::new().await;
    let mut request = world.draft().sign();
    request.set("user-agent", "a-test");
    world.deliver(&request).await;

    let logged = &world.emulator.requests()[0];
    let issued = &world.emulator.issued()[0];

    assert_eq!(logged.access_key_id.as_ref(), Some(&issued.access_key_id));
    assert_eq!((logged.status, logged.duration_seconds), (Some(201), Some(900)));
    assert_eq!(logged.user_agent.as_deref(), Some("a-test"));
    assert!(logged.credential.as_ref().unwrap().ends_with("/eu-central-1/rolesanywhere/aws4_request"));
    assert!(logged.header_names.contains(&"x-amz-x509".to_owned()));
    let text = format!("{logged:?}{issued:?}");
    let signature = request.value("authorization").rsplit('=').next().unwrap().to_owned();
    for secret in [&signature, &issued.secret_access_key, &issued.session_token] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_leaf_below_a_cross_signed_intermediate_is_trusted_whichever_certificate_comes_first() {
    let world = World::new().await;
    let other = Authority::root("other", KeyKind::P256).unwrap();
    let issuing = other.intermediate("issuing", KeyKind::P256).unwrap();
    let trusted = world.root.cross_sign(&issuing, Clock::system().now() + Duration::DAY).unwrap();
    let leaf = issuing.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
    let (issuing, trusted) = (issuing.certificate_der(), trusted.der());

    for chain in [[issuing, trusted], [trusted, issuing]] {
        let answer = world.send(&Draft::new(&world.emulator, &leaf, &chain)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    world.untrusted(&Draft::new(&world.emulator, &leaf, &[issuing]), "nobody in chain").await;
}
