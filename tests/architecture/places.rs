//! The files that ARCHITECTURE.md names in its table "Where do I change …?".

use std::path::Path;
use std::path::PathBuf;

use super::root;

/// Where the page may mean `path` to be: from the root, in the program, the emulator or a crate (`upstream/error.rs`,
/// `config/check.rs`), or beside the path that the row named before.
fn places(path: &str, before: Option<&Path>) -> Vec<PathBuf> {
    let mut places = vec![root().join(path), root().join("emulator/src").join(path)];
    for (_, folder) in super::crates() {
        places.push(folder.join(path));
    }
    if let Some((name, inside)) = path.split_once('/') {
        places.push(root().join("crates").join(name).join("src").join(inside));
    }
    places.extend(before.and_then(Path::parent).map(|folder| folder.join(path)));
    places
}

/// The paths of a row that lead nowhere.
fn strays(row: &str) -> Vec<&str> {
    let quoted = row.split('`').skip(1).step_by(2);
    let is_path = |text: &&str| text.contains('/') || text.ends_with(".rs");
    let mut before: Option<PathBuf> = None;
    let mut strays = Vec::new();
    for path in quoted.filter(is_path) {
        match places(path, before.as_deref()).into_iter().find(|place| place.exists()) {
            Some(place) => before = Some(place),
            None => strays.push(path),
        }
    }
    strays
}

#[test]
fn each_file_that_the_architecture_page_says_to_change_exists() {
    let page = fs_err::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, table) = page.split_once("## Where do I change").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();

    assert!(!rows.is_empty(), "ARCHITECTURE.md has no such table");
    for row in rows {
        let strays = strays(row);
        assert!(strays.is_empty(), "ARCHITECTURE.md names {strays:?}, which do not exist: {row}");
    }
}

#[test]
fn a_path_is_found_by_each_way_to_write_it_and_no_other() {
    assert_eq!(
        strays("`config/check.rs`, `session.rs`, `upstream/sts/`, `tests/keys`, `cli/verbs`"),
        [""; 0]
    );
    assert_eq!(
        strays("`config/chock.rs`, `identity::Locator`, `tests/of_none`"),
        ["config/chock.rs", "tests/of_none"]
    );
}
