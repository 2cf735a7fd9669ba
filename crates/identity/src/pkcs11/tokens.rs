//! Lists tokens and objects, and finds those that match a URI.

use super::Error;
use super::protocol::Bytes;
use super::protocol::ModuleFault;
use super::protocol::Object;
use super::protocol::ObjectClass;
use super::protocol::Token;
use super::protocol::TokenName;
use super::protocol::TokenOperation;
use super::protocol::TokenResponse;
use super::protocol::TokenSlot;
use super::remote::CallFailure;
use super::remote::RemoteModule;
use super::uri::Uri;
use anchord_core::secret::Secret;

/// The tokens that match a URI; an error if there is none.
pub(super) fn fitting(remote: &RemoteModule, uri: &Uri) -> Result<Vec<TokenSlot>, Error> {
    loop {
        let (library_fits, tokens) = list(remote, uri)?;
        let fitting: Vec<_> =
            tokens.iter().filter(|token| library_fits && uri.fits_token(token)).map(Token::place).collect();
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        if !remote.refresh() {
            let found = tokens.iter().map(|token| token.name.to_string()).collect();
            return Err(Error::NoToken { uri: uri.to_string(), found });
        }
    }
}

/// The current slot of the token with this name, if it is present.
pub(super) fn find_again(remote: &RemoteModule, name: &TokenName) -> Result<Option<TokenSlot>, Error> {
    // The module has just failed with this token, so its list may be outdated.
    remote.refresh();
    let (_, tokens) = list(remote, &Uri::default())?;
    Ok(tokens.iter().find(|token| token.name == *name).map(Token::place))
}

fn list(remote: &RemoteModule, uri: &Uri) -> Result<(bool, Vec<Token>), Error> {
    let failed = |failure| Error::of_module(failure, remote);
    let answer = match remote.call(TokenOperation::Tokens, None) {
        Err(CallFailure::Fault(ModuleFault::Failed(_))) if remote.refresh() => {
            remote.call(TokenOperation::Tokens, None)
        }
        other => other,
    };
    match answer.map_err(failed)? {
        TokenResponse::Tokens { library, tokens } => Ok((uri.fits_library(&library), tokens)),
        _ => Err(failed(unexpected())),
    }
}

pub(super) fn unexpected() -> CallFailure {
    CallFailure::Fault(ModuleFault::Failed("another answer was expected".into()))
}

/// What objects must match.
#[derive(Clone, Copy, Default)]
pub(super) struct ObjectFilter<'a> {
    pub(super) id: Option<&'a [u8]>,
    pub(super) label: Option<&'a str>,
}

impl<'a> ObjectFilter<'a> {
    pub(super) fn by_uri(uri: &'a Uri) -> Self {
        Self { id: uri.id.as_deref(), label: uri.object.as_deref() }
    }

    pub(super) fn by_id(id: &'a [u8]) -> Self {
        Self { id: Some(id), label: None }
    }

    pub(super) fn by_label(label: &'a str) -> Self {
        Self { id: None, label: Some(label) }
    }
}

/// Access to one token, with or without a login.
#[derive(Clone, Copy)]
pub(super) struct TokenView<'a> {
    pub(super) remote: &'a RemoteModule,
    pub(super) place: &'a TokenSlot,
    pub(super) pin: Option<&'a Secret<Vec<u8>>>,
    pub(super) login: bool,
}

impl TokenView<'_> {
    /// The objects of a class that match.
    pub(super) fn find(&self, class: ObjectClass, wanted: ObjectFilter<'_>) -> Result<Vec<Object>, Error> {
        let task = TokenOperation::Find {
            place: self.place.clone(),
            class,
            id: wanted.id.map(|id| Bytes(id.to_vec())),
            label: wanted.label.map(Into::into),
            login: self.login,
        };
        let pin = self.pin.filter(|_| self.login);
        match self.remote.call(task, pin) {
            Ok(TokenResponse::Objects(objects)) => Ok(objects),
            Ok(_) => Err(Error::of_module(unexpected(), self.remote)),
            Err(failure) => Err(Error::of_token(failure, self.remote, &self.place.token)),
        }
    }

    pub(super) fn certificates(&self, wanted: ObjectFilter<'_>) -> Result<Vec<Object>, Error> {
        let mut found = self.find(ObjectClass::Certificate, wanted)?;
        found.retain(|certificate| !certificate.value.is_empty());
        Ok(found)
    }
}

/// Labels and ids as messages show them.
pub(super) fn names(objects: &[Object]) -> Vec<String> {
    let name = |object: &Object| {
        let id: Vec<_> = object.id.0.iter().map(|byte| format!("%{byte:02X}")).collect();
        format!("`{}` (id {})", object.label, if id.is_empty() { "none".into() } else { id.concat() })
    };
    objects.iter().map(name).collect()
}
