//! What becomes of the file's text; pure.
//!
//! Lines are told apart as Python's configparser does, which reads the file for boto3 and the AWS CLI: comments begin
//! with `#` or `;` wherever they stand, a line that is indented more than the key before it goes on with that key's
//! value, names of keys are the same in either case, and `:` may stand for `=`. Other SDKs know less of this.
//!
//! A section or key that is there twice is refused by Python, while other SDKs merge them or take the last. So each
//! section of the profile gets the whole set, and of a key's duplicates only the first stays.

use anchord_core::clock;
use anchord_core::content::BYTE_ORDER_MARK;
use anchord_core::credentials::Credentials;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;

/// The text with the profile's keys replaced by those of `credentials`.
///
/// Outside of the profile's `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token` and
/// `x_security_token_expires` nothing changes. A token that the new keys do not have is removed, and so is
/// `aws_security_token`, which boto3 prefers to the token's present name. An `aws_account_id` is not added, but one
/// that is there becomes that of the new keys, or goes: SDKs call the hosts of the account that it names.
///
/// `None` where the profile has so many sections that they would make a text of another size out of it.
pub fn edit(text: &[u8], profile: &Profile, credentials: &Credentials) -> Option<Secret<Vec<u8>>> {
    let expiry = clock::rfc3339(credentials.expires_at());
    let token = credentials.session_token().map(|token| token.expose().as_str());
    let keys: [Key<'_>; 6] = [
        ("aws_access_key_id", Wanted::Always(credentials.access_key_id())),
        ("aws_secret_access_key", Wanted::Always(credentials.secret_access_key().expose())),
        ("aws_session_token", token.map_or(Wanted::Never, Wanted::Always)),
        // The name that saml2aws gave it, which other tools have learned to show; SDKs pass over it.
        (EXPIRY, Wanted::Always(&expiry)),
        ("aws_security_token", Wanted::Never),
        ("aws_account_id", credentials.account_id().map_or(Wanted::Never, Wanted::WhereItIs)),
    ];
    let (mark, body) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => (BYTE_ORDER_MARK, body),
        None => (&b""[..], text),
    };
    let lines: Vec<Line<'_>> = lines(body).collect();
    let sections = sections(&lines, profile);
    let longest: usize =
        keys.iter().map(|(name, wanted)| name.len() + wanted.value().map_or(0, str::len) + 16).sum();
    if sections.len() * longest > MOST_ADDED {
        return None;
    }
    // Room for all of it at once: a buffer that grows leaves copies of secrets behind.
    let room = 2 * text.len() + (sections.len() + 2) * (longest + profile.as_str().len());
    let mut out = Out { bytes: Secret::new(Vec::with_capacity(room)), ending: usual_ending(&lines) };
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

/// A section is a few bytes, and what is put into each may be thousands.
const MOST_ADDED: usize = 4 << 20;

/// What the profile's expiry is called.
const EXPIRY: &str = "x_security_token_expires";

/// A line and what ends it; nothing at the end of a text without a final line break.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    text: &'a [u8],
    ending: &'a [u8],
}

impl<'a> Line<'a> {
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

    /// The name in `[name]`, spaces and all.
    fn header(&self) -> Option<&'a [u8]> {
        let inside = self.trimmed().strip_prefix(b"[")?;
        let end = inside.iter().position(|byte| *byte == b']')?;
        (end > 0).then(|| &inside[..end])
    }

    /// Whether there is one more `]` behind `[name]`, up to which Python reads the name, and other SDKs do not.
    pub(super) fn closes_again(&self, name: &[u8]) -> bool {
        self.trimmed()[name.len() + 2..].contains(&b']')
    }

    /// Whether nothing stands from `start` on.
    pub(super) fn is_empty_from(&self, start: usize) -> bool {
        trim(&self.text[start..]).is_empty()
    }

    /// The key's name, and where the value begins in the text.
    fn key(&self) -> Option<(&'a [u8], usize)> {
        let delimiter = self.text.iter().position(|byte| matches!(byte, b'=' | b':'))?;
        let value = &self.text[delimiter + 1..];
        let gap = value.iter().take_while(|byte| is_space(**byte)).count();
        Some((trim(&self.text[..delimiter]), delimiter + 1 + gap))
    }

    /// What stands before a key's value, which begins at `value`: as it is, or as every SDK reads it.
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

/// Python takes a carriage return alone for a line's end too.
pub(super) fn lines(mut rest: &[u8]) -> impl Iterator<Item = Line<'_>> {
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
        let line = Line { text: &rest[..end], ending: &rest[end..end + breaks] };
        rest = &rest[end + breaks..];
        Some(line)
    })
}

fn usual_ending<'a>(lines: &[Line<'a>]) -> &'a [u8] {
    lines.first().map(|line| line.ending).filter(|ending| !ending.is_empty()).unwrap_or(b"\n")
}

/// What a line is to the lines around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Header(&'a [u8]),
    Key(&'a [u8], usize),
    /// Goes on with the value of the key before it.
    Continuation,
    /// A comment, a blank line, or nothing that anybody can read.
    Other,
}

/// Tells lines apart, one after the other.
#[derive(Default)]
pub(super) struct Reader {
    /// How far the key is indented whose value may go on.
    open: Option<usize>,
    /// What stands before the first section is nobody's.
    is_in_section: bool,
}

impl Reader {
    pub(super) fn read<'a>(&mut self, line: &Line<'a>) -> Part<'a> {
        if line.is_blank_or_comment() {
            return Part::Other;
        }
        let indent = line.indent().len();
        if self.open.is_some_and(|open| indent > open) {
            return Part::Continuation;
        }
        if let Some(name) = line.header() {
            self.open = None;
            self.is_in_section = true;
            return Part::Header(name);
        }
        match line.key() {
            Some((name, value)) => {
                self.open = Some(indent).filter(|_| self.is_in_section);
                Part::Key(name, value)
            }
            None => Part::Other,
        }
    }
}

/// Where a section of the profile is: from its header to the next one.
struct Section {
    start: usize,
    end: usize,
    /// Python finds `[name]` only, others `[ name ]` too.
    is_exact: bool,
}

fn sections(lines: &[Line<'_>], profile: &Profile) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut is_open = false;
    let mut reader = Reader::default();
    for (index, line) in lines.iter().enumerate() {
        let Part::Header(name) = reader.read(line) else { continue };
        if let Some(last) = found.last_mut().filter(|_| is_open) {
            last.end = index;
        }
        is_open = trim(name) == profile.as_str().as_bytes();
        if is_open {
            let is_exact = name == profile.as_str().as_bytes();
            found.push(Section { start: index, end: lines.len(), is_exact });
        }
    }
    found
}

/// A name and what becomes of it.
type Key<'a> = (&'a str, Wanted<'a>);

#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Has this value, and is added where it is missing.
    Always(&'a str),
    /// Has this value where it is there already.
    WhereItIs(&'a str),
    /// Is removed.
    Never,
}

impl<'a> Wanted<'a> {
    fn value(self) -> Option<&'a str> {
        match self {
            Self::Always(value) | Self::WhereItIs(value) => Some(value),
            Self::Never => None,
        }
    }

    /// What is written where there is nothing yet.
    fn fresh(self) -> Option<&'a str> {
        match self {
            Self::Always(value) => Some(value),
            Self::WhereItIs(_) | Self::Never => None,
        }
    }
}

/// Writes one section, which is `length` lines long; the first is its header.
fn rewrite(lines: &[Line<'_>], length: usize, keys: &[Key<'_>], out: &mut Out<'_>) {
    let section = &lines[..length];
    let places = places(section, keys);
    let is_missing =
        |index: usize| !places.iter().any(|place| matches!(place, Place::First(at, _) if *at == index));
    let anchor = places.iter().rposition(|place| matches!(place, Place::First(..)));
    let indent = anchor.map_or_else(|| room_behind_header(lines), |at| section[at].indent());
    for (index, (line, place)) in section.iter().zip(&places).enumerate() {
        match place {
            Place::Others => out.line(line),
            Place::Stray => out.commented(line),
            Place::Surplus => {}
            Place::First(key, value) => {
                // Python has no comments behind values: this one would be part of the key.
                if let Some(comment) = trailing_comment(&line.text[*value..]) {
                    out.fresh_line(&[line.indent(), comment], line.ending);
                }
                let new = keys[*key].1.value().unwrap_or_default();
                out.fresh_line(&[&line.head(*value, keys[*key].0), new.as_bytes()], line.ending);
            }
        }
        if index == anchor.unwrap_or(0) {
            let ending = if line.ending.is_empty() { out.ending } else { line.ending };
            let wanted = keys.iter().enumerate().filter(|(key, _)| is_missing(*key));
            for (name, value) in wanted.filter_map(|(_, (name, wanted))| Some((name, wanted.fresh()?))) {
                out.fresh_line(&[indent, name.as_bytes(), b" = ", value.as_bytes()], ending);
            }
        }
    }
}

/// How far a key behind the header has to be indented so that no line after it becomes part of its value.
fn room_behind_header<'a>(lines: &[Line<'a>]) -> &'a [u8] {
    let mut reader = Reader::default();
    let mut deepest: &[u8] = b"";
    for line in &lines[1..] {
        let part = reader.read(line);
        if !line.is_blank_or_comment() && line.indent().len() > deepest.len() {
            deepest = line.indent();
        }
        if matches!(part, Part::Key(..) | Part::Header(_)) {
            break;
        }
    }
    deepest
}

/// A `#` or `;` behind a space, which is no part of any key.
fn trailing_comment(value: &[u8]) -> Option<&[u8]> {
    let at = value.windows(2).position(|pair| is_space(pair[0]) && matches!(pair[1], b'#' | b';'))?;
    Some(&value[at + 1..])
}

/// What is done with a line of the profile.
#[derive(Clone, Copy)]
enum Place {
    /// Not ours.
    Others,
    /// The first of this key in the section, and where its value begins.
    First(usize, usize),
    /// A duplicate, a key to be removed, or more of an old value.
    Surplus,
    /// A setting that somebody indented by mistake, so that it was part of an old value.
    Stray,
}

fn places(section: &[Line<'_>], keys: &[Key<'_>]) -> Vec<Place> {
    let mut reader = Reader::default();
    let mut seen = vec![false; keys.len()];
    let mut is_in_ours = false;
    let ours = |name: &[u8]| keys.iter().position(|(key, _)| name.eq_ignore_ascii_case(key.as_bytes()));
    let place = |line: &Line<'_>| match reader.read(line) {
        Part::Header(_) | Part::Other => Place::Others,
        Part::Continuation if !is_in_ours => Place::Others,
        Part::Continuation => match setting_in(line) {
            Some(name) if ours(name).is_none() => Place::Stray,
            _ => Place::Surplus,
        },
        Part::Key(name, value) => {
            let Some(key) = ours(name) else {
                is_in_ours = false;
                return Place::Others;
            };
            is_in_ours = true;
            if keys[key].1.value().is_none() || std::mem::replace(&mut seen[key], true) {
                return Place::Surplus;
            }
            Place::First(key, value)
        }
    };
    section.iter().map(place).collect()
}

/// The name in `name = value`, if this is no piece of base64, which may end in `=`.
fn setting_in<'a>(line: &Line<'a>) -> Option<&'a [u8]> {
    let (name, value) = line.key()?;
    let is_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let value = &line.text[value..];
    let is_setting =
        !name.is_empty() && name.iter().all(is_name) && !matches!(value.first(), None | Some(b'='));
    is_setting.then_some(name)
}

fn append(profile: &Profile, keys: &[Key<'_>], out: &mut Out<'_>) {
    let ending = out.ending;
    if !out.is_empty() {
        out.fresh_line(&[], ending);
    }
    out.fresh_line(&[b"[", profile.as_str().as_bytes(), b"]"], ending);
    for (name, value) in keys.iter().filter_map(|(name, wanted)| Some((name, wanted.fresh()?))) {
        out.fresh_line(&[name.as_bytes(), b" = ", value.as_bytes()], ending);
    }
}

/// The new text.
struct Out<'a> {
    bytes: Secret<Vec<u8>>,
    /// For lines that have no neighbour to take it from.
    ending: &'a [u8],
}

impl Out<'_> {
    fn push(&mut self, more: &[u8]) {
        self.bytes.change(|bytes| bytes.extend_from_slice(more));
    }

    fn is_empty(&self) -> bool {
        matches!(self.bytes.expose().as_slice(), b"" | BYTE_ORDER_MARK)
    }

    fn line(&mut self, line: &Line<'_>) {
        self.fresh_line(&[line.text], line.ending);
    }

    fn commented(&mut self, line: &Line<'_>) {
        self.fresh_line(&[b"# ", line.trimmed()], line.ending);
    }

    /// A line of its own, even behind one that was the last and had no ending.
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
