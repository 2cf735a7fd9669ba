//! Where an identity comes from, and how what is found there becomes one.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;

use super::Error;
use super::Identity;
use super::Loaded;
use super::MAX_INTERMEDIATES;
use super::Origin;
use super::Passphrase;
use super::Selection;
use super::SigningKey;
use super::chain;
use super::key;
use super::leaf;
use super::pem;
use super::pem::Certificate;
use super::selection::Fingerprint;

/// Where an identity comes from. Loading is cheap and may be repeated to pick up a rotated certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where the leaf is, with or without intermediates, in any order.
    pub certificate: Locator,
    /// Where its key is; `None` where the certificate's place has it too.
    pub private_key: Option<Locator>,
    /// A PEM file with more certificates, in any order.
    pub intermediates: Option<PathBuf>,
    /// What unlocks the key.
    pub passphrase: Option<Passphrase>,
    /// Which leaf may be used.
    pub selection: Selection,
}

/// A place that holds certificates, a key, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// A file.
    File(PathBuf),
}

impl Locator {
    /// Whether a text is a URI of a place that is not a file; anything else is a path.
    pub fn is_uri(text: &str) -> bool {
        let _ = text;
        false
    }

    /// The place that a URI names.
    pub fn from_uri(text: &str) -> Result<Self, UriFault> {
        let _ = text;
        Err(UriFault("is no place that this build knows".into()))
    }

    /// As messages name it.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::File(path) => Origin::file(path),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
        }
    }
}

/// A URI that names no place, completing "`certificate` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriFault(String);

type Keys = Vec<Arc<dyn SigningKey>>;

/// What the places of a source hold, before anything is proven.
pub(super) struct Material {
    certificates: Vec<Certificate>,
    keys: Keys,
    key_origin: Origin,
    warnings: Vec<String>,
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
        }
    }

    /// Loads and proves the identity as of `now`.
    pub fn load(&self, now: OffsetDateTime) -> Result<Loaded, Error> {
        self.prove(self.gather()?, now)
    }

    /// What says which certificate and key it is, for fingerprints of settings: the same in every version, and never a
    /// secret. What few sources have comes last.
    pub fn facts(&self) -> Vec<Vec<u8>> {
        let Self { certificate, private_key, intermediates, passphrase: _, selection } = self;
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let place = |place: &Locator| match place {
            Locator::File(path) => bytes(path),
        };
        let mut facts = vec![
            place(certificate),
            private_key.as_ref().map(place).unwrap_or_default(),
            intermediates.as_deref().map(bytes).unwrap_or_default(),
        ];
        if *selection != Selection::default() {
            facts.push(selection.to_string().into_bytes());
        }
        facts
    }

    /// What stands for it in messages.
    pub(super) fn origin(&self) -> Origin {
        self.certificate.origin()
    }

    /// The files that it is loaded from.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let passphrase = match &self.passphrase {
            Some(Passphrase::File(path)) => Some(path.as_path()),
            _ => None,
        };
        let places = [Some(&self.certificate), self.private_key.as_ref()];
        let files = places.into_iter().flatten().filter_map(Locator::file);
        files.chain(self.intermediates.as_deref()).chain(passphrase).map(Path::to_owned).collect()
    }

    /// The key comes first: what is wrong with it is the commoner mistake, and the graver one.
    fn gather(&self) -> Result<Material, Error> {
        let place = self.private_key.as_ref().unwrap_or(&self.certificate);
        let (keys, mut warnings) = self.keys(place)?;
        let mut certificates = match &self.certificate {
            Locator::File(path) => pem::certificates(&pem::read(path)?)?,
        };
        if let Some(path) = &self.intermediates {
            certificates.extend(pem::certificates(&pem::read(path)?)?);
        }
        warnings.extend(self.passphrase_warning());
        Ok(Material { certificates, keys, key_origin: place.origin(), warnings })
    }

    fn keys(&self, place: &Locator) -> Result<(Keys, Vec<String>), Error> {
        match place {
            Locator::File(path) => {
                let file = pem::read(path)?;
                let warnings = open_to_others(&file, "private key").into_iter().collect();
                Ok((vec![key::from_pem(&file, self.passphrase.as_ref())?], warnings))
            }
        }
    }

    fn passphrase_warning(&self) -> Option<String> {
        match &self.passphrase {
            // What cannot be read was told by whoever needed it.
            Some(Passphrase::File(path)) => open_to_others(&pem::read(path).ok()?, "passphrase"),
            _ => None,
        }
    }

    fn prove(&self, material: Material, now: OffsetDateTime) -> Result<Loaded, Error> {
        let Material { certificates, keys, key_origin, mut warnings } = material;
        let (leaf, key) = self.choose(&certificates, &keys, &key_origin, now)?;
        leaf::check(&leaf.parse()?, now)
            .map_err(|fault| Error::Leaf { origin: leaf.origin.clone(), fault })?;
        let chain = chain::order(leaf, &certificates)?;
        if chain.len() > MAX_INTERMEDIATES {
            return Err(Error::ChainTooLong { origin: self.origin(), length: chain.len() });
        }
        let left_out = chain::unused(&certificates, &chain)?;
        if left_out > 0 {
            warnings.push(format!(
                "{left_out} of the certificates in {} do not lead from the leaf towards its root and are not sent",
                self.origin(),
            ));
        }
        let identity = Identity::new(leaf, &chain, Arc::clone(key))?;
        Ok(Loaded { identity, warnings })
    }

    /// The leaf that belongs to one of the keys, if it is one that may be used.
    fn choose<'a>(
        &self,
        certificates: &'a [Certificate],
        keys: &'a [Arc<dyn SigningKey>],
        key_origin: &Origin,
        now: OffsetDateTime,
    ) -> Result<(&'a Certificate, &'a Arc<dyn SigningKey>), Error> {
        let pairs = chain::pairs(certificates, keys);
        let (certificate, private_key) = (self.origin(), key_origin.clone());
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

/// A sentence on a file whose mode lets others read what only this user should.
fn open_to_others(file: &pem::File, what: &str) -> Option<String> {
    (file.mode & 0o027 != 0).then(|| {
        format!(
            "the {what} `{}` is open to others (mode {:04o}); hint: chmod 0600 it",
            file.path.display(),
            file.mode & 0o7777,
        )
    })
}
