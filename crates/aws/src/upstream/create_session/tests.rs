//! CreateSession against a scripted transport: what is sent, and what becomes of each answer.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use time::macros::datetime;

use super::*;
use crate::upstream::HttpReply;
use crate::upstream::support::NOW;
use crate::upstream::support::Script;
use crate::upstream::support::portal;
use crate::upstream::support::reply;
use crate::upstream::support::sent_header;
use anchord_core::clock::Clock;
use anchord_core::failure::Class;
use anchord_identity::Source;

fn made(expiration: &str) -> String {
    let credentials = json!({
        "accessKeyId": "ASIAEXAMPLE", "secretAccessKey": "canary-secret", "sessionToken": "canary-token",
        "expiration": expiration,
    });
    json!({ "credentialSet": [{ "credentials": credentials }], "subjectArn": "arn" }).to_string()
}

fn vector(label: &str) -> Value {
    let all: Vec<Value> =
        serde_json::from_str(include_str!("../../../../../tests/vectors/create-session.json")).unwrap();
    all.into_iter().find(|vector| vector["label"] == label).unwrap()
}

fn install(label: &str, folder: &Path) {
    let vector = vector(label);
    fs_err::write(folder.join("leaf.pem"), vector["cert_pem"].as_str().unwrap()).unwrap();
    fs_err::write(folder.join("key.pem"), vector["key_pem"].as_str().unwrap()).unwrap();
}

struct Bench {
    folder: TempDir,
    script: Arc<Script>,
    issuer: RolesAnywhere,
}

impl Bench {
    fn new(replies: impl IntoIterator<Item = HttpReply>) -> Self {
        Self::with(replies, |_| {})
    }

    fn with(replies: impl IntoIterator<Item = HttpReply>, change: impl FnOnce(&mut CreateSession)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        install("rsa2048/doc", folder.path());
        let source = Source::of_files(folder.path().join("leaf.pem"), folder.path().join("key.pem"));
        let arn = |rest: &str| format!("arn:aws:rolesanywhere:us-east-1:000000000000:{rest}");
        let mut options = CreateSession {
            trust_anchor: TrustAnchorArn::parse(&arn("trust-anchor/a")).unwrap(),
            profile: ProfileArn::parse(&arn("profile/p")).unwrap(),
            role: RoleArn::parse("arn:aws:iam::000000000000:role/r").unwrap(),
            duration: Duration::from_secs(3600),
            role_session_name: None,
            region: Region::parse("us-east-1").unwrap(),
            endpoint: None,
            variant: Variant::default(),
        };
        change(&mut options);
        let script = Script::new(replies);
        let issuer = RolesAnywhere::new(Arc::new(Current::new("bedrock", source)), options, script.caller());
        Self { folder, script, issuer }
    }

    fn sent(&self) -> Vec<Request<Bytes>> {
        self.script.sent()
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_created_with_the_arns_in_the_body() {
    let bench = Bench::new([reply(201, &[], &made("2026-03-11T13:00:00Z"))]);

    let credentials = bench.issuer.issue().await.unwrap();

    assert_eq!(credentials.access_key_id(), "ASIAEXAMPLE");
    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR);
    assert_eq!(credentials.account_id(), Some("000000000000"));
    let [request] = bench.sent().try_into().unwrap();
    assert_eq!(request.uri(), "https://rolesanywhere.us-east-1.amazonaws.com/sessions");
    assert_eq!(request.method(), "POST");
    assert_eq!(sent_header(&request, "host"), "rolesanywhere.us-east-1.amazonaws.com");
    assert!(!request.headers().contains_key("x-amz-x509-chain"));
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(
        body,
        json!({
            "durationSeconds": 3600,
            "profileArn": "arn:aws:rolesanywhere:us-east-1:000000000000:profile/p",
            "roleArn": "arn:aws:iam::000000000000:role/r",
            "trustAnchorArn": "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a",
        })
    );
}

/// The same of AWS, which says for which role it is and whose session; null where it does not.
fn made_for(role: &Value, assumed_role: &Value) -> HttpReply {
    let mut answer: Value = serde_json::from_str(&made("2026-03-11T13:00:00Z")).unwrap();
    answer["credentialSet"][0]["roleArn"] = role.clone();
    answer["credentialSet"][0]["assumedRoleUser"] = json!({ "arn": assumed_role, "assumedRoleId": "AROA:s" });
    reply(201, &[], &answer.to_string())
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_another_role_or_account_is_refused() {
    let role = json!("arn:aws:iam::000000000000:role/path/r");
    let session = json!("arn:aws:sts::000000000000:assumed-role/r/0abc");
    let cases = [
        (&role, &session, None),
        (&Value::Null, &Value::Null, None),
        (&json!("arn:aws:iam::000000000000:role/path/R"), &session, None),
        (&json!("arn:aws:iam::000000000000:role/path/other"), &session, Some("role/path/other")),
        (&json!("arn:aws:iam::000000000000:role/r"), &session, Some("::000000000000:role/r")),
        (&json!("arn:aws:iam::000000000001:role/path/r"), &session, Some("000000000001")),
        (&json!("arn:aws-cn:iam::000000000000:role/path/r"), &session, Some("aws-cn")),
        (&role, &json!("arn:aws:sts::000000000000:assumed-role/other/0abc"), Some("assumed-role/other/0abc")),
        (&role, &json!("arn:aws:sts::000000000001:assumed-role/r/0abc"), Some("000000000001")),
        (&role, &json!("arn"), Some("`arn`")),
        (&Value::Null, &json!("arn:aws:sts::000000000000:assumed-role/other/0abc"), Some("other")),
        (&json!(""), &session, Some("is for `-`")),
    ];
    for (role, session, fault) in cases {
        let bench = Bench::with([made_for(role, session)], |options| {
            options.role = RoleArn::parse("arn:aws:iam::000000000000:role/path/r").unwrap();
        });

        let outcome = bench.issuer.issue().await;

        let Some(fault) = fault else {
            assert!(outcome.is_ok(), "{role} {session}: {outcome:?}");
            continue;
        };
        let failure = outcome.unwrap_err();
        assert_eq!((failure.class(), failure.is_local()), (Class::Broken, false), "{failure}");
        let asked = "not for the requested role `arn:aws:iam::000000000000:role/path/r` (request id id-1)";
        assert!(failure.message().contains(fault) && failure.message().contains(asked), "{failure}");
        assert!(failure.hint().unwrap().contains("credentials are not used"), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_session_name_is_sent_when_it_is_set() {
    let answer = reply(201, &[], &made("2026-03-11T13:00:00Z"));
    let bench = Bench::with([answer], |options| options.role_session_name = Some("robot-7".into()));

    bench.issuer.issue().await.unwrap();

    let body: Value = serde_json::from_slice(bench.sent()[0].body()).unwrap();
    assert_eq!(body["roleSessionName"], "robot-7");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_called_and_signed_under_its_own_name() {
    let cases = [
        ("https://127.0.0.1:4433", "127.0.0.1:4433"),
        (
            "https://vpce-1.rolesanywhere.us-east-1.vpce.amazonaws.com/",
            "vpce-1.rolesanywhere.us-east-1.vpce.amazonaws.com",
        ),
        ("https://proxy.example:443", "proxy.example"),
        ("https://[::1]:4433", "[::1]:4433"),
    ];
    for (endpoint, host) in cases {
        let answer = reply(201, &[], &made("2026-03-11T13:00:00Z"));
        let bench = Bench::with([answer], |options| options.endpoint = Some(endpoint.into()));

        bench.issuer.issue().await.unwrap();

        let [request] = bench.sent().try_into().unwrap();
        assert_eq!(sent_header(&request, "host"), host);
        assert_eq!(request.uri().path(), "/sessions");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_in_the_clear() {
    let bench = Bench::with([], |options| options.endpoint = Some("http://127.0.0.1:1".into()));

    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!(failure.class(), Class::Misconfigured);
    assert!(bench.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_refusal_says_who_must_act_and_how() {
    let cases = [
        (403, "AccessDeniedException", "Untrusted Signing Certificate", Class::Denied, "trust anchor"),
        (
            403,
            "AccessDeniedException",
            "Not authorized to set roleSessionName.",
            Class::Denied,
            "acceptRoleSessionName",
        ),
        (403, "AccessDeniedException", "Unable to assume role for arn", Class::Denied, "trust policy"),
        (403, "AccessDeniedException", "Invalid signature", Class::Denied, "clock"),
        (403, "AccessDeniedException", "something new", Class::Denied, "profile lists the role"),
        (404, "ResourceNotFoundException", "", Class::Denied, "roles_anywhere_region"),
        (400, "ValidationException", "durationSeconds", Class::Denied, "duration"),
        (429, "ThrottlingException", "Rate exceeded", Class::Throttled, ""),
        (400, "ThrottlingException", "Rate exceeded", Class::Throttled, ""),
        (500, "InternalServerException", "", Class::Transient, ""),
        (503, "", "", Class::Transient, "a proxy or portal"),
        (302, "", "", Class::Transient, ""),
    ];
    for (status, kind, message, class, hint) in cases {
        let body = json!({ "message": message }).to_string();
        let bench = Bench::new([reply(status, &[("x-amzn-errortype", kind)], &body)]);

        let failure = bench.issuer.issue().await.unwrap_err();

        let text = failure.to_string();
        assert_eq!(failure.class(), class, "{text}");
        assert!(text.contains(kind) && text.contains(message) && text.contains("request id id-1"), "{text}");
        assert!(failure.hint().unwrap_or_default().contains(hint), "{text}");
        assert_eq!(bench.sent().len(), 1, "one call is one attempt: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_errors_type_is_found_wherever_aws_puts_it() {
    let cases = [
        (vec![("x-amzn-errortype", "ThrottlingException:http://internal.amazon.com/")], "{}"),
        (vec![], r#"{"__type":"com.amazonaws.rolesanywhere#ThrottlingException","Message":"slow down"}"#),
        (vec![], r#"{"code":"ThrottlingException"}"#),
    ];
    for (headers, body) in cases {
        let bench = Bench::new([reply(400, &headers, body)]);

        assert_eq!(bench.issuer.issue().await.unwrap_err().class(), Class::Throttled, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_read_as_seconds_or_as_a_date() {
    for text in ["120", "Wed, 11 Mar 2026 12:02:00 GMT"] {
        let bench = Bench::new([reply(429, &[("retry-after", text)], "{}")]);

        assert_eq!(
            bench.issuer.issue().await.unwrap_err().retry_after(),
            Some(Duration::from_secs(120)),
            "{text}"
        );
    }
}

const TWO_HOURS_LATER: (&str, &str) = ("date", "Wed, 11 Mar 2026 14:00:00 GMT");

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_by_awss_date_and_the_call_made_again_at_once() {
    let refused = reply(403, &[TWO_HOURS_LATER], r#"{"message":"Invalid signature"}"#);
    let granted = reply(201, &[TWO_HOURS_LATER], &made("2026-03-11T15:00:00Z"));
    let bench = Bench::new([refused, granted]);

    let credentials = bench.issuer.issue().await.unwrap();

    let dates: Vec<_> = bench.sent().iter().map(|request| sent_header(request, "x-amz-date")).collect();
    assert_eq!(dates, ["20260311T120000Z", "20260311T140000Z"]);
    // One hour by this host's clock, which its clients go by, less what `Date` cuts off.
    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR - time::Duration::SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_the_clock_does_not_explain_is_not_repeated() {
    let refused = || reply(403, &[TWO_HOURS_LATER], r#"{"message":"Invalid signature"}"#);
    let bench = Bench::new([refused(), refused(), refused()]);

    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!(bench.sent().len(), 2);
    assert!(failure.hint().unwrap().contains("this host's clock is off by 7200 s"), "{failure}");
    bench.issuer.issue().await.unwrap_err();
    assert_eq!(bench.sent().len(), 1, "the second call knows the offset from the start");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_caller_does_not_ask_again_at_once_though_the_clock_was_wrong() {
    let throttled = reply(429, &[TWO_HOURS_LATER, ("retry-after", "60")], r#"{"message":"Rate exceeded"}"#);
    let bench = Bench::new([throttled]);

    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!((failure.class(), bench.sent().len()), (Class::Throttled, 1));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_never_lengthens_a_life() {
    let granted = reply(201, &[("date", "Wed, 11 Mar 2026 11:00:00 GMT")], &made("2026-03-11T12:30:00Z"));
    let bench = Bench::new([granted]);

    let credentials = bench.issuer.issue().await.unwrap();

    assert_eq!(credentials.expires_at(), datetime!(2026-03-11 12:30:00 UTC));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_and_is_set_right_costs_no_life() {
    for (date, stated, life) in [
        // Less what `Date` cuts off.
        ("Wed, 11 Mar 2026 11:00:00 GMT", "2026-03-11T11:15:01Z", 15),
        ("Wed, 11 Mar 2026 11:50:00 GMT", "2026-03-11T12:50:01Z", 60),
        ("Wed, 11 Mar 2026 12:00:00 GMT", "2026-03-11T13:00:00Z", 60),
    ] {
        // It runs like the issuer's.
        let clock = Clock::manual(NOW);
        let bench = Bench::new([reply(201, &[("date", date)], &made(stated))]);
        let credentials = bench.issuer.issue().await.unwrap();

        clock.jump(clock::parse_http_date(date).unwrap() - NOW);

        assert_eq!(credentials.remaining(clock.moment()), time::Duration::minutes(life), "{date}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_used_is_an_error_without_secrets() {
    let whole = made("2026-03-11T13:00:00Z");
    let bodies = [
        "".to_owned(),
        "<html>hello</html>".into(),
        r#"{"credentialSet":[]}"#.into(),
        whole.replace("canary-token", ""),
        whole.replace("sessionToken", "other"),
        whole.replace("2026-03-11T13:00:00Z", "soon"),
        whole.replace("2026-03-11T13:00:00Z", "9999-12-31T23:59:59Z"),
        whole.replace("2026-03-11T13:00:00Z", "9999-12-31T23:59:59-23:59"),
        whole.replace("ASIAEXAMPLE", "ASIA\\u001b[31m"),
        whole.replace("canary-token", &"canary".repeat(10_000)),
        whole[..whole.len() - 9].to_owned(),
        whole.replace(r#""canary-secret""#, "7"),
    ];
    for body in bodies {
        let bench = Bench::new([reply(201, &[], &body)]);

        let failure = bench.issuer.issue().await.unwrap_err();

        assert_eq!(failure.class(), Class::Transient, "{failure}");
        assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_absurd_date_does_not_spoil_the_calls_after_it() {
    let absurd = ("date", "Fri, 31 Dec 9999 23:59:59 GMT");
    let refused = reply(403, &[absurd], "{}");
    let bench = Bench::new([refused, reply(201, &[absurd], &made("2026-03-11T13:00:00Z"))]);

    bench.issuer.issue().await.unwrap_err();
    let credentials = bench.issuer.issue().await.unwrap();

    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_used_for_the_next_call() {
    let answer = || reply(201, &[], &made("2026-03-11T13:00:00Z"));
    let bench = Bench::new([answer(), answer()]);

    bench.issuer.issue().await.unwrap();
    install("p256/doc", bench.folder.path());
    bench.issuer.issue().await.unwrap();

    let algorithms: Vec<_> = bench
        .sent()
        .iter()
        .map(|request| sent_header(request, "authorization").split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(algorithms, ["AWS4-X509-RSA-SHA256", "AWS4-X509-ECDSA-SHA256"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_written_certificate_does_not_displace_the_one_in_use() {
    let answer = || reply(201, &[], &made("2026-03-11T13:00:00Z"));
    let bench = Bench::new([answer(), answer()]);

    bench.issuer.issue().await.unwrap();
    fs_err::write(bench.folder.path().join("leaf.pem"), "-----BEGIN CERTIFICATE-----\nMII").unwrap();
    bench.issuer.issue().await.unwrap();

    assert_eq!(bench.sent().len(), 2);
}

const REFUSED: &str = r#"{"message":"Untrusted Signing Certificate"}"#;

/// The keys that signed the requests since the last call of this: R(SA), the certificate accepted first, or E(C).
fn signers(bench: &Bench) -> String {
    let algorithm = |request: &Request<Bytes>| sent_header(request, "authorization");
    bench.sent().iter().map(|request| if algorithm(request).contains("RSA") { 'R' } else { 'E' }).collect()
}

/// A bench on which AWS has accepted one certificate, and another lies in its place now.
async fn renewed_bench(replies: impl IntoIterator<Item = HttpReply>) -> Bench {
    let granted = reply(201, &[], &made("2026-03-11T13:00:00Z"));
    let bench = Bench::new(std::iter::once(granted).chain(replies));
    bench.issuer.issue().await.unwrap();
    install("p256/doc", bench.folder.path());
    assert_eq!(signers(&bench), "R");
    bench
}

#[tokio::test(start_paused = true)]
async fn while_a_new_certificate_is_refused_the_previous_one_goes_on() {
    let refused = || reply(403, &[], REFUSED);
    let granted = || reply(201, &[], &made("2026-03-11T13:00:00Z"));
    let bench = renewed_bench([refused(), granted(), refused(), granted(), granted(), refused()]).await;

    bench.issuer.issue().await.unwrap();
    assert_eq!(signers(&bench), "ER");
    bench.issuer.issue().await.unwrap();
    assert_eq!(signers(&bench), "ER", "the new one first, each time");
    bench.issuer.issue().await.unwrap();
    assert_eq!(signers(&bench), "E", "AWS has come to know it");
    bench.issuer.issue().await.unwrap_err();
    assert_eq!(signers(&bench), "E", "what was accepted once does not fall back behind itself");
}

#[tokio::test(start_paused = true)]
async fn where_both_are_refused_the_new_ones_refusal_is_told() {
    let bench = renewed_bench([reply(403, &[], REFUSED), reply(404, &[], "{}")]).await;

    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!(signers(&bench), "ER");
    assert!(failure.message().contains("Untrusted Signing Certificate"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_previous_certificate_that_gets_no_answer_is_tried_again_soon() {
    let bench = renewed_bench([reply(403, &[], REFUSED), reply(500, &[], "{}")]).await;

    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!(signers(&bench), "ER");
    assert_eq!(failure.class(), Class::Transient, "{failure}");
}

#[tokio::test(start_paused = true)]
async fn only_a_refusal_brings_the_previous_certificate_back() {
    for status in [429, 500] {
        let bench =
            renewed_bench([reply(status, &[], "{}"), reply(201, &[], &made("2026-03-11T13:00:00Z"))]).await;

        bench.issuer.issue().await.unwrap_err();

        assert_eq!(signers(&bench), "E", "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_portal_on_the_way_says_nothing_about_a_certificate() {
    for status in [200, 302, 400, 403, 404, 407, 503] {
        let bench = renewed_bench([portal(status), reply(201, &[], &made("2026-03-11T13:00:00Z"))]).await;

        let failure = bench.issuer.issue().await.unwrap_err();

        assert_eq!(signers(&bench), "E", "{failure}");
        assert_eq!(failure.class(), Class::Transient, "{failure}");
        let told = format!("a proxy or another intermediary answered instead of AWS: {status}");
        assert!(failure.message().starts_with(&told), "{failure}");
        assert!(failure.hint().is_some(), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_chain_that_is_too_large_for_the_way_leaves_the_previous_one_in_use() {
    let granted = || reply(201, &[], &made("2026-03-11T13:00:00Z"));
    let bench = renewed_bench([portal(431), granted(), portal(431), portal(431)]).await;

    bench.issuer.issue().await.unwrap();
    assert_eq!(signers(&bench), "ER");
    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!(signers(&bench), "ER");
    assert_eq!(failure.class(), Class::Misconfigured, "{failure}");
    assert!(failure.hint().unwrap().contains("fewer intermediates"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn without_any_usable_certificate_nothing_is_sent() {
    let bench = Bench::new([]);
    fs_err::remove_file(bench.folder.path().join("key.pem")).unwrap();

    let failure = bench.issuer.issue().await.unwrap_err();

    assert_eq!(failure.class(), Class::Misconfigured);
    assert!(failure.message().contains("key.pem"), "{failure}");
    assert!(bench.sent().is_empty());
}

proptest! {
    #[test]
    fn no_answer_whatever_makes_the_issuer_panic(
        status in 200_u16..600,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        retry in "[ -~]{0,20}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let body = String::from_utf8_lossy(&body).into_owned();
            let bench = Bench::new([reply(status, &[("retry-after", &retry)], &body)]);
            prop_assert!(bench.issuer.issue().await.is_err());
            Ok(())
        })?;
    }
}
