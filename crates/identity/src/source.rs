//! Where an identity comes from, and how what is found there becomes one.

mod gather;
mod handed;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) use gather::Material;
pub(super) use gather::gather;
pub use handed::Handed;
pub use handed::Pipes;
use time::OffsetDateTime;

use super::Error;
use super::FileContent;
use super::FileError;
use super::Guard;
use super::Identity;
use super::Loaded;
use super::MAX_INTERMEDIATES;
use super::Origin;
use super::Passphrase;
use super::Selection;
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

/// Where an identity comes from. Loading is cheap and may be repeated to pick up a rotated certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where the leaf is, with or without intermediates, in any order.
    pub certificate: Locator,
    /// Where its key is; `None` where the certificate's place has it too.
    pub private_key: Option<Locator>,
    /// A file in PEM, or something like it, with more certificates in any order.
    pub intermediates: Option<Locator>,
    /// What unlocks the key.
    pub passphrase: Option<Passphrase>,
    /// Which leaf may be used.
    pub selection: Selection,
    /// The library that speaks for tokens, where their URIs name none; `None` for p11-kit's.
    pub pkcs11_module: Option<PathBuf>,
    /// Where the TPM is, for keys that one holds.
    pub tpm: tpm::Device,
}

/// A place that holds certificates, a key, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// A file.
    File(PathBuf),
    /// What this process was handed: a variable, a systemd credential, a pipe.
    Handed(Handed),
    /// A PKCS#11 token.
    Token(Box<pkcs11::Uri>),
    /// A TPM, which has keys and no certificates.
    Tpm(u32),
    /// A SPIFFE agent, which has certificate and key.
    Agent(spiffe::Agent),
}

impl Locator {
    /// As messages name it.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::File(path) => Origin::file(path),
            Self::Handed(handed) => handed.origin(),
            Self::Token(uri) => Origin::named(format!("the token `{uri}`")),
            Self::Tpm(handle) => Origin::named(format!("the TPM at handle {handle:#010x}")),
            Self::Agent(agent) => agent.origin(),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Handed(handed) => handed.path(),
            Self::Token(uri) => uri.pin_source().map(PathBuf::as_path),
            Self::Tpm(_) | Self::Agent(_) => None,
        }
    }

    /// What is in a file or in what was handed to this process; `None` for a token, a TPM and an agent.
    pub(super) fn read(&self) -> Option<Result<FileContent, FileError>> {
        match self {
            Self::File(path) => Some(FileContent::read(path)),
            Self::Handed(handed) => Some(handed.read()),
            Self::Token(_) | Self::Tpm(_) | Self::Agent(_) => None,
        }
    }

    /// What was read already, from a variable or a pipe.
    pub(super) fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Handed(handed) => handed.held(),
            Self::File(_) | Self::Token(_) | Self::Tpm(_) | Self::Agent(_) => None,
        }
    }

    /// What names it, for fingerprints of settings; never a secret.
    fn fact(&self) -> Vec<u8> {
        match self {
            Self::File(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            Self::Handed(handed) => handed.spelled().as_bytes().to_vec(),
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
            selection: Selection::default(),
            pkcs11_module: None,
            tpm: tpm::Device::default(),
        }
    }

    /// Loads and proves the identity as of `now`.
    pub fn load(&self, now: OffsetDateTime) -> Result<Loaded, Error> {
        self.prove(gather(self), now)
    }

    /// The key alone, for whoever signs something else than requests with it. Whether it belongs to a certificate is not
    /// looked at.
    pub fn signing_key(&self) -> Result<Arc<dyn SigningKey>, Error> {
        gather(self).keys?.into_iter().next().ok_or_else(|| Error::Mismatch {
            certificate: self.origin(),
            private_key: self.key_place().origin(),
        })
    }

    /// The same, for a key that belongs to one of the certificates; whether that one may be used is not looked at.
    pub fn certified_key(&self) -> Result<Arc<dyn SigningKey>, Error> {
        let Material { certificates, keys, .. } = gather(self);
        let (keys, certificates) = (keys?, certificates?);
        let pair = chain::pairs(&certificates, &keys).into_iter().next();
        pair.map(|(_, key)| Arc::clone(key)).ok_or_else(|| Error::Mismatch {
            certificate: self.origin(),
            private_key: self.key_place().origin(),
        })
    }

    /// The first certificate of its place, if it is in PEM; `None` for tokens, TPMs and agents.
    pub fn first_certificate(&self) -> Option<Result<FirstCertificate, Error>> {
        Some(self.certificate.read()?.map_err(Error::from).and_then(|file| first_certificate(&file)))
    }

    /// What guards the key. A file is looked into, and nothing is known of one that cannot be read.
    pub fn guard(&self) -> Option<Guard> {
        match self.key_place() {
            Locator::File(_) | Locator::Handed(_) => file::guard(&self.key_place().read()?.ok()?),
            Locator::Token(_) => Some(Guard::Token),
            Locator::Tpm(_) => Some(Guard::Tpm),
            Locator::Agent(_) => Some(Guard::Agent),
        }
    }

    /// Whether the key's URI says its PIN, or where that is: a passphrase would not be looked at.
    pub fn has_pin(&self) -> bool {
        matches!(self.key_place(), Locator::Token(uri) if uri.pin_value().is_some() || uri.pin_source().is_some())
    }

    /// What says which certificate and key it is, for fingerprints of settings: the same in every version, and never a
    /// secret. What few sources have comes last.
    pub fn facts(&self) -> Vec<Vec<u8>> {
        let Self { certificate, private_key, intermediates, passphrase: _, selection, pkcs11_module, tpm } =
            self;
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let mut facts = vec![
            certificate.fact(),
            private_key.as_ref().map(Locator::fact).unwrap_or_default(),
            intermediates.as_ref().map(Locator::fact).unwrap_or_default(),
        ];
        if *selection != Selection::default() {
            facts.push(selection.to_string().into_bytes());
        }
        facts.extend(pkcs11_module.as_deref().map(bytes));
        if *tpm != tpm::Device::default() {
            facts.push(tpm.to_string().into_bytes());
        }
        facts
    }

    /// What people call it: where its certificate is, without any secret.
    pub fn name(&self) -> String {
        self.certificate.origin().bare()
    }

    /// What stands for it in messages.
    pub(super) fn origin(&self) -> Origin {
        self.certificate.origin()
    }

    /// The agent that tells of changes, if there is one.
    pub(super) fn agent(&self) -> Option<&spiffe::Agent> {
        self.places().find_map(|place| match place {
            Locator::Agent(agent) => Some(agent),
            _ => None,
        })
    }

    /// Whether a change may show in no file and nobody tells of it: whoever watches has to look for himself.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.certificate, Locator::Token(_))
    }

    /// The files that it is loaded from.
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

    /// The agents, tokens and TPMs that are asked when it is loaded, by names that tell each from the others.
    pub(super) fn peers(&self) -> Vec<String> {
        let name = |place: &Locator| match place {
            Locator::File(_) | Locator::Handed(_) => None,
            Locator::Token(uri) => Some(uri.token_name(self.pkcs11_module.as_deref())),
            Locator::Tpm(_) => Some(self.tpm.to_string()),
            Locator::Agent(agent) => Some(agent.endpoint.to_string()),
        };
        let mut names: Vec<_> = self.places().filter_map(name).collect();
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
        // What is wrong with a key is the commoner mistake, and the graver one: it is told first.
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

    /// The leaf that belongs to one of the keys, if it is one that may be used.
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

/// The first certificate of a file that is whole.
#[derive(Debug)]
pub struct FirstCertificate {
    /// It, in DER.
    pub der: Vec<u8>,
    /// What is damaged before it.
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
                    format!("{origin} is damaged in line {line}: {damage}, and a later certificate is taken");
                warnings.push(Notice::new(what).hinting(damage.hint(origin)));
            }
        }
    }
    // Says what is damaged, or what the file holds instead.
    file.sections()?;
    Err(file.lacks("certificate").into())
}
