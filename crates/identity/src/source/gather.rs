//! Reads certificates and keys of a source from files, tokens, a TPM or an agent.

use std::path::PathBuf;
use std::sync::Arc;

use super::Locator;
use super::Source;
use crate::Error;
use crate::FileContent;
use crate::Origin;
use crate::Passphrase;
use crate::SigningKey;
use crate::file::IdentityFile;
use crate::key;
use crate::passphrase;
use crate::pem;
use crate::pem::Certificate;
use crate::pkcs11;
use crate::spiffe::Svid;
use crate::tpm;
use anchord_core::notice::Notice;
use anchord_core::secret::Secret;

/// The certificates and keys of a source, not yet checked.
pub(crate) struct Material {
    pub(crate) certificates: Result<Vec<Certificate>, Error>,
    pub(crate) keys: Result<SigningKeys, Error>,
    /// Sentences without a full stop.
    pub(crate) warnings: Vec<Notice>,
}

type SigningKeys = Vec<Arc<dyn SigningKey>>;

/// Reads everything; an error in one place does not hide the others.
pub(crate) fn gather(source: &Source) -> Material {
    let mut warnings = Vec::new();
    let passphrase = source.passphrase.as_ref();
    let (mut certificates, keys) = match (&source.certificate, source.key_place()) {
        // A place with both is read once, so that certificate and key match.
        (place @ Locator::Agent(agent), key_place) if place == key_place => match agent.fetch() {
            Ok(svid) => {
                let keys = key_of(&place.origin(), &svid).map(|key| vec![key]);
                (Ok(certificates_of(&place.origin(), &svid)), keys)
            }
            Err(error) => (Ok(Vec::new()), Err(error.into())),
        },
        (place @ (Locator::File(_) | Locator::Input(_)), key_place) if place == key_place => {
            match open(place, passphrase) {
                Ok(file) => {
                    (file.certificates().map_err(Error::from), source.keys_of_file(&file, &mut warnings))
                }
                Err(error) => (Ok(Vec::new()), Err(error)),
            }
        }
        (place, key_place) => {
            let certificates = source.certificates_in(place, &mut warnings);
            let keys = source.keys_in(key_place, certificates.as_deref().unwrap_or_default(), &mut warnings);
            (certificates, keys)
        }
    };
    if let (Ok(certificates), Some(place)) = (&mut certificates, &source.intermediates) {
        match read(place).and_then(|file| Ok((pem::certificates(&file)?, file.ignored_sections()))) {
            Ok((more, told)) => {
                certificates.extend(more);
                warnings.extend(told);
            }
            Err(error) => return Material { certificates: Err(error), keys, warnings },
        }
    }
    warnings.extend(source.passphrase_warnings());
    Material { certificates, keys, warnings }
}

/// Reads and opens a file or an input.
fn open(place: &Locator, passphrase: Option<&Passphrase>) -> Result<IdentityFile, Error> {
    IdentityFile::of(read(place)?, passphrase)
}

fn read(place: &Locator) -> Result<FileContent, Error> {
    match place.read() {
        Some(file) => Ok(file?),
        None => Err(Error::NoCertificates { origin: place.origin() }),
    }
}

impl Source {
    fn certificates_in(
        &self,
        place: &Locator,
        warnings: &mut Vec<Notice>,
    ) -> Result<Vec<Certificate>, Error> {
        match place {
            Locator::File(_) | Locator::Input(_) => {
                let file = open(place, self.passphrase.as_ref())?;
                warnings.extend(file.warnings());
                Ok(file.certificates()?)
            }
            Locator::Token(uri) => {
                let found = pkcs11::certificates(&self.token(uri)?)?;
                Ok(numbered(&place.origin(), found.into_iter().map(|found| found.der)))
            }
            Locator::Tpm(_) => Err(Error::NoCertificates { origin: place.origin() }),
            Locator::Agent(agent) => Ok(certificates_of(&place.origin(), &agent.fetch()?)),
        }
    }

    /// The key may belong to one of `certificates`. They help if a token does not show the public key.
    fn keys_in(
        &self,
        place: &Locator,
        certificates: &[Certificate],
        warnings: &mut Vec<Notice>,
    ) -> Result<SigningKeys, Error> {
        let key = match place {
            Locator::File(_) | Locator::Input(_) => {
                return self.keys_of_file(&open(place, self.passphrase.as_ref())?, warnings);
            }
            Locator::Token(uri) => {
                warnings.extend(uri.warning());
                let candidates: Vec<_> = certificates.iter().filter_map(|one| self.candidate(one)).collect();
                pkcs11::open_key(&self.token(uri)?, &candidates)?
            }
            Locator::Tpm(handle) => tpm::open_persistent(&self.tpm, *handle, self.auth()?.as_ref())
                .map_err(|source| Error::Tpm { origin: place.origin(), source })?,
            Locator::Agent(agent) => key_of(&place.origin(), &agent.fetch()?)?,
        };
        Ok(vec![key])
    }

    fn keys_of_file(&self, file: &IdentityFile, warnings: &mut Vec<Notice>) -> Result<SigningKeys, Error> {
        warnings.extend(file.warnings());
        let keys = match file.tss2()? {
            Some(der) => {
                let key = tpm::open_file(&self.tpm, der.expose(), self.auth()?.as_ref());
                vec![key.map_err(|source| Error::Tpm { origin: file.origin(), source })?]
            }
            None => file.keys(self.passphrase.as_ref())?,
        };
        warnings.extend(file.mode_warning());
        Ok(keys)
    }

    /// The `SubjectPublicKeyInfo` of a certificate that may be used.
    fn candidate(&self, certificate: &Certificate) -> Option<Vec<u8>> {
        let parsed = certificate.parse().ok()?;
        let is_meant = self.selection.names(&parsed) && self.selection.pins(&certificate.der);
        is_meant.then(|| parsed.public_key().raw.to_vec())
    }

    /// The authorization value of a key in a TPM.
    fn auth(&self) -> Result<Option<Secret<Vec<u8>>>, passphrase::Error> {
        self.passphrase.as_ref().map(Passphrase::read).transpose()
    }

    fn token(&self, uri: &pkcs11::Uri) -> Result<pkcs11::TokenQuery, Error> {
        // The passphrase belongs to the key: a token that has only the certificate would count it as a wrong PIN.
        let passphrase = self.passphrase.as_ref().filter(|_| matches!(self.key_place(), Locator::Token(_)));
        let pin = passphrase.map(Passphrase::read).transpose()?;
        let (module, launcher) = (self.pkcs11_module.clone(), pkcs11::Launcher::default());
        Ok(pkcs11::TokenQuery { uri: uri.clone(), module, pin, launcher })
    }

    fn passphrase_warnings(&self) -> Vec<Notice> {
        let passphrase = match &self.passphrase {
            Some(Passphrase::File(path)) => Some(path),
            _ => None,
        };
        let pins = self.places().filter_map(|place| match place {
            Locator::Token(uri) => uri.pin_source(),
            _ => None,
        });
        // A file that cannot be read has caused an error already.
        let warning = |path: &PathBuf| FileContent::read(path).ok()?.open_to_others("passphrase");
        passphrase.into_iter().chain(pins).filter_map(warning).collect()
    }
}

fn certificates_of(origin: &Origin, svid: &Svid) -> Vec<Certificate> {
    numbered(origin, svid.certificates.iter().cloned())
}

fn key_of(origin: &Origin, svid: &Svid) -> Result<Arc<dyn SigningKey>, Error> {
    Ok(key::from_pkcs8(origin, svid.key.expose())?)
}

fn numbered(origin: &Origin, ders: impl Iterator<Item = Vec<u8>>) -> Vec<Certificate> {
    let of = |(index, der)| Certificate { origin: origin.clone(), position: index + 1, der };
    ders.enumerate().map(of).collect()
}
