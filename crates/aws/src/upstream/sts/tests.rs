//! STS against a scripted transport: what is sent, and what becomes of each answer.

use std::time::Duration;

use proptest::prelude::*;

use super::Operation::AssumeRole;
use super::Operation::GetCallerIdentity;
use super::Operation::GetSessionToken;
use super::*;
use crate::upstream::support::NOW;
use crate::upstream::support::ONE;
use crate::upstream::support::Script;
use crate::upstream::support::TWO_HOURS_LATER;
use crate::upstream::support::granted;
use crate::upstream::support::is_signed;
use crate::upstream::support::keys;
use crate::upstream::support::portal;
use crate::upstream::support::refusal;
use crate::upstream::support::reply;
use crate::upstream::support::sent_header;
use crate::upstream::support::sts;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;
use anchord_core::failure::Failure;

const IDENTITY: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/robot</Arn><UserId>AIDAEXAMPLE</UserId>\
    <Account>123456789012</Account></GetCallerIdentityResult>\
    <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>";

/// What is made of one answer to GetSessionToken for an hour.
async fn make(body: &str) -> Result<Credentials, Error> {
    let script = Script::new([reply(200, &[], body)]);
    let operation = GetSessionToken;
    let hour = Duration::from_secs(3600);
    sts()
        .ask(&script.caller(), &keys("AKIAUSER", None), &QueryRequest::new(operation), |found, answer| {
            answer.credentials(operation, found.granted(hour, None)?)
        })
        .await
}

/// What is made of a refusal.
async fn refused(operation: Operation, status: u16, body: &str) -> Error {
    let script = Script::new([reply(status, &[], body)]);
    let asking = keys("ASIACALLER", Some("canary-token"));
    let refused =
        sts().ask(&script.caller(), &asking, &QueryRequest::new(operation), |_, _| Ok(())).await.unwrap_err();
    assert_eq!(script.sent().len(), 1, "one call is one attempt");
    refused
}

#[tokio::test(start_paused = true)]
async fn whose_keys_these_are_is_asked_with_a_signed_form() {
    let script = Script::new([reply(200, &[], IDENTITY), reply(200, &[], IDENTITY)]);
    let caller = script.caller();

    for asking in [keys("AKIAUSER", None), keys("ASIAROLE", Some("canary//token+with=signs"))] {
        let identity = caller_identity(&caller, &sts(), &asking).await.unwrap();

        assert_eq!(identity.arn, "arn:aws:iam::123456789012:user/robot");
        assert_eq!((&*identity.account_id, &*identity.user_id), ("123456789012", "AIDAEXAMPLE"));
        let [request] = script.sent().try_into().unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://sts.us-east-1.amazonaws.com/");
        assert_eq!(sent_header(&request, "content-type"), "application/x-www-form-urlencoded; charset=utf-8");
        assert_eq!(request.body(), "Action=GetCallerIdentity&Version=2011-06-15");
        let token = request.headers().get("x-amz-security-token");
        assert_eq!(
            token.map(|token| token.to_str().unwrap()),
            asking.session_token.as_ref().map(|t| &**t.expose())
        );
        assert!(is_signed(&request, &asking), "{request:?}");
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sts_is_asked_at_the_variant_or_at_the_endpoint_that_is_set() {
    let variant = |fips, dual_stack| Sts { variant: Variant { fips, dual_stack }, ..sts() };
    let endpoint = |endpoint: &str| Sts { endpoint: Some(endpoint.into()), ..variant(true, true) };
    let region = |region: &str| Sts { region: Region::parse(region).unwrap(), ..sts() };
    let cases = [
        (variant(true, false), "sts-fips.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com"),
        (variant(false, true), "sts.us-east-1.api.aws", "sts.us-east-1.api.aws"),
        (region("cn-north-1"), "sts.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.amazonaws.com.cn"),
        (endpoint("https://vpce-1.example/"), "vpce-1.example", "vpce-1.example"),
        (endpoint("https://127.0.0.1:4433"), "127.0.0.1:4433", "127.0.0.1:4433"),
        (endpoint("https://proxy.example:443"), "proxy.example:443", "proxy.example"),
    ];
    for (sts, authority, host) in cases {
        let script = Script::new([reply(200, &[], IDENTITY)]);

        caller_identity(&script.caller(), &sts, &keys("AKIAUSER", None)).await.unwrap();

        let [request] = script.sent().try_into().unwrap();
        assert_eq!(request.uri().to_string(), format!("https://{authority}/"));
        assert_eq!(sent_header(&request, "host"), host);
        let scope = format!("/20260311/{}/sts/aws4_request", sts.region);
        assert!(sent_header(&request, "authorization").contains(&scope));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_in_the_clear() {
    let script = Script::new([]);
    let sts = Sts { endpoint: Some("http://127.0.0.1:1".into()), ..sts() };

    let error = caller_identity(&script.caller(), &sts, &keys("AKIAUSER", None)).await.unwrap_err();

    assert_eq!(error.class(), Class::Misconfigured);
    assert!(script.sent().is_empty());
}

/// Operation, status, type and message of a refusal, and words of the hint that it must get.
type Case = (Operation, u16, &'static str, &'static str, &'static str);

async fn assert_denied(cases: &[Case]) {
    for &(operation, status, kind, message, hint) in cases {
        let failure = Failure::new(&refused(operation, status, &refusal(kind, message)).await);

        let text = failure.to_string();
        assert_eq!(failure.class(), Class::Denied, "{text}");
        assert!(text.starts_with(&format!("AWS answered {operation} with {status}")), "{text}");
        assert!(text.contains(&format!("{kind}: {message}")) && text.contains("request id id-1"), "{text}");
        assert!(failure.hint().unwrap_or_default().contains(hint), "{text}");
        assert!(!failure.is_local(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_and_signatures_that_are_refused_are_told_apart() {
    assert_denied(&[
        (AssumeRole, 403, "InvalidClientTokenId", "The security token is invalid.", "deleted or deactivated"),
        (GetSessionToken, 403, "InvalidClientTokenId", "invalid", "partition (China, GovCloud)"),
        (
            AssumeRole,
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated",
            "secret access key",
        ),
        (
            AssumeRole,
            403,
            "SignatureDoesNotMatch",
            "Signature expired: 2026 is now earlier",
            "this host's clock",
        ),
        (AssumeRole, 403, "SignatureDoesNotMatch", "Signature not yet current: 2026", "this host's clock"),
        (AssumeRole, 400, "IncompleteSignature", "", "proxy rewrites"),
        (
            AssumeRole,
            403,
            "ExpiredToken",
            "The security token included in the request is expired",
            "have expired",
        ),
        (GetCallerIdentity, 400, "RequestExpired", "", "this host's clock"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_denial_says_what_must_allow_the_call() {
    const NOT_AUTHORIZED: &str =
        "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: sts:AssumeRole on resource: r";
    const TAG_SESSION: &str = "User: u is not authorized to perform: sts:TagSession on resource: r";
    const SOURCE_IDENTITY: &str =
        "User: u is not authorized to perform: sts:SetSourceIdentity on resource: r";
    assert_denied(&[
        (AssumeRole, 403, "AccessDenied", NOT_AUTHORIZED, "must allow sts:AssumeRole to the ARN"),
        (AssumeRole, 403, "AccessDenied", NOT_AUTHORIZED, "`external_id`"),
        (AssumeRole, 403, "AccessDenied", NOT_AUTHORIZED, "the caller's own policy"),
        (AssumeRole, 403, "AccessDenied", TAG_SESSION, "sts:TagSession besides"),
        (AssumeRole, 403, "AccessDenied", SOURCE_IDENTITY, "sts:SetSourceIdentity besides"),
        (AssumeRole, 403, "AccessDenied", "Roles may not be assumed by root accounts.", "a user"),
        (AssumeRole, 403, "AccessDenied", "MultiFactorAuthentication failed, MFA required", "exempt"),
        (
            GetSessionToken,
            403,
            "AccessDenied",
            "Cannot call GetSessionToken with session credentials",
            "AKIA…",
        ),
        (GetSessionToken, 403, "AccessDenied", "explicit deny", "change the policy that contains it"),
        (
            AssumeRole,
            403,
            "RegionDisabledException",
            "STS is not activated in this region",
            "set `sts_region`",
        ),
        (AssumeRole, 403, "OptInRequired", "", "billing"),
        (AssumeRole, 400, "SomethingNew", "", ""),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_refused_is_told_with_its_limits() {
    const CHAINING: &str =
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
    const TOO_LONG: &str = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    const RANGE: &str =
        "1 validation error detected: Value at 'durationSeconds' failed to satisfy constraint";
    const TRANSITIVE: &str = "One of the specified transitive tag keys can't be set because it conflicts with a \
         transitive tag key from the calling session.";
    assert_denied(&[
        (AssumeRole, 400, "ValidationError", CHAINING, "an hour at most"),
        (AssumeRole, 400, "ValidationError", TOO_LONG, "maximum session duration"),
        (AssumeRole, 400, "ValidationError", RANGE, "15 minutes to 12 hours"),
        (GetSessionToken, 400, "ValidationError", RANGE, "36 hours"),
        (AssumeRole, 400, "InvalidParameterValue", TRANSITIVE, "leave it out"),
        (AssumeRole, 400, "ValidationError", "Duplicate tag keys found", "50 tags"),
        (AssumeRole, 400, "ValidationError", "x is invalid", "compare it with the settings"),
        (AssumeRole, 400, "PackedPolicyTooLarge", "", "fewer tags"),
        (AssumeRole, 400, "MalformedPolicyDocument", "Syntax errors in policy.", "grammar"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_not_taken_for_a_refusal() {
    let cases = [
        (400, refusal("Throttling", "Rate exceeded"), Class::Throttled),
        (400, refusal("RequestLimitExceeded", ""), Class::Throttled),
        (429, String::new(), Class::Throttled),
        (500, refusal("InternalFailure", ""), Class::Transient),
        (503, refusal("ServiceUnavailable", ""), Class::Transient),
        (302, "<html>log in</html>".into(), Class::Transient),
    ];
    for (status, body, class) in cases {
        let error = refused(AssumeRole, status, &body).await;

        assert_eq!(error.class(), class, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_aws_says_nothing_about_keys_and_roles() {
    let numbered_page = reply(403, &[], "<html><p>blocked</html>");
    for answer in [numbered_page, portal(403), portal(302), portal(404), portal(407)] {
        let script = Script::new([answer]);
        let error = caller_identity(&script.caller(), &sts(), &keys("AKIAUSER", None)).await.unwrap_err();

        let told = "a proxy or another intermediary answered instead of AWS: ";
        assert!(error.to_string().starts_with(told), "{error}");
        assert!(error.to_string().contains("requested: GetCallerIdentity"), "{error}");
        assert_eq!(error.class(), Class::Transient, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_type_may_be_a_proxys() {
    for body in ["", r#"{"message":"no"}"#, "\u{0}"] {
        let error = refused(AssumeRole, 403, body).await;

        assert!(
            error.to_string().starts_with("AWS answered AssumeRole with 403 Forbidden -: Forbidden"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("a proxy or portal"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_aws_quotes_is_not_told() {
    let quoting = "The request signature we calculated does not match.\n\nThe Canonical String for this request \
         should have been\n'POST\nx-amz-security-token:canary-token\n'";
    for message in [quoting, &quoting.replace('\n', " "), "x-amz-security-token:canary-token"] {
        let error = refused(AssumeRole, 403, &refusal("SignatureDoesNotMatch", message)).await;

        assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_at_once_and_known_to_all_calls_of_the_caller() {
    let expired = refusal("SignatureDoesNotMatch", "Signature expired: 20260311T120000Z is now earlier");
    let script = Script::new([
        reply(403, &[TWO_HOURS_LATER], &expired),
        reply(200, &[TWO_HOURS_LATER], IDENTITY),
        reply(200, &[TWO_HOURS_LATER], IDENTITY),
    ]);
    let caller = script.caller();
    let asking = keys("AKIAUSER", None);
    let dates = || -> Vec<String> {
        script.sent().iter().map(|request| sent_header(request, "x-amz-date")).collect()
    };

    caller_identity(&caller, &sts(), &asking).await.unwrap();
    assert_eq!(dates(), ["20260311T120000Z", "20260311T140000Z"]);
    caller_identity(&caller.clone(), &sts(), &asking).await.unwrap();
    assert_eq!(dates(), ["20260311T140000Z"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_the_clock_does_not_explain_is_not_repeated() {
    let denied = || reply(403, &[TWO_HOURS_LATER], &refusal("AccessDenied", "no"));
    let throttled = reply(400, &[("date", "Wed, 11 Mar 2026 12:00:00 GMT")], &refusal("Throttling", "slow"));
    let script = Script::new([denied(), denied(), throttled]);
    let caller = script.caller();
    let ask = async || caller_identity(&caller, &sts(), &keys("AKIAUSER", None)).await.unwrap_err();

    let error = ask().await;
    assert_eq!(script.sent().len(), 2);
    assert!(error.hint().unwrap().contains("this host's clock is off by 7200 s"), "{error}");
    assert_eq!(
        (ask().await.class(), script.sent().len()),
        (Class::Throttled, 1),
        "though the clock was corrected"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept() {
    let script = Script::new([reply(503, &[("retry-after", "120")], "")]);

    let error = caller_identity(&script.caller(), &sts(), &keys("AKIAUSER", None)).await.unwrap_err();

    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_would_take_long_to_read_is_not_read() {
    let whole = granted("GetSessionToken", "ASIAMADE", ONE);
    // Attributes are not read, but the parser compares each with all others.
    let attributes: String = (0..10_000).map(|number| format!(" a{number}=\"\"")).collect();
    let large = whole.replace("<Credentials>", &format!("<Credentials{attributes}>"));

    assert!(make(&whole).await.is_ok());
    assert!(matches!(make(&large).await, Err(Error::NotUnderstood { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_used_is_an_error_without_secrets() {
    let whole = granted("GetSessionToken", "ASIAMADE", ONE);
    assert_eq!(make(&whole).await.unwrap().expires_at(), NOW + time::Duration::HOUR);
    let doctype = "<!DOCTYPE x [<!ENTITY a \"canary\">]>";
    let bodies = [
        String::new(),
        "<html>hello</html>".into(),
        "\u{0}\u{1}".into(),
        granted("AssumeRole", "ASIAMADE", ONE),
        format!("{doctype}{whole}"),
        whole.replace("canary-token-of-ASIAMADE", ""),
        whole.replace("canary-token-of-ASIAMADE", "<b>canary</b>"),
        whole.replace("canary-token-of-ASIAMADE", "canary<!-- -->canary"),
        whole.replace("canary-token-of-ASIAMADE", "canary canary"),
        whole.replace("canary-token-of-ASIAMADE", "&canary;"),
        whole.replace("canary-token-of-ASIAMADE", &"canary".repeat(10_000)),
        whole.replace("SessionToken", "Other"),
        whole.replace("SecretAccessKey", "Other"),
        whole.replace("Credentials", "Other"),
        whole.replace("ASIAMADE</AccessKeyId>", "</AccessKeyId>"),
        whole.replace(ONE, "soon"),
        whole.replace(ONE, "9999-12-31T23:59:59Z"),
        whole.replace(ONE, "9999-12-31T23:59:59-23:59"),
        whole.replace(ONE, "2026-03-11T13:05:01Z"),
        whole[..whole.len() - 9].to_owned(),
        "<a>".repeat(50_000),
        format!("{}{}", "<a>".repeat(5_000), "</a>".repeat(5_000)),
    ];
    for body in bodies {
        let error = make(&body).await.unwrap_err();

        assert_eq!(error.class(), Class::Transient, "{error}");
        let text = format!("{error} {error:?}");
        let begins =
            ["AWS's answer to GetSessionToken cannot be used", "a proxy or another intermediary answered"];
        assert!(begins.iter().any(|begin| text.starts_with(begin)), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

proptest! {
    #[test]
    fn no_answer_whatever_makes_a_call_panic(status in 200_u16..600, body in any::<String>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script::new([reply(status, &[], &body)]);
            let asked = caller_identity(&script.caller(), &sts(), &keys("AKIAUSER", None)).await;
            prop_assert!(asked.is_err());
            Ok(())
        })?;
    }

    #[test]
    fn no_arrangement_of_xml_makes_a_call_panic(parts in proptest::collection::vec(prop_oneof![
        Just("<GetCallerIdentityResponse>"), Just("</GetCallerIdentityResponse>"),
        Just("<GetCallerIdentityResult>"), Just("</GetCallerIdentityResult>"), Just("<Arn>"), Just("</Arn>"),
        Just("<Error>"), Just("</Error>"), Just("<Code>"), Just("</Code>"), Just("text"), Just("&#0;"),
        Just("<![CDATA["), Just("]]>"), Just("<!--"), Just("-->"), Just("<!DOCTYPE a>"), Just("<a b='"), Just("'/>"),
    ], 0..20), status in prop_oneof![Just(200_u16), Just(403)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script::new([reply(status, &[], &parts.concat())]);
            let asked = caller_identity(&script.caller(), &sts(), &keys("AKIAUSER", None)).await;
            prop_assert!(asked.is_err());
            Ok(())
        })?;
    }
}
