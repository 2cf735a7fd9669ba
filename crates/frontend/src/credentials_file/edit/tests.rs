//! Unusual files that people have.

use std::collections::BTreeMap;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use anchord_core::credentials::Keys;

fn made(id: &str, token: Option<&str>) -> Credentials {
    of_account(id, token, None)
}

fn of_account(id: &str, token: Option<&str>, account: Option<&str>) -> Credentials {
    let keys = Keys {
        access_key_id: id.into(),
        secret_access_key: Secret::new("new/secret+=".into()),
        session_token: token.map(|token| Secret::new(token.into())),
    };
    let at = datetime!(2026-03-11 12:00:00 UTC);
    Credentials::new(
        keys,
        clock::Moment { wall: at, up: time::Duration::HOUR },
        at + time::Duration::HOUR,
        account.map(str::to_owned),
    )
    .unwrap()
}

fn edited(text: &str, name: &str) -> String {
    let new =
        edit(text.as_bytes(), &Profile::parse(name).unwrap(), &made("ASIANEW", Some("new-token=="))).unwrap();
    String::from_utf8(new.expose().clone()).unwrap()
}

const NEW: &str = "aws_access_key_id = ASIANEW\naws_secret_access_key = new/secret+=\n\
     aws_session_token = new-token==\nx_security_token_expires = 2026-03-11T13:00:00Z\n";

#[test]
fn a_profile_that_is_absent_is_appended() {
    assert_eq!(edited("", "default"), format!("[default]\n{NEW}"));
    assert_eq!(edited("[a]\nk=v\n", "b c"), format!("[a]\nk=v\n\n[b c]\n{NEW}"));
    assert_eq!(edited("# mine", "b"), format!("# mine\n\n[b]\n{NEW}"));
    assert_eq!(edited("\u{feff}", "b"), format!("\u{feff}[b]\n{NEW}"));
    assert_eq!(
        edited("[profile b]\n", "b"),
        format!("[profile b]\n\n[b]\n{NEW}"),
        "which is of the other file"
    );
}

#[test]
fn only_the_keys_change_wherever_they_stand() {
    let old = "; head\n[work]\n# mine\nregion=eu-west-1\nAWS_Access_Key_ID=AKIAOLD\ns3 =\n  max = 10\n\
               aws_session_token:old\n\n[other]\naws_access_key_id = AKIAOTHER";
    let new = "; head\n[work]\n# mine\nregion=eu-west-1\naws_access_key_id = ASIANEW\ns3 =\n  max = 10\n\
               aws_session_token = new-token==\naws_secret_access_key = new/secret+=\n\
               x_security_token_expires = 2026-03-11T13:00:00Z\n\n[other]\naws_access_key_id = AKIAOTHER";

    assert_eq!(edited(old, "work"), new);
    assert_eq!(edited(new, "work"), new, "and a second time nothing does");
}

/// Python accepts capitals and colons. The SDK for JavaScript and the AWS Common Runtime would not find the key.
#[test]
fn a_key_that_some_sdks_do_not_read_is_spelled_as_all_do() {
    let new = edited("[a]\n  AWS_ACCESS_KEY_ID = x\n  aws_secret_access_key:y\n  aws_session_token=z\n", "a");

    assert!(
        new.starts_with(
            "[a]\n  aws_access_key_id = ASIANEW\n  aws_secret_access_key = new/secret+=\n  aws_session_token=new-token==\n"
        ),
        "{new}"
    );
}

#[test]
fn each_line_keeps_its_ending() {
    let old = "[a]\r\naws_access_key_id = x\r\nk = v\n[b]\r\n";
    let new = edited(old, "a");

    assert!(
        new.starts_with("[a]\r\naws_access_key_id = ASIANEW\r\naws_secret_access_key = new/secret+=\r\n")
    );
    assert!(new.ends_with("\r\nk = v\n[b]\r\n"), "{new:?}");
    assert!(edited("[b]\r\nk=v", "a").contains("k=v\r\n\r\n[a]\r\naws_"));
}

#[test]
fn a_missing_final_line_break_stays_missing_where_the_line_stays_last() {
    let old = format!("[a]\n{}", NEW.trim_end()).replace("ASIANEW", "ASIAOLD");

    assert_eq!(edited(&old, "a"), format!("[a]\n{}", NEW.trim_end()));
    assert_eq!(edited("[a]", "a"), format!("[a]\n{NEW}"));
}

#[test]
fn keys_without_a_token_leave_no_old_token_behind() {
    let old = "[a]\naws_session_token = old\naws_security_token = older\nregion = x\n";
    let new = edit(old.as_bytes(), &Profile::parse("a").unwrap(), &made("AKIANEW", None)).unwrap();
    let new = String::from_utf8(new.expose().clone()).unwrap();

    assert!(!new.contains("old") && !new.contains("_token ="), "{new}");
    assert!(new.contains("region = x\n") && new.contains("AKIANEW"), "{new}");
    assert!(!edited(old, "a").contains("aws_security_token"), "which boto3 prefers to the new one");
}

/// SDKs use it in the names of hosts. With the ID of another account, calls fail or reach the wrong host.
#[test]
fn an_account_id_that_is_there_becomes_that_of_the_new_keys() {
    let edited = |old: &str, account| {
        let new = of_account("ASIANEW", Some("new-token=="), account);
        let new = edit(old.as_bytes(), &Profile::parse("a").unwrap(), &new).unwrap();
        String::from_utf8(new.expose().clone()).unwrap()
    };
    let old = "[a]\naws_account_id = 111111111111\nk = v\n[b]\naws_account_id = 333333333333\n";
    let rest = "k = v\n[b]\naws_account_id = 333333333333\n";

    let known = edited(old, Some("222222222222"));
    assert_eq!(known, format!("[a]\naws_account_id = 222222222222\n{NEW}{rest}"));
    assert_eq!(edited(&known, Some("222222222222")), known);
    assert_eq!(edited(old, None), format!("[a]\n{NEW}{rest}"), "the account of the new keys is unknown");
    assert_eq!(edited("[a]\n", Some("222222222222")), format!("[a]\n{NEW}"), "nor is it added");
}

#[test]
fn a_key_that_is_there_twice_is_there_once() {
    let new = edited("[a]\naws_access_key_id = x\nk = v\naws_access_key_id = y\nj = w\n", "a");

    assert_eq!(new, format!("[a]\n{NEW}k = v\nj = w\n"));
}

#[test]
fn each_of_a_profiles_sections_gets_the_whole_set() {
    let new = edited("[a]\naws_access_key_id = x\n[b]\n[a]\nk = v\n", "a");

    assert_eq!(new, format!("[a]\n{NEW}[b]\n[a]\n{NEW}k = v\n"));
}

#[test]
fn a_header_with_spaces_inside_is_the_profile_to_some_sdks_only() {
    let new = edited("[ a ]\naws_access_key_id = x\n", "a");

    assert_eq!(new, format!("[ a ]\n{NEW}\n[a]\n{NEW}"));
    assert_eq!(edited(&new, "a"), new);
}

#[test]
fn a_comment_behind_a_key_stays_on_a_line_of_its_own() {
    let new = edited("[a] # mine\naws_access_key_id = x # until May\nk = v # too\n", "a");

    assert!(new.starts_with("[a] # mine\n# until May\naws_access_key_id = ASIANEW\n"), "{new}");
    assert!(new.ends_with("k = v # too\n"), "{new}");
}

#[test]
fn indented_sections_stay_as_deep_as_they_were() {
    let new = edited("[a]\n  region = x\n  output = y\n", "a");

    assert!(new.starts_with("[a]\n  aws_access_key_id = ASIANEW\n  aws_secret"), "{new}");
    assert_eq!(read(new.as_bytes())[&b"a"[..]].get(&b"region"[..]), Some(&b"x".to_vec()));
}

#[test]
fn an_old_value_is_replaced_to_its_last_line() {
    let new = edited("[a]\naws_session_token =\n  OLD\n  MORE=\n\n  LAST==\nk = v\n", "a");

    for gone in ["OLD", "MORE", "LAST"] {
        assert!(!new.contains(gone), "{new}");
    }
    assert!(new.contains("\n\nk = v\n"), "{new}");
}

#[test]
fn a_setting_that_was_part_of_an_old_value_is_not_lost() {
    let new = edited("[a]\naws_access_key_id = x\n  region = y\n  aws_secret_access_key = z\n", "a");

    assert!(new.contains("# region = y\n") && !new.contains("= z"), "{new}");
}

#[test]
fn what_looks_like_a_key_in_another_value_is_none() {
    let old = "[a]\ns3 =\n  aws_access_key_id = x\n  [a]\n";

    assert_eq!(edited(old, "a"), format!("[a]\n{NEW}s3 =\n  aws_access_key_id = x\n  [a]\n"));
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let old = b"[a]\nk = \xff\0\x80\naws_access_key_id = \xfe\0\n[b\xff]\n";
    let new = edit(old, &Profile::parse("a").unwrap(), &made("ASIANEW", Some("t"))).unwrap();

    assert!(new.expose().starts_with(b"[a]\nk = \xff\0\x80\naws_access_key_id = ASIANEW\n"));
    assert!(new.expose().ends_with(b"\n[b\xff]\n"));
}

/// The sections with their keys in lower case, as configparser reads them. Of duplicates, the last one counts.
type Read = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Written independently of the editor, after the loop of configparser.
fn read(text: &[u8]) -> Read {
    let text: String = text.iter().map(|byte| char::from(*byte)).collect();
    let text = text.trim_start_matches("\u{ef}\u{bb}\u{bf}").replace("\r\n", "\n").replace('\r', "\n");
    let mut sections = Read::new();
    let (mut section, mut key, mut depth) = (None, None::<Vec<u8>>, 0);
    let bytes = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<_>>();
    for line in text.split('\n') {
        let value = line.trim_matches([' ', '\t', '\x0b', '\x0c']);
        if value.is_empty() || value.starts_with(['#', ';']) {
            continue;
        }
        let deep = line.chars().take_while(|c| " \t\x0b\x0c".contains(*c)).count();
        if let (Some(section), Some(key), true) = (&section, &key, deep > depth) {
            let section: &mut BTreeMap<_, Vec<u8>> = sections.entry(Vec::clone(section)).or_default();
            section.entry(key.clone()).or_default().extend(bytes(&format!("\n{value}")));
            continue;
        }
        if let Some((name, _)) = value.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            && !name.is_empty()
        {
            section = Some(bytes(name));
            sections.entry(bytes(name)).or_default();
            key = None;
        } else if let (Some((name, value)), Some(section)) = (value.split_once(['=', ':']), &section) {
            let name = bytes(&name.trim().to_ascii_lowercase());
            let value = bytes(value.trim_matches([' ', '\t', '\x0b', '\x0c']));
            sections.get_mut(section).unwrap().insert(name.clone(), value);
            (key, depth) = (Some(name), deep);
        }
    }
    sections
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["a", "b", " a ", "profile a", "default", "b c"]);
    let key = prop::sample::select(vec![
        "aws_access_key_id",
        "AWS_SECRET_ACCESS_KEY",
        "aws_session_token",
        "aws_security_token",
        "aws_account_id",
        "region",
        "s3",
        "x",
    ]);
    let indent = || prop::sample::select(vec!["", "", "", " ", "  ", "\t"]);
    let line = prop_oneof![
        (indent(), name).prop_map(|(indent, name)| format!("{indent}[{name}]")),
        (indent(), key, prop::sample::select(vec!["=", " = ", ":", " =  "]), "[a-z+/=]{0,6}( [#;] c)?")
            .prop_map(|(indent, key, delimiter, value)| format!("{indent}{key}{delimiter}{value}")),
        (indent(), "[#;] ?[a-z=\\[\\]]{0,5}").prop_map(|(indent, rest)| format!("{indent}{rest}")),
        "[ a-z=:#;\\[\\]\\x00\u{e9}]{0,8}",
    ];
    let ending = prop::sample::select(vec!["\n", "\n", "\r\n", "\r"]);
    let lines = prop::collection::vec((line, ending).prop_map(|(line, end)| format!("{line}{end}")), 0..14);
    (any::<bool>(), lines, "[ a-z=\\[\\]]{0,4}").prop_map(|(mark, lines, rest)| {
        let mark = if mark { "\u{feff}" } else { "" };
        format!("{mark}{}{rest}", lines.concat()).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn readers_find_the_new_keys_and_all_else_as_before(
        text in text(), has_token in any::<bool>(), has_account in any::<bool>(),
    ) {
        let account = has_account.then_some("222222222222");
        let credentials = of_account("ASIANEW", has_token.then_some("new-token=="), account);
        let profile = Profile::parse("a").unwrap();
        let new = edit(&text, &profile, &credentials).unwrap();
        let (before, mut after) = (read(&text), read(new.expose()));

        let is_ours = |name: &[u8]| trim(name) == b"a";
        prop_assert!(after.contains_key(&b"a"[..]));
        for (_, section) in after.iter_mut().filter(|(name, _)| is_ours(name)) {
            let mut taken = |key: &str| section.remove(key.as_bytes());
            prop_assert_eq!(taken("aws_access_key_id"), Some(b"ASIANEW".to_vec()));
            prop_assert_eq!(taken("aws_secret_access_key"), Some(b"new/secret+=".to_vec()));
            prop_assert_eq!(taken("aws_session_token"), has_token.then(|| b"new-token==".to_vec()));
            prop_assert_eq!(taken(EXPIRY), Some(b"2026-03-11T13:00:00Z".to_vec()));
            prop_assert_eq!(taken("aws_security_token"), None);
            let account = taken("aws_account_id");
            prop_assert!(account.is_none() || (has_account && account == Some(b"222222222222".to_vec())));
        }
        let mut before = before;
        before.entry(b"a".to_vec()).or_default();
        for (_, section) in before.iter_mut().filter(|(name, _)| is_ours(name)) {
            section.retain(|key, _| !key.starts_with(b"aws_"));
        }
        prop_assert_eq!(before, after);
    }

    #[test]
    fn a_second_edit_changes_nothing_and_other_lines_stay(text in text()) {
        let (profile, credentials) = (Profile::parse("a").unwrap(), made("ASIANEW", Some("t")));
        let once = edit(&text, &profile, &credentials).unwrap();
        let twice = edit(once.expose(), &profile, &credentials).unwrap();
        prop_assert_eq!(once.expose(), twice.expose());

        // All lines outside of the profile are unchanged and in the same order.
        let elsewhere = |text: &[u8]| {
            let lines: Vec<_> = lines(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)).collect();
            let ours = sections(&lines, &profile);
            let is_ours = |at: usize| ours.iter().any(|section| (section.start..section.end).contains(&at));
            let kept = lines.iter().enumerate().filter(|(at, _)| !is_ours(*at));
            kept.map(|(_, line)| line.text.to_vec()).collect::<Vec<_>>()
        };
        let (before, after) = (elsewhere(&text), elsewhere(once.expose()));
        prop_assert_eq!(&before[..], &after[..before.len()]);
        prop_assert!(after[before.len()..].iter().all(Vec::is_empty), "but for a blank line in front of a new section");
    }
}

#[test]
fn a_profile_with_sections_without_number_is_left_alone() {
    let credentials = made("ASIANEW", Some(&"t".repeat(1000)));
    let edited = |sections: usize| {
        edit("[a]\n".repeat(sections).as_bytes(), &Profile::parse("a").unwrap(), &credentials)
    };

    assert!(edited(1000).is_some());
    assert!(edited(10_000).is_none());
}
