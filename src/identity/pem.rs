//! Reads PEM files and tells their sections apart.
//!
//! Not by `rustls-pki-types`, as elsewhere: it leaves the text of keys in memory, and passes over labels that it does
//! not know, while an error must say what the file holds and not only what it lacks.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use base64ct::Base64Unpadded;
use base64ct::Encoding as _;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::Error;
use super::Origin;
use super::expiry::Link;
use super::expiry::Place;
use super::leaf;
use super::name;
use crate::failure::system_reason;
use crate::secret::Secret;

/// Far above any chain with its key, far below what would hurt.
const MAX_BYTES: u64 = 1 << 20;

/// A PEM file's content; secret, because keys and certificates may share a file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    content: Secret<Vec<u8>>,
}

/// What stands around a section's label (RFC 7468, section 2).
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One section of a file, as it stands there.
pub(super) struct Section<'a> {
    path: &'a Path,
    pub(super) label: &'a [u8],
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
    /// What people should know of it.
    pub(super) fn link(&self, place: Place) -> Result<Link, Error> {
        let parsed = self.parse()?;
        Ok(Link {
            place,
            origin: self.origin.clone(),
            subject: name::shown(parsed.subject()),
            serial: leaf::serial(&parsed),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
        })
    }

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

/// Reads a file whole, up to a limit.
pub(super) fn read(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    // A pipe in place of the file must not be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = fs_err::OpenOptions::new();
    let file =
        options.read(true).custom_flags(flags).open(path).map_err(|error| failed(system_reason(&error)))?;
    let metadata = file.metadata().map_err(|error| failed(system_reason(&error)))?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.into() });
    }
    let mode = metadata.mode();
    // Enough from the start: a buffer that grows leaves copies of a key behind.
    let expected = metadata.len().min(MAX_BYTES) as usize + 1;
    let mut content = Vec::with_capacity(expected);
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(|error| failed(system_reason(&error)))?;
    File::new(path, mode, Secret::new(content))
}

impl File {
    /// What was read from `path`, unless there is nothing in it or too much.
    pub(super) fn new(path: &Path, mode: u32, content: Secret<Vec<u8>>) -> Result<Self, Error> {
        if content.expose().len() as u64 > MAX_BYTES {
            return Err(Error::TooLarge { path: path.into(), limit: MAX_BYTES });
        }
        if content.expose().trim_ascii().is_empty() {
            return Err(Error::Empty { path: path.into() });
        }
        Ok(Self { path: path.into(), mode, content })
    }

    /// All of it.
    pub(super) fn content(&self) -> &Secret<Vec<u8>> {
        &self.content
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.content.expose().split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii)
    }

    /// All sections in their order; what is between them is passed over.
    pub(super) fn sections(&self) -> Result<Vec<Section<'_>>, Error> {
        let damaged = |why: &str| Error::BadPem { path: self.path.clone(), why: why.into() };
        let mut sections = Vec::new();
        let mut open: Option<Section<'_>> = None;
        for line in self.lines() {
            if let Some(rest) = line.strip_prefix(BEGIN) {
                let label = rest.strip_suffix(DASHES).ok_or_else(|| damaged("a BEGIN line is malformed"))?;
                if open.is_some() {
                    return Err(damaged("a section has no END line"));
                }
                open = Some(Section { path: &self.path, label, lines: Vec::new() });
            } else if let Some(mut section) = open.take() {
                if section.is_ended_by(line) {
                    sections.push(section);
                } else {
                    section.lines.push(line);
                    open = Some(section);
                }
            }
        }
        if open.is_some() { Err(damaged("a section has no END line")) } else { Ok(sections) }
    }

    /// The content of the first section with this label.
    pub(super) fn labelled(&self, label: &str) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let sections = self.sections()?;
        let section = sections.iter().find(|section| section.label == label.as_bytes());
        section.map(Section::decode).transpose()
    }

    /// Every label in the file, known or not, in its order.
    pub(super) fn labels(&self) -> Vec<String> {
        self.lines()
            .filter_map(|line| line.strip_prefix(BEGIN)?.strip_suffix(DASHES))
            .map(|label| String::from_utf8_lossy(label).chars().take(40).collect())
            .collect()
    }

    /// Whether a section carries the old OpenSSL encryption header (RFC 1421).
    pub(super) fn has_encryption_header(&self) -> bool {
        self.lines().any(|line| line.starts_with(b"Proc-Type: 4,ENCRYPTED"))
    }
}

impl Section<'_> {
    fn is_ended_by(&self, line: &[u8]) -> bool {
        let label = line.strip_prefix(END).and_then(|rest| rest.strip_suffix(DASHES));
        label == Some(self.label)
    }

    /// What its text stands for. No buffer grows, for one that does leaves copies of a key behind.
    pub(super) fn decode(&self) -> Result<Secret<Vec<u8>>, Error> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.lines.iter().map(|line| line.len()).sum()));
        text.extend(self.lines.iter().flat_map(|line| *line).filter(|byte| !byte.is_ascii_whitespace()));
        let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
        let text = &text[..text.len() - padding];
        let mut der = Zeroizing::new(vec![0; text.len()]);
        // What the library says of faults could quote the input, and the input may be a key.
        let damaged = |_| Error::BadPem { path: self.path.into(), why: "a section is not base64".into() };
        let length = Base64Unpadded::decode(text, &mut der).map_err(damaged)?.len();
        der.truncate(length);
        Ok(Secret::new(std::mem::take(&mut *der)))
    }
}

/// The certificates of a file, of which there must be one at least.
pub(super) fn certificates(file: &File) -> Result<Vec<Certificate>, Error> {
    let sections = file.sections()?;
    let sections = sections.iter().filter(|section| section.label == b"CERTIFICATE");
    let certificate = |(index, section): (usize, &Section<'_>)| {
        let der = section.decode()?.expose().clone();
        Ok(Certificate { origin: Origin::file(&file.path), position: index + 1, der })
    };
    let certificates = sections.enumerate().map(certificate).collect::<Result<Vec<_>, Error>>()?;
    if certificates.is_empty() {
        return Err(Error::Missing { path: file.path.clone(), wanted: "certificate", found: file.labels() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
