//! A file that holds certificates, keys or both: PEM or PKCS#12, told apart by its content.

use std::sync::Arc;

use super::Error;
use super::FileContent;
use super::Origin;
use super::Passphrase;
use super::SigningKey;
use super::key;
use super::pem;
use super::pem::Certificate;
#[cfg(feature = "pkcs12")]
use super::pkcs12;
use anchord_core::notice::Notice;
use anchord_core::secret::Secret;

/// What stands between a key and whoever can reach it, and so what a secret that unlocks it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A token, which has a PIN.
    Token,
    /// A TPM, which has an authorization value for each key.
    Tpm,
    /// A SPIFFE agent, which asks for nothing.
    Agent,
    /// The passphrase of a file that may be encrypted.
    Passphrase,
    /// Nothing: a file that is not encrypted.
    Nothing,
}

/// A file that has been read, once for both what it is asked for.
pub(super) struct File {
    content: FileContent,
    #[cfg(feature = "pkcs12")]
    pkcs12: Option<pkcs12::Contents>,
}

impl File {
    /// Opens what has been read if it is PKCS#12; keys in PEM are decrypted when they are asked for.
    pub(super) fn of(content: FileContent, passphrase: Option<&Passphrase>) -> Result<Self, Error> {
        #[cfg(feature = "pkcs12")]
        return Ok(Self { pkcs12: open_pkcs12(&content, passphrase)?, content });
        #[cfg(not(feature = "pkcs12"))]
        {
            let _ = passphrase;
            Ok(Self { content })
        }
    }

    /// The private keys: the first one of PEM, all of PKCS#12 that can be used.
    pub(super) fn keys(&self, passphrase: Option<&Passphrase>) -> Result<Vec<Arc<dyn SigningKey>>, Error> {
        #[cfg(feature = "pkcs12")]
        if let Some(contents) = &self.pkcs12 {
            return self.pkcs12_keys(contents);
        }
        Ok(vec![key::from_pem(&self.content, passphrase)?])
    }

    /// As messages name it.
    pub(super) fn origin(&self) -> Origin {
        self.content.origin.clone()
    }

    /// A key that only the TPM which it was made in can use, DER.
    pub(super) fn tss2(&self) -> Result<Option<Secret<Vec<u8>>>, pem::Error> {
        self.content.labelled("TSS2 PRIVATE KEY")
    }

    /// The certificates, of which there must be one at least.
    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, pem::Error> {
        #[cfg(feature = "pkcs12")]
        if let Some(contents) = &self.pkcs12 {
            return self.pkcs12_certificates(contents);
        }
        pem::certificates(&self.content)
    }

    /// What is doubtful about what it holds.
    pub(super) fn warnings(&self) -> Vec<Notice> {
        #[cfg(feature = "pkcs12")]
        if let Some(contents) = &self.pkcs12 {
            return contents.warnings.clone();
        }
        self.content.passed_over()
    }

    /// A warning if others may read it, for a file with a key in it.
    pub(super) fn mode_warning(&self) -> Option<Notice> {
        self.content.open_to_others("private key")
    }
}

/// What guards the key in a file; `None` where that cannot be told, which whoever loads it tells better.
pub(super) fn guard(content: &FileContent) -> Option<Guard> {
    #[cfg(feature = "pkcs12")]
    if pkcs12::is_pfx(content.bytes().expose()) {
        return Some(Guard::Passphrase);
    }
    let labels = content.labels();
    let has = |label: &str| labels.iter().any(|own| own == label);
    // In the order in which keys are looked for.
    match () {
        () if has("TSS2 PRIVATE KEY") => Some(Guard::Tpm),
        () if content.has_encryption_header() => Some(Guard::Passphrase),
        () if ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"].into_iter().any(has) => {
            Some(Guard::Nothing)
        }
        () if has("ENCRYPTED PRIVATE KEY") => Some(Guard::Passphrase),
        () => None,
    }
}

#[cfg(feature = "pkcs12")]
impl File {
    fn pkcs12_keys(&self, contents: &pkcs12::Contents) -> Result<Vec<Arc<dyn SigningKey>>, Error> {
        let origin = self.content.origin.clone();
        let mut refused = None;
        let mut keys = Vec::new();
        for key in &contents.keys {
            match key::from_pkcs8(&origin, key.expose()) {
                Ok(key) => keys.push(key),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            _ if !keys.is_empty() => Ok(keys),
            Some(error) => Err(error.into()),
            None => Err(self.missing("private key", "PKCS#12 with certificates").into()),
        }
    }

    fn pkcs12_certificates(&self, contents: &pkcs12::Contents) -> Result<Vec<Certificate>, pem::Error> {
        let origin = self.content.origin.clone();
        let certificate = |(index, der): (usize, &Vec<u8>)| Certificate {
            origin: origin.clone(),
            position: index + 1,
            der: der.clone(),
        };
        let certificates: Vec<_> = contents.certificates.iter().enumerate().map(certificate).collect();
        if certificates.is_empty() {
            return Err(self.missing("certificate", "PKCS#12 with private keys"));
        }
        Ok(certificates)
    }

    fn missing(&self, wanted: &'static str, found: &str) -> pem::Error {
        let found = vec![found.to_owned()];
        let hint = pem::stranger::hint(wanted, &found, &[]);
        pem::Error::Missing { origin: self.origin(), wanted, found, hint }
    }
}

#[cfg(feature = "pkcs12")]
fn open_pkcs12(
    content: &FileContent,
    passphrase: Option<&Passphrase>,
) -> Result<Option<pkcs12::Contents>, Error> {
    let bytes = content.bytes().expose();
    if !pkcs12::is_pfx(bytes) {
        return Ok(None);
    }
    let passphrase = passphrase.map(Passphrase::read).transpose()?;
    Ok(Some(pkcs12::open(&content.origin, bytes, passphrase.as_ref())?))
}
