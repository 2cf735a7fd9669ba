//! Finds the reason for which programs cannot read the file after it was written. Pure.
//!
//! boto3 and the AWS CLI reject the whole file if Python's configparser rejects one of its lines.

use std::collections::BTreeMap;

use super::edit::IniLine;
use super::edit::LineClassifier;
use super::edit::LineKind;
use super::edit::lines;
use anchord_core::content::BYTE_ORDER_MARK;
use anchord_core::notice::Notice;

/// Why boto3 and the AWS CLI cannot read this text, with the line; `None` if they can.
pub(super) fn doubt(text: &[u8]) -> Option<Notice> {
    if text.starts_with(BYTE_ORDER_MARK) {
        let hint = "save it as UTF-8 without one (sed -i '1s/^\\xEF\\xBB\\xBF//' FILE)";
        return Some(Notice::new("it begins with a byte order mark").hinting(hint));
    }
    if std::str::from_utf8(text).is_err() {
        return Some(Notice::new("it is not UTF-8").hinting("save it as UTF-8"));
    }
    let mut seen = SeenLines::default();
    let mut reader = LineClassifier::default();
    (1..).zip(lines(text)).filter(|(_, line)| !is_ignored(line)).find_map(|(number, line)| {
        let why = invisible(&line).or_else(|| seen.doubt(number, &line, reader.classify(&line)));
        why.map(|why| Notice { what: format!("line {number} {}", why.what).into(), ..why })
    })
}

/// The sections and keys of the lines so far.
#[derive(Default)]
struct SeenLines<'a> {
    /// The line of each section's header.
    sections: BTreeMap<&'a [u8], usize>,
    section: &'a [u8],
    /// The line of each key, by its section and its name in lower case.
    keys: BTreeMap<(&'a [u8], String), usize>,
    /// The line of the last key, if it has no value there.
    nesting: Option<usize>,
}

impl<'a> SeenLines<'a> {
    /// Why configparser rejects a line, as the end of a sentence that begins with "line 7".
    fn doubt(&mut self, number: usize, line: &IniLine<'a>, part: LineKind<'a>) -> Option<Notice> {
        match part {
            LineKind::Header(name) => self.header(number, line, name),
            LineKind::Key(..) | LineKind::Other if self.sections.is_empty() => {
                Some(no_section(line).unwrap_or_else(|| {
                    Notice::new("is before the first section").hinting("write [default] above it")
                }))
            }
            LineKind::Key(name, value) => self.key(number, name, line.is_empty_from(value)),
            LineKind::Other => Some(no_section(line).unwrap_or_else(|| {
                Notice::new("is neither a section nor a key").hinting("remove it, or begin it with `#`")
            })),
            LineKind::Continuation => match self.nesting {
                // boto3 parses the lines below a key without a value as nested settings.
                Some(key) if !line.trimmed().contains(&b'=') => {
                    let what = format!("continues the key of line {key}, which has no value, and has no `=`");
                    Some(Notice::new(what).hinting(format!("write the value after the `=` of line {key}")))
                }
                _ => None,
            },
        }
    }

    fn header(&mut self, number: usize, line: &IniLine<'_>, name: &'a [u8]) -> Option<Notice> {
        (self.section, self.nesting) = (name, None);
        if line.closes_again(name) {
            let name = shown(name);
            let what =
                format!("has another `]` after [{name}], which boto3 takes as the end of the section's name");
            return Some(Notice::new(what).hinting(format!("remove the text after [{name}]")));
        }
        let first = self.sections.insert(name, number)?;
        // configparser allows this section twice.
        if name == b"DEFAULT" {
            return None;
        }
        let name = shown(name);
        let what = format!("repeats the section [{name}] of line {first}");
        Some(Notice::new(what).hinting("merge the two"))
    }

    fn key(&mut self, number: usize, name: &[u8], is_empty: bool) -> Option<Notice> {
        if name.is_empty() {
            return Some(Notice::new("has a value without a key").hinting("remove it"));
        }
        self.nesting = is_empty.then_some(number);
        let first = self.keys.insert((self.section, String::from_utf8_lossy(name).to_lowercase()), number)?;
        let name = shown(name);
        let what = format!("repeats the key `{name}` of line {first}");
        Some(Notice::new(what).hinting("remove one of the two"))
    }
}

/// Whether the line is blank or a comment after stripping the spaces of Unicode too, as Python does.
fn is_ignored(line: &IniLine<'_>) -> bool {
    let text = String::from_utf8_lossy(line.trimmed());
    let text = text.trim_start_matches(is_python_space);
    text.is_empty() || text.starts_with(['#', ';'])
}

/// Reports an invisible first character, which makes a line begin differently than it looks.
fn invisible(line: &IniLine<'_>) -> Option<Notice> {
    let first = String::from_utf8_lossy(line.trimmed()).chars().next()?;
    is_invisible(first).then(|| {
        let what = format!("begins with an invisible character (U+{:04X})", u32::from(first));
        Notice::new(what).hinting("remove that character")
    })
}

fn is_invisible(letter: char) -> bool {
    is_python_space(letter) || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The characters that Python's `str.strip` removes.
fn is_python_space(letter: char) -> bool {
    letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter)
}

/// Reports a line that begins like `[NAME]` but is no header.
fn no_section(line: &IniLine<'_>) -> Option<Notice> {
    let is_meant = line.trimmed().starts_with(b"[");
    is_meant.then(|| Notice::new("begins with `[` and names no section").hinting("write [NAME]"))
}

/// At most 64 characters, with line breaks escaped.
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
            ("[p]\na=1\n[q]\n[p]\nb=2\n", "line 4 repeats the section [p] of line 1"),
            ("[p]\r\na=1\r\nA : 2\r\n", "line 3 repeats the key `A` of line 2"),
            ("a=1\n[p]\n", "line 1 is before the first section"),
            ("words\n[p]\n", "line 1 is before the first section"),
            ("[p]\nwords\n", "line 2 is neither a section nor a key"),
            ("[p]\n= 1\n", "line 2 has a value without a key"),
            ("[p]\n : 1\n", "line 2 has a value without a key"),
            ("[p\na=1\n", "line 1 begins with `[` and names no section"),
            ("[p = 1\n", "line 1 begins with `[` and names no section"),
            ("[a]\n[]\n", "line 2 begins with `[` and names no section"),
            ("[a]\n\u{feff}[p]\na=1\n", "line 2 begins with an invisible character (U+FEFF)"),
            ("[p]\n\u{a0}a=1\n", "line 2 begins with an invisible character (U+00A0)"),
            ("\u{200b}[p]\na=1\n", "line 1 begins with an invisible character (U+200B)"),
            ("[p]\na =\n\n  b\n", "line 4 continues the key of line 2, which has no value, and has no `=`"),
            ("[DEFAULT]\na=1\n[p]\na=1\n[DEFAULT]\nA=1\n", "line 6 repeats the key `A` of line 2"),
            ("[p] # see [1]\na=1\n", "line 1 has another `]` after [p]"),
        ] {
            let told = doubt(text.as_bytes());
            assert!(
                told.as_ref().is_some_and(|told| told.to_string().starts_with(expected)),
                "{text:?}: {told:?}"
            );
        }
        assert_eq!(doubt(b"[p]\na = \xff\n").unwrap().to_string(), "it is not UTF-8; hint: save it as UTF-8");
    }

    #[test]
    fn what_boto3_reads_is_not_doubted() {
        for text in [
            "",
            "\n# mine\n[p]\na=1\n  b = 2\n\n; c\n[q]\na:1\n",
            "[p]\r\na=1\r\n[ p ]\r\na=1",
            "[p]\ns3 =\n  a = 1\n  a = 1\n",
            "[p]\na = 1\n  b\n[q] # mine\n",
            "[p]\n\u{a0}\n\u{2028} # c\n\x1c\na=1\n",
            "[DEFAULT]\na=1\n[p]\na=1\n[DEFAULT]\nb=1\n",
            "[p]\n[a = 1\n\u{e9} = 1\n",
        ] {
            assert_eq!(doubt(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn no_value_is_repeated() {
        let told = doubt(b"[p]\naws_secret_access_key = canary\naws_secret_access_key = canary\n").unwrap();

        assert!(!told.to_string().contains("canary"), "{told}");
    }
}
