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

/// What protects a key, and so which kind of secret unlocks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A token, which has a PIN.
    Token,
    /// A TPM, which has an authorization value for each key.
    Tpm,
    /// A SPIFFE agent, which needs no secret.
    Agent,
    /// The passphrase of a file that may be encrypted.
    Passphrase,
    /// Nothing: a file that is not encrypted.
    Nothing,
}

/// A file that has been read once, for its certificates and its keys.
pub(super) struct IdentityFile {
    content: FileContent,
    #[cfg(feature = "pkcs12")]
    pkcs12: Option<pkcs12::Contents>,
}

impl IdentityFile {
    /// Opens the content if it is PKCS#12. Keys in PEM are decrypted by [`Self::keys`].
    pub(super) fn of(content: FileContent, passphrase: Option<&Passphrase>) -> Result<Self, Error> {
        #[cfg(feature = "pkcs12")]
        return Ok(Self { pkcs12: open_pkcs12(&content, passphrase)?, content });
        #[cfg(not(feature = "pkcs12"))]
        {
            let _ = passphrase;
            Ok(Self { content })
        }
    }

    /// The private keys: the first one of PEM, all usable ones of PKCS#12.
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

    /// The DER of a key that only the TPM that made it can use.
    pub(super) fn tss2(&self) -> Result<Option<Secret<Vec<u8>>>, pem::Error> {
        self.content.labelled("TSS2 PRIVATE KEY")
    }

    /// The certificates; an error if there is none.
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
        self.content.ignored_sections()
    }

    /// A warning if other users may read the file, which has a key.
    pub(super) fn mode_warning(&self) -> Option<Notice> {
        self.content.open_to_others("private key")
    }
}

/// What protects the key in a file; `None` if the file has no known key. Loading it gives the error.
pub(super) fn guard(content: &FileContent) -> Option<Guard> {
    #[cfg(feature = "pkcs12")]
    if pkcs12::is_pfx(content.bytes().expose()) {
        return Some(Guard::Passphrase);
    }
    let labels = content.labels();
    let has = |label: &str| labels.iter().any(|own| own == label);
    // In the order in which loading looks for keys.
    if has("TSS2 PRIVATE KEY") {
        Some(Guard::Tpm)
    } else if content.has_encryption_header() {
        Some(Guard::Passphrase)
    } else if has("RSA PRIVATE KEY") || has("EC PRIVATE KEY") || has("PRIVATE KEY") {
        Some(Guard::Nothing)
    } else if has("ENCRYPTED PRIVATE KEY") {
        Some(Guard::Passphrase)
    } else {
        None
    }
}

#[cfg(feature = "pkcs12")]
impl IdentityFile {
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
        let hint = pem::other_formats::hint(wanted, &found, &[]);
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
