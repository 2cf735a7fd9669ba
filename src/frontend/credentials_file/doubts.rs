//! What keeps programs from reading the file, although it has been written; pure.
//!
//! boto3 and the AWS CLI refuse a whole file for one line that Python's configparser does not take, wherever that is.

use std::collections::BTreeMap;

use super::edit::Part;
use super::edit::Reader;
use super::edit::lines;
use crate::content::BYTE_ORDER_MARK;

/// Why boto3 and the AWS CLI cannot read this text, with the line; `None` if they can.
pub(super) fn doubt(text: &[u8]) -> Option<String> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Some(
            "it begins with a byte order mark; hint: save it as UTF-8 without one (sed -i '1s/^\\xEF\\xBB\\xBF//' FILE)".into(),
        );
    }
    if std::str::from_utf8(text).is_err() {
        return Some("it is not UTF-8; hint: save it as UTF-8".into());
    }
    let mut sections = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(lines(text)) {
        match reader.read(&line) {
            Part::Header(name) => {
                keys.clear();
                if let Some(first) = sections.insert(name, number) {
                    let name = shown(name);
                    return Some(format!(
                        "line {number} begins the section [{name}] of line {first} a second time; hint: make one of the two"
                    ));
                }
            }
            Part::Key(..) if sections.is_empty() => return Some(before_sections(number)),
            Part::Key(name, _) => {
                if let Some(first) = keys.insert(name.to_ascii_lowercase(), number) {
                    let name = shown(name);
                    return Some(format!(
                        "line {number} has the key `{name}` of line {first} a second time; hint: remove one of the two"
                    ));
                }
            }
            Part::Other if line.is_blank_or_comment() => {}
            Part::Other if sections.is_empty() => return Some(before_sections(number)),
            Part::Other => {
                return Some(format!("line {number} is neither a section nor a key; hint: remove it"));
            }
            Part::Continuation => {}
        }
    }
    None
}

fn before_sections(number: usize) -> String {
    format!("line {number} stands before the first section; hint: write [default] above it")
}

/// Short and on one line.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(64).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_boto3_cannot_read_is_told_with_its_line() {
        for (text, expected) in [
            ("\u{feff}[p]\na=b\n", "it begins with a byte order mark"),
            ("[p]\na=1\n[q]\n[p]\nb=2\n", "line 4 begins the section [p] of line 1 a second time"),
            ("[p]\r\na=1\r\nA : 2\r\n", "line 3 has the key `A` of line 2 a second time"),
            ("a=1\n[p]\n", "line 1 stands before the first section"),
            ("words\n[p]\n", "line 1 stands before the first section"),
            ("[p]\nwords\n", "line 2 is neither a section nor a key"),
        ] {
            assert!(doubt(text.as_bytes()).is_some_and(|told| told.starts_with(expected)), "{text:?}");
        }
        assert_eq!(doubt(b"[p]\na = \xff\n").as_deref(), Some("it is not UTF-8; hint: save it as UTF-8"));
    }

    #[test]
    fn what_boto3_reads_is_not_doubted() {
        for text in [
            "",
            "\n# mine\n[p]\na=1\n  b = 2\n\n; c\n[q]\na:1\n",
            "[p]\r\na=1\r\n[ p ]\r\na=1",
            "[p]\ns3 =\n  a = 1\n  a = 1\n",
        ] {
            assert_eq!(doubt(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn no_value_is_repeated() {
        let told = doubt(b"[p]\naws_secret_access_key = canary\naws_secret_access_key = canary\n").unwrap();

        assert!(!told.contains("canary"), "{told}");
    }
}
