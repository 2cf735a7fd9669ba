//! The arrows between modules, held by reading the source; those between files are in `circles`.
//!
//! A module may name what its row says and nothing else; since every row names only rows above it, there can be
//! no cycle. ARCHITECTURE.md describes each module, and docs/internals/decisions gives the reasons; both are checked
//! against the tree.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

mod circles;
mod places;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

const WORDS: &[&str] = &[
    "access",
    "arn",
    "clock",
    "content",
    "credentials",
    "digest",
    "endpoint",
    "entropy",
    "event",
    "failure",
    "issuer",
    "notice",
    "private_file",
    "process_limits",
    "profile",
    "reported",
    "secret",
    "text",
    "trusted_path",
];

/// Words, and the stages whose option types settings hold.
const OPTIONS_OF_STAGES: &[&str] = &[
    "access",
    "arn",
    "clock",
    "content",
    "credentials",
    "digest",
    "endpoint",
    "entropy",
    "event",
    "failure",
    "notice",
    "private_file",
    "process_limits",
    "profile",
    "reported",
    "secret",
    "text",
    "trusted_path",
    "identity",
    "access_keys",
    "upstream",
];

const EVERYTHING_ABOVE: &[&str] = &["*"];

/// Module → what it may name besides itself, in the order of `lib.rs`.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("access", &[]),
    ("arn", &[]),
    ("clock", &[]),
    ("digest", &[]),
    ("endpoint", &["arn"]),
    ("entropy", &[]),
    ("event", &[]),
    ("profile", &[]),
    ("reported", &[]),
    ("sandbox", &[]),
    ("secret", &[]),
    ("text", &[]),
    ("notice", &["text"]),
    ("failure", &["notice", "text"]),
    ("content", &["failure", "secret", "text"]),
    ("trusted_path", &["content", "digest", "entropy", "failure", "text"]),
    ("private_file", &["content", "failure", "secret", "text", "trusted_path"]),
    ("credentials", &["arn", "clock", "digest", "secret"]),
    ("process_limits", &["event", "failure"]),
    ("issuer", &["clock", "credentials", "failure"]),
    (
        "identity",
        &[
            "clock",
            "content",
            "digest",
            "event",
            "failure",
            "notice",
            "process_limits",
            "reported",
            "sandbox",
            "secret",
            "text",
        ],
    ),
    (
        "access_keys",
        &["credentials", "digest", "event", "failure", "identity", "notice", "reported", "secret", "text"],
    ),
    ("signing", &["arn", "clock", "credentials", "digest", "failure", "identity", "secret"]),
    (
        "upstream",
        &[
            "access_keys",
            "arn",
            "clock",
            "content",
            "credentials",
            "endpoint",
            "entropy",
            "event",
            "failure",
            "identity",
            "issuer",
            "notice",
            "reported",
            "secret",
            "signing",
            "text",
        ],
    ),
    (
        "bedrock",
        &[
            "arn",
            "clock",
            "credentials",
            "endpoint",
            "failure",
            "issuer",
            "secret",
            "signing",
            "text",
            "upstream",
        ],
    ),
    ("session", &["clock", "credentials", "entropy", "event", "failure", "issuer", "reported"]),
    (
        "frontend",
        &[
            "access",
            "arn",
            "clock",
            "content",
            "credentials",
            "entropy",
            "event",
            "failure",
            "notice",
            "private_file",
            "profile",
            "reported",
            "secret",
            "session",
            "signing",
            "text",
            "trusted_path",
        ],
    ),
    ("config", OPTIONS_OF_STAGES),
    ("telemetry", WORDS),
    ("checksummed", &["digest", "failure", "secret", "text"]),
    ("client", &["clock", "config", "content", "credentials", "failure", "frontend", "notice", "secret"]),
    (
        "assembly",
        &[
            "access_keys",
            "clock",
            "config",
            "credentials",
            "entropy",
            "event",
            "failure",
            "frontend",
            "identity",
            "issuer",
            "notice",
            "reported",
            "secret",
            "session",
            "text",
            "upstream",
        ],
    ),
    ("daemon", EVERYTHING_ABOVE),
    (
        "daemonless",
        &[
            "assembly",
            "checksummed",
            "client",
            "clock",
            "config",
            "credentials",
            "digest",
            "entropy",
            "event",
            "failure",
            "identity",
            "issuer",
            "private_file",
            "process_limits",
            "secret",
            "session",
            "text",
            "trusted_path",
        ],
    ),
    (
        "provider",
        &[
            "assembly",
            "client",
            "clock",
            "config",
            "credentials",
            "entropy",
            "event",
            "failure",
            "issuer",
            "secret",
            "session",
        ],
    ),
    ("cli", EVERYTHING_ABOVE),
];

fn allowed(index: usize) -> Vec<&'static str> {
    match MAY_NAME[index].1 {
        EVERYTHING_ABOVE => MAY_NAME[..index].iter().map(|(name, _)| *name).collect(),
        row => row.to_vec(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Crates that hold several modules of the table; each other crate is one module.
const CRATES_OF_MODULES: &[&str] = &["aws", "core", "runtime"];

/// The crate that tests share.
const OF_TESTS: &str = "testing";

/// The folders of shipped code, with the names of their crates; `src` is the program and the library's public face.
fn crates() -> Vec<(String, PathBuf)> {
    let mut crates = vec![("anchord".to_owned(), root().join("src"))];
    for entry in fs_err::read_dir(root().join("crates")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != OF_TESTS {
            crates.push((name, entry.path().join("src")));
        }
    }
    crates
}

fn all_sources() -> Vec<PathBuf> {
    crates().iter().flat_map(|(_, folder)| sources(folder)).collect()
}

/// The module a file belongs to: its crate, or its top folder or own name in a crate of several modules. `lib` and `main`
/// hold no code of a stage there.
fn module_of(name: &str, folder: &Path, path: &Path) -> String {
    if name != "anchord" && !CRATES_OF_MODULES.contains(&name) {
        return name.to_owned();
    }
    let inside = path.strip_prefix(folder).unwrap();
    let top = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    top.trim_end_matches(".rs").to_owned()
}

/// Files that `#[cfg(test)]` keeps out of the program, known by their names.
fn is_of_tests(path: &Path) -> bool {
    let of_tests = ["tests", "tests.rs", "support.rs", "properties.rs"];
    path.strip_prefix(root())
        .unwrap()
        .components()
        .skip(1)
        .any(|part| of_tests.iter().any(|name| part.as_os_str() == *name))
}

/// Code without comments, where paths are only prose.
fn code(path: &Path) -> String {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every module that the code names: `x` of `crate::x` in crates of several modules, of `anchord_x`, of `anchord_core::x`.
fn names(module: &str, code: &str) -> BTreeSet<String> {
    let identifier = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut names = BTreeSet::new();
    for (at, prefix) in code.match_indices("anchord_") {
        if code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let name = identifier(rest);
        match rest[name.len()..].strip_prefix("::") {
            Some(inside) if CRATES_OF_MODULES.contains(&name.as_str()) => names.insert(identifier(inside)),
            _ => names.insert(name),
        };
    }
    if !IS_A_CRATE.contains(&module) {
        names.extend(code.split("crate::").skip(1).map(identifier));
    }
    names
}

/// Modules that are a whole crate: what they name of `crate` is their own.
const IS_A_CRATE: &[&str] = &["config", "frontend", "identity", "sandbox", "session"];

fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (name, folder) in crates() {
        for path in sources(&folder) {
            modules.entry(module_of(&name, &folder, &path)).or_default().push(path);
        }
    }
    modules.remove("lib");
    modules.remove("main");
    modules
}

#[test]
fn each_module_names_only_what_its_row_allows() {
    for (module, paths) in modules() {
        let index = MAY_NAME
            .iter()
            .position(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("`{module}` has no row in the table of tests/architecture"));
        let allowed = allowed(index);
        for path in paths {
            // A test may make any word's values, whatever its module may know of them.
            let is_allowed = |name: &str| {
                // Shipped code cannot name these two, which are dev-dependencies.
                ["emulator", OF_TESTS].contains(&name)
                    || allowed.contains(&name)
                    || (is_of_tests(&path) && WORDS.contains(&name))
            };
            let strays: Vec<_> = names(&module, &code(&path))
                .into_iter()
                .filter(|name| *name != module && !is_allowed(name))
                .collect();
            assert!(
                strays.is_empty(),
                "{} names {strays:?}; `{module}` may name only {allowed:?}",
                path.strip_prefix(root()).unwrap().display()
            );
        }
    }
}

#[test]
fn every_row_names_only_rows_above_it_so_there_is_no_cycle() {
    let modules = modules();
    for (index, (module, _)) in MAY_NAME.iter().enumerate() {
        assert!(modules.contains_key(*module), "the table names `{module}`, which does not exist");
        for name in allowed(index) {
            assert!(
                MAY_NAME[..index].iter().any(|(above, _)| *above == name),
                "`{module}` may not name `{name}`: not above it"
            );
        }
    }
}

/// `super::super::` and `use crate::{…}` would hide names from the checks here and in `circles`.
#[test]
fn paths_are_written_so_that_they_can_be_checked() {
    for path in all_sources() {
        let code = code(&path);
        for hidden in ["super::super::", "crate::{", "super::{", "self::{"] {
            assert!(!code.contains(hidden), "{} writes `{hidden}`", path.display());
        }
    }
}

#[test]
fn the_emulator_names_nothing_of_ours() {
    for path in sources(&root().join("emulator")) {
        let strays = code(&path).replace("anchord_emulator", "").contains("anchord_");
        assert!(!strays, "{} names the daemon's crate", path.display());
    }
    let manifest = fs_err::read_to_string(root().join("emulator/Cargo.toml")).unwrap();
    assert!(!manifest.lines().any(|line| line.starts_with("anchord")));
}

/// A build without tests does not have a dev-dependency, so that no shipped code can name it.
#[test]
fn the_emulator_and_what_tests_share_are_dev_dependencies_alone() {
    for (_, folder) in crates() {
        let path = folder.parent().unwrap().join("Cargo.toml");
        let manifest = fs_err::read_to_string(&path).unwrap();
        for table in manifest.split("\n[") {
            let is_shipped = !["dev-dependencies]", "workspace.dependencies]"]
                .iter()
                .any(|heading| table.starts_with(heading));
            let names = |name: &&str| table.contains(&format!("\nanchord-{name}"));
            let named = ["emulator", OF_TESTS].into_iter().find(names);
            assert!(named.is_none() || !is_shipped, "{} ships {named:?}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let of_tests = ["emulator/src", "crates/testing/src"].map(|folder| sources(&root().join(folder)));
    for path in all_sources().into_iter().chain(of_tests.concat()) {
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} opens without a module doc", path.display());
    }
}

#[test]
fn no_file_outside_tests_unwraps() {
    for path in all_sources().into_iter().chain(sources(&root().join("emulator/src"))) {
        if is_of_tests(&path) {
            continue;
        }
        let text = code(&path);
        let shipped = text.split("mod tests {").next().unwrap();
        assert!(!shipped.contains(".unwrap()"), "{} unwraps", path.display());
    }
}

#[test]
fn the_architecture_page_names_every_module_and_no_other() {
    let page = fs_err::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let named: BTreeSet<String> = rows
        .take_while(|line| line.starts_with("| `"))
        .map(|line| line.split('`').nth(1).unwrap().to_owned())
        .collect();

    assert_eq!(named, modules().into_keys().collect());
}

const DECISIONS: &str = "docs/internals/decisions";

/// Each page of the decisions by its file name, without the index.
fn decisions() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for entry in fs_err::read_dir(root().join(DECISIONS)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name != "README.md" {
            pages.insert(name, fs_err::read_to_string(&path).unwrap());
        }
    }
    pages
}

#[test]
fn the_index_of_decisions_has_each_page_with_its_title_and_no_other() {
    let index = fs_err::read_to_string(root().join(DECISIONS).join("README.md")).unwrap();
    let listed: Vec<&str> = index.lines().filter(|line| line.starts_with("- [")).collect();

    let mut expected = Vec::new();
    for (name, page) in decisions() {
        let number = name.split('-').next().unwrap();
        let title = page.lines().next().unwrap().strip_prefix("# ").unwrap();
        expected.push(format!("- [{number}]({name}) {title}"));
    }

    let missing: Vec<_> = expected.iter().filter(|line| !listed.contains(&line.as_str())).collect();
    assert!(missing.is_empty(), "{DECISIONS}/README.md lacks {missing:#?}");
    let unknown: Vec<_> = listed.iter().filter(|line| !expected.iter().any(|page| page == *line)).collect();
    assert!(unknown.is_empty(), "{DECISIONS}/README.md names pages that do not exist: {unknown:#?}");
    assert_eq!(listed.len(), expected.len(), "{DECISIONS}/README.md lists a page twice");
}

#[test]
fn each_decision_has_a_number_of_its_own_a_date_and_three_headings() {
    let mut numbers = BTreeSet::new();
    for (name, page) in decisions() {
        let number = name.split('-').next().unwrap();
        assert!(number.len() == 3 && number.parse::<u16>().is_ok(), "{name} begins with no number");
        assert!(numbers.insert(number.to_owned()), "two decisions have the number {number}");
        let date = page.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap_or_default();
        assert!(is_date(date), "{name} has no line `Date: YYYY-MM-DD`");
        let headings: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## Context", "## Decision", "## Consequences"], "{name}");
    }
}

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let is_number = |part: &&str| part.chars().all(|c| c.is_ascii_digit());
    parts.iter().all(is_number) && parts.iter().map(|part| part.len()).eq([4, 2, 2])
}

#[test]
fn the_architecture_page_stays_short() {
    const MOST_BYTES: usize = 12_000;
    let page = fs_err::read_to_string(root().join("ARCHITECTURE.md")).unwrap();

    let bytes = page.len();
    assert!(bytes <= MOST_BYTES, "ARCHITECTURE.md has {bytes} bytes; decisions go to {DECISIONS}");
}

/// Pages name files by their paths from the root; braces name several at once, and are looked at by their folder.
#[test]
fn each_file_that_a_decision_names_exists() {
    for (name, page) in decisions() {
        let quoted = page.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|text| {
            ["crates/", "docs/", "emulator/", "src/", "tests/"].iter().any(|folder| text.starts_with(folder))
        });
        for path in paths {
            let path = path.split('{').next().unwrap();
            assert!(root().join(path).exists(), "{name} names {path}, which does not exist");
        }
    }
}
