//! What a caller says of a session, as a daemon compares it.

use super::*;

fn of(settings: &Settings) -> Vec<Fact> {
    facts(settings.the_session().unwrap())
}

/// The options in which two files' only sessions differ.
fn differing(one: &str, other: &str) -> Vec<&'static str> {
    let (one, other) = (of(&settled(one)), of(&settled(other)));
    let mut options: Vec<_> =
        one.iter().filter(|fact| !other.contains(fact)).map(|fact| fact.option).collect();
    options.extend(other.iter().filter(|fact| !one.contains(fact)).map(|fact| fact.option));
    options.sort_unstable();
    options.dedup();
    options
}

const IMDS_OFF: &str = "[imds]\nenabled = false\n";
const KEYS: &str =
    "[session.a]\nsource = \"access-keys\"\nregion = \"us-east-1\"\naccess_keys = \"file:/k\"\n";

#[test]
fn each_option_that_decides_credentials_is_compared_by_its_settled_value() {
    let pin = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
    let fallback = |name: &str| {
        format!(
            "fallback_trust_anchor_arn = \"arn:aws:rolesanywhere:us-west-2:123456789012:trust-anchor/{name}\"\n\
             fallback_profile_arn = \"arn:aws:rolesanywhere:us-west-2:123456789012:profile/{name}\""
        )
    };
    for (option, lines) in [
        ("duration", "duration = \"2h\"".to_owned()),
        ("role_session_name", "role_session_name = \"robot\"".into()),
        ("endpoint", "endpoint = \"https://127.0.0.1:1\"".into()),
        ("intermediates", "intermediates = \"/chain.pem\"".into()),
        ("certificate_fingerprint", format!("certificate_fingerprint = [\"{}\"]", pin('a'))),
        ("certificate_subject", "certificate_subject = \"CN=robot\"".into()),
        ("certificate_issuer", "certificate_issuer = \"CN=root\"".into()),
        ("certificate_serial", "certificate_serial = \"7\"".into()),
        ("pkcs11_module", "pkcs11_module = \"/m.so\"".into()),
        ("tpm", "tpm = \"swtpm:path=/s\"".into()),
        ("assume_role", "assume_role = [\"arn:aws:iam::123456789012:role/a\"]".into()),
    ] {
        let changed = format!("{}{lines}\n", session("a"));
        assert_eq!(differing(&session("a"), &changed), [option]);
    }
    let both = differing(&session("a"), &format!("{}{}\n", session("a"), fallback("b")));
    assert_eq!(both, ["fallback_profile_arn", "fallback_trust_anchor_arn"]);
    for (option, from, to) in [
        ("role_arn", "role/bedrock", "role/other"),
        ("profile_arn", "profile/9f", "profile/8f"),
        ("trust_anchor_arn", "trust-anchor/41", "trust-anchor/42"),
        ("certificate", "leaf.pem", "other.pem"),
        ("private_key", "/keys/", "/other/"),
    ] {
        assert_eq!(differing(&session("a"), &session("a").replace(from, to)), [option]);
    }
    let keys = format!("{IMDS_OFF}{KEYS}");
    assert_eq!(differing(&keys, &format!("{keys}get_session_token = false\n")), ["get_session_token"]);
    assert_eq!(
        differing(&keys, &format!("{keys}sts_endpoint = \"https://127.0.0.1:1\"\n")),
        ["sts_endpoint"]
    );
    assert_eq!(differing(&keys, &keys.replace("file:/k", "file:/l")), ["access_keys"]);
    assert!(differing(&keys, &session("a")).contains(&"source"));
    let agent = |lines: &str| {
        let place = "spiffe_socket = \"unix:///a.sock\"\ncertificate = \"spiffe:\"";
        let lines = format!("{place}\n{lines}");
        session("a")
            .replace("certificate = \"leaf.pem\"", &lines)
            .replace("private_key = \"/keys/key.pem\"\n", "")
    };
    assert_eq!(differing(&agent(""), &agent("spiffe_hint = \"x\"")), ["spiffe_hint"]);
    assert_eq!(differing(&agent(""), &agent("").replace("a.sock", "b.sock")), ["spiffe_socket"]);
    assert_eq!(differing(&agent(""), &agent("").replace("spiffe:\"", "spiffe://a/b\"")), ["certificate"]);
}

/// A step of a chain decides as a whole.
#[test]
fn each_value_of_a_step_changes_the_chain_and_an_external_id_does_not() {
    let step = format!("{}[[session.a.assume_role]]\nrole_arn = \"{ROLE}\"\n", session("a"));
    for line in [
        "session_name = \"robot\"",
        "duration = \"30m\"",
        "policy = '{\"Version\":\"2012-10-17\"}'",
        "policy_arns = [\"arn:aws:iam::aws:policy/ReadOnlyAccess\"]",
        "tags = { team = \"a\" }",
        "source_identity = \"robot\"",
        "sts_endpoint = \"https://127.0.0.1:1\"",
    ] {
        assert_eq!(differing(&step, &format!("{step}{line}\n")), ["assume_role"], "{line}");
    }
    let tagged = format!("{step}tags = {{ team = \"a\" }}\n");
    assert_eq!(differing(&tagged, &format!("{tagged}transitive_tags = [\"team\"]\n")), ["assume_role"]);
    assert!(differing(&step, &format!("{step}external_id = \"7d2f\"\n")).is_empty());
}

#[test]
fn the_same_value_in_other_words_is_the_same_and_secrets_take_no_part() {
    let with = |line: &str| format!("{}{line}\n", session("a"));
    for (one, other) in [
        ("duration = \"1h\"", "duration = 3600"),
        ("intermediates = \"/a/./b\"", "intermediates = \"/a/b\""),
        ("certificate_serial = \"0x0a\"", "certificate_serial = \"10\""),
        ("passphrase = \"pass:one\"", "passphrase = \"pass:other\""),
        ("", "region = \"us-east-1\""),
        ("", "sts_region = \"us-west-2\""),
        ("", "sts_endpoint = \"https://127.0.0.1:1\""),
        ("", "passphrase = \"file:/p\""),
    ] {
        assert!(differing(&with(one), &with(other)).is_empty(), "{one} {other}");
    }
    let token = |pin: &str| session("a").replace("/keys/key.pem", &format!("pkcs11:token=t?pin-value={pin}"));
    assert!(differing(&token("1234"), &token("5678")).is_empty());
}

/// The options that count as said by the caller, with its file where `path` says.
fn stated(path: &str, file: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<&'static str> {
    let (mut problems, arguments) = (Vec::new(), Arguments::from(&matches(arguments)));
    let environment = environment(variables);
    let mut file = file::parse("anchord.toml", file.as_bytes(), &mut problems);
    file.path = Some(path.into());
    let layers = layers::Layers { arguments, environment: &environment, file, reads_a_file: true };
    let settings = check::settle_layers(&layers, Consumer::Client, problems).unwrap();
    let mut options: Vec<_> = settings.stated().iter().map(|fact| fact.option).collect();
    options.sort_unstable();
    options.dedup();
    options
}

#[test]
fn of_the_hosts_file_only_what_flags_and_our_variables_change_is_said_by_the_caller() {
    let stated = |arguments: &[&str], variables: &[(&str, &str)]| {
        stated("/etc/anchord/anchord.toml", &session("a"), arguments, variables)
    };

    assert_eq!(stated(&[], &[]), [""; 0]);
    assert_eq!(stated(&["--session", "a"], &[("SPIFFE_ENDPOINT_SOCKET", "unix:///a.sock")]), [""; 0]);
    assert_eq!(stated(&["--role-arn", ROLE], &[]), ["role_arn"]);
    assert_eq!(stated(&["--region", "us-east-1"], &[("ANCHORD_DURATION", "2h")]), ["duration"]);
    assert_eq!(stated(&["--passphrase", "pass:x"], &[]), [""; 0]);
}

/// That it has no further role is said too: a daemon's session with one gives another role.
#[test]
fn a_session_of_ones_own_says_all_that_it_has_and_that_it_assumes_no_role() {
    let options =
        ["assume_role", "certificate", "private_key", "profile_arn", "role_arn", "trust_anchor_arn"];

    assert_eq!(stated("/home/u/.config/anchord/anchord.toml", &session("a"), &[], &[]), options);
}

/// A daemon knows what it was handed by name too, for clients that were handed nothing.
#[test]
fn a_certificate_in_a_variable_is_said_by_its_leaf_where_the_caller_has_one() {
    let root = anchord_emulator::Authority::root("root", anchord_emulator::KeyKind::P256).unwrap();
    let leaf = || {
        let request = anchord_emulator::LeafRequest::new("robot-7", anchord_emulator::KeyKind::P256);
        root.leaf(&request).unwrap().certificate_pem().to_owned()
    };
    let (one, other) = (leaf(), leaf());
    let having = |content: Option<&str>| {
        let variables: Vec<_> = content.map(|content| ("LEAF", content)).into_iter().collect();
        let mut settings = settle(&session("a").replace("leaf.pem", "env:LEAF"), &[], &variables).unwrap();
        settings.file = None;
        settings
    };
    let of_certificate = |facts: Vec<Fact>| -> Vec<Fact> {
        facts.into_iter().filter(|fact| fact.option == "certificate").collect()
    };
    let known = of_certificate(of(&having(Some(&one))));
    let is_the_daemons = |content: Option<&str>| {
        let stated = of_certificate(having(content).stated());
        assert_eq!(stated.len(), 1);
        known.contains(&stated[0])
    };

    assert!(is_the_daemons(Some(&one)) && is_the_daemons(None));
    assert!(!is_the_daemons(Some(&other)) && !is_the_daemons(Some("words")));
}

#[test]
fn a_credential_that_systemd_passed_is_said_by_its_leaf() {
    let root = anchord_emulator::Authority::root("root", anchord_emulator::KeyKind::P256).unwrap();
    let given = tempfile::tempdir().unwrap();
    let stated = |certificate: Option<&str>| -> Vec<Fact> {
        let leaf = given.path().join("leaf");
        match certificate {
            Some(text) => fs_err::write(leaf, text).unwrap(),
            None => fs_err::remove_file(leaf).unwrap(),
        }
        let variables = [("CREDENTIALS_DIRECTORY", given.path().to_str().unwrap())];
        let text = session("a").replace("leaf.pem", "credential:leaf");
        let mut settings = settle(&text, &[], &variables).unwrap();
        settings.file = None;
        settings.stated().into_iter().filter(|fact| fact.option == "certificate").collect()
    };
    let request = anchord_emulator::LeafRequest::new("robot-7", anchord_emulator::KeyKind::P256);
    let leaf = || root.leaf(&request).unwrap().certificate_pem().to_owned();
    let (one, other) = (leaf(), leaf());

    assert_eq!(stated(Some(&one)), stated(Some(&format!("\n{one}"))));
    assert_ne!(stated(Some(&one)), stated(Some(&other)));
    assert_ne!(stated(Some(&one)), stated(None));
}

/// The other one may know the file by either path.
#[test]
fn a_file_is_said_as_it_is_written_and_as_it_is_without_links() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs_err::create_dir(&real).unwrap();
    fs_err::os::unix::fs::symlink(&real, &link).unwrap();
    let certificate = |folder: &std::path::Path| {
        let mut settings =
            settled(&session("a").replace("leaf.pem", folder.join("leaf.pem").to_str().unwrap()));
        settings.file = None;
        settings
            .stated_by_any_path()
            .into_iter()
            .filter(|fact| fact.option == "certificate")
            .collect::<Vec<_>>()
    };
    let (by_name, by_link) = (certificate(&real), certificate(&link));

    assert_eq!((by_name.len(), by_link.len()), (1, 2));
    assert!(by_link.contains(&by_name[0]));
}
