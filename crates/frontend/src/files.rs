//! Files for the secrets that the front ends keep across restarts: bearer tokens and the key of the IMDS tokens.
//!
//! A file with other content is not changed, because the settings may name it by mistake.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Bearer;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Exhausted;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::private_file;
use anchord_core::secret::Secret;
use anchord_core::text::Text;

/// Why a file with a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written, or other users can read or write it.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// It does not contain a secret of this kind.
    #[error("`{}` does not contain {expected}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
    },
    /// The system gave no random bytes.
    #[error("cannot make a new secret")]
    Entropy(#[from] Exhausted),
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::File(error) => error.reason(),
            Self::Content { .. } => Reason::FileUnusable,
            Self::Entropy(_) => Reason::Bug,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::File(error) => error.hint(),
            Self::Content { path, .. } => {
                Some(format!("remove `{}` to get a new one, or choose another path", path.display()).into())
            }
            Self::Entropy(_) => None,
        }
    }
}

/// Checks that [`bearers`] can use the files that exist, without creating one.
///
/// # Errors
/// A file cannot be used.
pub fn check_bearers(path: &Path) -> Result<(), Error> {
    for path in [path, &previous_of(path)] {
        if let Some(text) = read(path)? {
            parse(path, text)?;
        }
    }
    Ok(())
}

fn previous_of(path: &Path) -> PathBuf {
    let mut previous = path.as_os_str().to_owned();
    previous.push(".previous");
    previous.into()
}

/// The bearer tokens that a session accepts from container clients, newest first: the one in `path`, which is created
/// if the file does not exist, and the one in `<path>.previous`, if that file exists.
///
/// The token stays the same across restarts, because clients with the token in an environment variable keep the old
/// one.
///
/// # Errors
/// A file cannot be used, or there are no random bytes.
pub fn bearers(path: &Path, entropy: &Entropy) -> Result<Vec<Bearer>, Error> {
    let made = || new_bearer(entropy).map(|bearer| bearer.expose().to_vec());
    let mut bearers = vec![parse(path, load_or_create(path, made)?)?];
    let previous = previous_of(path);
    if let Some(text) = read(&previous)? {
        bearers.push(parse(&previous, text)?);
    }
    Ok(bearers)
}

/// Writes the files of `bearers`, which [`bearers`](self::bearers) returned, again after they were deleted.
///
/// # Errors
/// A file cannot be written.
pub fn restore_bearers(path: &Path, bearers: &[Bearer]) -> Result<(), Error> {
    for (path, bearer) in [path, &previous_of(path)].into_iter().zip(bearers) {
        load_or_create(path, || Ok(bearer.expose().to_vec()))?;
    }
    Ok(())
}

fn parse(path: &Path, text: Secret<Vec<u8>>) -> Result<Bearer, Error> {
    let expected = "a bearer token: 43 characters of base64url without a line break";
    Bearer::parse(text).ok_or_else(|| Error::Content { path: path.into(), expected })
}

/// The key that authenticates IMDS tokens, from the file `path`. If the file does not exist, it is created with
/// `known`, or with a new key.
///
/// # Errors
/// The file cannot be used, or there are no random bytes.
pub fn token_key(
    path: &Path,
    known: Option<&Secret<[u8; 32]>>,
    entropy: &Entropy,
) -> Result<Secret<[u8; 32]>, Error> {
    let key = load_or_create(path, || Ok(token_key_in_memory(known, entropy)?.expose().to_vec()))?;
    let key = key.expose().as_slice().try_into();
    key.map(Secret::new).map_err(|_| Error::Content { path: path.into(), expected: "a key of 32 bytes" })
}

/// The key if there is no folder for its file: `known`, or a new one, which is lost when the process ends.
///
/// # Errors
/// There are no random bytes.
pub fn token_key_in_memory(
    known: Option<&Secret<[u8; 32]>>,
    entropy: &Entropy,
) -> Result<Secret<[u8; 32]>, Error> {
    match known {
        Some(known) => Ok(known.clone()),
        None => Ok(Secret::new(entropy.bytes::<32>()?)),
    }
}

/// Writes the file of `key`, which [`token_key`] returned, again after it was deleted.
///
/// # Errors
/// The file cannot be written.
pub fn restore_token_key(path: &Path, key: &Secret<[u8; 32]>) -> Result<(), Error> {
    load_or_create(path, || Ok(key.expose().to_vec())).map(drop)
}

fn new_bearer(entropy: &Entropy) -> Result<Bearer, Error> {
    let random = Secret::new(entropy.bytes::<32>()?);
    let text = Secret::new(URL_SAFE_NO_PAD.encode(random.expose()).into_bytes());
    Ok(Bearer::parse(text).expect("32 bytes are 43 characters of base64url"))
}

fn load_or_create(path: &Path, make: impl Fn() -> Result<Vec<u8>, Error>) -> Result<Secret<Vec<u8>>, Error> {
    if let Some(found) = read(path)? {
        return Ok(found);
    }
    let made = Secret::new(make()?);
    match private_file::create(path, made.expose()) {
        // Another process created the file first, and its clients may have read it already.
        Err(private_file::Error::Unwritable { source, .. })
            if source.kind() == io::ErrorKind::AlreadyExists =>
        {
            let gone = private_file::Error::Unwritable { path: path.into(), source };
            Ok(read(path)?.ok_or(gone)?)
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(made),
    }
}

fn read(path: &Path) -> Result<Option<Secret<Vec<u8>>>, Error> {
    Ok(private_file::read(path, LONGEST)?)
}

/// More than any of our secrets, so that a file with more content is recognised as another file.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests;
