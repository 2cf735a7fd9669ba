//! A private key that stays in its token.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;

use super::Error;
use super::candidate::Candidate;
use super::der;
use super::pins::lock;
use super::protocol::Bytes;
use super::protocol::KeyName;
use super::protocol::ModuleFault;
use super::protocol::TokenKeyType;
use super::protocol::TokenOperation;
use super::protocol::TokenResponse;
use super::protocol::TokenSlot;
use super::remote::CallFailure;
use super::remote::RemoteModule;
use super::tokens;
use crate::Algorithm;
use crate::SignFailure;
use crate::SigningKey;
use anchord_core::secret::Secret;

/// A key in a token, with what is needed to find it again after the token was removed or its module crashed.
pub(super) struct Pkcs11Key {
    pub(super) remote: Arc<RemoteModule>,
    pub(super) place: Mutex<TokenSlot>,
    pub(super) name: KeyName,
    pub(super) public_key: Vec<u8>,
    pub(super) pin: Option<Secret<Vec<u8>>>,
}

impl SigningKey for Pkcs11Key {
    fn algorithm(&self) -> Algorithm {
        match self.name.kind {
            TokenKeyType::Rsa => Algorithm::RsaSha256,
            TokenKeyType::Ec | TokenKeyType::Other => Algorithm::EcdsaSha256,
        }
    }

    fn description(&self) -> String {
        let kind = match self.name.kind {
            TokenKeyType::Rsa => "RSA",
            TokenKeyType::Ec | TokenKeyType::Other => "EC",
        };
        format!("{kind} private key in the token {}", lock(&self.place).token)
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        self.sign_or_find(message).map_err(|error| SignFailure::new(&error))
    }
}

impl Pkcs11Key {
    /// Signs. If the token or the key has moved, looks for both again, once.
    fn sign_or_find(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let place = lock(&self.place).clone();
        match sign(&self.remote, &place, &self.name, message, self.pin.as_ref()) {
            Err(CallFailure::Fault(ModuleFault::TokenGone | ModuleFault::KeyGone | ModuleFault::Lost(_))) => {
            }
            other => return self.finish(message, other, &place),
        }
        let gone = || Error::Gone { token: place.token.to_string() };
        let found = tokens::find_again(&self.remote, &place.token)?.ok_or_else(gone)?;
        *lock(&self.place) = found.clone();
        let signed = sign(&self.remote, &found, &self.name, message, self.pin.as_ref());
        self.finish(message, signed, &found)
    }

    /// Verifies the signature. Another key may have the same id and label, and AWS would only report an invalid
    /// signature.
    fn finish(
        &self,
        message: &[u8],
        signed: Result<Vec<u8>, CallFailure>,
        place: &TokenSlot,
    ) -> Result<Vec<u8>, Error> {
        let signature = signed.map_err(|failure| Error::of_token(failure, &self.remote, &place.token))?;
        if signature.is_empty() {
            return Err(Error::NoSignature { token: place.token.to_string() });
        }
        if !Candidate::of_key(self.name.kind, &self.public_key).verifies(message, &signature) {
            return Err(Error::AnotherKey { token: place.token.to_string() });
        }
        Ok(signature)
    }
}

/// The signature in X.509's format; empty if the token's answer is not a signature.
pub(super) fn sign(
    remote: &RemoteModule,
    place: &TokenSlot,
    key: &KeyName,
    message: &[u8],
    pin: Option<&Secret<Vec<u8>>>,
) -> Result<Vec<u8>, CallFailure> {
    let task =
        TokenOperation::Sign { place: place.clone(), key: key.clone(), message: Bytes(message.to_vec()) };
    match remote.call(task, pin)? {
        TokenResponse::Signature(Bytes(raw)) => match key.kind {
            TokenKeyType::Rsa => Ok(raw),
            TokenKeyType::Ec | TokenKeyType::Other => Ok(der::ecdsa_signature(&raw).unwrap_or_default()),
        },
        _ => Err(CallFailure::Fault(ModuleFault::Failed("another answer was expected".into()))),
    }
}

impl fmt::Debug for Pkcs11Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.description())
    }
}
