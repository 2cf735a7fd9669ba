//! STS: who may call what, what comes back, and what the log says of it.

use anchord_emulator::Fault;
use anchord_emulator::Role;
use anchord_emulator::Service;
use time::Duration;

use crate::sigv4::Call;
use crate::sigv4::Keys;
use crate::sigv4::element;
use crate::support::Answer;
use crate::support::World;

const OTHER_ROLE: &str = "arn:aws:iam::111122223333:role/path/Reader";

impl World {
    async fn sts(&self, keys: &Keys, action: &str, parameters: &[(&str, &str)]) -> Answer {
        Call::sts(&self.emulator, action, parameters).send(&self.emulator, keys).await
    }

    /// What Roles Anywhere gave.
    async fn session(&self) -> Keys {
        assert_eq!(self.send(&self.draft()).await.status, 201);
        Keys::of(self.emulator.issued().last().unwrap())
    }

    async fn assume(&self, keys: &Keys, more: &[(&str, &str)]) -> Answer {
        let parameters = [&[("RoleArn", OTHER_ROLE), ("RoleSessionName", "chained")], more].concat();
        self.sts(keys, "AssumeRole", &parameters).await
    }
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    (answer.status, element(answer, "Code").unwrap(), element(answer, "Message").unwrap())
}

#[tokio::test]
async fn a_user_a_session_and_an_assumed_role_are_told_who_they_are() {
    let world = World::new().await;
    let user = world.sts(&Keys::of_user(), "GetCallerIdentity", &[]).await;
    assert_eq!((user.status, user.header("content-type")), (200, "text/xml"));
    assert_eq!(element(&user, "Arn").unwrap(), "arn:aws:iam::123456789012:user/ExampleUser");
    assert_eq!(element(&user, "RequestId").unwrap(), user.header("x-amzn-requestid"));

    let session = world.session().await;
    let answer = world.sts(&session, "GetCallerIdentity", &[]).await;
    let arn = element(&answer, "Arn").unwrap();
    assert!(arn.starts_with("arn:aws:sts::123456789012:assumed-role/ExampleRole/"), "{arn}");

    let assumed = world.assume(&session, &[]).await;
    assert_eq!(assumed.status, 200, "{assumed:?}");
    let keys = Keys::of(world.emulator.issued().last().unwrap());
    assert_eq!(element(&assumed, "AccessKeyId").unwrap(), keys.id);
    assert_eq!(element(&assumed, "SessionToken"), keys.token);
    assert_eq!(element(&assumed, "SourceIdentity").unwrap(), "CN=host-7");
    let answer = world.sts(&keys, "GetCallerIdentity", &[]).await;
    assert_eq!(element(&answer, "Arn").unwrap(), "arn:aws:sts::111122223333:assumed-role/Reader/chained");
    assert_eq!(element(&answer, "Account").unwrap(), "111122223333");
}

#[tokio::test]
async fn the_log_says_what_was_asked_and_who_signed_but_no_secret() {
    let world = World::new().await;
    let session = world.session().await;
    world.assume(&session, &[("DurationSeconds", "900"), ("ExternalId", "a b")]).await;
    world.assume(&session, &[("DurationSeconds", "900"), ("ExternalId", "a:b")]).await;

    let logged = world.emulator.requests_to(Service::Sts).pop().unwrap();
    assert_eq!(logged.action.as_deref(), Some("AssumeRole"));
    assert_eq!(logged.signer.as_deref(), Some(session.id.as_str()));
    assert_eq!(logged.scope_region.as_deref(), Some(crate::support::REGION));
    assert_eq!((logged.parameter("ExternalId"), logged.duration_seconds), (Some("a:b"), Some(900)));
    assert_eq!(logged.role_arn.as_deref(), Some(OTHER_ROLE));
    let issued = world.emulator.issued().pop().unwrap();
    assert_eq!(logged.access_key_id.as_deref(), Some(issued.access_key_id.as_str()));
    assert_eq!((issued.action, issued.expires_at - logged.at), ("AssumeRole", Duration::seconds(900)));
    let text = format!("{:?}", world.emulator.requests());
    assert!(!text.contains(&session.secret) && !text.contains(session.token.as_deref().unwrap()));
    assert_eq!(world.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn a_role_session_may_chain_for_an_hour_and_a_user_for_as_long_as_the_role_lets_it() {
    let world = World::with(|setup| setup.max_session_seconds = 7200).await;
    let (user, session) = (Keys::of_user(), world.session().await);
    let at = async |keys: &Keys, seconds| {
        let answer = world.assume(keys, &[("DurationSeconds", seconds)]).await;
        element(&answer, "Message")
    };

    assert_eq!(at(&session, "3600").await, None);
    let chained =
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
    assert_eq!(at(&session, "3601").await.as_deref(), Some(chained));
    assert_eq!(at(&user, "7200").await, None);
    assert!(at(&user, "7201").await.unwrap().contains("MaxSessionDuration"));
    assert!(at(&user, "899").await.unwrap().contains("greater than or equal to 900"));
    assert!(at(&user, "43201").await.unwrap().contains("less than or equal to 43200"));
}

#[tokio::test]
async fn only_a_users_long_term_key_gets_a_session_token() {
    let world = World::new().await;
    let answer = world.sts(&Keys::of_user(), "GetSessionToken", &[("DurationSeconds", "129600")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let issued = world.emulator.issued().pop().unwrap();
    assert_eq!((issued.action, issued.role_arn.as_str()), ("GetSessionToken", ""));

    let keys = Keys::of(&issued);
    let who = world.sts(&keys, "GetCallerIdentity", &[]).await;
    assert_eq!(element(&who, "Arn").unwrap(), "arn:aws:iam::123456789012:user/ExampleUser");
    let message = "Cannot call GetSessionToken with session credentials".to_owned();
    let again = world.sts(&keys, "GetSessionToken", &[]).await;
    assert_eq!(refusal(&again), (403, "AccessDenied".to_owned(), message));
    assert_eq!(world.assume(&keys, &[("DurationSeconds", "43200")]).await.status, 200);
}

#[tokio::test]
async fn who_is_not_trusted_is_told_which_role_and_nothing_more() {
    let world = World::with(|setup| {
        let role = Role { external_id: Some("partner-7".to_owned()), ..Role::default() };
        setup.roles.insert(OTHER_ROLE.to_owned(), role);
    })
    .await;
    let user = Keys::of_user();
    let message = format!(
        "User: arn:aws:iam::123456789012:user/ExampleUser is not authorized to perform: sts:AssumeRole on \
         resource: {OTHER_ROLE}"
    );
    let denied = (403, "AccessDenied".to_owned(), message);

    assert_eq!(refusal(&world.assume(&user, &[]).await), denied);
    assert_eq!(refusal(&world.assume(&user, &[("ExternalId", "partner-8")]).await), denied);
    let good = [("ExternalId", "partner-7")];
    assert_eq!(world.assume(&user, &good).await.status, 200);
    world.emulator.set_trust_policy_refusal(OTHER_ROLE, true);
    assert_eq!(refusal(&world.assume(&user, &good).await), denied);
    world.emulator.set_trust_policy_refusal(OTHER_ROLE, false);
    world.emulator.set_denied("sts:AssumeRole", true);
    assert_eq!(refusal(&world.assume(&user, &good).await), denied);
}

#[tokio::test]
async fn tags_and_source_identity_stay_along_the_chain() {
    let world = World::with(|setup| {
        let role = Role { required_tags: vec!["team".to_owned()], ..Role::default() };
        setup.roles.insert(OTHER_ROLE.to_owned(), role);
    })
    .await;
    let user = Keys::of_user();
    let tags = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "red"), ("SourceIdentity", "alice")];
    let kept = [&tags[..], &[("TransitiveTagKeys.member.1", "team")]].concat();

    assert!(refusal(&world.assume(&user, &[]).await).2.contains("sts:TagSession"));
    assert_eq!(world.assume(&user, &kept).await.status, 200);
    let first = Keys::of(world.emulator.issued().last().unwrap());
    let chained = world.assume(&first, &[]).await;
    assert_eq!(element(&chained, "SourceIdentity").as_deref(), Some("alice"), "{chained:?}");
    assert!(refusal(&world.assume(&first, &tags).await).2.contains("transitive"));
    let renamed = world.assume(&first, &[("SourceIdentity", "mallory")]).await;
    assert!(refusal(&renamed).2.contains("sts:SetSourceIdentity"));
    world.emulator.set_denied("sts:SetSourceIdentity", true);
    assert!(refusal(&world.assume(&first, &[]).await).2.contains("sts:SetSourceIdentity"));
}

#[tokio::test]
async fn what_is_outside_of_its_limits_is_refused_with_its_name() {
    let world = World::new().await;
    let user = Keys::of_user();
    let long = "x".repeat(2000);
    let policy = format!("{{\"Statement\":[],\"Id\":\"{}\"}}", "x".repeat(2000));
    let arn = format!("arn:aws:iam::123456789012:policy/{long}");
    for (parameters, kind, told) in [
        (vec![("RoleSessionName", "a")], "ValidationError", "'roleSessionName'"),
        (vec![("RoleSessionName", "a b")], "ValidationError", "'roleSessionName'"),
        (vec![("RoleArn", "arn:aws:iam::123456789012:user/U")], "ValidationError", "is invalid"),
        (vec![("Policy", "{")], "MalformedPolicyDocument", "Syntax errors in policy."),
        (
            vec![("Policy", &policy), ("PolicyArns.member.1.arn", &arn), ("PolicyArns.member.2.arn", &arn)],
            "PackedPolicyTooLarge",
            "of allotted space",
        ),
        (vec![("Tags.member.1.Key", "a")], "ValidationError", "'tags'"),
        (vec![("TransitiveTagKeys.member.1", "a")], "ValidationError", "among the tags"),
    ] {
        let mut all = parameters;
        all.extend([("RoleArn", OTHER_ROLE), ("RoleSessionName", "chained")]);
        let answer = world.sts(&user, "AssumeRole", &all).await;
        let (status, code, message) = refusal(&answer);
        assert_eq!((status, code.as_str()), (400, kind), "{all:?}");
        assert!(message.contains(told), "{message}");
    }
    let unknown = world.sts(&user, "DeleteEverything", &[]).await;
    assert_eq!(refusal(&unknown).1, "InvalidAction");
}

#[tokio::test]
async fn a_bad_signature_is_refused_in_the_words_of_sts() {
    let world = World::with(|setup| setup.sts_region = "us-west-2".to_owned()).await;
    let call = |region: &str, service: &str| {
        let mut call = Call::sts(&world.emulator, "GetCallerIdentity", &[]);
        (call.region, call.service) = (region.to_owned(), service.to_owned());
        call
    };
    let good = call("us-west-2", "sts");
    let (user, session) = (Keys::of_user(), world.session().await);
    let stranger = Keys { id: "AKIASTRANGERSTRANGER".to_owned(), ..user.clone() };
    let forger = Keys { secret: "wrong".to_owned(), ..user.clone() };
    let mut late = good.clone();
    late.at -= Duration::minutes(6);

    for (call, keys, expected) in [
        (&good, &stranger, (403, "InvalidClientTokenId")),
        (&good, &forger, (403, "SignatureDoesNotMatch")),
        (&late, &user, (403, "SignatureDoesNotMatch")),
        (&call("us-east-1", "sts"), &user, (403, "SignatureDoesNotMatch")),
        (&call("us-west-2", "bedrock"), &user, (403, "SignatureDoesNotMatch")),
    ] {
        let (status, code, _) = refusal(&call.send(&world.emulator, keys).await);
        assert_eq!((status, code.as_str()), expected);
    }
    assert_eq!(good.send(&world.emulator, &session).await.status, 200);
    world.emulator.set_clock_offset(Duration::hours(2));
    let mut now = good.clone();
    now.at = world.emulator.now();
    assert_eq!(refusal(&now.send(&world.emulator, &session).await).1, "ExpiredToken");
    world.emulator.forget_issued();
    assert_eq!(refusal(&now.send(&world.emulator, &session).await).1, "InvalidClientTokenId");
    let unsigned = Call { headers: good.headers.clone(), ..good.clone() };
    let mut unsigned = unsigned.sign(&user);
    unsigned.headers.retain(|(name, _)| name != "authorization");
    let answer = crate::sigv4::deliver(&world.emulator, &unsigned).await;
    assert_eq!(refusal(&answer).1, "MissingAuthenticationToken");
}

/// As AWS does; who shows such a message, shows a secret.
#[tokio::test]
async fn a_refused_signature_is_answered_with_what_should_have_been_signed() {
    let world = World::new().await;
    let session = world.session().await;
    let token = session.token.clone().unwrap();

    let answer =
        world.sts(&Keys { secret: "wrong".to_owned(), ..session.clone() }, "GetCallerIdentity", &[]).await;

    let message = refusal(&answer).2;
    assert!(
        message.contains("The Canonical String for this request should have been")
            && message.contains(&token)
    );
    assert!(!format!("{:?}", world.emulator.requests()).contains(&token), "the log has it");
    let good = Keys { secret: world.emulator.issued()[0].secret_access_key.clone(), ..session };
    world.emulator.script([Fault::SignatureRefused]);
    let answer = world.sts(&good, "GetCallerIdentity", &[]).await;
    let (_, code, message) = refusal(&answer);
    assert!(code == "SignatureDoesNotMatch" && message.contains(&token), "a fault does the same: {message}");
}

#[tokio::test]
async fn a_region_without_sts_refuses_and_so_does_iam() {
    let world = World::with(|setup| setup.sts_region_disabled = true).await;
    let user = Keys::of_user();
    let answer = world.sts(&user, "GetCallerIdentity", &[]).await;
    assert_eq!(refusal(&answer).1, "RegionDisabledException");
    world.emulator.change(|setup| setup.sts_region_disabled = false);
    world.emulator.set_denied("sts:GetCallerIdentity", true);
    assert_eq!(refusal(&world.sts(&user, "GetCallerIdentity", &[]).await).1, "AccessDenied");
}

#[tokio::test]
async fn faults_are_met_by_the_service_they_are_for_in_its_language() {
    let world = World::new().await;
    let user = Keys::of_user();
    world.emulator.script_for(Service::Sts, [Fault::Throttle { retry_after: Some(2) }, Fault::Status(503)]);
    assert_eq!(world.send(&world.draft()).await.status, 201);

    let throttled = world.assume(&user, &[]).await;
    assert_eq!((refusal(&throttled).1.as_str(), throttled.header("retry-after")), ("Throttling", "2"));
    assert_eq!(refusal(&world.assume(&user, &[]).await).0, 503);
    world.emulator.always_for(Service::Sts, Some(Fault::PartialCredentials));
    let partial = world.assume(&user, &[]).await;
    assert_eq!((partial.status, element(&partial, "SessionToken")), (200, None));
    assert!(element(&partial, "AccessKeyId").is_some());
    world.emulator.always_for(Service::Sts, Some(Fault::EmptyCredentialSet));
    assert_eq!(element(&world.assume(&user, &[]).await, "AccessKeyId"), None);
    assert_eq!(world.send(&world.draft()).await.status, 201);
    world.emulator.always_for(Service::Sts, None);
    assert_eq!(world.assume(&user, &[]).await.status, 200);
}
