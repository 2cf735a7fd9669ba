//! Finds the private key of a URI, and its public key.

use std::sync::Arc;
use std::sync::Mutex;

use super::Error;
use super::candidate::Candidate;
use super::der;
use super::key;
use super::key::Pkcs11Key;
use super::protocol::KeyName;
use super::protocol::Object;
use super::protocol::ObjectClass;
use super::protocol::TokenKeyType;
use super::protocol::TokenSlot;
use super::remote::RemoteModule;
use super::tokens;
use super::tokens::ObjectFilter;
use super::tokens::TokenView;
use super::uri::Uri;
use crate::SigningKey;
use anchord_core::secret::Secret;

/// Signed to see whether a key belongs to a certificate.
const PROBE: &[u8] = b"anchord asks whether this private key belongs to a certificate at hand";

pub(super) struct KeySearch<'a> {
    pub(super) remote: &'a Arc<RemoteModule>,
    pub(super) uri: &'a Uri,
    pub(super) pin: Option<Secret<Vec<u8>>>,
    pub(super) candidates: &'a [Candidate],
}

/// A key with its public key, if the token shows it.
struct FoundKey {
    object: Object,
    public_key: Option<Vec<u8>>,
}

impl KeySearch<'_> {
    /// Opens the one key that matches.
    pub(super) fn open(self) -> Result<Arc<dyn SigningKey>, Error> {
        let place = self.token()?;
        let viewer = TokenView { remote: self.remote, place: &place, pin: self.pin.as_ref(), login: true };
        let keys = self.keys(viewer)?;
        if keys.is_empty() {
            let found = tokens::names(&viewer.find(ObjectClass::PrivateKey, ObjectFilter::default())?);
            return Err(Error::NoKey { uri: self.uri.to_string(), token: place.token.to_string(), found });
        }
        let mut found = Vec::new();
        for object in keys {
            let public_key = shown_key(viewer, &object)?;
            found.push(FoundKey { object, public_key });
        }
        let (chosen, public_key) = self.choose(viewer, found)?;
        let name = name_of(&chosen, &place)?;
        Ok(Arc::new(Pkcs11Key {
            remote: Arc::clone(self.remote),
            place: Mutex::new(place),
            name,
            public_key,
            pin: self.pin,
        }))
    }

    /// The one token that matches. No other token gets the PIN, so objects that are visible without a PIN decide
    /// between several.
    fn token(&self) -> Result<TokenSlot, Error> {
        let mut fitting = tokens::fitting(self.remote, self.uri)?;
        if fitting.len() > 1 {
            let mut with_ours = Vec::new();
            for place in &fitting {
                if self.shows_candidate(place)? {
                    with_ours.push(place.clone());
                }
            }
            if with_ours.len() == 1 {
                fitting = with_ours;
            }
        }
        match fitting.as_slice() {
            [place] => Ok(place.clone()),
            several => Err(Error::SeveralTokens {
                uri: self.uri.to_string(),
                found: several.iter().map(|place| place.token.to_string()).collect(),
            }),
        }
    }

    fn shows_candidate(&self, place: &TokenSlot) -> Result<bool, Error> {
        let viewer = TokenView { remote: self.remote, place, pin: None, login: false };
        let certificates = viewer.certificates(ObjectFilter::default())?;
        let public_keys = viewer.find(ObjectClass::PublicKey, ObjectFilter::default())?;
        let in_certificates = certificates.iter().filter_map(|found| der::key_of_certificate(&found.value.0));
        let mut shown = in_certificates.chain(public_keys.iter().filter_map(own_key));
        Ok(shown.any(|key| self.is_ours(&key)))
    }

    fn is_ours(&self, public_key: &[u8]) -> bool {
        self.candidates.iter().any(|candidate| candidate.public_key == public_key)
    }

    /// The keys that the URI names. If there are none, the keys of the certificates that it names: tools write one URI
    /// for both, and both have the same `CKA_ID` (PKCS#11 3.1, 4.6.3) or the same label.
    fn keys(&self, viewer: TokenView<'_>) -> Result<Vec<Object>, Error> {
        let named = viewer.find(ObjectClass::PrivateKey, ObjectFilter::by_uri(self.uri))?;
        if !named.is_empty() || !self.uri.names_an_object() {
            return Ok(named);
        }
        let mut keys: Vec<Object> = Vec::new();
        for certificate in viewer.certificates(ObjectFilter::by_uri(self.uri))? {
            let mut of_it = Vec::new();
            if !certificate.id.is_empty() {
                of_it = viewer.find(ObjectClass::PrivateKey, ObjectFilter::by_id(&certificate.id.0))?;
            }
            if of_it.is_empty() && !certificate.label.is_empty() {
                of_it = viewer.find(ObjectClass::PrivateKey, ObjectFilter::by_label(&certificate.label))?;
            }
            of_it.retain(|key| !keys.contains(key));
            keys.extend(of_it);
        }
        Ok(keys)
    }

    /// The key that belongs to a candidate, if there are several.
    fn choose(&self, viewer: TokenView<'_>, mut found: Vec<FoundKey>) -> Result<(Object, Vec<u8>), Error> {
        if found.len() > 1 {
            let is_ours = |found: &FoundKey| found.public_key.as_deref().is_some_and(|key| self.is_ours(key));
            if found.iter().any(is_ours) {
                found.retain(is_ours);
            } else {
                self.probe_all(viewer, &mut found);
            }
        }
        let names: Vec<_> = found.iter().map(|found| found.object.clone()).collect();
        let several = || Error::SeveralKeys {
            uri: self.uri.to_string(),
            token: viewer.place.token.to_string(),
            found: tokens::names(&names),
        };
        let (Some(FoundKey { object, public_key }), None) = (found.pop(), found.pop()) else {
            return Err(several());
        };
        let public_key = match public_key {
            Some(key) => key,
            None => self.probe(viewer, &object)?,
        };
        Ok((object, public_key))
    }

    /// Keeps only the key that a probe shows to belong to a candidate, if there is one.
    fn probe_all(&self, viewer: TokenView<'_>, found: &mut Vec<FoundKey>) {
        for index in 0..found.len() {
            if found[index].public_key.is_some() {
                continue;
            }
            if let Ok(key) = self.probe(viewer, &found[index].object) {
                let object = found.swap_remove(index).object;
                *found = vec![FoundKey { object, public_key: Some(key) }];
                return;
            }
        }
    }

    /// Lets the key sign, and returns the candidate that verifies the signature.
    fn probe(&self, viewer: TokenView<'_>, object: &Object) -> Result<Vec<u8>, Error> {
        let name = name_of(object, viewer.place)?;
        if !self.candidates.is_empty() {
            let signature = key::sign(self.remote, viewer.place, &name, PROBE, viewer.pin)
                .map_err(|failure| Error::of_token(failure, self.remote, &viewer.place.token))?;
            for candidate in self.candidates {
                if candidate.verifies(PROBE, &signature) {
                    return Ok(candidate.public_key.clone());
                }
            }
        }
        Err(Error::NoPublicKey {
            key: tokens::names(std::slice::from_ref(object)).concat(),
            token: viewer.place.token.to_string(),
        })
    }
}

fn name_of(object: &Object, place: &TokenSlot) -> Result<KeyName, Error> {
    let unusable = |what| Error::UnusableKey {
        key: tokens::names(std::slice::from_ref(object)).concat(),
        token: place.token.to_string(),
        what,
    };
    let kind = match object.kind {
        Some(kind @ (TokenKeyType::Rsa | TokenKeyType::Ec)) => kind,
        Some(TokenKeyType::Other) => return Err(unusable("is neither RSA nor EC")),
        None => return Err(unusable("does not show its kind")),
    };
    Ok(KeyName {
        id: object.id.clone(),
        label: object.label.clone(),
        kind,
        always_authenticate: object.always_authenticate,
    })
}

/// The public key that the token shows for a private key, from the most reliable source to the least.
fn shown_key(viewer: TokenView<'_>, key: &Object) -> Result<Option<Vec<u8>>, Error> {
    let shown = own_key(key);
    if shown.is_some() || key.id.is_empty() {
        return Ok(shown);
    }
    let same_id = ObjectFilter::by_id(&key.id.0);
    let public_keys = viewer.find(ObjectClass::PublicKey, same_id)?;
    if let Some(public_key) = public_keys.iter().filter(|other| other.kind == key.kind).find_map(own_key) {
        return Ok(Some(public_key));
    }
    let certificates = viewer.certificates(same_id)?;
    Ok(certificates.iter().find_map(|certificate| der::key_of_certificate(&certificate.value.0)))
}

/// The public key in an object's own attributes. An RSA private key has both numbers; an EC one may have its point.
fn own_key(object: &Object) -> Option<Vec<u8>> {
    let numbers = || match object.kind {
        Some(TokenKeyType::Rsa) => der::rsa_public_key(&object.modulus.0, &object.exponent.0),
        Some(TokenKeyType::Ec) => der::ec_point(&object.point.0),
        _ => None,
    };
    numbers().or_else(|| der::key_of_info(&object.public_key_info.0))
}
