//! The roles that a session goes through, and where STS and the other services are asked.

use super::*;
use anchord_core::endpoint::Variant;

const MODELS: &str = "arn:aws:iam::210987654321:role/models";
const BATCH: &str = "arn:aws:iam::333333333333:role/team/batch";

fn with_step(lines: &str) -> String {
    format!("{}[[session.a.assume_role]]\nrole_arn = \"{MODELS}\"\n{lines}\n", session("a"))
}

fn steps(file: &str) -> Vec<AssumeRole> {
    settled(file).sessions[0].chain.clone()
}

#[test]
fn roles_can_be_named_by_their_arns_alone_wherever_options_can_be_given() {
    let in_file = steps(&format!("{}assume_role = [\"{MODELS}\", \"{BATCH}\"]\n", session("a")));
    let both = format!("{MODELS},{BATCH}");
    let by_flag = settle(&session("a"), &["--assume-role", MODELS, "--assume-role", BATCH], &[]).unwrap();
    let by_variable = settle(&session("a"), &[], &[("ANCHORD_ASSUME_ROLE", &both)]).unwrap();

    let roles: Vec<_> = in_file.iter().map(|step| step.role.as_str()).collect();
    assert_eq!(roles, [MODELS, BATCH]);
    assert_eq!(by_flag.sessions[0].chain, in_file);
    assert_eq!(by_variable.sessions[0].chain, in_file);
    assert_eq!(in_file[0].session_name, "anchord-a");
    assert_eq!(in_file[0].duration, Duration::from_secs(3600));
    assert_eq!(by_flag.sessions[0].role().map(RoleArn::as_str), Some(BATCH));
}

#[test]
fn a_step_says_all_that_assume_role_takes() {
    let step = &steps(&with_step(
        "session_name = \"robot-7\"\nexternal_id = \"7d2f\"\nduration = \"15m\"\npolicy = '{\"Version\":\"2012-10-17\"}'\n\
         policy_arns = [\"arn:aws:iam::aws:policy/ReadOnlyAccess\"]\ntags = { project = \"robots\", stage = \"\" }\n\
         transitive_tags = [\"project\"]\nsource_identity = \"robot\"\nsts_region = \"eu-west-1\"\n\
         sts_endpoint = \"https://sts.example\"",
    ))[0];

    assert_eq!(step.session_name, "robot-7");
    assert_eq!(step.external_id.as_deref(), Some("7d2f"));
    assert_eq!(step.duration, Duration::from_secs(900));
    assert_eq!(step.policy.as_deref(), Some("{\"Version\":\"2012-10-17\"}"));
    assert_eq!(step.policy_arns, ["arn:aws:iam::aws:policy/ReadOnlyAccess"]);
    assert_eq!(step.tags, [("project".into(), "robots".into()), ("stage".into(), String::new())]);
    assert_eq!(step.transitive_tags, ["project"]);
    assert_eq!(step.source_identity.as_deref(), Some("robot"));
    assert_eq!(
        (step.sts.region.as_str(), step.sts.endpoint.as_deref()),
        ("eu-west-1", Some("https://sts.example"))
    );
}

#[test]
fn sts_is_asked_in_the_sessions_region_unless_somebody_says_otherwise() {
    let file = format!(
        "{}region = \"eu-west-1\"\nsts_endpoint = \"https://sts.example\"\n[[session.a.assume_role]]\nrole_arn = \"{MODELS}\"\n\
         [[session.a.assume_role]]\nrole_arn = \"{BATCH}\"\nsts_region = \"us-west-2\"\n",
        session("a")
    );
    let session = settled(&file).sessions.remove(0);

    let place = |sts: &Sts| (sts.region.to_string(), sts.endpoint.clone());
    assert_eq!(place(&session.sts), ("eu-west-1".into(), Some("https://sts.example".into())));
    assert_eq!(place(&session.chain[0].sts), ("eu-west-1".into(), Some("https://sts.example".into())));
    assert_eq!(place(&session.chain[1].sts), ("us-west-2".into(), None), "an endpoint is one Region's");
}

#[test]
fn each_mistake_in_a_step_is_told_with_its_line() {
    for (line, expected) in [
        ("external_id = \"a b\"", "`external_id` in [[session.a.assume_role]]: is not an external id"),
        ("duration = \"2h\"", "AWS grants at most 1h if a role assumes a role"),
        ("policy = \"{\"", "`policy` in [[session.a.assume_role]]: is not JSON at line 1 column 1"),
        ("policy = \"[]\"", "is not a policy"),
        ("policy_arns = [\"nope\"]", "`nope` is not the ARN of a policy"),
        ("tags = { \"aws:x\" = \"1\" }", "`aws:x` begins with `aws:`, which AWS reserves"),
        ("tags = { a = 1 }", "`tags` in [[session.a.assume_role]]: `a` is an integer, not a string"),
        ("tags = { \"a=b\" = \"c\" }", "a name contains `=`"),
        ("transitive_tags = [\"stage\"]", "`stage` is not one of the tags"),
        (
            "externalid = \"x\"",
            "unknown key `externalid` in [[session.a.assume_role]]; hint: did you mean `external_id`?",
        ),
        (
            "sts_region = \"cn-north-1\"",
            "cn-north-1 is in partition aws-cn; hint: the session's ARNs are of aws",
        ),
        (
            "policy_arns = \"x\"",
            "`policy_arns` in [[session.a.assume_role]]: expected an array of strings, found a string",
        ),
    ] {
        let refusal = refusal(&with_step(line));
        assert!(refusal.starts_with("anchord.toml:9: "), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

#[test]
fn a_role_is_needed_and_belongs_to_the_sessions_partition() {
    let without = refusal(&format!("{}[[session.a.assume_role]]\nexternal_id = \"xy\"\n", session("a")));
    let number = refusal(&format!("{}assume_role = [{{}}, 7]\n", session("a")));
    let elsewhere = format!("{}assume_role = [\"arn:aws-cn:iam::333333333333:role/r\"]\n", session("a"));

    assert_eq!(without, "anchord.toml:7: [[session.a.assume_role]] lacks `role_arn`");
    assert!(number.contains("expected an ARN or a table, found an integer"), "{number}");
    assert_eq!(
        refusal(&elsewhere),
        "anchord.toml:7: `role_arn` in [[session.a.assume_role]]: the role is in partition aws-cn; \
         hint: the session is in aws, and its credentials are not valid in other partitions"
    );
}

#[test]
fn an_external_id_is_not_shown() {
    let settings = settled(&with_step("external_id = \"canary-7d2f\""));

    assert!(!describe(&settings).contains("canary"), "{}", describe(&settings));
    assert!(describe(&settings).contains("session.a.assume_role.1.role_arn"), "{}", describe(&settings));
}

#[test]
fn the_sdks_variables_choose_endpoints_where_nobody_else_does() {
    let shared = [
        ("AWS_USE_FIPS_ENDPOINT", "True"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_CA_BUNDLE", "ca.pem"),
    ];
    let both = settle(&session("a"), &[], &shared).unwrap();
    let own = settle(&session("a"), &["--use-fips-endpoint=false", "--ca-file=/own.pem"], &shared).unwrap();
    let wrong = settle(&session("a"), &[], &[("AWS_USE_FIPS_ENDPOINT", "yes")]).unwrap_err();

    assert_eq!(both.sessions[0].variant, Variant { fips: true, dual_stack: true });
    assert_eq!(both.upstream.ca_file.as_deref(), Some(std::path::Path::new("/there/ca.pem")));
    assert_eq!(own.sessions[0].variant, Variant { fips: false, dual_stack: true });
    assert_eq!(own.upstream.ca_file.as_deref(), Some(std::path::Path::new("/own.pem")));
    assert_eq!(wrong.to_string(), "AWS_USE_FIPS_ENDPOINT: `yes` is neither `true` nor `false`");
}

#[test]
fn sts_in_another_partition_is_refused() {
    let refusal = refusal(&format!("{}sts_region = \"us-gov-west-1\"\n", session("a")));

    assert_eq!(
        refusal,
        "anchord.toml:7: `sts_region` us-gov-west-1 is in partition aws-us-gov; \
         hint: the session's Region us-east-1 is in aws"
    );
}

/// AWS would refuse each at every renewal.
#[test]
fn what_sts_refuses_for_its_limits_is_told_before_it_is_asked() {
    let policy = |filler: &str, times: usize| format!("policy = '{{\"x\":\"{}\"}}'", filler.repeat(times));
    let arns = |number: usize| {
        let arns: Vec<_> = (0..number).map(|n| format!("\"arn:aws:iam::aws:policy/P{n}\"")).collect();
        format!("policy_arns = [{}]", arns.join(", "))
    };
    let tags = |number: usize| {
        let tags: Vec<_> = (0..number).map(|n| format!("t{n} = \"v\"")).collect();
        format!("tags = {{ {} }}", tags.join(", "))
    };
    for line in [
        policy("y", 2040),
        policy("\u{e9}", 2040),
        arns(10),
        tags(50),
        "tags = { \"Kostenstelle 7/a\" = \"M\u{fc}ller_.:/=+-@\", b = \"\" }".into(),
    ] {
        settled(&with_step(&line));
    }
    for (line, expected) in [
        (policy("y", 2041), "has 2049 characters; STS accepts at most 2048"),
        (
            policy("\u{20ac}", 1),
            "contains `\u{20ac}`, which STS does not accept in a policy; hint: write it as JSON's escape \\u20ac",
        ),
        (arns(11), "`policy_arns` in [[session.a.assume_role]]: has 11 entries; STS accepts at most 10"),
        (tags(51), "`tags` in [[session.a.assume_role]]: has 51 entries; STS accepts at most 50"),
        ("tags = { a = \"b*c\" }".into(), "`a` contains `*`, which STS does not accept in a tag"),
        ("tags = { \"a#b\" = \"c\" }".into(), "`a#b` contains `#`, which STS does not accept in a tag"),
        ("tags = { Dept = \"1\", dept = \"2\" }".into(), "`Dept` and `dept` are the same tag for AWS"),
        ("tags = { \"\u{c4}\" = \"1\", \"\u{e4}\" = \"2\" }".into(), "are the same tag for AWS"),
    ] {
        let told = refusal(&with_step(&line));
        assert!(told.contains(expected), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
