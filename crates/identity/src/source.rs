//! Where an identity comes from, and how it is made from what is found there.

mod gather;
mod process_input;
mod reach;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) use gather::Material;
pub(super) use gather::gather;
pub use process_input::Pipes;
pub use process_input::ProcessInput;
pub use reach::Reach;
use time::OffsetDateTime;

use super::Error;
use super::FileContent;
use super::FileError;
use super::Guard;
use super::Identity;
use super::LeafSelection;
use super::Loaded;
use super::MAX_INTERMEDIATES;
use super::Origin;
use super::Passphrase;
use super::SigningKey;
use super::chain;
use super::file;
use super::leaf;
use super::pem::Certificate;
use super::pkcs11;
use super::selection::Fingerprint;
use super::spiffe;
use super::tpm;
use anchord_core::notice::Notice;

/// Where an identity comes from. Loading is cheap, and is repeated to pick up a renewed certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where the leaf is, with or without intermediates, in any order.
    pub certificate: Locator,
    /// Where its key is; `None` if it is where the certificate is.
    pub private_key: Option<Locator>,
    /// A PEM file, variable or pipe with more certificates, in any order.
    pub intermediates: Option<Locator>,
    /// The secret that unlocks the key.
    pub passphrase: Option<Passphrase>,
    /// Which leaf may be used.
    pub selection: LeafSelection,
    /// The PKCS#11 module of tokens whose URIs name none; `None` for p11-kit's.
    pub pkcs11_module: Option<PathBuf>,
    /// The TPM, for keys in a TPM.
    pub tpm: tpm::Device,
}

/// A place that holds certificates, a key, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// A file.
    File(PathBuf),
    /// Input of this process: a variable, a systemd credential or a pipe.
    Input(ProcessInput),
    /// A PKCS#11 token.
    Token(Box<pkcs11::Uri>),
    /// The handle of a key in the TPM, which has no certificates.
    Tpm(u32),
    /// A SPIFFE agent, which has certificate and key.
    Agent(spiffe::Agent),
}

impl Locator {
    /// As messages name it.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::File(path) => Origin::file(path),
            Self::Input(input) => input.origin(),
            Self::Token(uri) => Origin::named(format!("the token `{uri}`")),
            Self::Tpm(handle) => Origin::named(format!("the TPM at handle {handle:#010x}")),
            Self::Agent(agent) => agent.origin(),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Input(input) => input.path(),
            Self::Token(uri) => uri.pin_source().map(PathBuf::as_path),
            Self::Tpm(_) | Self::Agent(_) => None,
        }
    }

    /// The content of a file or of the process's input; `None` for a token, a TPM and an agent.
    pub(super) fn read(&self) -> Option<Result<FileContent, FileError>> {
        match self {
            Self::File(path) => Some(FileContent::read(path)),
            Self::Input(input) => Some(input.read()),
            Self::Token(_) | Self::Tpm(_) | Self::Agent(_) => None,
        }
    }

    /// The content that was read already from a variable or pipe.
    pub(super) fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Input(input) => input.held(),
            Self::File(_) | Self::Token(_) | Self::Tpm(_) | Self::Agent(_) => None,
        }
    }

    /// Its name, for fingerprints of settings; never a secret.
    fn fact(&self) -> Vec<u8> {
        match self {
            Self::File(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            Self::Input(input) => input.spelled().as_bytes().to_vec(),
            Self::Token(uri) => uri.to_string().into_bytes(),
            Self::Tpm(handle) => format!("tpm:{handle:#010x}").into_bytes(),
            Self::Agent(agent) => agent.facts(),
        }
    }
}

impl Source {
    /// Certificate and key in PEM files.
    pub fn of_files(certificate: impl Into<PathBuf>, private_key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: Locator::File(certificate.into()),
            private_key: Some(Locator::File(private_key.into())),
            intermediates: None,
            passphrase: None,
            selection: LeafSelection::default(),
            pkcs11_module: None,
            tpm: tpm::Device::default(),
        }
    }

    /// Loads and proves the identity as of `now`.
    pub fn load(&self, now: OffsetDateTime) -> Result<Loaded, Error> {
        self.prove(gather(self), now)
    }

    /// Loads the key alone, for signing other things than requests. It is not compared with the certificates.
    pub fn signing_key(&self) -> Result<Arc<dyn SigningKey>, Error> {
        gather(self).keys?.into_iter().next().ok_or_else(|| Error::Mismatch {
            certificate: self.origin(),
            private_key: self.key_place().origin(),
        })
    }

    /// Loads a key that belongs to one of the certificates, which may be expired or unusable.
    pub fn certified_key(&self) -> Result<Arc<dyn SigningKey>, Error> {
        let Material { certificates, keys, .. } = gather(self);
        let (keys, certificates) = (keys?, certificates?);
        let pair = chain::pairs(&certificates, &keys).into_iter().next();
        pair.map(|(_, key)| Arc::clone(key)).ok_or_else(|| Error::Mismatch {
            certificate: self.origin(),
            private_key: self.key_place().origin(),
        })
    }

    /// The first certificate, if it is in PEM; `None` for tokens, TPMs and agents.
    pub fn first_certificate(&self) -> Option<Result<FirstCertificate, Error>> {
        Some(self.certificate.read()?.map_err(Error::from).and_then(|file| first_certificate(&file)))
    }

    /// What protects the key; `None` if its file cannot be read.
    pub fn guard(&self) -> Option<Guard> {
        match self.key_place() {
            Locator::File(_) | Locator::Input(_) => file::guard(&self.key_place().read()?.ok()?),
            Locator::Token(_) => Some(Guard::Token),
            Locator::Tpm(_) => Some(Guard::Tpm),
            Locator::Agent(_) => Some(Guard::Agent),
        }
    }

    /// Whether the key's URI has a PIN or names its file. Then `passphrase` is not used.
    pub fn has_pin(&self) -> bool {
        matches!(self.key_place(), Locator::Token(uri) if uri.pin_value().is_some() || uri.pin_source().is_some())
    }

    /// What identifies the certificate and key, for fingerprints of settings: the same in every version, and never a
    /// secret. Rare settings come last, so that the rest stays the same.
    pub fn facts(&self) -> Vec<Vec<u8>> {
        let Self { certificate, private_key, intermediates, passphrase: _, selection, pkcs11_module, tpm } =
            self;
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let mut facts = vec![
            certificate.fact(),
            private_key.as_ref().map(Locator::fact).unwrap_or_default(),
            intermediates.as_ref().map(Locator::fact).unwrap_or_default(),
        ];
        if *selection != LeafSelection::default() {
            facts.push(selection.to_string().into_bytes());
        }
        facts.extend(pkcs11_module.as_deref().map(bytes));
        if *tpm != tpm::Device::default() {
            facts.push(tpm.to_string().into_bytes());
        }
        facts
    }

    /// Where its certificate is, for people; never a secret.
    pub fn name(&self) -> String {
        self.certificate.origin().bare()
    }

    /// Its name in messages.
    pub(super) fn origin(&self) -> Origin {
        self.certificate.origin()
    }

    /// The agent that reports changes, if there is one.
    pub(super) fn agent(&self) -> Option<&spiffe::Agent> {
        self.places().find_map(|place| match place {
            Locator::Agent(agent) => Some(agent),
            _ => None,
        })
    }

    /// Whether changes show neither in a file nor by an event, so that the watcher must load it at each poll.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.certificate, Locator::Token(_))
    }

    /// The files it is loaded from.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let passphrase = match &self.passphrase {
            Some(Passphrase::File(path)) => Some(path.as_path()),
            _ => None,
        };
        let files = self.places().filter_map(Locator::file);
        files
            .chain(self.intermediates.as_ref().and_then(Locator::file))
            .chain(passphrase)
            .map(Path::to_owned)
            .collect()
    }

    /// The agents, tokens and TPMs that loading asks, by unique names.
    pub(super) fn peers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for place in self.places() {
            match place {
                Locator::File(_) | Locator::Input(_) => {}
                Locator::Token(uri) => names.push(uri.token_name(self.pkcs11_module.as_deref())),
                Locator::Tpm(_) => names.push(self.tpm.to_string()),
                Locator::Agent(agent) => names.push(agent.endpoint.to_string()),
            }
        }
        names.dedup();
        names
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Locator> {
        [Some(&self.certificate), self.private_key.as_ref()].into_iter().flatten()
    }

    /// Where its key is.
    pub(super) fn key_place(&self) -> &Locator {
        self.private_key.as_ref().unwrap_or(&self.certificate)
    }

    pub(super) fn prove(&self, material: Material, now: OffsetDateTime) -> Result<Loaded, Error> {
        let Material { certificates, keys, mut warnings } = material;
        // The key's error comes first: it is more common and more serious.
        let keys = keys?;
        let certificates = certificates?;
        let (leaf, key) = self.choose(&certificates, &keys, now)?;
        leaf::check(&leaf.parse()?, now)
            .map_err(|fault| Error::Leaf { origin: leaf.origin.clone(), fault })?;
        warnings.extend(leaf::doubt(&leaf.parse()?, &leaf.origin));
        let chain = chain::order(leaf, &certificates, now)?;
        if chain.len() > MAX_INTERMEDIATES {
            return Err(Error::ChainTooLong { origin: self.origin(), length: chain.len() });
        }
        warnings.extend(chain::left_out(leaf, &certificates, &chain, now)?);
        let identity = Identity::new(leaf, &chain, Arc::clone(key))?;
        Ok(Loaded { identity, warnings })
    }

    /// The leaf that belongs to one of the keys, if the settings allow it.
    pub(super) fn choose<'a>(
        &self,
        certificates: &'a [Certificate],
        keys: &'a [Arc<dyn SigningKey>],
        now: OffsetDateTime,
    ) -> Result<(&'a Certificate, &'a Arc<dyn SigningKey>), Error> {
        let pairs = chain::pairs(certificates, keys);
        let (certificate, private_key) = (self.origin(), self.key_place().origin());
        if pairs.is_empty() {
            return Err(Error::Mismatch { certificate, private_key });
        }
        let named: Vec<_> = pairs
            .into_iter()
            .filter(|(leaf, _)| leaf.parse().is_ok_and(|parsed| self.selection.names(&parsed)))
            .collect();
        if named.is_empty() {
            return Err(Error::NotSelected { origin: certificate });
        }
        let pinned = named.iter().copied().filter(|(leaf, _)| self.selection.pins(&leaf.der));
        let found = Fingerprint::of(&named[0].0.der);
        chain::best(pinned, now).ok_or(Error::NotPinned { origin: certificate, found })
    }
}

/// The first undamaged certificate of a file.
#[derive(Debug)]
pub struct FirstCertificate {
    /// It, in DER.
    pub der: Vec<u8>,
    /// A warning for each damaged one before it.
    pub warnings: Vec<Notice>,
}

fn first_certificate(file: &FileContent) -> Result<FirstCertificate, Error> {
    let mut warnings = Vec::new();
    for found in file.sections_and_damage() {
        match found {
            Ok(section) if section.label == b"CERTIFICATE" => {
                return Ok(FirstCertificate { der: section.decode()?.expose().clone(), warnings });
            }
            Ok(_) => {}
            Err((line, damage)) => {
                let origin = &file.origin;
                let what =
                    format!("{origin} is damaged in line {line}: {damage}, so a later certificate is used");
                warnings.push(Notice::new(what).hinting(damage.hint(origin)));
            }
        }
    }
    // An error for what is damaged, or for what the file holds instead.
    file.sections()?;
    Err(file.lacks("certificate").into())
}
