//! Who may use a session.

use super::*;
use anchord_core::access::Access;
use anchord_core::access::Principal;

fn only(principals: &[&str]) -> Access {
    Access::Only(principals.iter().map(|text| Principal::parse(text).unwrap()).collect())
}

fn with(line: &str) -> String {
    format!("{}\n{line}\n", session("a"))
}

fn access(file: &str) -> Access {
    settled(file).access["a"].clone()
}

#[test]
fn only_root_and_the_daemons_user_may_use_a_session_that_names_nobody() {
    let settings = settled(&session("a"));

    assert_eq!(settings.access["a"], only(&[]));
    assert_eq!(settings.socket.unwrap().mode, 0o600);
}

#[test]
fn a_session_is_for_those_whom_it_names_in_a_table_or_a_list() {
    let table = "allow = { users = [\"alice\", \"1001\"], groups = [\"bots\"], units = [\"rpa@7.service\"] }";
    let list = "allow = [\"user:alice\", \"user:1001\", \"group:bots\", \"unit:rpa@7.service\"]";
    for line in [table, list] {
        let mut named = access(&with(line)).principals().to_vec();
        named.sort();
        assert_eq!(
            Access::Only(named),
            only(&["user:1001", "user:alice", "group:bots", "unit:rpa@7.service"]),
            "{line}"
        );
    }
    assert_eq!(access(&with("allow = \"any\"")), Access::Anybody);
    assert_eq!(access(&with("allow = []")), only(&[]));
}

#[test]
fn the_access_group_may_use_each_session_that_names_nobody() {
    let file =
        format!("access_group = \"anchord\"\n{}\n{}\nallow = [\"user:bob\"]", session("a"), session("b"));
    let settings = settle(&file, &["--imds-session=a"], &[]).unwrap();

    assert_eq!(settings.access["a"], only(&["group:anchord"]));
    assert_eq!(settings.access["b"], only(&["user:bob"]));
    let described = describe(&settings);
    assert!(described.contains("session.a.allow                     = [\"group:anchord\"]"), "{described}");
}

#[test]
fn others_can_connect_to_the_socket_of_a_daemon_that_serves_them() {
    assert_eq!(settled(&with("allow = [\"user:bob\"]")).socket.unwrap().mode, 0o666);
    let closed = format!("[socket]\nmode = \"0660\"\n{}", with("allow = [\"user:bob\"]"));
    assert_eq!(settled(&closed).socket.unwrap().mode, 0o660);
}

#[test]
fn imds_may_be_for_others_than_its_session() {
    let file = format!("[imds]\nallow = \"any\"\n{}", session("a"));

    let settings = settled(&file);

    assert_eq!(settings.imds_access, Some(Access::Anybody));
    assert_eq!(settings.access["a"], only(&[]));
}

#[test]
fn who_may_use_a_session_decides_no_credentials() {
    assert_eq!(settled(&session("a")).sessions, settled(&with("allow = \"any\"")).sessions);
}

#[test]
fn mistakes_name_the_line_and_what_is_possible() {
    for (line, what) in [
        ("allow = \"alice\"", "`allow` in [session.a]: `alice` names no user, group or unit"),
        ("allow = [\"host:x\"]", "`allow` in [session.a]: `host:x` names no user, group or unit"),
        ("allow = { people = [\"alice\"] }", "unknown key `people` in `allow` of [session.a]"),
        ("allow = { users = \"alice\" }", "`users` in `allow` of [session.a]: expected an array of strings"),
        ("allow = { users = [7] }", "`users` in `allow` of [session.a]: expected an array of strings"),
        ("allow = { users = [\"a b\"] }", "`allow` in [session.a]: `user:a b` names no user, group or unit"),
        ("allow = true", "`allow` in [session.a]: expected \"any\", or a table"),
    ] {
        let refusal = refusal(&with(line));
        assert!(refusal.starts_with("anchord.toml:8: ") && refusal.contains(what), "{line}: {refusal}");
    }
}

#[test]
fn what_is_open_to_everybody_is_warned_of() {
    let warnings = |file: &str| settled(file).warnings.iter().map(ToString::to_string).collect::<Vec<_>>();

    assert_eq!(warnings(&session("a")), Vec::<String>::new());
    let session_open = warnings(&with("allow = \"any\""));
    assert_eq!(session_open.len(), 1);
    assert!(
        session_open[0].contains("every local process can get the credentials of session a; hint:"),
        "{session_open:?}"
    );
    let imds_open = warnings(&format!("[imds]\nallow = \"any\"\n{}", session("a")));
    assert!(
        imds_open[0].contains("session a over IMDS") && imds_open[0].contains("`imds.allow`"),
        "{imds_open:?}"
    );
}
