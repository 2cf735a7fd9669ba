//! Parses single values: durations, addresses, names.
//!
//! Each function takes a text and returns its value, or says what is wrong with the text. It does not know the origin
//! of the text. Messages repeat a text only through [`echo`], and never if it looks like key material.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use super::LogFormat;
use super::LogLevel;
use anchord_core::access;
use anchord_core::access::Principal;
use anchord_core::arn;
use anchord_core::arn::ProfileArn;
use anchord_core::arn::Region;
use anchord_core::arn::RoleArn;
use anchord_core::arn::TrustAnchorArn;
use anchord_core::text::Text;

/// What is wrong with a value, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    /// The same without the value, if `what` contains it.
    without_value: Option<String>,
    pub(super) hint: Option<Text>,
}

impl Fault {
    /// A fault whose message contains no value.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), without_value: None, hint: None }
    }

    /// A fault whose message begins with the value; `what` is the rest.
    pub(super) fn of(value: &str, what: impl Display) -> Self {
        let without_value = Some(format!("the value {what}"));
        Self { without_value, ..Self::new(format!("{} {what}", echo(value))) }
    }

    /// A fault whose message may quote any part of the value.
    pub(super) fn quoting(what: impl Display) -> Self {
        Self { without_value: Some("the value cannot be used".into()), ..Self::new(what.to_string()) }
    }

    pub(super) fn hint(mut self, hint: impl Into<Text>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault with `place` in front of its message.
    pub(super) fn at(self, place: impl Display) -> Self {
        let at = |what: String| format!("{place}: {what}");
        Self { what: at(self.what), without_value: self.without_value.map(at), hint: self.hint }
    }

    /// The same fault without the value. Programs log anchord's messages about their command lines, and a value in the
    /// wrong place may be a secret.
    pub(super) fn without_value(mut self) -> Self {
        self.what = self.without_value.take().unwrap_or(self.what);
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<Text>) -> Self {
        self.hint = hint;
        self
    }
}

/// A proxy in the form of `HTTPS_PROXY`: `http://user:password@host:port`, where scheme and login are optional. No
/// message repeats any part of it, because in a malformed text any part may be the password.
pub(super) fn proxy(text: &str) -> Result<&str, Fault> {
    const FORM: &str = "the form is http://host:port";
    let (scheme, rest) = match text.trim().split_once("://") {
        Some(parts) => parts,
        None if text.contains(":/") => return Err(Fault::new("names a proxy without `//`").hint(FORM)),
        None => ("http", text.trim()),
    };
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        let hint = if scheme.starts_with("socks") { "SOCKS is not supported" } else { FORM };
        return Err(Fault::new("names a proxy that is neither http nor https").hint(hint));
    }
    let place = rest.rsplit('@').next().unwrap_or_default();
    let place = place.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (address, port.strip_prefix(':')),
        Some(_) => ("", None),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let is_of_host = |letter: char| letter.is_alphanumeric() || "-._:".contains(letter);
    if !host.starts_with(|first: char| first.is_alphanumeric() || first == ':')
        || !host.chars().all(is_of_host)
    {
        return Err(Fault::new("names a proxy without a valid host").hint(FORM));
    }
    if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        return Err(Fault::new("names a proxy whose port is not a number up to 65535")
            .hint("the form is http://user:password@host:port"));
    }
    Ok(text)
}

/// Refuses texts that are valid for no option, before any message repeats them.
pub(super) fn plain(text: &str) -> Result<&str, Fault> {
    if text.is_empty() {
        return Err(Fault::new("is empty"));
    }
    if text.contains(PEM_BEGIN) {
        return Err(Fault::new("holds PEM text").hint("give the path of a file"));
    }
    if MARKS.iter().any(|mark| text.contains(mark)) || is_base64_of_der(text) {
        return Err(Fault::new(CONTENT).hint("give the path of a file"));
    }
    if text.contains(char::is_control) {
        return Err(Fault::new("holds a control character or a line break"));
    }
    Ok(text)
}

/// The same for options that only take a path.
pub(super) fn place(text: &str) -> Result<&str, Fault> {
    let text = plain(text)?;
    if is_key_material(text) { Err(Fault::new(CONTENT).hint("give the path of a file")) } else { Ok(text) }
}

const CONTENT: &str = "holds the content of a key or certificate";
const PEM_BEGIN: &str = "-----BEGIN";
/// Parts of PEM text, and how `-----BEGI` and an OpenSSH key begin in Base64.
const MARKS: [&str; 5] = [PEM_BEGIN, "PRIVATE KEY-----", "-----END", "LS0tLS1CRUdJ", "b3BlbnNzaC1rZXk"];

/// Whether `text` looks like the content of a key or certificate file, or a part of it: PEM text, Base64 or hexadecimal
/// digits.
pub fn is_key_material(text: &str) -> bool {
    let bare = text.trim();
    let bare = bare.strip_prefix("file:").unwrap_or(bare);
    // Paths in practice are not this long without a dot and with all three kinds of characters.
    let has_all_kinds = [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit]
        .iter()
        .all(|is_of_kind| bare.bytes().any(|byte| is_of_kind(&byte)));
    let is_base64 = !bare.starts_with('/') && bare.bytes().all(is_of_base64);
    let is_base64_url = bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte));
    let is_hex = bare.bytes().all(|byte| byte.is_ascii_hexdigit() || b": ".contains(&byte));
    MARKS.iter().any(|mark| text.contains(mark))
        || bare.len() >= SHORTEST_KEY && (is_hex || has_all_kinds && (is_base64 || is_base64_url))
}

fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/= ".contains(&byte)
}

/// Whether `text` looks like the body of a PEM section on one line. DER of keys and certificates begins with a
/// SEQUENCE, which is an `M` in Base64.
fn is_base64_of_der(text: &str) -> bool {
    text.len() >= SHORTEST_KEY && text.starts_with('M') && text.bytes().all(is_of_base64)
}

/// The length of an Ed25519 key in PKCS#8, in Base64.
const SHORTEST_KEY: usize = 64;

/// Quotes a user's name or value for a message: shortened, and on one line.
pub(super) fn echo(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_ECHO).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}

const LONGEST_ECHO: usize = 100;

/// Accepts any text.
pub(super) fn text(text: &str) -> Result<String, Fault> {
    Ok(text.into())
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::of(text, "is neither `true` nor `false`")),
    }
}

/// The kinds of sources that a session may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    RolesAnywhere,
    AccessKeys,
}

/// The kind of a session's source.
pub(super) fn source(text: &str) -> Result<SourceKind, Fault> {
    match text {
        "roles-anywhere" => Ok(SourceKind::RolesAnywhere),
        "access-keys" => Ok(SourceKind::AccessKeys),
        _ => Err(Fault::of(text, "is not a source (roles-anywhere, access-keys)")),
    }
}

/// The log level of this name.
pub(super) fn level(text: &str) -> Result<LogLevel, Fault> {
    one_of(text, &LogLevel::ALL, LogLevel::as_str)
}

/// The log format of this name.
pub(super) fn format(text: &str) -> Result<LogFormat, Fault> {
    one_of(text, &LogFormat::ALL, LogFormat::as_str)
}

fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, Fault> {
    let names: Vec<_> = all.iter().map(|&value| name(value)).collect();
    all.iter()
        .copied()
        .find(|&value| name(value) == text)
        .ok_or_else(|| Fault::of(text, format!("is not one of {}", names.join(", "))))
}

/// `1h`, `1h30m`, `500ms`, or a plain number of seconds.
pub(super) fn span(text: &str) -> Result<Duration, Fault> {
    let malformed = || {
        Fault::of(text, "is not a duration")
            .hint("write a number and a unit (ms, s, m, h), such as 45m or 1h30m; a plain number is seconds")
    };
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let number: u64 = rest[..digits].parse().map_err(|_| malformed())?;
        let milliseconds = match &rest[digits..digits + letters] {
            "" if digits == text.len() => 1000,
            "s" => 1000,
            "ms" => 1,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            _ => return Err(malformed()),
        };
        let part = number.checked_mul(milliseconds).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(malformed)?;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { Err(malformed()) } else { Ok(total) }
}

/// A session duration as CreateSession accepts it: 900 to 43200 whole seconds.
pub(super) fn session_duration(text: &str) -> Result<Duration, Fault> {
    let duration = span(text)?;
    if duration < Duration::from_secs(900) {
        return Err(Fault::of(text, "is shorter than 15m, the minimum of AWS"));
    }
    if duration > Duration::from_secs(43200) {
        return Err(Fault::of(text, "is longer than 12h, the maximum of AWS"));
    }
    if duration.subsec_nanos() != 0 {
        return Err(Fault::of(text, "is not a whole number of seconds"));
    }
    Ok(duration)
}

/// A limit of up to an hour, with its unit; `none` or `-1` for no limit.
pub(super) fn timeout(text: &str) -> Result<Option<Duration>, Fault> {
    if matches!(text, "none" | "-1") {
        return Ok(None);
    }
    let read = span(text);
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = match read {
        // Some programs count time-outs in seconds, others in milliseconds. A number without a unit is ambiguous.
        Ok(limit) if is_bare && !limit.is_zero() => {
            return Err(Fault::of(text, "has no unit").hint(units(text)));
        }
        Ok(limit) => limit,
        Err(fault) => return Err(fault.hint(units(text))),
    };
    if limit.is_zero() {
        return Err(Fault::of(text, "is not a valid time-out").hint("use `none` for no limit"));
    }
    if limit > Duration::from_secs(3600) {
        return Err(Fault::of(text, "is longer than 1h").hint("use `none` for no limit"));
    }
    Ok(Some(limit))
}

/// The hint for a time-out without a valid unit.
fn units(text: &str) -> String {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let is_word = unit.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' ');
    if (1..=12).contains(&digits) && is_word {
        return format!("write `{number}ms` or `{number}s`");
    }
    "write a number and a unit (ms, s, m, h), such as 3000ms, 3000s or 1h30m; use `none` for no limit".into()
}

/// An address that only this host can reach.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    let address: SocketAddr = text.parse().map_err(|_| {
        Fault::of(text, "is not an address with a port")
            .hint("write numbers, such as 127.0.0.1:9911 or [::1]:9911")
    })?;
    if access::is_near(address.ip()) {
        return Ok(address);
    }
    Err(Fault::of(text, "can be reached from other hosts, and any client there would get credentials")
        .hint("use a loopback or link-local address (127.0.0.0/8, ::1, 169.254.0.0/16, fd00:ec2::/32)"))
}

/// Who is allowed: one of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    Anybody,
    One(Principal),
}

/// `any`, `user:NAME`, `group:NAME` or `unit:NAME`.
pub(super) fn allowed(text: &str) -> Result<Allowed, Fault> {
    if text == "any" {
        return Ok(Allowed::Anybody);
    }
    Principal::parse(text).map(Allowed::One).ok_or_else(|| {
        Fault::of(text, "names no user, group or unit")
            .hint("write user:NAME, group:NAME, unit:NAME.service or any")
    })
}

/// The name or number of a group.
pub(super) fn group(text: &str) -> Result<Principal, Fault> {
    Principal::of("group", text).ok_or_else(|| Fault::of(text, "is not the name of a group"))
}

/// `https://host[:port]`, without a trailing slash.
pub(super) fn endpoint(text: &str) -> Result<String, Fault> {
    let form = "write https://host or https://host:port";
    // A login in a URL is a secret, so the message does not repeat the text.
    if text.contains('@') {
        return Err(Fault::new("holds a user name").hint(form));
    }
    let Some(rest) = text.strip_prefix("https://") else {
        return Err(Fault::of(text, "does not begin with https://").hint(form));
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, port),
        _ => (authority, "443"),
    };
    let host_is_plain = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => {
            host.len() <= 253
                && host.split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                })
        }
    };
    let port_is_plain =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if host_is_plain && port_is_plain {
        return Ok(format!("https://{authority}"));
    }
    Err(Fault::of(text, "is not a host with an optional port").hint(form))
}

/// Permissions in octal.
pub(super) fn mode(text: &str) -> Result<u32, Fault> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(text, 8).ok().filter(|&mode| octal && mode <= 0o777).ok_or_else(|| {
        Fault::of(text, "is not a file mode").hint("write three octal digits, such as 0600 or 0660")
    })
}

/// A session's name. It becomes a part of paths and URLs.
pub(super) fn session_name(text: &str) -> Result<String, Fault> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| plain(b) || b"._-".contains(&b))
        && text.bytes().next().is_some_and(plain);
    if fits {
        return Ok(text.into());
    }
    Err(Fault::of(text, "is not a session name")
        .hint("use 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit"))
}

/// A role session name as CreateSession accepts it (`roleSessionName`).
pub(super) fn role_session_name(text: &str) -> Result<String, Fault> {
    let fits = (2..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if fits {
        return Ok(text.into());
    }
    Err(Fault::of(text, "is not a role session name").hint("use 2 to 64 letters, digits and `_+=,.@-`"))
}

/// A Region's name.
pub(super) fn region(text: &str) -> Result<Region, Fault> {
    Region::parse(text).map_err(|error| name_fault(text, &error))
}

/// A Region's name; `None` for `auto`.
pub(super) fn region_or_auto(text: &str) -> Result<Option<Region>, Fault> {
    if text == "auto" { Ok(None) } else { region(text).map(Some) }
}

/// A trust anchor's ARN.
pub(super) fn trust_anchor(text: &str) -> Result<TrustAnchorArn, Fault> {
    TrustAnchorArn::parse(text).map_err(|error| name_fault(text, &error))
}

/// A profile's ARN.
pub(super) fn profile(text: &str) -> Result<ProfileArn, Fault> {
    ProfileArn::parse(text).map_err(|error| name_fault(text, &error))
}

/// A role's ARN.
pub(super) fn role(text: &str) -> Result<RoleArn, Fault> {
    RoleArn::parse(text).map_err(|error| name_fault(text, &error))
}

fn name_fault(text: &str, error: &arn::Error) -> Fault {
    match error {
        arn::Error::Region(_) => {
            let form = "Regions are lower case with dashes, such as us-east-1";
            let hint = match nearest(text.trim(), Region::KNOWN.iter().copied()) {
                Some(meant) => format!("did you mean {meant}? {form}"),
                None => form.into(),
            };
            Fault::of(text, "is not a Region").hint(hint)
        }
        arn::Error::Arn { kind, shape, .. } => {
            Fault::of(text, format!("is not {kind}")).hint(format!("expected {shape}"))
        }
    }
}

/// The candidate of which `word` may be a misspelling.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
