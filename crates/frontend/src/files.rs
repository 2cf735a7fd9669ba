//! The secrets of the front ends that have to outlive the process: bearers and the key of the IMDS tokens.
//!
//! A file that holds something else is left alone: it may be there by a mistake in the settings.

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

/// Why a file of ours cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written, or is not ours alone.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// Not what we would have written.
    #[error("`{}` does not hold {expected}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// There is nothing to make a secret of.
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

/// Whether [`bearers`] can use what is there; nothing is made.
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

/// The bearers of a session's container clients that are accepted, newest first: the one in `path`, made now if
/// there is none, and the one in `<path>.previous`, where there is such a file.
///
/// Clients that got theirs by an environment variable live through our restarts only because it stays the same.
pub fn bearers(path: &Path, entropy: &Entropy) -> Result<Vec<Bearer>, Error> {
    let made = || new_bearer(entropy).map(|bearer| bearer.expose().to_vec());
    let mut bearers = vec![parse(path, load_or_create(path, made)?)?];
    let previous = previous_of(path);
    if let Some(text) = read(&previous)? {
        bearers.push(parse(&previous, text)?);
    }
    Ok(bearers)
}

/// Writes the files of `bearers`, which [`bearers`](self::bearers) has read, after they were deleted.
pub fn restore_bearers(path: &Path, bearers: &[Bearer]) -> Result<(), Error> {
    for (path, bearer) in [path, &previous_of(path)].into_iter().zip(bearers) {
        load_or_create(path, || Ok(bearer.expose().to_vec()))?;
    }
    Ok(())
}

fn parse(path: &Path, text: Secret<Vec<u8>>) -> Result<Bearer, Error> {
    let expected = "a bearer: 43 characters of base64url and no line's end";
    Bearer::parse(text).ok_or_else(|| Error::Content { path: path.into(), expected })
}

/// The key that seals IMDS tokens: the one in `path`, made now if there is none, of `known` where that is given.
pub fn token_key(
    path: &Path,
    known: Option<&Secret<[u8; 32]>>,
    entropy: &Entropy,
) -> Result<Secret<[u8; 32]>, Error> {
    let key = load_or_create(path, || Ok(token_key_in_memory(known, entropy)?.expose().to_vec()))?;
    let key = key.expose().as_slice().try_into();
    key.map(Secret::new).map_err(|_| Error::Content { path: path.into(), expected: "a key of 32 bytes" })
}

/// The key where there is no place for its file: `known`, else a new one, which ends with the process.
pub fn token_key_in_memory(
    known: Option<&Secret<[u8; 32]>>,
    entropy: &Entropy,
) -> Result<Secret<[u8; 32]>, Error> {
    match known {
        Some(known) => Ok(known.clone()),
        None => Ok(Secret::new(entropy.bytes::<32>()?)),
    }
}

/// Writes the file of `key`, which [`token_key`] has read, after it was deleted.
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
        // Another instance was faster, and its clients may already have read the file.
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

/// More than any of our secrets, so that a longer file is seen to be none.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests;
