//! The events of the log, held by reading the source: each line of level `info`, `warn` or `error` has an id of
//! `anchord_core::event`, each id has a line, and docs/reference/events.md is made from the table.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use anchord_core::event;
use anchord_core::event::Definition;

/// A log line in the source.
struct Line {
    place: String,
    level: &'static str,
    /// What stands between the parentheses.
    arguments: String,
}

impl Line {
    /// The constant of its event.
    fn constant(&self) -> Option<&str> {
        let rest = self.arguments.split_once("event = event::")?.1;
        rest.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// Every log line of the program, without those of tests.
fn lines() -> Vec<Line> {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    sources(&root().join("crates"), &mut paths);
    let mut lines = Vec::new();
    for path in paths {
        let text = fs_err::read_to_string(&path).unwrap();
        let shipped = text.split("\nmod tests {").next().unwrap();
        for level in ["debug", "info", "warn", "error"] {
            for (at, call) in shipped.match_indices(&format!("{level}!(")) {
                if shipped[..at].ends_with(|c: char| c == '_' || c.is_ascii_alphanumeric()) {
                    continue;
                }
                let number = shipped[..at].matches('\n').count() + 1;
                let place = format!("{}:{number}", path.strip_prefix(root()).unwrap().display());
                lines.push(Line { place, level, arguments: arguments(&shipped[at + call.len()..]) });
            }
        }
    }
    lines
}

/// `text` up to the parenthesis that closes the one before it; those in strings do not count.
fn arguments(text: &str) -> String {
    let (mut depth, mut is_string, mut is_escaped) = (1, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_string = !is_string,
            _ if is_string => {}
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text[..at].to_owned();
        }
    }
    panic!("a log line without an end: {text}")
}

#[test]
fn each_log_line_has_an_event_of_the_table_at_one_of_its_levels() {
    for line in lines() {
        let Some(constant) = line.constant() else {
            assert_eq!(line.level, "debug", "{} has no `event = event::…`", line.place);
            continue;
        };
        let event = event::TABLE.iter().find(|event| event.constant == constant);
        let event = event.unwrap_or_else(|| panic!("{}: `{constant}` is not in the table", line.place));
        assert!(
            event.levels.contains(&line.level),
            "{}: `{constant}` has no level {}",
            line.place,
            line.level
        );
    }
}

#[test]
fn each_event_of_the_table_has_a_log_line_at_each_of_its_levels() {
    let lines = lines();
    for event in event::TABLE {
        for level in event.levels {
            let is_it = |line: &&Line| line.constant() == Some(event.constant) && line.level == *level;
            assert!(lines.iter().any(|line| is_it(&line)), "no code logs `{}` at {level}", event.id);
        }
    }
}

#[test]
fn ids_are_an_area_and_a_word_in_order_and_the_constants_follow_from_them() {
    let mut before = "";
    for Definition { id, constant, .. } in event::TABLE {
        assert!(before < *id, "`{id}` does not come after `{before}`");
        before = *id;
        let is_part =
            |part: &str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_ascii_lowercase());
        assert!(id.split_once('.').is_some_and(|(area, what)| is_part(area) && is_part(what)), "{id}");
        assert_eq!(id.replace('.', "_").to_uppercase(), *constant);
    }
}

/// How the page begins.
const HEAD: &str = "\
# Events

The daemon's log has these events. Each line has a field `event`, whose value is the id in the first column:
`event=\"credentials.renewed\"` in text, a member `\"event\"` in JSON. An id never changes, while the text of a line may; so
look for ids. The field `reason` of a failure is one of the [reasons](reasons.md). Each table lists one area.
`tests/events.rs` makes this page from `crates/core/src/event.rs`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let areas: BTreeSet<&str> = event::TABLE.iter().map(|event| area(event)).collect();
    for area_of_table in areas {
        page += &format!(
            "\n## {area_of_table}\n\n| event | level | what has happened | what to do |\n|---|---|---|---|\n"
        );
        for event in event::TABLE.iter().filter(|event| area(event) == area_of_table) {
            let levels = event.levels.join(", ");
            page += &format!("| `{}` | {levels} | {} | {} |\n", event.id, event.meaning, event.action);
        }
    }
    page
}

fn area(event: &Definition) -> &'static str {
    event.id.split('.').next().unwrap()
}

/// `ANCHORD_TEST_BLESS=1` writes it anew.
#[test]
fn the_page_of_events_is_made_from_the_table() {
    anchord_testing::assert_made(&root().join("docs/reference/events.md"), &page());
}
