//! Tells the forms of access keys apart and reads them. What is wrong is said without a word of what was read, but
//! for names of sections.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;

/// What is wrong with what should be a user's keys, completing "`file` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No form that is known.
    #[error("is in no form that access keys come in")]
    Unknown,
    /// JSON that is damaged, or is about something else.
    #[error("is not the JSON of an access key (line {line} column {column})")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A part is not there.
    #[error("has no {0}")]
    Missing(&'static str),
    /// A part is there twice.
    #[error("has more than one {0}")]
    Twice(&'static str),
    /// A part is not what it should be.
    #[error("has no usable {0}")]
    Malformed(&'static str),
    /// Sections of which none goes before the others.
    #[error("has keys in several sections, and none in [default]: {}", .0.join(", "))]
    Sections(Vec<String>),
    /// Keys that end.
    #[error("has temporary keys")]
    Temporary,
}

impl Fault {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Json { .. } | Self::Missing(_) => {
                "it may be a shared credentials file (`aws_access_key_id = …` and `aws_secret_access_key = …`), `ID:SECRET`, the CSV of IAM's console, or the JSON of `aws iam create-access-key`"
            }
            Self::Twice(_) => "leave the keys of one user in it",
            Self::Malformed(_) => {
                "copy both parts again: the access key ID is capital letters and digits, AKIA…, and neither part has blanks or quotes in it"
            }
            Self::Sections(_) => "call one of them [default], or give them a file of their own",
            Self::Temporary => "temporary keys end; give a user's own, AKIA…",
        }
    }
}

const ID: &str = "access key ID";
const SECRET: &str = "secret access key";

/// What was found; borrowed, so that nothing is left of it.
#[derive(Default)]
struct Found<'a> {
    id: Option<&'a str>,
    secret: Option<&'a str>,
    token: Option<&'a str>,
}

/// The keys in a text.
pub(super) fn parse(text: &str) -> Result<Keys, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.starts_with('{') {
        return json(text);
    }
    let first = text.lines().next().unwrap_or_default();
    if fields(first).any(|field| is_heading(field, ID)) {
        return csv(text)?.keys();
    }
    if let Some((id, secret)) = text.split_once(':').filter(|(id, _)| is_id(id)) {
        return Found { id: Some(id), secret: Some(secret), token: None }.keys();
    }
    ini(text)?.keys()
}

/// The same keys, if they can be a user's own.
pub(super) fn checked(keys: Keys) -> Result<Keys, Fault> {
    let is_temporary = keys.session_token.is_some() || keys.access_key_id.starts_with("ASIA");
    if is_temporary {
        return Err(Fault::Temporary);
    }
    // An ID is shown in logs, so the secret must not come in its place.
    if !is_id(&keys.access_key_id) {
        return Err(Fault::Malformed(ID));
    }
    keys.check().map_err(|_| Fault::Malformed(SECRET))?;
    Ok(keys)
}

fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=128).contains(&text.len()) && text.bytes().all(is_plain)
}

impl Found<'_> {
    fn keys(&self) -> Result<Keys, Fault> {
        let some = |part: Option<&str>, name| {
            let part = part.map(str::trim).filter(|part| !part.is_empty());
            part.map(str::to_owned).ok_or(Fault::Missing(name))
        };
        let access_key_id = some(self.id, ID)?;
        let secret_access_key = Secret::new(some(self.secret, SECRET)?);
        let session_token = some(self.token, "").ok().map(Secret::new);
        checked(Keys { access_key_id, secret_access_key, session_token })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created<'a> {
    #[serde(borrow)]
    access_key: AccessKey<'a>,
}

/// Text without escapes, as AWS writes it, is borrowed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccessKey<'a> {
    #[serde(borrow)]
    access_key_id: Cow<'a, str>,
    #[serde(borrow)]
    secret_access_key: Cow<'a, str>,
    /// That there is one is enough to know.
    session_token: Option<IgnoredAny>,
}

fn json(text: &str) -> Result<Keys, Fault> {
    let fault = |error: serde_json::Error| Fault::Json { line: error.line(), column: error.column() };
    // The object within may have been cut out of the whole.
    let created = serde_json::from_str(text).map(|Created { access_key }| access_key);
    let key: AccessKey<'_> =
        created.or_else(|error| serde_json::from_str(text).map_err(|_| error)).map_err(fault)?;
    Found {
        id: Some(&key.access_key_id),
        secret: Some(&key.secret_access_key),
        token: key.session_token.map(|_| "a token"),
    }
    .keys()
}

/// A line of headings and one of values; names of users and links may be beside the keys.
fn csv(text: &str) -> Result<Found<'_>, Fault> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let headings = lines.next().unwrap_or_default();
    let values = lines.next().ok_or(Fault::Missing(ID))?;
    if lines.next().is_some() {
        return Err(Fault::Twice(ID));
    }
    let value = |name| {
        let position = fields(headings).position(|heading| is_heading(heading, name))?;
        fields(values).nth(position)
    };
    Ok(Found { id: value(ID), secret: value(SECRET), token: None })
}

fn is_heading(field: &str, name: &str) -> bool {
    field.trim().eq_ignore_ascii_case(name)
}

/// The fields of a line, without the quotes around them; a quote within one stays doubled, for no key has any.
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

/// A shared credentials file, or its lines without a section.
fn ini(text: &str) -> Result<Found<'_>, Fault> {
    let mut sections: Vec<(&str, Found<'_>)> = vec![("default", Found::default())];
    for line in text.lines() {
        if let Some(name) = section_name(line) {
            sections.push((name, Found::default()));
        } else if let (Some((_, found)), Some((name, value))) = (sections.last_mut(), line.split_once('=')) {
            found.note(name, value)?;
        }
    }
    sections.retain(|(_, found)| found.id.is_some() || found.secret.is_some());
    let names = || sections.iter().map(|(name, _)| shown(name)).collect();
    let chosen: Vec<usize> = (0..sections.len()).filter(|index| sections[*index].0 == "default").collect();
    let index = match (&chosen[..], sections.len()) {
        (_, 0) => return Err(Fault::Unknown),
        ([index], _) => *index,
        ([], 1) => 0,
        ([], _) => return Err(Fault::Sections(names())),
        _ => return Err(Fault::Twice(ID)),
    };
    Ok(sections.swap_remove(index).1)
}

impl<'a> Found<'a> {
    /// Takes a line of a section, if it is about keys; one that is indented belongs to the one above it.
    fn note(&mut self, name: &str, value: &'a str) -> Result<(), Fault> {
        // Without a copy, for whatever precedes a `=` may be part of a secret.
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
            Some(_) => Err(Fault::Twice(what)),
            None => Ok(()),
        }
    }
}

fn section_name(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix('[')?.split_once(']')?;
    Some(name.trim())
}

/// The name of a section for a message, if it is one.
fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if name.len() <= 40 && name.chars().all(is_plain) { format!("[{name}]") } else { "[…]".into() }
}
