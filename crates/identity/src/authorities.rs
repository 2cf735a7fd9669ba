//! Files of authorities, which TLS trusts: whatever is whole in them is used.

use std::path::Path;

use super::FileContent;
use super::FileError;
use super::pem;
use super::pem::stranger;
use anchord_core::failure::Classify as _;
use anchord_core::notice::Notice;
use anchord_core::text::Text;

/// What a file of authorities holds.
#[derive(Debug)]
pub struct Authorities {
    /// The line of each certificate, and its DER.
    pub certificates: Vec<(usize, Vec<u8>)>,
    /// What cannot be used, each with its line and what to do.
    pub unusable: Vec<Notice>,
    /// What to do where there is no certificate at all.
    pub advice: Option<Text>,
}

impl Authorities {
    /// Reads a file in PEM. Sections that are about something else, such as keys, are passed over.
    ///
    /// # Errors
    /// If the file cannot be read, or is no text that could be PEM.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        /// Far above any bundle of all known roots.
        const MAX_BYTES: u64 = 16 << 20;
        let file = FileContent::read_up_to(path, MAX_BYTES)?;
        let (mut certificates, mut unusable) = (Vec::new(), Vec::new());
        let mut damaged = |line: usize, damage: pem::Damage| {
            let what = format!("line {line}: {damage}");
            unusable.push(Notice::new(what).hinting(damage.hint(&file.origin)));
        };
        let mut strange = Vec::new();
        for found in file.sections_and_damage() {
            let section = match found {
                Ok(section) => section,
                Err((line, damage)) => {
                    damaged(line, damage);
                    continue;
                }
            };
            if section.label == b"CERTIFICATE" {
                match section.decode() {
                    Ok(der) => certificates.push((section.line, der.expose().clone())),
                    Err(_) => damaged(section.line, pem::Damage::NotBase64),
                }
            } else if let Some(hint) = stranger::certificate(section.label) {
                let label = String::from_utf8_lossy(section.label);
                let what = format!("line {}: this is a {label}", section.line);
                strange.push(Notice::new(what).hinting(hint));
            }
        }
        unusable.extend(strange);
        Ok(Self { certificates, unusable, advice: file.lacks("certificate").hint() })
    }
}
