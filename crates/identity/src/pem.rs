//! Finds the sections of PEM files.
//!
//! It does not use `rustls-pki-types`, which leaves the text of keys in memory. That crate also ignores unknown labels,
//! while an error must say what the file holds instead.

use std::fmt;

use base64ct::Base64Unpadded;
use base64ct::Encoding as _;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::FileContent;
use super::Origin;
use anchord_core::content::BYTE_ORDER_MARK;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::secret::Secret;
use anchord_core::text::Text;

pub(super) mod other_formats;

/// The text around a section's label (RFC 7468, section 2).
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One section of a file, not decoded yet.
pub(super) struct PemSection<'a> {
    origin: &'a Origin,
    pub(super) label: &'a [u8],
    /// The number of its BEGIN line, from 1.
    pub(super) line: usize,
    lines: Vec<&'a [u8]>,
}

/// One certificate and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) origin: Origin,
    pub(super) position: usize,
    pub(super) der: Vec<u8>,
}

impl Certificate {
    /// The parsed form, which borrows from the DER.
    pub(super) fn parse(&self) -> Result<X509Certificate<'_>, Error> {
        let bad =
            |why: String| Error::BadCertificate { origin: self.origin.clone(), position: self.position, why };
        match X509Certificate::from_der(&self.der) {
            Ok(([], certificate)) => Ok(certificate),
            Ok((rest, _)) => Err(bad(format!("{} bytes follow it", rest.len()))),
            Err(error) => Err(bad(error.to_string())),
        }
    }
}

/// Why a PEM file does not have what is needed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file holds no section of the kind that is needed.
    #[error("{origin} holds no {wanted}{}", found_text(found))]
    Missing {
        /// The file.
        origin: Origin,
        /// What was looked for.
        wanted: &'static str,
        /// The labels of the PEM sections that were found instead.
        found: Vec<String>,
        /// What to do.
        hint: Text,
    },
    /// A section cannot be decoded.
    #[error("{origin} is damaged in line {line}: {damage}")]
    Damaged {
        /// The file.
        origin: Origin,
        /// From 1.
        line: usize,
        /// How.
        damage: Damage,
    },
    /// A certificate cannot be parsed.
    #[error("certificate {position} in {origin} cannot be parsed: {why}")]
    BadCertificate {
        /// Where.
        origin: Origin,
        /// Which certificate of the file, from 1.
        position: usize,
        /// What the parser said.
        why: String,
    },
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        Reason::FileUnusable
    }

    fn hint(&self) -> Option<Text> {
        Some(match self {
            Self::Missing { hint, .. } => hint.clone(),
            Self::Damaged { damage, origin, .. } => damage.hint(origin).into(),
            Self::BadCertificate { .. } => COPY_AGAIN.into(),
        })
    }
}

fn found_text(labels: &[String]) -> String {
    match labels {
        [] => ": it has no PEM section at all".into(),
        labels => format!(", only {}", labels.join(", ")),
    }
}

const COPY_AGAIN: &str = "copy the file again, complete from the BEGIN line to the END line";

/// Why a section cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It has no END line.
    NoEnd,
    /// Its BEGIN line is malformed.
    BadBegin,
    /// Its text is not base64.
    NotBase64,
    /// A BEGIN or END line is not on a line of its own.
    Joined,
    /// Line breaks were written as `\n`.
    Escaped,
    /// Something comes before BEGIN on its line.
    Preceded,
}

impl Damage {
    /// What to do about it.
    pub(super) fn hint(self, origin: &Origin) -> &'static str {
        match (self, origin.is_file()) {
            (Self::NoEnd | Self::BadBegin | Self::NotBase64, _) => COPY_AGAIN,
            (Self::Preceded, _) => other_formats::PRECEDED,
            (Self::Joined, true) => {
                "give each a line of its own: sed -E 's/-----(BEGIN|END) [A-Z0-9 ]+-----/\\n&\\n/g' OLD | grep . > NEW"
            }
            (Self::Joined, false) => "keep the line breaks: in a shell write \"$VARIABLE\" with the quotes",
            (Self::Escaped, true) => "make them line breaks: sed 's/\\\\n/\\n/g; s/\"//g' OLD > NEW",
            (Self::Escaped, false) => "make them line breaks: VARIABLE=\"$(printf %b \"$VARIABLE\")\"",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoEnd => "a section has no END line",
            Self::BadBegin => "a BEGIN line is malformed",
            Self::NotBase64 => "a section is not base64",
            Self::Joined => "a BEGIN or END line shares its line with something else",
            Self::Escaped => "its line breaks are the two characters `\\n`",
            Self::Preceded => "text precedes BEGIN on its line, perhaps an invisible character",
        })
    }
}

impl FileContent {
    /// Each line with its number. Concatenated files may have a byte order mark in the middle.
    fn lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut lines = Vec::new();
        let mut is_after_return = false;
        for line in self.bytes().expose().split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let is_second_half = is_after_return && line == b"\n";
            is_after_return = line.ends_with(b"\r");
            // CR LF ends one line.
            if !is_second_half {
                let line = line.trim_ascii();
                lines.push(line.strip_prefix(BYTE_ORDER_MARK).map_or(line, <[u8]>::trim_ascii_start));
            }
        }
        (1..).zip(lines)
    }

    /// All sections in order; text between them is ignored.
    pub(super) fn sections(&self) -> Result<Vec<PemSection<'_>>, Error> {
        let damaged = |(line, damage)| Error::Damaged { origin: self.origin.clone(), line, damage };
        self.sections_and_damage().into_iter().map(|found| found.map_err(damaged)).collect()
    }

    /// All readable sections, and the line of each damaged one.
    pub(super) fn sections_and_damage(&self) -> Vec<Result<PemSection<'_>, (usize, Damage)>> {
        let mut found = Vec::new();
        let mut open: Option<PemSection<'_>> = None;
        let mut hidden: Option<Hidden<'_>> = None;
        for (number, line) in self.lines() {
            if let Some(damage) = damage_of(line, open.is_some()) {
                // The rest of an open section cannot be found.
                open = None;
                found.push(Err((number, damage)));
            } else if let Some(label) = label_of(line) {
                found.extend(open.take().map(|unended| Err((unended.line, Damage::NoEnd))));
                open = Some(PemSection { origin: &self.origin, label, line: number, lines: Vec::new() });
            } else if let Some(mut section) = open.take() {
                if section.is_ended_by(line) {
                    found.push(Ok(section));
                } else {
                    section.lines.push(line);
                    open = Some(section);
                }
            } else if let Some(ended) = hidden.take_if(|hidden| hidden.is_ended_by(line)) {
                found.push(Err((ended.line, Damage::Preceded)));
            } else if count(line, BEGIN) > 0 {
                hidden = Hidden::of(number, line);
            }
            if open.is_some() {
                hidden = None;
            }
        }
        found.extend(open.map(|unended| Err((unended.line, Damage::NoEnd))));
        found
    }

    /// The content of the first section with this label.
    pub(super) fn labelled(&self, label: &str) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let sections = self.sections()?;
        let section = sections.iter().find(|section| section.label == label.as_bytes());
        section.map(PemSection::decode).transpose()
    }

    /// Every label in the file, known or not, in order.
    pub(super) fn labels(&self) -> Vec<String> {
        let labels = self.lines().filter_map(|(_, line)| label_of(line));
        labels.map(|label| String::from_utf8_lossy(label).chars().take(40).collect()).collect()
    }

    /// Whether a section carries the old OpenSSL encryption header (RFC 1421).
    pub(super) fn has_encryption_header(&self) -> bool {
        self.lines().any(|(_, line)| line.starts_with(b"Proc-Type: 4,ENCRYPTED"))
    }

    /// The error that it has no `wanted`, with a hint for what it has instead.
    pub(super) fn lacks(&self, wanted: &'static str) -> Error {
        let found = self.labels();
        let hint = other_formats::hint(wanted, &found, self.text());
        Error::Missing { origin: self.origin.clone(), wanted, found, hint }
    }

    /// A warning for each certificate that is ignored because of its label.
    pub(super) fn ignored_sections(&self) -> Vec<Notice> {
        let mut ignored = Vec::new();
        for section in self.sections().unwrap_or_default() {
            if let Some(hint) = other_formats::certificate(section.label) {
                let (label, line) = (String::from_utf8_lossy(section.label), section.line);
                let what = format!("{} has a {label} in line {line}, which is ignored", self.origin);
                ignored.push(Notice::new(what).hinting(hint));
            }
        }
        ignored
    }
}

/// A label with dashes is not a label only: a key may follow on the same line.
fn label_of(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BEGIN)?.strip_suffix(DASHES).filter(|label| count(label, DASHES) == 0)
}

/// What is wrong with a line that should be only a BEGIN or END line. Text between sections may mention such lines.
fn damage_of(line: &[u8], is_in_section: bool) -> Option<Damage> {
    let quoted = line.iter().position(|byte| !matches!(byte, b'"' | b'\'')).map_or(line, |at| &line[at..]);
    if !is_in_section && !quoted.starts_with(BEGIN) {
        return None;
    }
    let marks = count(line, BEGIN) + count(line, END);
    if marks > 0 && count(line, b"\\n") > 0 {
        return Some(Damage::Escaped);
    }
    if quoted.len() < line.len() && !is_in_section {
        return None;
    }
    if marks > 1 {
        return Some(Damage::Joined);
    }
    if line.starts_with(BEGIN) {
        return match label_of(line) {
            Some(_) => None,
            None if count(&line[BEGIN.len()..], DASHES) > 0 => Some(Damage::Joined),
            None => Some(Damage::BadBegin),
        };
    }
    (marks > 0 && !line.starts_with(END)).then_some(Damage::Joined)
}

fn count(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).filter(|window| *window == part).count()
}

/// A possible section with something before BEGIN on its line. Text may mention such lines too, but has no END line
/// after them.
struct Hidden<'a> {
    line: usize,
    before: &'a [u8],
    label: &'a [u8],
}

impl<'a> Hidden<'a> {
    fn of(number: usize, line: &'a [u8]) -> Option<Self> {
        let at = line.windows(BEGIN.len()).position(|part| part == BEGIN)?;
        let (before, begin) = line.split_at(at);
        let rest = &begin[BEGIN.len()..];
        let end = rest.windows(DASHES.len()).position(|part| part == DASHES)?;
        Some(Self { line: number, before, label: &rest[..end] })
    }

    /// The other lines may have the same prefix, unless it marks comments.
    fn is_ended_by(&self, line: &[u8]) -> bool {
        let is_comment = [&b"#"[..], b";", b"//"].iter().any(|sign| self.before.starts_with(sign));
        let line = if is_comment { line } else { line.strip_prefix(self.before).unwrap_or(line) };
        let rest = line.strip_prefix(END).and_then(|label| label.strip_prefix(self.label));
        rest.is_some_and(|rest| rest.starts_with(DASHES))
    }
}

impl PemSection<'_> {
    fn is_ended_by(&self, line: &[u8]) -> bool {
        let label = line.strip_prefix(END).and_then(|rest| rest.strip_suffix(DASHES));
        label == Some(self.label)
    }

    /// Decodes its text. No buffer grows: a growing buffer leaves copies of a key in memory.
    pub(super) fn decode(&self) -> Result<Secret<Vec<u8>>, Error> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.lines.iter().map(|line| line.len()).sum()));
        text.extend(self.lines.iter().flat_map(|line| *line).filter(|byte| !byte.is_ascii_whitespace()));
        let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
        let text = &text[..text.len() - padding];
        let mut der = Zeroizing::new(vec![0; text.len()]);
        // The library's error could quote the input, which may be a key.
        let damaged =
            |_| Error::Damaged { origin: self.origin.clone(), line: self.line, damage: Damage::NotBase64 };
        let length = Base64Unpadded::decode(text, &mut der).map_err(damaged)?.len();
        der.truncate(length);
        Ok(Secret::new(std::mem::take(&mut *der)))
    }
}

/// The certificates of a file; an error if there is none.
pub(super) fn certificates(file: &FileContent) -> Result<Vec<Certificate>, Error> {
    let sections = file.sections()?;
    let sections = sections.iter().filter(|section| section.label == b"CERTIFICATE");
    let certificate = |(index, section): (usize, &PemSection<'_>)| {
        let der = section.decode()?.expose().clone();
        Ok(Certificate { origin: file.origin.clone(), position: index + 1, der })
    };
    let certificates = sections.enumerate().map(certificate).collect::<Result<Vec<_>, Error>>()?;
    if certificates.is_empty() {
        return Err(file.lacks("certificate"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
