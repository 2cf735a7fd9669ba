//! Files of the tree that are made from code, and compared with it by a test.

use std::path::Path;

/// Fails unless the file at `path` has the text `made`, and shows the first line that differs. With
/// `ANCHORD_TEST_BLESS=1` it writes the file.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
pub fn assert_made(path: &Path, made: &str) {
    if std::env::var_os("ANCHORD_TEST_BLESS").is_some() {
        fs_err::write(path, made).unwrap();
    }
    let kept = fs_err::read_to_string(path).unwrap_or_default();
    if let Some(difference) = first_difference(&kept, made) {
        panic!("{} differs; ANCHORD_TEST_BLESS=1 writes it\n{difference}", path.display());
    }
}

/// The first line in which `kept` is not `made`, as both have it.
fn first_difference(kept: &str, made: &str) -> Option<String> {
    let (mut old, mut new) = (kept.split_inclusive('\n'), made.split_inclusive('\n'));
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                let shown =
                    |line: Option<&str>| line.map_or("no line".to_owned(), |line| format!("{line:?}"));
                return Some(format!("line {number} is   {}\nit should be {}", shown(old), shown(new)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_shown_as_it_is_and_as_it_should_be() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        for (kept, made, expected) in [
            ("a\nb\nc\n", "a\nB\nC\n", "line 2 is   \"b\\n\"\nit should be \"B\\n\""),
            ("a\n", "a\nb\n", "line 2 is   no line\nit should be \"b\\n\""),
            ("a\nb", "a\nb\n", "line 2 is   \"b\"\nit should be \"b\\n\""),
        ] {
            assert_eq!(first_difference(kept, made).as_deref(), Some(expected));
        }
    }
}
