//! One session, several, and flags that are about one of them.

use super::*;
use anchord_identity::Locator;

fn two() -> String {
    format!("[imds]\nsession = \"a\"\n{}{}", session("a"), session("b"))
}

fn flags() -> Vec<String> {
    [("certificate", "leaf.pem"), ("private-key", "key.pem"), ("trust-anchor-arn", TRUST_ANCHOR)]
        .into_iter()
        .chain([("profile-arn", PROFILE), ("role-arn", ROLE)])
        .map(|(flag, value)| format!("--{flag}={value}"))
        .collect()
}

fn settle_flags(more: &[&str]) -> Result<Settings, Problems> {
    let flags = flags();
    let arguments: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    settle("", &arguments, &[])
}

#[test]
fn flags_alone_define_a_session() {
    let unnamed = settle_flags(&[]).unwrap();
    let named = settle_flags(&["--session=bedrock"]).unwrap();

    assert_eq!(unnamed.sessions[0].name, "default");
    assert_eq!(unnamed.imds.as_deref(), Some("default"));
    assert_eq!(unnamed.sessions[0].identity().unwrap().certificate, Locator::File("/there/leaf.pem".into()));
    assert_eq!(named.sessions[0].name, "bedrock");
    assert_eq!(named.the_session().map(|session| session.name.as_str()), Some("bedrock"));
}

#[test]
fn flags_that_define_half_a_session_are_told_the_other_half() {
    let problems =
        settle("", &["--certificate=leaf.pem"], &[("ANCHORD_PRIVATE_KEY", "key.pem")]).unwrap_err();

    assert_eq!(
        problems.to_string(),
        "session `default` lacks `trust_anchor_arn`, `profile_arn`, `role_arn`; \
         hint: give --trust-anchor-arn, --profile-arn, --role-arn, or their variables"
    );
}

#[test]
fn flags_change_the_only_session() {
    let settings = settle(&session("a"), &["--duration=2h"], &[("ANCHORD_REGION", "eu-west-1")]).unwrap();

    assert_eq!(settings.sessions[0].duration(), Duration::from_secs(7200));
    assert_eq!(settings.sessions[0].region.as_str(), "eu-west-1");
    assert_eq!(certified(&settings.sessions[0]).first.region.as_str(), "us-east-1");
}

#[test]
fn flags_are_refused_until_one_of_several_sessions_is_picked() {
    let problems = settle(&two(), &["--duration=2h"], &[("ANCHORD_REGION", "eu-west-1")]).unwrap_err();
    let picked = settle(&two(), &["--duration=2h", "--session=b"], &[]).unwrap();

    assert_eq!(
        problems.to_string(),
        "--duration: --duration, ANCHORD_REGION could apply to any of the sessions a, b; \
         hint: select one with --session or ANCHORD_SESSION"
    );
    let durations: Vec<_> = picked.sessions.iter().map(|session| session.duration().as_secs()).collect();
    assert_eq!(durations, [3600, 7200]);
    assert_eq!(picked.the_session().map(|session| session.name.as_str()), Some("b"));
}

#[test]
fn a_session_that_does_not_exist_cannot_be_picked() {
    let of_two = settle(&two(), &["--session=c"], &[]).unwrap_err();
    let of_one = settle(&session("bedrock"), &[], &[("ANCHORD_SESSION", "bedrok")]).unwrap_err();

    assert_eq!(
        of_two.to_string(),
        "--session: `c` is not the name of a session; hint: the sessions are a, b"
    );
    assert_eq!(
        of_one.to_string(),
        "ANCHORD_SESSION: `bedrok` is not the name of a session; hint: did you mean `bedrock`?"
    );
}

#[test]
fn imds_needs_to_know_which_of_several_sessions_it_serves() {
    let both = format!("{}{}", session("a"), session("b"));

    assert_eq!(
        refusal(&both),
        "anchord.toml: IMDS serves one session, but there are several: a, b; \
         hint: set `session` or `enabled = false` in [imds]"
    );
    let settings = settled(&format!("[imds]\nenabled = false\n{both}"));
    assert_eq!((settings.imds, settings.container), (None, true));
    assert_eq!(settings.sessions.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_client_does_not_care_which_session_imds_serves() {
    let both = format!("{}{}", session("a"), session("b"));

    let settings = settle_as(Consumer::Client, both.as_bytes(), Default::default(), &root()).unwrap();

    assert_eq!(settings.sessions.len(), 2);
}

#[test]
fn sessions_keep_the_order_of_the_file() {
    let file = format!("[imds]\nenabled = false\n{}{}{}", session("m"), session("z"), session("a"));

    let settings = settled(&file);

    let names: Vec<_> = settings.sessions.iter().map(|session| session.name.as_str()).collect();
    assert_eq!(names, ["m", "z", "a"]);
    assert_eq!(settings.the_session(), None);
}

#[test]
fn disabled_front_ends_are_absent() {
    let file = "[imds]\nenabled = false\n[container]\nenabled = false\n[socket]\nenabled = false\n[http]\nlisten = []\n";

    let settings = settled(&format!("{file}{}", session("a")));

    assert_eq!((settings.imds, settings.container, settings.socket), (None, false, None));
}

#[test]
fn a_front_end_over_http_needs_an_address() {
    let refusal = refusal(&format!("[http]\nlisten = []\n{}", session("a")));

    assert!(refusal.contains("is empty, so no client can reach IMDS"), "{refusal}");
}

#[test]
fn arns_must_share_region_account_and_partition() {
    let file = session("a")
        .replace(PROFILE, "arn:aws-cn:rolesanywhere:cn-north-1:210987654321:profile/9f2d6a70")
        .replace(ROLE, "arn:aws-us-gov:iam::123456789012:role/bedrock");

    assert_eq!(
        refusal(&file),
        "anchord.toml:5: the profile and the trust anchor must be in the same partition; \
         hint: the profile's is aws-cn, the trust anchor's aws\n\
         anchord.toml:5: the profile and the trust anchor must be in the same Region; \
         hint: the profile's is cn-north-1, the trust anchor's us-east-1\n\
         anchord.toml:5: the profile and the trust anchor must be in the same account; \
         hint: the profile's is 210987654321, the trust anchor's 123456789012\n\
         anchord.toml:6: the role and the trust anchor must be in the same partition; \
         hint: the role's is aws-us-gov, the trust anchor's aws"
    );
}

#[test]
fn a_region_must_be_in_the_partition_of_the_arns() {
    let china = |text: &str| text.replace("arn:aws:", "arn:aws-cn:");

    assert_eq!(
        refusal(&china(&session("a"))),
        "anchord.toml:4: the trust anchor's ARN names partition aws-cn; hint: its Region us-east-1 belongs to aws"
    );
    assert_eq!(
        refusal(&format!("{}region = \"cn-north-1\"", session("a"))),
        "anchord.toml:7: Region cn-north-1 is in partition aws-cn; \
         hint: the ARNs are of aws, and its credentials are not valid in other partitions"
    );
    let settings = settled(&china(&session("a")).replace("us-east-1", "cn-north-1"));
    assert_eq!(settings.sessions[0].region.as_str(), "cn-north-1");
}

#[test]
fn auto_and_the_right_name_both_mean_the_trust_anchors_region() {
    for asked in ["auto", "us-east-1"] {
        let file = format!("{}region = \"eu-west-1\"\nroles_anywhere_region = \"{asked}\"", session("a"));
        let session = settled(&file).sessions.remove(0);

        assert_eq!(
            (session.region.as_str(), certified(&session).first.region.as_str()),
            ("eu-west-1", "us-east-1")
        );
    }
}

const FALLBACK: &str = "fallback_trust_anchor_arn = \"arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/f1\"\n\
     fallback_profile_arn = \"arn:aws:rolesanywhere:eu-west-1:123456789012:profile/f2\"\n";

#[test]
fn a_second_endpoint_is_a_trust_anchor_and_a_profile_of_another_region() {
    let none = settled(&session("a")).sessions.remove(0);
    let plain = settled(&format!("{}{FALLBACK}", session("a"))).sessions.remove(0);
    let named = format!("{}{FALLBACK}fallback_endpoint = \"https://127.0.0.1:1\"", session("a"));
    let named = settled(&named).sessions.remove(0);

    assert_eq!(certified(&none).fallback, None);
    let plain = certified(&plain).fallback.clone().unwrap();
    assert_eq!((plain.trust_anchor.region().as_str(), plain.endpoint.as_deref()), ("eu-west-1", None));
    assert_eq!(plain.profile.as_str(), "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/f2");
    assert_eq!(certified(&named).fallback.clone().unwrap().endpoint.as_deref(), Some("https://127.0.0.1:1"));
    assert_eq!(certified(&named).first.region.as_str(), "us-east-1");
}

#[test]
fn half_a_second_endpoint_is_told_the_other_half() {
    let hint = "hint: a second endpoint needs a trust anchor and a profile; \
                give both, or no option that begins with `fallback_`";
    let of_profile = format!("{}{}", session("a"), FALLBACK.lines().nth(1).unwrap());
    let of_endpoint = format!("{}fallback_endpoint = \"https://127.0.0.1:1\"", session("a"));
    let by_flag = settle(&session("a"), &["--fallback-endpoint=https://127.0.0.1:1"], &[]).unwrap_err();

    assert_eq!(
        refusal(&of_profile),
        format!("anchord.toml:7: session `a` lacks `fallback_trust_anchor_arn`; {hint}")
    );
    let both = "session `a` lacks `fallback_trust_anchor_arn`, `fallback_profile_arn`";
    assert_eq!(refusal(&of_endpoint), format!("anchord.toml:7: {both}; {hint}"));
    assert_eq!(by_flag.to_string(), format!("--fallback-endpoint: {both}; {hint}"));
}

#[test]
fn the_second_trust_anchor_is_another_of_the_same_partition() {
    let own = format!("{}{FALLBACK}", session("a"))
        .replace("eu-west-1", "us-east-1")
        .replace("trust-anchor/f1", "trust-anchor/41c10bae");
    let abroad = format!("{}{FALLBACK}", session("a"))
        .replace("arn:aws:rolesanywhere:eu-west-1", "arn:aws-cn:rolesanywhere:cn-north-1");
    let confused = format!("{}{FALLBACK}", session("a")).replace("eu-west-1", "cn-north-1");

    assert_eq!(
        refusal(&own),
        "anchord.toml:7: the fallback trust anchor is the session's own; \
         hint: name one of another Region, or give no option that begins with `fallback_`"
    );
    assert_eq!(
        refusal(&abroad),
        "anchord.toml:7: the fallback trust anchor and the trust anchor must be in the same partition; \
         hint: the fallback's is aws-cn, the first's aws"
    );
    assert_eq!(
        refusal(&confused),
        "anchord.toml:7: the fallback trust anchor's ARN names partition aws; \
         hint: its Region cn-north-1 belongs to aws-cn"
    );
}

#[test]
fn the_second_profile_is_where_the_second_trust_anchor_is() {
    let file = format!("{}{FALLBACK}", session("a"))
        .replace("eu-west-1:123456789012:profile", "eu-west-2:210987654321:profile");

    assert_eq!(
        refusal(&file),
        "anchord.toml:8: the fallback profile and the fallback trust anchor must be in the same Region; \
         hint: the profile's is eu-west-2, the trust anchor's eu-west-1\n\
         anchord.toml:8: the fallback profile and the fallback trust anchor must be in the same account; \
         hint: the profile's is 210987654321, the trust anchor's 123456789012"
    );
}

#[test]
fn a_region_that_no_partition_knows_is_told_wherever_it_is_given() {
    let file = session("a");
    let step =
        format!("{file}[[session.a.assume_role]]\nrole_arn = \"{ROLE}\"\nsts_region = \"eu-cental-1\"\n");
    let doubt = |option: &str, region: &str, meant: &str| {
        format!(
            "session a, `{option}`: no partition of AWS knows the Region {region}; hint: did you mean {meant}?"
        )
    };
    for (file, flags, variables, expected) in [
        (&file, &["--region=us-esat-1"][..], &[][..], doubt("region", "us-esat-1", "us-east-1")),
        (&file, &[], &[("ANCHORD_REGION", "us-wst-2")][..], doubt("region", "us-wst-2", "us-west-2")),
        (&file, &["--sts-region=eu-wets-1"], &[], doubt("sts_region", "eu-wets-1", "eu-west-1")),
        (&step, &[], &[], doubt("assume_role", "eu-cental-1", "eu-central-1")),
        (
            &file.replace("us-east-1", "us-eats-1"),
            &[],
            &[],
            doubt("trust_anchor_arn", "us-eats-1", "us-east-1"),
        ),
    ] {
        assert_eq!(texts(&settle(file, flags, variables).unwrap().warnings), [expected]);
    }
    assert_eq!(settle(&file, &["--region=ap-southeast-9"], &[]).unwrap().warnings, []);
}
