//! Parses access keys in all their formats. Errors quote nothing of the text except names of sections: it may be
//! secret.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;

/// Why a text does not contain a user's keys. The error completes "`file` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// An unknown format.
    #[error("is not in a known format of access keys")]
    Unknown,
    /// Malformed JSON, or JSON of something else.
    #[error("is not the JSON of an access key (line {line} column {column})")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A part is missing.
    #[error("has no {0}")]
    Missing(&'static str),
    /// A part occurs twice.
    #[error("has more than one {0}")]
    Twice(&'static str),
    /// A part is malformed.
    #[error("has no usable {0}")]
    Malformed(&'static str),
    /// Several sections have keys, and none of them is `[default]`.
    #[error("has keys in several sections, and none in [default]: {}", .0.join(", "))]
    Sections(Vec<String>),
    /// Temporary keys, which expire.
    #[error("has temporary keys")]
    Temporary,
}

impl ParseError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Json { .. } | Self::Missing(_) => {
                "it may be a shared credentials file (`aws_access_key_id = …` and `aws_secret_access_key = …`), `ID:SECRET`, the CSV of IAM's console, or the JSON of `aws iam create-access-key`"
            }
            Self::Twice(_) => "keep only the keys of one user in it",
            Self::Malformed(_) => {
                "copy both parts again: the access key ID consists of capital letters and digits, AKIA…, and neither part contains blanks or quotes"
            }
            Self::Sections(_) => "name one of them [default], or put the keys into a file of their own",
            Self::Temporary => "temporary keys expire; use a user's access keys (AKIA…)",
        }
    }
}

const ID: &str = "access key ID";
const SECRET: &str = "secret access key";

/// The parts of the keys. They borrow from the text, so that no copy of a secret stays in memory.
#[derive(Default)]
struct KeyParts<'a> {
    id: Option<&'a str>,
    secret: Option<&'a str>,
    token: Option<&'a str>,
}

/// Parses the keys in a text of any format.
pub(super) fn parse(text: &str) -> Result<Keys, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.starts_with('{') {
        return json(text);
    }
    let first = text.lines().next().unwrap_or_default();
    if fields(first).any(|field| is_heading(field, ID)) {
        return csv(text)?.keys();
    }
    if let Some((id, secret)) = text.split_once(':').filter(|(id, _)| is_id(id)) {
        return KeyParts { id: Some(id), secret: Some(secret), token: None }.keys();
    }
    ini(text)?.keys()
}

/// Returns the keys if they can be a user's own.
pub(super) fn checked(keys: Keys) -> Result<Keys, ParseError> {
    let is_temporary = keys.session_token.is_some() || keys.access_key_id.starts_with("ASIA");
    if is_temporary {
        return Err(ParseError::Temporary);
    }
    // Logs show the ID, so a secret must not be taken for it.
    if !is_id(&keys.access_key_id) {
        return Err(ParseError::Malformed(ID));
    }
    keys.check().map_err(|_| ParseError::Malformed(SECRET))?;
    Ok(keys)
}

fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=128).contains(&text.len()) && text.bytes().all(is_plain)
}

impl KeyParts<'_> {
    fn keys(&self) -> Result<Keys, ParseError> {
        checked(Keys {
            access_key_id: filled(self.id).ok_or(ParseError::Missing(ID))?,
            secret_access_key: Secret::new(filled(self.secret).ok_or(ParseError::Missing(SECRET))?),
            session_token: filled(self.token).map(Secret::new),
        })
    }
}

/// A part that is there and not blank.
fn filled(part: Option<&str>) -> Option<String> {
    let part = part?.trim();
    (!part.is_empty()).then(|| part.to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateAccessKeyOutput<'a> {
    #[serde(borrow)]
    access_key: AccessKeyJson<'a>,
}

/// Text is borrowed if it has no escapes, and AWS writes none.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccessKeyJson<'a> {
    #[serde(borrow)]
    access_key_id: Cow<'a, str>,
    #[serde(borrow)]
    secret_access_key: Cow<'a, str>,
    /// Only its presence matters.
    session_token: Option<IgnoredAny>,
}

fn json(text: &str) -> Result<Keys, ParseError> {
    let fault = |error: serde_json::Error| ParseError::Json { line: error.line(), column: error.column() };
    // Also accepts the inner object alone.
    let created = serde_json::from_str(text).map(|CreateAccessKeyOutput { access_key }| access_key);
    let key: AccessKeyJson<'_> =
        created.or_else(|error| serde_json::from_str(text).map_err(|_| error)).map_err(fault)?;
    KeyParts {
        id: Some(&key.access_key_id),
        secret: Some(&key.secret_access_key),
        token: key.session_token.map(|_| "a token"),
    }
    .keys()
}

/// A line of headings and a line of values, which may include user names and links.
fn csv(text: &str) -> Result<KeyParts<'_>, ParseError> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let headings = lines.next().unwrap_or_default();
    let values = lines.next().ok_or(ParseError::Missing(ID))?;
    if lines.next().is_some() {
        return Err(ParseError::Twice(ID));
    }
    let value = |name| {
        let position = fields(headings).position(|heading| is_heading(heading, name))?;
        fields(values).nth(position)
    };
    Ok(KeyParts { id: value(ID), secret: value(SECRET), token: None })
}

fn is_heading(field: &str, name: &str) -> bool {
    field.trim().eq_ignore_ascii_case(name)
}

/// The fields of a line, without the quotes around them. Doubled quotes inside a field stay doubled: no key has quotes.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let fields = line.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    fields.map(|field| {
        let field = field.trim();
        field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)
    })
}

/// A shared credentials file, or its lines without a section's header.
fn ini(text: &str) -> Result<KeyParts<'_>, ParseError> {
    let mut sections: Vec<(&str, KeyParts<'_>)> = vec![("default", KeyParts::default())];
    for line in text.lines() {
        if let Some(name) = section_name(line) {
            sections.push((name, KeyParts::default()));
        } else if let (Some((_, parts)), Some((name, value))) = (sections.last_mut(), line.split_once('=')) {
            parts.note(name, value)?;
        }
    }
    sections.retain(|(_, parts)| parts.id.is_some() || parts.secret.is_some());
    if sections.is_empty() {
        return Err(ParseError::Unknown);
    }
    if let [_] = &sections[..] {
        return Ok(sections.remove(0).1);
    }
    let names = sections.iter().map(|(name, _)| shown(name)).collect();
    let mut defaults = sections.into_iter().filter(|(name, _)| *name == "default");
    match (defaults.next(), defaults.next()) {
        (Some((_, parts)), None) => Ok(parts),
        (Some(_), Some(_)) => Err(ParseError::Twice(ID)),
        (None, _) => Err(ParseError::Sections(names)),
    }
}

impl<'a> KeyParts<'a> {
    /// Reads a line of a section. Other settings are ignored, and so are indented lines, which belong to the line
    /// above.
    fn note(&mut self, name: &str, value: &'a str) -> Result<(), ParseError> {
        // Not copied: the text before a `=` may be a part of a secret.
        let is = |known| name.trim_end().eq_ignore_ascii_case(known);
        let (part, what) = if is("aws_access_key_id") {
            (&mut self.id, ID)
        } else if is("aws_secret_access_key") {
            (&mut self.secret, SECRET)
        } else if is("aws_session_token") || is("aws_security_token") {
            (&mut self.token, "session token")
        } else {
            return Ok(());
        };
        match part.replace(value) {
            Some(_) => Err(ParseError::Twice(what)),
            None => Ok(()),
        }
    }
}

fn section_name(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix('[')?.split_once(']')?;
    Some(name.trim())
}

/// The name of a section for a message; `[…]` if it does not look like a name.
fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if name.len() <= 40 && name.chars().all(is_plain) { format!("[{name}]") } else { "[…]".into() }
}
