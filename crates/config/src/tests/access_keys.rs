//! Sessions that begin with a user's own keys.

use super::*;

const KEYS: &str = "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn with(lines: &str) -> String {
    format!("[session.a]\nsource = \"access-keys\"\nregion = \"eu-west-1\"\n{lines}")
}

fn keys(settings: &Settings) -> &AccessKeySource {
    match &settings.sessions[0].source {
        CredentialSource::AccessKeys(keys) => keys,
        CredentialSource::RolesAnywhere(_) => panic!("{settings:?}"),
    }
}

#[test]
fn keys_are_in_a_file_a_credential_or_a_variable() {
    let file = settled(&with("access_keys = \"file:keys.csv\""));
    let credential =
        settle(&with("access_keys = \"credential:aws\""), &[], &[("CREDENTIALS_DIRECTORY", "/creds")])
            .unwrap();
    let variable = settle(&with("access_keys = \"env:KEYS\""), &[], &[("KEYS", KEYS)]).unwrap();
    let (id, secret) = KEYS.split_once(':').unwrap();
    let sdks = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    let sdks = settle(&with("access_keys = \"env\""), &[], &sdks).unwrap();

    assert_eq!(keys(&file).keys.path(), Some(std::path::Path::new("/etc/anchord/keys.csv")));
    assert_eq!(keys(&credential).keys.path(), Some(std::path::Path::new("/creds/aws")));
    assert_eq!(keys(&variable).keys.path(), None);
    assert_eq!(keys(&sdks).keys.path(), None);
    assert!(keys(&file).get_session_token);
    for settings in [&variable, &sdks] {
        let shown = format!("{settings:?}{}", describe(settings));
        assert!(!shown.contains("bPxRfiCY"), "{shown}");
    }
}

#[test]
fn keys_that_are_not_there_yet_are_no_mistake_in_the_settings() {
    for line in ["access_keys = \"env:KEYS\"", "access_keys = \"credential:aws\"", "access_keys = \"env\""] {
        settled(&with(line));
    }
}

#[test]
fn a_session_of_keys_needs_them_and_a_region_and_no_certificate() {
    let refusal = refusal("[session.a]\nsource = \"access-keys\"\n");

    assert_eq!(refusal, "anchord.toml:1: [session.a] lacks `access_keys`, `region`");
}

#[test]
fn what_is_no_place_of_keys_is_not_repeated() {
    let prefixed = ["env", "file", "credential"].map(|form| format!("{form}:{KEYS}"));
    let odd = [KEYS, "env:", "env:wJalrXUtnFEMI/K7MDENG", "file:", "credential:../x"].map(str::to_owned);
    for text in odd.into_iter().chain(prefixed) {
        let refusal = refusal(&with(&format!("access_keys = \"{text}\"")));
        assert!(refusal.starts_with("anchord.toml:4: `access_keys` in [session.a]: "), "{refusal}");
        assert!(!refusal.contains("wJalr"), "{refusal}");
    }
    let broken = settle(&with("access_keys = \"env:KEYS\""), &[], &[("KEYS", "AKIA-no-secret")]).unwrap_err();
    assert!(broken.to_string().contains("the variable `KEYS`"), "{broken}");
    assert!(!broken.to_string().contains("AKIA-no"), "{broken}");
}

#[test]
fn imds_refuses_keys_without_a_session_token() {
    let bare = with("access_keys = \"env\"\nget_session_token = false\n");
    let refusal = refusal(&bare);
    let role = format!("{bare}assume_role = [\"{ROLE}\"]\n");

    assert!(
        refusal.starts_with("anchord.toml:5: IMDS would serve session a, but its keys have no session token"),
        "{refusal}"
    );
    settled(&format!("[imds]\nenabled = false\n{bare}"));
    assert_eq!(settled(&role).sessions[0].role().map(RoleArn::as_str), Some(ROLE));
}

#[test]
fn the_first_role_of_a_user_may_live_for_twelve_hours() {
    let step = |more: &str| {
        with(&format!(
            "access_keys = \"env\"\n[[session.a.assume_role]]\nrole_arn = \"{ROLE}\"\nduration = \"12h\"\n{more}"
        ))
    };
    let second = format!("[[session.a.assume_role]]\nrole_arn = \"{ROLE}\"\nduration = \"12h\"\n");

    assert_eq!(settled(&step("")).sessions[0].chain[0].duration, Duration::from_secs(43200));
    assert!(refusal(&step(&second)).contains("AWS grants at most 1h"));
}

#[test]
fn options_of_the_other_source_are_told_to_be_idle() {
    let of_keys = settled(&with("access_keys = \"env\"\nrole_arn = \"x\"\ncertificate = \"c\"\n"));
    let of_certificate = settled(&format!("{}access_keys = \"env\"\n", session("a")));

    assert_eq!(
        texts(&of_keys.warnings),
        ["session a has `certificate`, `role_arn`, which its `source` does not use"]
    );
    assert_eq!(
        texts(&of_certificate.warnings),
        ["session a has `access_keys`, which its `source` does not use"]
    );
}
