//! Which tokens and objects are there, and which of them a URI means.

use super::Error;
use super::protocol::Answer;
use super::protocol::Bytes;
use super::protocol::Fault;
use super::protocol::Object;
use super::protocol::ObjectClass;
use super::protocol::Place;
use super::protocol::Task;
use super::protocol::Token;
use super::protocol::TokenName;
use super::remote::Remote;
use super::remote::Trouble;
use super::uri::Uri;
use anchord_core::secret::Secret;

/// The tokens that a URI fits, at least one.
pub(super) fn fitting(remote: &Remote, uri: &Uri) -> Result<Vec<Place>, Error> {
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

/// Where the token of this name is now, if anywhere.
pub(super) fn find_again(remote: &Remote, name: &TokenName) -> Result<Option<Place>, Error> {
    // The module has just failed over this token: what it says of it now is worth little.
    remote.refresh();
    let (_, tokens) = list(remote, &Uri::default())?;
    Ok(tokens.iter().find(|token| token.name == *name).map(Token::place))
}

fn list(remote: &Remote, uri: &Uri) -> Result<(bool, Vec<Token>), Error> {
    let failed = |trouble| Error::of_module(trouble, remote);
    let answer = match remote.call(Task::Tokens, None) {
        Err(Trouble::Fault(Fault::Failed(_))) if remote.refresh() => remote.call(Task::Tokens, None),
        other => other,
    };
    match answer.map_err(failed)? {
        Answer::Tokens { library, tokens } => Ok((uri.fits_library(&library), tokens)),
        _ => Err(failed(unexpected())),
    }
}

pub(super) fn unexpected() -> Trouble {
    Trouble::Fault(Fault::Failed("another answer was expected".into()))
}

/// What objects are looked for by.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    pub(super) id: Option<&'a [u8]>,
    pub(super) label: Option<&'a str>,
}

impl<'a> Wanted<'a> {
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

/// One token, seen as its user or as anybody.
#[derive(Clone, Copy)]
pub(super) struct Viewer<'a> {
    pub(super) remote: &'a Remote,
    pub(super) place: &'a Place,
    pub(super) pin: Option<&'a Secret<Vec<u8>>>,
    pub(super) login: bool,
}

impl Viewer<'_> {
    /// The objects of a class that are wanted.
    pub(super) fn find(&self, class: ObjectClass, wanted: Wanted<'_>) -> Result<Vec<Object>, Error> {
        let task = Task::Find {
            place: self.place.clone(),
            class,
            id: wanted.id.map(|id| Bytes(id.to_vec())),
            label: wanted.label.map(Into::into),
            login: self.login,
        };
        let pin = self.pin.filter(|_| self.login);
        match self.remote.call(task, pin) {
            Ok(Answer::Objects(objects)) => Ok(objects),
            Ok(_) => Err(Error::of_module(unexpected(), self.remote)),
            Err(trouble) => Err(Error::of_token(trouble, self.remote, &self.place.token)),
        }
    }

    pub(super) fn certificates(&self, wanted: Wanted<'_>) -> Result<Vec<Object>, Error> {
        let mut found = self.find(ObjectClass::Certificate, wanted)?;
        found.retain(|certificate| !certificate.value.is_empty());
        Ok(found)
    }
}

/// Labels and ids, as messages list them.
pub(super) fn names(objects: &[Object]) -> Vec<String> {
    let name = |object: &Object| {
        let id: Vec<_> = object.id.0.iter().map(|byte| format!("%{byte:02X}")).collect();
        format!("`{}` (id {})", object.label, if id.is_empty() { "none".into() } else { id.concat() })
    };
    objects.iter().map(name).collect()
}
