//! Chains against a scripted transport: what each step sends, and what becomes of its answer.

use std::sync::Mutex;

use bytes::Bytes;
use http::Request;

use super::*;
use crate::upstream::HttpReply;
use crate::upstream::support::NOW;
use crate::upstream::support::ONE;
use crate::upstream::support::Script;
use crate::upstream::support::TWO_HOURS_LATER;
use crate::upstream::support::granted;
use crate::upstream::support::is_signed;
use crate::upstream::support::keys;
use crate::upstream::support::parameters;
use crate::upstream::support::refusal;
use crate::upstream::support::reply;
use crate::upstream::support::sent_header;
use crate::upstream::support::sts;
use anchord_core::clock::Moment;
use anchord_core::failure::Class;

/// Makes the same credentials whenever it is asked, or fails.
struct Base(Mutex<Result<Credentials, Failure>>);

impl Issuer for Base {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        let result = self.0.lock().unwrap().clone();
        Box::pin(async { result })
    }
}

fn base() -> Arc<dyn Issuer> {
    let keys = keys("ASIABASE", Some("canary-token-of-base"));
    let made = Credentials::new(
        keys,
        Moment { wall: NOW, up: time::Duration::HOUR },
        NOW + time::Duration::HOUR,
        None,
    )
    .unwrap();
    Arc::new(Base(Mutex::new(Ok(made))))
}

fn step(account: &str, role: &str) -> AssumeRole {
    AssumeRole {
        role: RoleArn::parse(&format!("arn:aws:iam::{account}:role/{role}")).unwrap(),
        session_name: "robot-7".into(),
        external_id: None,
        duration: Duration::from_secs(3600),
        policy: None,
        policy_arns: Vec::new(),
        tags: Vec::new(),
        transitive_tags: Vec::new(),
        source_identity: None,
        sts: sts(),
    }
}

struct Bench {
    script: Arc<Script>,
    issuer: AssumedRole,
}

impl Bench {
    fn new(replies: impl IntoIterator<Item = HttpReply>, steps: Vec<AssumeRole>) -> Self {
        let script = Script::new(replies);
        let issuer = AssumedRole::new("app", base(), steps, script.caller());
        Self { script, issuer }
    }

    fn sent<const COUNT: usize>(&self) -> [Request<Bytes>; COUNT] {
        self.script.sent().try_into().unwrap()
    }
}

fn two_steps() -> Vec<AssumeRole> {
    vec![step("111111111111", "hop"), step("222222222222", "path/target")]
}

fn made(id: &str) -> HttpReply {
    reply(200, &[], &granted("AssumeRole", id, ONE))
}

/// The same of AWS, which says whose session it is.
fn made_for(assumed_role: &str, id: &str) -> HttpReply {
    let user = format!(
        "<AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>{assumed_role}</Arn></AssumedRoleUser>"
    );
    let text = granted("AssumeRole", id, ONE).replace("<Credentials>", &format!("{user}<Credentials>"));
    reply(200, &[], &text)
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_another_role_or_account_is_refused_at_each_step_of_a_chain() {
    let hop = "arn:aws:sts::111111111111:assumed-role/hop/robot-7";
    let target = "arn:aws:sts::222222222222:assumed-role/target/robot-7";
    let others = [
        "arn:aws:sts::222222222222:assumed-role/hop/robot-7",
        "arn:aws:sts::111111111111:assumed-role/target/robot-7",
        "arn:aws-cn:sts::222222222222:assumed-role/target/robot-7",
        "arn",
    ];
    for other in others {
        for (answers, step) in [(vec![other], "step 1 of 2"), (vec![hop, other], "step 2 of 2")] {
            let count = answers.len();
            let bench = Bench::new(answers.into_iter().map(|arn| made_for(arn, "ASIAMADE")), two_steps());

            let failure = bench.issuer.issue().await.unwrap_err();

            assert_eq!((failure.class(), failure.is_local()), (Class::Broken, false), "{failure}");
            let text = failure.to_string();
            let what = format!(
                "AWS's answer to AssumeRole is for `{other}`, not for the requested role `arn:aws:iam::"
            );
            assert!(
                text.contains(step) && text.contains(&what) && text.contains("request id id-1"),
                "{text}"
            );
            assert_eq!(bench.script.sent().len(), count, "nothing is asked with it");
        }
    }
    let bench = Bench::new([made_for(hop, "ASIAHOP"), made_for(target, "ASIATARGET")], two_steps());
    assert_eq!(bench.issuer.issue().await.unwrap().access_key_id(), "ASIATARGET");
}

#[tokio::test(start_paused = true)]
async fn each_role_is_assumed_with_the_credentials_of_the_one_before() {
    let bench = Bench::new([made("ASIAHOP"), made("ASIATARGET")], two_steps());

    let credentials = bench.issuer.issue().await.unwrap();

    assert_eq!(credentials.access_key_id(), "ASIATARGET");
    assert_eq!(credentials.secret_access_key().expose(), "canary-secret-of-ASIATARGET");
    assert_eq!(credentials.session_token().unwrap().expose(), "canary-token-of-ASIATARGET");
    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR);
    assert_eq!(credentials.account_id(), Some("222222222222"));
    let [hop, target] = bench.sent();
    assert!(is_signed(&hop, &keys("ASIABASE", Some("canary-token-of-base"))), "{hop:?}");
    assert!(is_signed(&target, &keys("ASIAHOP", Some("canary-token-of-ASIAHOP"))), "{target:?}");
    assert_eq!(sent_header(&target, "x-amz-security-token"), "canary-token-of-ASIAHOP");
    assert_eq!(
        std::str::from_utf8(target.body()).unwrap(),
        "Action=AssumeRole&Version=2011-06-15\
         &RoleArn=arn%3Aaws%3Aiam%3A%3A222222222222%3Arole%2Fpath%2Ftarget\
         &RoleSessionName=robot-7&DurationSeconds=3600"
    );
}

#[tokio::test(start_paused = true)]
async fn all_that_is_set_is_sent() {
    let policy = r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    let tags = [("project", "a & b=c"), ("Kosten stelle", "münchen+1"), ("empty", "")];
    let full = AssumeRole {
        external_id: Some("ex/ternal:id".into()),
        duration: Duration::from_secs(900),
        policy: Some(policy.into()),
        policy_arns: vec!["arn:aws:iam::aws:policy/A".into(), "arn:aws:iam::aws:policy/B".into()],
        tags: tags.map(|(key, value)| (key.into(), value.into())).to_vec(),
        transitive_tags: vec!["project".into()],
        source_identity: Some("CN=robot-7".into()),
        ..step("111111111111", "target")
    };
    let answer = reply(200, &[], &granted("AssumeRole", "ASIATARGET", "2026-03-11T12:15:00Z"));
    assert!(!format!("{full:?}").contains("ex/ternal"), "{full:?}");
    let bench = Bench::new([answer], vec![full]);

    bench.issuer.issue().await.unwrap();

    let [request] = bench.sent();
    let sent = parameters(&request);
    let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        sent,
        [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::111111111111:role/target"),
            ("RoleSessionName", "robot-7"),
            ("DurationSeconds", "900"),
            ("ExternalId", "ex/ternal:id"),
            ("SourceIdentity", "CN=robot-7"),
            ("Policy", policy),
            ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/A"),
            ("PolicyArns.member.2.arn", "arn:aws:iam::aws:policy/B"),
            ("Tags.member.1.Key", "project"),
            ("Tags.member.2.Key", "Kosten stelle"),
            ("Tags.member.3.Key", "empty"),
            ("Tags.member.1.Value", "a & b=c"),
            ("Tags.member.2.Value", "münchen+1"),
            ("Tags.member.3.Value", ""),
            ("TransitiveTagKeys.member.1", "project"),
        ]
    );
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%&=".contains(byte);
    assert!(request.body().iter().all(plain), "nothing that readers of forms understand differently");
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_the_step_and_says_who_must_act() {
    let denied =
        refusal("AccessDenied", "User: u is not authorized to perform: sts:AssumeRole on resource: r");
    let slow = reply(400, &[("retry-after", "30")], &refusal("Throttling", "Rate exceeded"));
    let cases = [
        (reply(403, &[], &denied), "AccessDenied", Class::Denied, "trust policy", None),
        (slow, "Throttling", Class::Throttled, "", Some(Duration::from_secs(30))),
        (reply(500, &[], ""), "500", Class::Transient, "", None),
        (reply(200, &[], "canary"), "cannot be used", Class::Transient, "proxy", None),
    ];
    for (second, what, class, hint, retry_after) in cases {
        let bench = Bench::new([made("ASIAHOP"), second], two_steps());

        let failure = bench.issuer.issue().await.unwrap_err();

        let text = failure.to_string();
        let beginning =
            "the role `arn:aws:iam::222222222222:role/path/target` (step 2 of 2) could not be assumed: AWS";
        assert!(text.starts_with(beginning) && text.contains(what), "{text}");
        assert_eq!((failure.class(), failure.retry_after()), (class, retry_after), "{text}");
        assert!(failure.hint().unwrap_or_default().contains(hint), "{text}");
        assert!(!failure.is_local() && !text.contains("canary"), "{text}");
        assert_eq!(bench.sent::<2>().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_told_with_the_step_that_got_none() {
    let bench = Bench::new([], two_steps());

    let failure = bench.issuer.issue().await.unwrap_err();

    let text = failure.to_string();
    assert!(
        text.contains("role/hop` (step 1 of 2) could not be assumed: no answer from sts.us-east-1"),
        "{text}"
    );
    assert_eq!(failure.class(), Class::Transient);
}

#[tokio::test(start_paused = true)]
async fn without_credentials_to_begin_with_no_role_is_assumed() {
    let failed = Failure::of(Reason::InvalidSetting, "no key", Some("put it there".into()));
    let script = Script::new([]);
    let base = Arc::new(Base(Mutex::new(Err(failed.clone()))));
    let issuer = AssumedRole::new("app", base, two_steps(), script.caller());

    assert_eq!(issuer.issue().await.unwrap_err(), failed);
    assert!(script.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_no_steps_is_what_it_begins_with() {
    let bench = Bench::new([], Vec::new());

    assert_eq!(bench.issuer.issue().await.unwrap().access_key_id(), "ASIABASE");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_learned_by_one_step_and_known_to_the_next() {
    let expired = refusal("SignatureDoesNotMatch", "Signature expired: 20260311T120000Z is now earlier");
    let late = |id| reply(200, &[TWO_HOURS_LATER], &granted("AssumeRole", id, "2026-03-11T15:00:00Z"));
    let bench = Bench::new(
        [reply(403, &[TWO_HOURS_LATER], &expired), late("ASIAHOP"), late("ASIATARGET")],
        two_steps(),
    );

    let credentials = bench.issuer.issue().await.unwrap();

    let dates = bench.sent::<3>().map(|request| sent_header(&request, "x-amz-date"));
    assert_eq!(dates, ["20260311T120000Z", "20260311T140000Z", "20260311T140000Z"]);
    // One hour by this host's clock, which its clients go by, less what `Date` cuts off.
    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR - time::Duration::SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_life_beyond_what_was_asked_for_is_not_believed() {
    for (expiration, is_believed) in [("2026-03-11T13:05:00Z", true), ("2026-03-11T13:05:01Z", false)] {
        let answer = reply(200, &[], &granted("AssumeRole", "ASIATARGET", expiration));
        let bench = Bench::new([answer], vec![step("111111111111", "target")]);

        assert_eq!(bench.issuer.issue().await.is_ok(), is_believed, "{expiration}");
    }
}
