//! Everything that is wrong is said, at once, with its line.

use super::*;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;

const FILE_OF_MISTAKES: &str = r#"
runtime_directory = 7
[log]
level = "loud"
[http]
listen = ["0.0.0.0:9911", 9911]
[imds]
session = "bedrok"
[sokcet]
mode = "0600"
[upstream]
read_timeout = "soon"
[session.bedrock]
certifcate = "leaf.pem"
private_key = "key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/41c10bae"
profile_arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/9f2d6a70"
role_arn = "bedrock"
duration = "5m"
endpoint = "http://localhost"
roles_anywhere_region = "eu-west-1"
"#;

#[test]
fn every_mistake_is_reported_in_one_run() {
    let problems = settle(FILE_OF_MISTAKES, &["--log-format=xml"], &[("ANCHORD_LISTENN", "x")]).unwrap_err();

    let expected = "\
--log-format: the value is not one of text, json
ANCHORD_LISTENN: unknown variable; hint: did you mean `ANCHORD_LISTEN`?
anchord.toml:2: `runtime_directory` in the file: expected a string, found an integer
anchord.toml:4: `level` in [log]: `loud` is not one of error, warn, info, debug, trace
anchord.toml:6: `listen` in [http]: expected a string, found an integer
anchord.toml:6: `listen` in [http]: `0.0.0.0:9911` can be reached from other hosts, and any client there would get credentials; hint: use a loopback or link-local address (127.0.0.0/8, ::1, 169.254.0.0/16, fd00:ec2::/32)
anchord.toml:8: `session` in [imds]: `bedrok` is not the name of a session; hint: did you mean `bedrock`?
anchord.toml:9: unknown table [sokcet]; hint: did you mean [socket]?
anchord.toml:12: `read_timeout` in [upstream]: `soon` is not a duration; hint: write a number and a unit (ms, s, m, h), such as 3000ms, 3000s or 1h30m; use `none` for no limit
anchord.toml:13: [session.bedrock] lacks `certificate`
anchord.toml:14: unknown key `certifcate` in [session.bedrock]; hint: did you mean `certificate`?
anchord.toml:17: the profile and the trust anchor must be in the same Region; hint: the profile's is eu-west-1, the trust anchor's us-east-1
anchord.toml:18: `role_arn` in [session.bedrock]: `bedrock` is not a role ARN; hint: expected arn:aws:iam::123456789012:role/name
anchord.toml:19: `duration` in [session.bedrock]: `5m` is shorter than 15m, the minimum of AWS
anchord.toml:20: `endpoint` in [session.bedrock]: `http://localhost` does not begin with https://; hint: write https://host or https://host:port
anchord.toml:21: `eu-west-1` is not the Region of the trust anchor of session `bedrock`, which is in us-east-1; hint: leave it out; `region` is what clients use";
    assert_eq!(problems.to_string(), expected);
    assert_eq!(problems.class(), Class::Misconfigured);
    assert_eq!(problems.iter().count(), 16);
}

#[test]
fn syntax_errors_come_with_the_other_mistakes_and_without_their_line() {
    let file =
        format!("[log]\nlevel = \"hunter2\n[http\n[imds]\nsesion = \"a\"\n{}duration = 5\n", session("a"));

    let refusal = refusal(&file);

    assert!(refusal.contains("anchord.toml:3: not TOML: "), "{refusal}");
    assert!(refusal.contains("anchord.toml:2: not TOML: "), "{refusal}");
    assert!(refusal.contains("anchord.toml:5: unknown key `sesion` in [imds]"), "{refusal}");
    assert!(refusal.contains("anchord.toml:12: `duration` in [session.a]: `5` is shorter"), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
    assert_eq!(refusal.lines().count(), 4, "{refusal}");
}

#[test]
fn the_quotes_of_a_word_processor_are_named() {
    let curly = |file: &str| file.replace(" \"", " \u{201c}").replace("\"\n", "\u{201d}\n");

    let refusal = refusal(&curly(&session("a")));

    let hint = "; hint: write straight quotes (\"), not those of a word processor";
    assert!(refusal.lines().next().unwrap().ends_with(hint), "{refusal}");
}

#[test]
fn the_line_that_matters_goes_before_the_lack_that_follows_from_it() {
    let refusal = refusal(&session("a").replace("[session.a]", "[sesion.a]"));

    let lines: Vec<_> = refusal.lines().collect();
    assert!(lines[0].starts_with("anchord.toml:1: ") && lines[0].contains("sesion"), "{refusal}");
    assert!(lines[lines.len() - 1].starts_with("anchord.toml: no session is defined"), "{refusal}");
}

#[test]
fn a_value_behind_a_syntax_error_is_not_called_missing() {
    let file = session("a").replace("\"leaf.pem\"", "/etc/leaf.pem");

    let refusal = refusal(&file);

    assert!(refusal.starts_with("anchord.toml:2: not TOML: "), "{refusal}");
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
}

#[test]
fn a_line_that_cannot_be_read_makes_nothing_look_missing() {
    let keyless = session("a").replace("certificate =", "certificate");
    let headless = session("a").replace("[session.a]", "[session.a b]");
    let one_of_two = format!("[imds]\nsession = \"a\"\n{}[log]\n{headless}", session("b"));

    for file in [keyless, format!("[log]\n{headless}"), one_of_two] {
        let problems = settle(&file, &["--session=a"], &[]).unwrap_err().to_string();
        assert!(problems.contains(": not TOML: "), "{problems}");
        assert!(!problems.contains("lacks") && !problems.contains("no session"), "{problems}");
    }
}

#[test]
fn a_variable_that_is_not_text_is_reported_when_it_is_ours() {
    use std::os::unix::ffi::OsStringExt as _;
    let garbage = || std::ffi::OsString::from_vec(b"\xff".to_vec());
    let pairs = [("ANCHORD_LISTEN".into(), garbage()), ("LS_COLORS".into(), garbage())];
    let environment = Environment::copy_of(pairs.into_iter()).with_uid(0);

    let problems = settle_as(Consumer::Daemon, session("a").as_bytes(), Default::default(), &environment);

    assert_eq!(problems.unwrap_err().to_string(), "ANCHORD_LISTEN: is not UTF-8");
}

#[test]
fn what_is_defined_twice_is_named() {
    let twice = refusal(&format!("{}{}", session("a"), session("a")));
    let key = refusal(&format!("{}region = \"us-east-1\"\nregion = \"us-east-1\"\n", session("a")));

    assert_eq!(twice, "anchord.toml:7: `a` is defined twice");
    assert_eq!(key, "anchord.toml:8: `region` is defined twice");
}

#[test]
fn a_sessions_name_with_dots_is_told_to_need_quotes() {
    for (written, quoted) in [("my.bedrock", "my.bedrock"), ("my.bedrock.eu", "my.bedrock.eu")] {
        let told = refusal(&session(written));
        let expected = format!("; hint: a name with dots needs quotes: [session.\"{quoted}\"]");
        assert!(told.contains(&expected), "{told}");
    }
    assert_eq!(settled(&session("\"my.bedrock\"")).sessions[0].name, "my.bedrock");
    let file = refusal(&format!("{}[credentials_file.a.b]\npath = \"/c\"\n", session("a")));
    assert_eq!(
        file,
        "anchord.toml:7: unknown key `b` in [credentials_file.a]; \
         hint: a name with dots needs quotes: [credentials_file.\"a.b\"]"
    );
}

#[test]
fn a_table_with_a_wrong_first_line_is_told_the_right_one() {
    let names = "must be one word: use 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit; \
                 a name with dots needs quotes";
    for (lines, told) in [
        (
            "[session.a.assume_role]\nrole_arn = \"x\"",
            "`assume_role` in [session.a]: expected an array, found a table; hint: write [[session.a.assume_role]]",
        ),
        (
            "[[session.b]]\nregion = \"eu-west-1\"",
            "`session.b`: expected a table, found an array; hint: write [session.b]",
        ),
        (
            "[session.\u{fc}]",
            &format!(
                "not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`; hint: NAME in [session.NAME] {names}"
            ),
        ),
        (
            "[credentials_file.\u{fc}]\npath = \"/c\"",
            &format!("hint: NAME in [credentials_file.NAME] {names}"),
        ),
        ("[session.a b]", &format!("hint: NAME in [session.NAME] {names}")),
        (
            "[[credentials_file]]\npath = \"/c\"",
            "expected a table, found an array; hint: write [credentials_file.NAME]",
        ),
        ("[[log]]\nlevel = \"info\"", "`log`: expected a table, found an array; hint: write [log]"),
        ("[session.a.tags]\nx = \"y\"", "hint: `tags` belongs in [[session.NAME.assume_role]]"),
    ] {
        let refused = refusal(&format!("{}{lines}\n", session("a")));
        assert!(refused.starts_with("anchord.toml:7: ") && refused.contains(told), "{lines}: {refused}");
        assert_eq!(refused.lines().count(), 1, "{lines}: {refused}");
    }
    let inline = session("a") + "assume_role = { role_arn = \"x\" }\n";
    assert!(refusal(&inline).contains("hint: write [[session.a.assume_role]]"), "{}", refusal(&inline));
}

#[test]
fn key_material_in_place_of_a_path_is_refused_and_not_repeated() {
    let file = session("a")
        .replace("\"/keys/key.pem\"", "\"\"\"-----BEGIN PRIVATE KEY-----\nhunter2\n\"\"\"")
        .replace("\"leaf.pem\"", "\"\"");

    assert_eq!(
        refusal(&file),
        "anchord.toml:2: `certificate` in [session.a]: is empty\n\
         anchord.toml:3: `private_key` in [session.a]: holds PEM text; hint: give the path of a file"
    );

    let body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQghunter2hunter2hunter2";
    let told = refusal(&session("a").replace("/keys/key.pem", body));
    assert!(
        told.contains("holds the content of a key or certificate") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    let lines = |file: &str| refusal(&format!("{file}\n{}", session("a")));

    assert_eq!(
        lines("listen = [\"127.0.0.1:1\"]\n"),
        "anchord.toml:1: unknown key `listen` in the file; hint: `listen` belongs in [http]"
    );
    assert_eq!(
        lines("[log]\nruntime_directory = \"/x\""),
        "anchord.toml:2: unknown key `runtime_directory` in [log]; \
         hint: `runtime_directory` belongs at the top of the file, before the first table"
    );
    assert_eq!(
        lines("[imds]\nrole_arn = \"x\""),
        "anchord.toml:2: unknown key `role_arn` in [imds]; hint: `role_arn` belongs in [session.NAME]"
    );
    assert_eq!(
        lines("[log]\ncolour = \"x\""),
        "anchord.toml:2: unknown key `colour` in [log]; hint: the keys are level, format"
    );
    assert_eq!(
        lines("[sesions.b]\n"),
        "anchord.toml:1: unknown table [sesions]; hint: did you mean [session.NAME]?"
    );
}

#[test]
fn a_session_without_a_name_is_explained() {
    assert_eq!(
        refusal("[session]\ncertificate = \"leaf.pem\"\n"),
        "anchord.toml:2: `certificate` must be in a named session; hint: write [session.NAME]"
    );
    assert_eq!(
        refusal("[session.Prod]\n").lines().next(),
        Some(
            "anchord.toml:1: `Prod` is not a session name; \
             hint: use 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit"
        )
    );
}

#[test]
fn having_no_session_says_how_to_define_one() {
    let expected = "no session is defined; hint: write [session.NAME] with certificate, private_key, \
                    trust_anchor_arn, profile_arn, role_arn to anchord.toml, or give --certificate, \
                    --private-key, --trust-anchor-arn, --profile-arn, --role-arn";

    assert_eq!(refusal("[log]\n"), format!("anchord.toml: {expected}"));
    let flags_alone = load_flags(&matches(&[]), &root()).unwrap_err().to_string();
    assert_eq!(
        flags_alone,
        "no session is defined; hint: give --certificate, --private-key, --trust-anchor-arn, --profile-arn, \
         --role-arn; a settings file is for `anchord run`"
    );
    let own = environment(&[("HOME", "/home/me")]).with_uid(1000);
    let users =
        load(&matches(&["--runtime-directory=/run/user/1000/anchord"]), &own).unwrap_err().to_string();
    assert!(users.contains(" to /home/me/.config/anchord/anchord.toml, or give --certificate"), "{users}");
}

#[test]
fn a_file_that_is_not_text_is_refused_with_the_line() {
    let problems =
        settle_as(Consumer::Daemon, b"[log]\nlevel = \"\xff\"", Default::default(), &root()).unwrap_err();

    assert_eq!(problems.to_string(), "anchord.toml:2: the file is not UTF-8");
}

#[test]
fn wrong_types_name_what_was_expected_and_what_was_found() {
    let file = format!(
        "log = 1\n[imds]\nenabled = \"yes\"\n[socket]\nmode = 384\n[upstream]\nread_timeout = 1.5\n{}",
        session("a")
    );

    assert_eq!(
        refusal(&file),
        "anchord.toml:1: `log`: expected a table, found an integer; hint: write [log]\n\
         anchord.toml:3: `enabled` in [imds]: expected a boolean, found a string\n\
         anchord.toml:5: `mode` in [socket]: expected a string, found an integer\n\
         anchord.toml:7: `read_timeout` in [upstream]: expected a string such as \"3000ms\" or \"3s\", found a \
         float"
    );
}

#[test]
fn variables_of_kubernetes_services_are_no_mistakes() {
    let variables = [
        ("ANCHORD_PORT", "tcp://10.0.0.1:9911"),
        ("ANCHORD_SERVICE_HOST", "10.0.0.1"),
        ("ANCHORD_PORT_9911_TCP_ADDR", "10.0.0.1"),
    ];

    assert!(settle(&session("a"), &[], &variables).is_ok());
}
