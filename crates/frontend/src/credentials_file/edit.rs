//! Edits the text of the file. Pure.
//!
//! Lines are classified as in Python's configparser, which boto3 and the AWS CLI use: a comment begins with `#` or `;`
//! at any indentation, a line that is indented more than the key before it continues that key's value, key names are
//! case-insensitive, and `:` can replace `=`. Other SDKs support only a part of this.
//!
//! Python rejects a section or a key that occurs twice. Other SDKs merge them or use the last one. So every section of
//! the profile gets the whole set of keys, and of a key's duplicates only the first stays.

use anchord_core::clock;
use anchord_core::content::BYTE_ORDER_MARK;
use anchord_core::credentials::Credentials;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;

/// Returns the text with the profile's keys replaced by those of `credentials`.
///
/// It sets `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token` and `x_security_token_expires` of the
/// profile. It removes `aws_session_token` if the credentials have no token, and always `aws_security_token`, which
/// boto3 prefers to `aws_session_token`. It does not add `aws_account_id`, but corrects one that is present, or removes
/// it if the account is unknown, because SDKs use it in the names of hosts. Nothing else changes.
///
/// Returns `None` if the profile has so many sections that the keys in all of them would add more than 4 MiB.
pub fn edit(text: &[u8], profile: &Profile, credentials: &Credentials) -> Option<Secret<Vec<u8>>> {
    let expiry = clock::rfc3339(credentials.expires_at());
    let token = credentials.session_token().map(|token| token.expose().as_str());
    let keys: [KeyEdit<'_>; 6] = [
        ("aws_access_key_id", Change::Set(credentials.access_key_id())),
        ("aws_secret_access_key", Change::Set(credentials.secret_access_key().expose())),
        ("aws_session_token", token.map_or(Change::Remove, Change::Set)),
        // The name that saml2aws introduced, and that other tools show. SDKs ignore it.
        (EXPIRY, Change::Set(&expiry)),
        ("aws_security_token", Change::Remove),
        ("aws_account_id", credentials.account_id().map_or(Change::Remove, Change::SetIfPresent)),
    ];
    let (mark, body) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => (BYTE_ORDER_MARK, body),
        None => (&b""[..], text),
    };
    let lines: Vec<IniLine<'_>> = lines(body).collect();
    let sections = sections(&lines, profile);
    let mut longest = 0;
    for (name, change) in &keys {
        longest += name.len() + change.value().map_or(0, str::len) + 16;
    }
    if sections.len() * longest > MOST_ADDED {
        return None;
    }
    // A buffer for the whole text, because one that grows leaves copies of secrets in memory.
    let room = 2 * text.len() + (sections.len() + 2) * (longest + profile.as_str().len());
    let mut out = Output { bytes: Secret::new(Vec::with_capacity(room)), ending: usual_ending(&lines) };
    out.push(mark);
    let mut done = 0;
    for section in &sections {
        lines[done..section.start].iter().for_each(|line| out.line(line));
        rewrite(&lines[section.start..], section.end - section.start, &keys, &mut out);
        done = section.end;
    }
    lines[done..].iter().for_each(|line| out.line(line));
    if !sections.iter().any(|section| section.is_exact) {
        append(profile, &keys, &mut out);
    }
    Some(out.bytes)
}

/// The limit of added bytes. A header of few bytes can get keys of thousands of bytes.
const MOST_ADDED: usize = 4 << 20;

/// The key of the credentials' expiry.
const EXPIRY: &str = "x_security_token_expires";

/// A line and its line break, which is empty at the end of a text without a final one.
#[derive(Clone, Copy)]
pub(super) struct IniLine<'a> {
    text: &'a [u8],
    ending: &'a [u8],
}

impl<'a> IniLine<'a> {
    fn indent(&self) -> &'a [u8] {
        let length = self.text.iter().take_while(|byte| is_space(**byte)).count();
        &self.text[..length]
    }

    pub(super) fn trimmed(&self) -> &'a [u8] {
        trim(self.text)
    }

    fn is_blank_or_comment(&self) -> bool {
        matches!(self.trimmed().first(), None | Some(b'#' | b';'))
    }

    /// The name in `[name]`, including spaces.
    fn header(&self) -> Option<&'a [u8]> {
        let inside = self.trimmed().strip_prefix(b"[")?;
        let end = inside.iter().position(|byte| *byte == b']')?;
        (end > 0).then(|| &inside[..end])
    }

    /// Whether there is another `]` after `[name]`. Python reads the name up to the last `]`, other SDKs up to the
    /// first.
    pub(super) fn closes_again(&self, name: &[u8]) -> bool {
        self.trimmed()[name.len() + 2..].contains(&b']')
    }

    /// Whether the line has only spaces from `start` on.
    pub(super) fn is_empty_from(&self, start: usize) -> bool {
        trim(&self.text[start..]).is_empty()
    }

    /// The key's name, and the index at which the value begins.
    fn key(&self) -> Option<(&'a [u8], usize)> {
        let delimiter = self.text.iter().position(|byte| matches!(byte, b'=' | b':'))?;
        let value = &self.text[delimiter + 1..];
        let gap = value.iter().take_while(|byte| is_space(**byte)).count();
        Some((trim(&self.text[..delimiter]), delimiter + 1 + gap))
    }

    /// The line up to a key's value, which begins at `value`. Unchanged if every SDK can read it, otherwise rewritten.
    fn head(&self, value: usize, name: &str) -> Vec<u8> {
        let head = &self.text[..value];
        let spelled = trim(head).strip_prefix(name.as_bytes()).map(trim);
        if spelled == Some(b"=") { head.to_vec() } else { [self.indent(), name.as_bytes(), b" = "].concat() }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Splits a text into lines. A carriage return alone ends a line too, as in Python.
pub(super) fn lines(mut rest: &[u8]) -> impl Iterator<Item = IniLine<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let breaks = match &rest[end..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        let line = IniLine { text: &rest[..end], ending: &rest[end..end + breaks] };
        rest = &rest[end + breaks..];
        Some(line)
    })
}

fn usual_ending<'a>(lines: &[IniLine<'a>]) -> &'a [u8] {
    lines.first().map(|line| line.ending).filter(|ending| !ending.is_empty()).unwrap_or(b"\n")
}

/// What a line means after the lines before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind<'a> {
    /// A section's header with its name.
    Header(&'a [u8]),
    /// A key's name, and the index at which its value begins.
    Key(&'a [u8], usize),
    /// Continues the value of the key before it.
    Continuation,
    /// A comment, a blank line, or text that no program can read.
    Other,
}

/// Classifies the lines of a text, from the first to the last.
#[derive(Default)]
pub(super) struct LineClassifier {
    /// The indentation of the last key, if its value can continue.
    key_indent: Option<usize>,
    /// Whether there was a header. Keys before the first one have no section, so no line continues their values.
    is_in_section: bool,
}

impl LineClassifier {
    pub(super) fn classify<'a>(&mut self, line: &IniLine<'a>) -> LineKind<'a> {
        if line.is_blank_or_comment() {
            return LineKind::Other;
        }
        let indent = line.indent().len();
        if self.key_indent.is_some_and(|key_indent| indent > key_indent) {
            return LineKind::Continuation;
        }
        if let Some(name) = line.header() {
            self.key_indent = None;
            self.is_in_section = true;
            return LineKind::Header(name);
        }
        match line.key() {
            Some((name, value)) => {
                self.key_indent = Some(indent).filter(|_| self.is_in_section);
                LineKind::Key(name, value)
            }
            None => LineKind::Other,
        }
    }
}

/// The lines of one section of the profile, from its header to the next header.
struct ProfileSection {
    start: usize,
    end: usize,
    /// Whether the header is `[name]`. Python does not find `[ name ]`, other SDKs do.
    is_exact: bool,
}

fn sections(lines: &[IniLine<'_>], profile: &Profile) -> Vec<ProfileSection> {
    let mut found: Vec<ProfileSection> = Vec::new();
    let mut is_in_profile = false;
    let mut classifier = LineClassifier::default();
    for (index, line) in lines.iter().enumerate() {
        let LineKind::Header(name) = classifier.classify(line) else { continue };
        if is_in_profile && let Some(last) = found.last_mut() {
            last.end = index;
        }
        is_in_profile = trim(name) == profile.as_str().as_bytes();
        if is_in_profile {
            let is_exact = name == profile.as_str().as_bytes();
            found.push(ProfileSection { start: index, end: lines.len(), is_exact });
        }
    }
    found
}

/// A key's name and its change.
type KeyEdit<'a> = (&'a str, Change<'a>);

#[derive(Clone, Copy)]
enum Change<'a> {
    /// Set to this value; added if missing.
    Set(&'a str),
    /// Set to this value; not added if missing.
    SetIfPresent(&'a str),
    /// Removed.
    Remove,
}

impl<'a> Change<'a> {
    fn value(self) -> Option<&'a str> {
        match self {
            Self::Set(value) | Self::SetIfPresent(value) => Some(value),
            Self::Remove => None,
        }
    }

    /// The value for a section that does not have the key.
    fn added_value(self) -> Option<&'a str> {
        match self {
            Self::Set(value) => Some(value),
            Self::SetIfPresent(_) | Self::Remove => None,
        }
    }
}

/// Writes one section: the first `length` of `lines`, beginning with its header. Missing keys follow the last key that
/// is replaced, or the header.
fn rewrite(lines: &[IniLine<'_>], length: usize, keys: &[KeyEdit<'_>], out: &mut Output<'_>) {
    let section = &lines[..length];
    let edits = line_edits(section, keys);
    let mut is_missing = vec![true; keys.len()];
    let (mut last_replaced, mut indent) = (0, indent_after_header(lines));
    for (index, edit) in edits.iter().enumerate() {
        if let LineEdit::Replace { key, .. } = edit {
            is_missing[*key] = false;
            (last_replaced, indent) = (index, section[index].indent());
        }
    }
    for (index, (line, edit)) in section.iter().zip(&edits).enumerate() {
        match edit {
            LineEdit::Keep => out.line(line),
            LineEdit::CommentOut => out.commented(line),
            LineEdit::Remove => {}
            LineEdit::Replace { key, value_at } => replace_value(line, *value_at, keys[*key], out),
        }
        if index == last_replaced {
            let ending = if line.ending.is_empty() { out.ending } else { line.ending };
            for ((name, change), is_missing) in keys.iter().zip(&is_missing) {
                if *is_missing && let Some(value) = change.added_value() {
                    out.fresh_line(&[indent, name.as_bytes(), b" = ", value.as_bytes()], ending);
                }
            }
        }
    }
}

fn replace_value(line: &IniLine<'_>, value_at: usize, (name, change): KeyEdit<'_>, out: &mut Output<'_>) {
    // Python has no comments after values: a comment on this line would become part of the value.
    if let Some(comment) = trailing_comment(&line.text[value_at..]) {
        out.fresh_line(&[line.indent(), comment], line.ending);
    }
    let new = change.value().unwrap_or_default();
    out.fresh_line(&[&line.head(value_at, name), new.as_bytes()], line.ending);
}

/// The indentation that a key directly after the header needs, so that no line after it continues its value.
fn indent_after_header<'a>(lines: &[IniLine<'a>]) -> &'a [u8] {
    let mut classifier = LineClassifier::default();
    let mut deepest: &[u8] = b"";
    for line in &lines[1..] {
        let kind = classifier.classify(line);
        if !line.is_blank_or_comment() && line.indent().len() > deepest.len() {
            deepest = line.indent();
        }
        if matches!(kind, LineKind::Key(..) | LineKind::Header(_)) {
            break;
        }
    }
    deepest
}

/// A comment after the value: `#` or `;` after a space, which no key contains.
fn trailing_comment(value: &[u8]) -> Option<&[u8]> {
    let at = value.windows(2).position(|pair| is_space(pair[0]) && matches!(pair[1], b'#' | b';'))?;
    Some(&value[at + 1..])
}

/// How a line of the profile changes.
#[derive(Clone, Copy)]
enum LineEdit {
    /// Not one of our keys.
    Keep,
    /// The first line of this key in the section gets the new value.
    Replace { key: usize, value_at: usize },
    /// A duplicate, a key to be removed, or a continuation of an old value.
    Remove,
    /// Another setting that is indented, perhaps by mistake, so that it continued an old value.
    CommentOut,
}

fn line_edits(section: &[IniLine<'_>], keys: &[KeyEdit<'_>]) -> Vec<LineEdit> {
    let mut classifier = LineClassifier::default();
    let mut seen = vec![false; keys.len()];
    let mut is_after_ours = false;
    let mut edits = Vec::with_capacity(section.len());
    for line in section {
        edits.push(match classifier.classify(line) {
            LineKind::Header(_) | LineKind::Other => LineEdit::Keep,
            LineKind::Continuation if !is_after_ours => LineEdit::Keep,
            LineKind::Continuation => match setting_in(line) {
                Some(name) if position(keys, name).is_none() => LineEdit::CommentOut,
                _ => LineEdit::Remove,
            },
            LineKind::Key(name, value_at) => {
                let key = position(keys, name);
                is_after_ours = key.is_some();
                match key {
                    None => LineEdit::Keep,
                    Some(key) if seen[key] || keys[key].1.value().is_none() => LineEdit::Remove,
                    Some(key) => {
                        seen[key] = true;
                        LineEdit::Replace { key, value_at }
                    }
                }
            }
        });
    }
    edits
}

fn position(keys: &[KeyEdit<'_>], name: &[u8]) -> Option<usize> {
    keys.iter().position(|(key, _)| name.eq_ignore_ascii_case(key.as_bytes()))
}

/// The name in `name = value`, if the line is not a piece of base64, which may end with `=`.
fn setting_in<'a>(line: &IniLine<'a>) -> Option<&'a [u8]> {
    let (name, value) = line.key()?;
    let is_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let value = &line.text[value..];
    let is_setting =
        !name.is_empty() && name.iter().all(is_name) && !matches!(value.first(), None | Some(b'='));
    is_setting.then_some(name)
}

fn append(profile: &Profile, keys: &[KeyEdit<'_>], out: &mut Output<'_>) {
    let ending = out.ending;
    if !out.is_empty() {
        out.fresh_line(&[], ending);
    }
    out.fresh_line(&[b"[", profile.as_str().as_bytes(), b"]"], ending);
    for (name, change) in keys {
        if let Some(value) = change.added_value() {
            out.fresh_line(&[name.as_bytes(), b" = ", value.as_bytes()], ending);
        }
    }
}

/// The new text.
struct Output<'a> {
    bytes: Secret<Vec<u8>>,
    /// The line break of new lines, if the line before has none.
    ending: &'a [u8],
}

impl Output<'_> {
    fn push(&mut self, more: &[u8]) {
        self.bytes.change(|bytes| bytes.extend_from_slice(more));
    }

    fn is_empty(&self) -> bool {
        matches!(self.bytes.expose().as_slice(), b"" | BYTE_ORDER_MARK)
    }

    fn line(&mut self, line: &IniLine<'_>) {
        self.fresh_line(&[line.text], line.ending);
    }

    fn commented(&mut self, line: &IniLine<'_>) {
        self.fresh_line(&[b"# ", line.trimmed()], line.ending);
    }

    /// Writes a line. Ends the line before it first, if that was the last of the text and had no line break.
    fn fresh_line(&mut self, parts: &[&[u8]], ending: &[u8]) {
        if !self.is_empty() && !matches!(self.bytes.expose().last(), Some(b'\n' | b'\r')) {
            self.push(self.ending);
        }
        parts.iter().for_each(|part| self.push(part));
        self.push(ending);
    }
}

#[cfg(test)]
mod tests;
