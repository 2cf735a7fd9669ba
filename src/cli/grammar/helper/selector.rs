//! `--cert-selector`: selects a certificate of a store, inline or with a JSON file.

use std::path::Path;

use serde::Deserialize;

use anchord_core::content;
use anchord_core::notice::Notice;
use anchord_core::notice::Origin;
use anchord_core::text::Text;

/// The attributes that a certificate must have, each in the form of anchord's own flag.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) subject: Option<String>,
    pub(super) issuer: Option<String>,
    /// Hexadecimal, after `0x`.
    pub(super) serial: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Key", alias = "key")]
    key: String,
    #[serde(rename = "Value", alias = "value")]
    value: String,
}

/// A selector is a few names, so this is far above any real one.
const LARGEST: u64 = 64 << 10;
const INLINE: &str = "write `Key=x509Subject,Value=CN=robot-7 Key=x509Issuer,Value=CN=Factory CA`";
const JSON: &str = "write `[{\"Key\": \"x509Subject\", \"Value\": \"CN=robot-7\"}]`";

impl Selector {
    /// Reads `text`, or the file that it names after `file://`; relative paths start at `folder`.
    pub(super) fn read(text: &str, folder: &Path) -> Result<Self, Notice> {
        let entries = match text.strip_prefix("file://") {
            Some(path) => in_file(&folder.join(path))?,
            None => inline(text)?,
        };
        Self::of(entries)
    }

    fn of(entries: Vec<Entry>) -> Result<Self, Notice> {
        let mut selector = Self::default();
        for Entry { key, value } in entries {
            let value = value.trim();
            if value.is_empty() {
                // AWS's tool would accept any certificate.
                return Err(wrong("a key has no value").hinting("give it one, or leave it out"));
            }
            let (place, value) = match key.as_str() {
                "x509Subject" => (&mut selector.subject, value.to_owned()),
                "x509Issuer" => (&mut selector.issuer, value.to_owned()),
                "x509Serial" => (&mut selector.serial, serial(value)?),
                _ => {
                    let hint = "the keys are x509Subject, x509Issuer and x509Serial";
                    return Err(wrong("there is an unknown key").hinting(hint));
                }
            };
            if place.replace(value).is_some() {
                return Err(wrong(format!("{key} is given twice")).hinting("give it once"));
            }
        }
        if selector == Self::default() {
            return Err(wrong("has no keys").hinting(INLINE));
        }
        Ok(selector)
    }
}

/// AWS's tool accepts hexadecimal digits without a prefix.
fn serial(text: &str) -> Result<String, Notice> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let hint = "write it as `openssl x509 -noout -serial` does";
        return Err(wrong("x509Serial is not hexadecimal").hinting(hint));
    }
    Ok(format!("0x{digits}"))
}

fn in_file(path: &Path) -> Result<Vec<Entry>, Notice> {
    let file = path.display();
    let text = content::read_text(path, LARGEST).map_err(|fault| match fault {
        content::ReadError::TooLarge { .. } => {
            wrong(format!("`{file}` is larger than 64 KiB, too large for a selector"))
                .hinting("check the path")
        }
        content::ReadError::System(error) => wrong(format!("`{file}` cannot be read: {}", error.kind())),
        fault => wrong(format!("`{file}` cannot be read: {fault}")),
    })?;
    serde_json::from_slice(text.expose())
        .map_err(|_| wrong(format!("`{file}` is not a JSON list of keys and values")).hinting(JSON))
}

/// An entry begins with `Key=` after white space, so values may contain spaces.
fn inline(text: &str) -> Result<Vec<Entry>, Notice> {
    let entry = |part: &str| {
        let (key, value) = part.split_once(",Value=")?;
        Some(Entry { key: key.trim().to_owned(), value: value.to_owned() })
    };
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while let Some(after) = rest.strip_prefix("Key=") {
        let mut next = after.match_indices("Key=").map(|(at, _)| at);
        let end = next.find(|at| after[..*at].ends_with(char::is_whitespace));
        let (part, more) = after.split_at(end.unwrap_or(after.len()));
        parts.push(part);
        rest = more;
    }
    let entries: Option<Vec<_>> = parts.into_iter().map(entry).collect();
    entries
        .filter(|entries| !entries.is_empty())
        .ok_or_else(|| wrong("is not a list of `Key=…,Value=…`").hinting(INLINE))
}

fn wrong(what: impl Into<Text>) -> Notice {
    Notice::new(what).about(Origin::Argument("cert-selector"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Selector, String> {
        Selector::read(text, Path::new("/")).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn a_selector_is_read_inline_with_spaces_in_its_values() {
        let selector = read(
            "Key=x509Subject,Value=CN=robot 7,O=Acme Key=x509Issuer,Value=CN=Factory CA Key=x509Serial,Value=1A2b",
        )
        .unwrap();

        assert_eq!(selector.subject.as_deref(), Some("CN=robot 7,O=Acme"));
        assert_eq!(selector.issuer.as_deref(), Some("CN=Factory CA"));
        assert_eq!(selector.serial.as_deref(), Some("0x1A2b"));
    }

    /// Line breaks of a script, a tab, a space too many.
    #[test]
    fn the_parts_of_a_selector_may_be_apart_by_any_white_space() {
        let selector =
            read("  Key=x509Subject,Value=CN=robot 7  \n\tKey=x509Issuer,Value=CN=Factory CA\n").unwrap();

        assert_eq!(selector.subject.as_deref(), Some("CN=robot 7"));
        assert_eq!(selector.issuer.as_deref(), Some("CN=Factory CA"));
    }

    #[test]
    fn a_part_without_a_value_selects_nothing_and_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), r#"[{"Key": "x509Subject", "Value": " "}]"#).unwrap();
        for text in [&format!("file://{}", file.path().display()), "Key=x509Issuer,Value="] {
            assert!(read(text).unwrap_err().contains("has no value"));
        }
    }

    #[test]
    fn a_selector_is_read_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), r#"[{"Key": "x509Issuer", "Value": "CN=Factory CA"}]"#).unwrap();

        let selector = read(&format!("file://{}", file.path().display())).unwrap();

        assert_eq!(selector, Selector { issuer: Some("CN=Factory CA".into()), ..Selector::default() });
    }

    #[test]
    fn an_invalid_selector_is_explained_in_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), "{}").unwrap();
        let in_file = format!("file://{}", file.path().display());
        let absent = "file:///nowhere/selector.json";
        for (text, expected) in [
            ("CN=robot-7", "is not a list of `Key=…,Value=…`"),
            ("Key=x509Subject", "is not a list of `Key=…,Value=…`"),
            ("Key=x509Names,Value=a", "there is an unknown key; hint: the keys are x509Subject"),
            ("Key=x509Serial,Value=12 34", "x509Serial is not hexadecimal"),
            ("Key=x509Serial,Value=1 Key=x509Serial,Value=2", "x509Serial is given twice"),
            (in_file.as_str(), "is not a JSON list of keys and values"),
            (absent, "`/nowhere/selector.json` cannot be read"),
        ] {
            let line = read(text).unwrap_err();

            assert!(line.starts_with("--cert-selector: ") && line.contains(expected), "{line}");
            assert_eq!(line.lines().count(), 1);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_in_one_line(text in "(Key=x509(Subject|Issuer|Serial),Value=)?\\PC{0,40}( Key=\\PC{0,9})?") {
            if let Err(line) = read(&text) {
                assert_eq!(line.lines().count(), 1);
            }
        }
    }
}
