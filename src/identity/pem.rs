//! Reads PEM files and tells their sections apart.
//!
//! Decoding is `rustls-pki-types`' work. It skips labels it does not know, so the labels are also listed here:
//! an error must say what the file holds, not only what it lacks.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::pem::SectionKind;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::Error;
use super::Origin;
use super::expiry::Link;
use super::expiry::Place;
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

/// One section of a file, with its label's meaning.
pub(super) type Section = (SectionKind, Secret<Vec<u8>>);

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
            subject: parsed.subject().to_string(),
            serial: parsed.tbs_certificate.serial.to_string(),
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

    /// The sections whose labels `rustls-pki-types` knows.
    pub(super) fn sections(&self) -> Result<Vec<Section>, Error> {
        <(SectionKind, Vec<u8>)>::pem_slice_iter(self.content.expose())
            .map(|section| match section {
                Ok((kind, der)) => Ok((kind, Secret::new(der))),
                Err(error) => Err(Error::BadPem { path: self.path.clone(), why: describe(&error) }),
            })
            .collect()
    }

    /// The first section with a label that `rustls-pki-types` does not know.
    pub(super) fn labelled(&self, label: &str) -> Result<Option<Secret<Vec<u8>>>, Error> {
        let damaged = |why: &str| Error::BadPem { path: self.path.clone(), why: why.into() };
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let mut lines = self.content.expose().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        if !lines.any(|line| line == begin.as_bytes()) {
            return Ok(None);
        }
        let mut text = Zeroizing::new(Vec::with_capacity(self.content.expose().len()));
        loop {
            match lines.next() {
                None => return Err(damaged("a section has no END line")),
                Some(line) if line == end.as_bytes() => break,
                Some(line) => text.extend_from_slice(line),
            }
        }
        // In place of a buffer that grows, and leaves copies.
        let mut der = Zeroizing::new(vec![0; text.len()]);
        let length =
            STANDARD.decode_slice(&*text, &mut der).map_err(|_| damaged("a section is not base64"))?;
        der.truncate(length);
        Ok(Some(Secret::new(std::mem::take(&mut *der))))
    }

    /// Every label in the file, known or not, in its order.
    pub(super) fn labels(&self) -> Vec<String> {
        self.content
            .expose()
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----"))
            .map(|label| String::from_utf8_lossy(label).chars().take(40).collect())
            .collect()
    }

    /// Whether a section carries the old OpenSSL encryption header (RFC 1421).
    pub(super) fn has_encryption_header(&self) -> bool {
        self.content
            .expose()
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(b"Proc-Type: 4,ENCRYPTED"))
    }
}

/// The decoder's errors quote input bytes, and the input may be a key: only the kind is told.
fn describe(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "a section has no END line".into(),
        Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".into(),
        Error::Base64Decode(_) => "a section is not base64".into(),
        _ => "it is not PEM".into(),
    }
}

/// The certificates of a file, of which there must be one at least.
pub(super) fn certificates(file: &File) -> Result<Vec<Certificate>, Error> {
    let ders = file.sections()?.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = ders
        .enumerate()
        .map(|(index, (_, der))| Certificate {
            origin: Origin::file(&file.path),
            position: index + 1,
            der: der.expose().clone(),
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::Missing { path: file.path.clone(), wanted: "certificate", found: file.labels() });
    }
    Ok(certificates)
}
