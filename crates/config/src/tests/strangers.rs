//! Whatever a file holds, the answer is settings or mistakes.

use proptest::prelude::*;

use super::*;

/// Pieces of plausible files, so that random texts get past the parser.
fn piece() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "session",
        "session.a",
        "session.\"\"",
        "imds",
        "log",
        "http",
        "upstream",
        "certificate",
        "role_arn",
        "profile_arn",
        "trust_anchor_arn",
        "duration",
        "listen",
        "region",
        "enabled",
        "path",
        "ca_file",
        "mode",
        "endpoint",
        "level",
        "runtime_directory",
        "\"a b\"",
        "x",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "-1",
        "0x10",
        "1e400",
        "true",
        "\"\"",
        "\"a\"",
        "\"1h\"",
        "\"99999999999999999999h\"",
        "[]",
        "[1, \"a\"]",
        "[\"127.0.0.1:0\"]",
        "{}",
        "{ a = 1 }",
        "{ certificate = \"x\" }",
        "1979-05-27",
        "'''\n\u{0}",
        "\"é\\u00e9\"",
        "\"arn:aws:rolesanywhere:us-east-1:123456789012:profile/a\"",
        "\"https://[::1]:é\"",
        "99999999999999999999",
    ]);
    prop_oneof![
        key.clone().prop_map(|key| format!("[{key}]\n")),
        (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        key.prop_map(|key| format!("[[{key}]]\n")),
        any::<String>(),
    ]
}

fn answer(bytes: &[u8]) -> Result<Settings, Problems> {
    if let Err(problems) = settle_as(Consumer::Client, bytes, Default::default(), &root()) {
        assert!(!problems.to_string().contains("this is a bug"), "{problems}");
    }
    settle_as(Consumer::Daemon, bytes, Default::default(), &root())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(problems) = answer(&bytes) {
            prop_assert!(!problems.to_string().contains("this is a bug"), "{}", problems);
        }
    }

    #[test]
    fn any_plausible_file_is_answered_with_reasons_on_single_lines(pieces in prop::collection::vec(piece(), 0..12)) {
        if let Err(problems) = answer(pieces.concat().as_bytes()) {
            prop_assert_eq!(problems.to_string().lines().count(), problems.iter().count());
            prop_assert!(!problems.to_string().contains("this is a bug"), "{}", problems);
        }
    }

    #[test]
    fn any_change_to_a_good_file_is_answered(at in 0_usize..300, with in any::<String>()) {
        let mut file: Vec<char> = session("a").chars().collect();
        let at = at.min(file.len());
        file.splice(at..at, with.chars());
        let file: String = file.into_iter().collect();

        if let Err(problems) = answer(file.as_bytes()) {
            prop_assert!(!problems.to_string().contains("this is a bug"), "{}", problems);
        }
    }

    #[test]
    fn any_flag_and_variable_is_answered(flag in 0..OPTIONS.len(), text in any::<String>()) {
        let spec = &OPTIONS[flag];
        let arguments = Arguments::given([(spec.flag, text.as_str())]).unwrap();

        let by_flag = settle_as(Consumer::Daemon, session("a").as_bytes(), arguments, &root());
        let by_variable = settle(&session("a"), &[], &[(spec.variable, &text)]);

        for problems in [by_flag.err(), by_variable.err()].into_iter().flatten() {
            prop_assert!(!problems.to_string().contains("this is a bug"), "{}", problems);
        }
    }
}

#[test]
fn deep_nesting_is_a_mistake_and_no_crash() {
    let arrays = format!("x = {}", "[".repeat(100_000));
    let tables = format!("x = {}", "{ a = ".repeat(100_000));
    let keys = format!("[{}]", vec!["a"; 100_000].join("."));

    for file in [arrays, tables, keys] {
        assert!(answer(file.as_bytes()).is_err());
    }
}
