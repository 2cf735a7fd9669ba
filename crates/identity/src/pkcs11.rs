//! Certificates and keys in PKCS#11 tokens: smart cards, HSMs, SoftHSM.
//!
//! A token's vendor supplies a module, a shared library. The daemon never loads one: a separate process does (`host`),
//! so that a module that crashes or hangs costs one attempt. A PIN that a token has refused is not tried again, because
//! tokens count wrong PINs.

mod candidate;
mod der;
mod error;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
#[cfg(feature = "pkcs11")]
mod holder;
#[cfg(feature = "pkcs11")]
mod host;
mod key;
mod module;
mod open;
mod pins;
mod protocol;
mod remote;
#[cfg(feature = "pkcs11")]
mod spawner;
mod tokens;
mod uri;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use candidate::Candidate;
pub use error::Error;
pub use error::PinFault;
#[cfg(feature = "pkcs11")]
pub use holder::hold_modules;
use open::KeySearch;
use protocol::Object;
use protocol::TokenSlot;
pub use remote::Launcher;
use remote::RemoteModule;
pub use remote::set_spawner_apart;
use tokens::ObjectFilter;
use tokens::TokenView;
pub use uri::ObjectType;
pub use uri::Uri;
pub use uri::UriComponent;
pub use uri::UriError;

use super::Passphrase;
use super::SigningKey;
use anchord_core::secret::Secret;

/// Which object to look for, in which token, and with which PIN.
#[derive(Clone, Debug)]
pub struct TokenQuery {
    /// Which token and object.
    pub uri: Uri,
    /// The module if the URI names none; `None` for p11-kit's.
    pub module: Option<PathBuf>,
    /// The PIN if the URI has none.
    pub pin: Option<Secret<Vec<u8>>>,
    /// How to start the process that holds the module.
    pub launcher: Launcher,
}

/// A certificate in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCertificate {
    /// The token's label and serial number, as messages name it.
    pub token: String,
    /// `CKA_LABEL`
    pub label: String,
    /// `CKA_ID`; its private key has the same.
    pub id: Vec<u8>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// A URI that matches it, and nothing else if labels and serial numbers are unique.
    pub uri: String,
}

/// The certificates that match the URI, in all tokens that match it; an error if there is none.
///
/// Most tokens show certificates without a PIN. The PIN is given only if none is found without it and only one token
/// matches.
pub fn certificates(options: &TokenQuery) -> Result<Vec<TokenCertificate>, Error> {
    let remote = options.remote()?;
    let slots = tokens::fitting(&remote, &options.uri)?;
    let mut listing = Listing::of(&remote, &slots, &options.uri, None);
    if let (true, [_], Some(pin)) = (listing.found.is_empty(), slots.as_slice(), options.pin()?) {
        let after_login = Listing::of(&remote, &slots, &options.uri, Some(&pin));
        listing = Listing { failed: after_login.failed.or(listing.failed), ..after_login };
    }
    match listing {
        Listing { found, .. } if !found.is_empty() => Ok(found),
        Listing { failed: Some(error), .. } => Err(error),
        Listing { others, .. } => Err(Error::NoCertificate { uri: options.uri.to_string(), found: others }),
    }
}

/// The certificates that match a URI, in several tokens.
#[derive(Default)]
struct Listing {
    found: Vec<TokenCertificate>,
    /// The names of the others, if a token has none that match.
    others: Vec<String>,
    /// The last error. It does not end the search: another token may have the certificate.
    failed: Option<Error>,
}

impl Listing {
    fn of(remote: &RemoteModule, slots: &[TokenSlot], uri: &Uri, pin: Option<&Secret<Vec<u8>>>) -> Self {
        let mut listing = Self::default();
        for place in slots {
            let viewer = TokenView { remote, place, pin, login: pin.is_some() };
            match fitting(viewer, uri, &mut listing.others) {
                Ok(objects) => {
                    for object in objects {
                        listing.found.push(TokenCertificate::new(place, object));
                    }
                }
                Err(error) => listing.failed = Some(error),
            }
        }
        listing
    }
}

/// The certificates of one token that match the URI. If there are none, `others` names those that exist.
fn fitting(viewer: TokenView<'_>, uri: &Uri, others: &mut Vec<String>) -> Result<Vec<Object>, Error> {
    let fitting = viewer.certificates(ObjectFilter::by_uri(uri))?;
    if fitting.is_empty() {
        *others = tokens::names(&viewer.certificates(ObjectFilter::default())?);
    }
    Ok(fitting)
}

impl TokenCertificate {
    fn new(place: &TokenSlot, object: Object) -> Self {
        let (token, label, id) = (&place.token, object.label, object.id.0);
        let parts: [(&str, &[u8]); 4] = [
            ("token", token.label.as_bytes()),
            ("serial", token.serial.as_bytes()),
            ("object", label.as_bytes()),
            ("id", &id),
        ];
        let parts = parts.iter().filter(|(_, value)| !value.is_empty());
        let path: String = parts.map(|(name, value)| format!("{name}={};", uri::encoded(value))).collect();
        let uri = format!("pkcs11:{path}type=cert");
        Self { token: token.to_string(), label, id, der: object.value.0, uri }
    }
}

/// Opens the private key of the URI, which stays in its token.
///
/// `candidates` are the `SubjectPublicKeyInfo`s of the certificates that it may belong to. They decide if the URI
/// matches several tokens or keys, and replace a public key that the token does not show.
pub fn open_key(options: &TokenQuery, candidates: &[Vec<u8>]) -> Result<Arc<dyn SigningKey>, Error> {
    let remote = options.remote()?;
    let candidates: Vec<_> = candidates.iter().filter_map(|info| Candidate::new(info)).collect();
    let search =
        KeySearch { remote: &remote, uri: &options.uri, pin: options.pin()?, candidates: &candidates };
    search.open()
}

/// The module of a URI, if the URI or `setting` names one or p11-kit is installed. Its file need not exist.
pub fn module_of(uri: &Uri, setting: Option<&Path>) -> Option<PathBuf> {
    module::path(uri, setting).ok()
}

impl TokenQuery {
    fn remote(&self) -> Result<Arc<RemoteModule>, Error> {
        if cfg!(not(feature = "pkcs11")) {
            return Err(Error::NotBuilt);
        }
        let module = module::choose(&self.uri, self.module.as_deref())?;
        Ok(RemoteModule::of(&module, &self.launcher))
    }

    /// The URI's PIN, or the PIN in the file it names, or else [`Self::pin`]. The URI comes first because it is about
    /// this token only.
    fn pin(&self) -> Result<Option<Secret<Vec<u8>>>, Error> {
        if let Some(pin) = self.uri.pin_value() {
            return Ok(Some(pin.clone()));
        }
        let Some(path) = self.uri.pin_source() else { return Ok(self.pin.clone()) };
        let pin = Passphrase::File(path.clone()).read();
        pin.map(Some).map_err(|source| Error::PinFile { path: path.clone(), source: Box::new(source) })
    }
}

#[cfg(test)]
#[cfg(feature = "pkcs11")]
mod tests;
