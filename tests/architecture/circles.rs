//! The arrows between the files of a crate: what stands side by side in a folder, files and folders taken whole, names
//! each other in one direction. So no two files are in a circle, and neither are two folders.
//!
//! A file and the files below it (`daemon.rs` and `daemon/…`) may name each other, and tests may name all.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

/// Where a file is in its crate, such as `["daemon", "handover"]`; `lib.rs` and `main.rs` are at `[]`.
type Place = Vec<String>;

/// The code of a crate by file, and what each file imports: the place that each name stands for.
#[derive(Default)]
struct Crate {
    files: BTreeMap<Place, String>,
    imports: BTreeMap<Place, BTreeMap<String, Place>>,
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut read = Self::default();
        for path in super::sources(folder) {
            if !super::is_of_tests(&path) {
                let inside = path.strip_prefix(folder).unwrap().with_extension("");
                read.add(&inside.to_string_lossy(), &super::code(&path));
            }
        }
        read
    }

    /// Takes in the file at `path`, which has no extension.
    fn add(&mut self, path: &str, code: &str) {
        let mut place: Place = path.split('/').map(str::to_owned).collect();
        place.pop_if(|name| ["lib", "main"].contains(&name.as_str()));
        let shipped = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let imports = self.imports.entry(place.clone()).or_default();
        for (name, path) in shipped.lines().filter_map(import) {
            imports.insert(name.to_owned(), absolute(&place, path));
        }
        // `src` has both a `lib.rs` and a `main.rs`.
        *self.files.entry(place).or_default() += shipped;
    }

    /// The file that has what stands at `path`, however many files import it on the way.
    fn file_of(&self, path: &[String], most_imports: usize) -> Place {
        let is_file = |length: &usize| self.files.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_file).unwrap_or(0);
        let (file, inside) = path.split_at(length);
        let imported = inside.first().and_then(|name| self.imports.get(file)?.get(name));
        match imported {
            Some(meant) if most_imports > 0 => {
                self.file_of(&[meant.as_slice(), &inside[1..]].concat(), most_imports - 1)
            }
            _ => file.to_vec(),
        }
    }

    /// What each file or folder names of those beside it.
    fn arrows(&self) -> BTreeMap<Place, BTreeSet<Place>> {
        let mut arrows: BTreeMap<Place, BTreeSet<Place>> = BTreeMap::new();
        for (from, code) in &self.files {
            for path in paths(code) {
                let to = self.file_of(&absolute(from, path), 8);
                let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
                // Else one is below the other.
                if shared < from.len() && shared < to.len() {
                    arrows.entry(from[..=shared].to_vec()).or_default().insert(to[..=shared].to_vec());
                }
            }
        }
        arrows
    }

    /// Each file or folder that is in a circle, with what it names of that circle.
    fn circles(&self) -> BTreeMap<String, Vec<String>> {
        let arrows = self.arrows();
        let mut circles = BTreeMap::new();
        for (from, named) in &arrows {
            let back = named.iter().filter(|to| reachable(&arrows, to).contains(from));
            let back: Vec<String> = back.map(|to| to.join("::")).collect();
            if !back.is_empty() {
                circles.insert(from.join("::"), back);
            }
        }
        circles
    }
}

/// Everything that the arrows lead to from here.
fn reachable(arrows: &BTreeMap<Place, BTreeSet<Place>>, from: &Place) -> BTreeSet<Place> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(place) = next.pop() {
        for to in arrows.get(place).into_iter().flatten() {
            if reached.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    reached
}

/// The name and the path of a line that imports.
fn import(line: &str) -> Option<(&str, &str)> {
    let (visibility, path) = line.trim_start().split_once("use ")?;
    if !visibility.is_empty() && !visibility.starts_with("pub") {
        return None;
    }
    let path = path.strip_suffix(';')?;
    Some(match path.split_once(" as ") {
        Some((path, name)) => (name, path),
        None => (path.rsplit("::").next()?, path),
    })
}

/// Every path in the code.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.map(|word| word.trim_matches(':')).filter(|word| word.contains("::"))
}

/// A path as seen from the root of the crate. What is in another crate seems to be in the file itself, where it does no
/// harm: Cargo allows no circle of crates.
fn absolute(file: &[String], path: &str) -> Place {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    let (start, rest) = match first {
        "crate" => (&file[..0], rest),
        "super" => (&file[..file.len().saturating_sub(1)], rest),
        "self" => (file, rest),
        _ => (file, path),
    };
    let rest = rest.split("::").filter(|name| !name.is_empty()).map(str::to_owned);
    start.iter().cloned().chain(rest).collect()
}

#[test]
fn what_stands_side_by_side_forms_no_circle() {
    let mut found = Vec::new();
    let of_tests = [("emulator", "emulator/src"), ("testing", "crates/testing/src")];
    let of_tests = of_tests.map(|(name, folder)| (name.to_owned(), super::root().join(folder)));
    for (name, folder) in super::crates().into_iter().chain(of_tests) {
        for (place, others) in Crate::read(&folder).circles() {
            found.push(format!("{name}::{place} names {others:?}, which lead back to it"));
        }
    }

    assert!(found.is_empty(), "in a circle: {found:#?}");
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let mut example = Crate::default();
    files.iter().for_each(|(path, code)| example.add(path, code));
    example.circles().into_keys().collect()
}

#[test]
fn a_circle_is_seen_through_imports_under_other_names() {
    let files = [
        ("lib", "mod a;\nmod b;\npub(crate) use b::Found as Thing;"),
        ("a", "fn ask() -> crate::Thing {}"),
        ("b", "mod deep;\npub use deep::Found;"),
        ("b/deep", "use crate::a;\npub struct Found;\nfn answer() { a::ask() }"),
    ];

    assert_eq!(circles_of(&files), ["a", "b"]);
}

#[test]
fn a_file_and_those_below_it_are_no_circle_and_tests_may_name_all() {
    let files = [
        ("lib", "mod a;\nmod b;"),
        ("a", "mod below;\nuse below::Low;\npub struct High;"),
        ("a/below", "use super::High;\npub struct Low;"),
        ("b", "use crate::a::High;\nuse std::io;\nfn read() -> io::Result<High> {}"),
        ("a/tested", "#[cfg(test)]\nmod tests {\nuse crate::b::read;\n}"),
    ];

    assert_eq!(circles_of(&files), Vec::<String>::new());
}
