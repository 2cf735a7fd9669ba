//! CA bundles for TLS: every certificate that can be read is used.

use std::path::Path;

use super::FileContent;
use super::FileError;
use super::pem;
use super::pem::other_formats;
use anchord_core::failure::Classify as _;
use anchord_core::notice::Notice;
use anchord_core::text::Text;

/// The content of a CA bundle.
#[derive(Debug)]
pub struct Authorities {
    /// The line of each certificate, and its DER.
    pub certificates: Vec<(usize, Vec<u8>)>,
    /// A notice for each unusable section, with its line.
    pub unusable: Vec<Notice>,
    /// The hint if the file has no certificate.
    pub advice: Option<Text>,
}

impl Authorities {
    /// Reads a PEM file. Sections of other kinds, such as keys, are ignored.
    ///
    /// # Errors
    /// If the file cannot be read, or is not PEM text.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        /// Far above any bundle of all known roots.
        const MAX_BYTES: u64 = 16 << 20;
        let file = FileContent::read_up_to(path, MAX_BYTES)?;
        let (mut certificates, mut unusable) = (Vec::new(), Vec::new());
        let mut strange = Vec::new();
        for found in file.sections_and_damage() {
            let section = match found {
                Ok(section) => section,
                Err((line, damage)) => {
                    unusable.push(damaged(line, damage, &file));
                    continue;
                }
            };
            if section.label == b"CERTIFICATE" {
                match section.decode() {
                    Ok(der) => certificates.push((section.line, der.expose().clone())),
                    Err(_) => unusable.push(damaged(section.line, pem::Damage::NotBase64, &file)),
                }
            } else if let Some(hint) = other_formats::certificate(section.label) {
                let label = String::from_utf8_lossy(section.label);
                let what = format!("line {}: this is a {label}", section.line);
                strange.push(Notice::new(what).hinting(hint));
            }
        }
        unusable.extend(strange);
        Ok(Self { certificates, unusable, advice: file.lacks("certificate").hint() })
    }
}

fn damaged(line: usize, damage: pem::Damage, file: &FileContent) -> Notice {
    Notice::new(format!("line {line}: {damage}")).hinting(damage.hint(&file.origin))
}
