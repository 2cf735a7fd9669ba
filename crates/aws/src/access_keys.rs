//! A user's own access keys: where they are kept, and the formats in which they are written.
//!
//! Each use reads them again, so that a changed file takes effect. Keys from a file are not stored; only a digest is,
//! to notice when they change.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod parse;

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use time::OffsetDateTime;
use tracing::info;
use tracing::warn;

use anchord_core::credentials::Keys;
use anchord_core::digest::sha256;
use anchord_core::event;
use anchord_core::failure::Classify;
use anchord_core::failure::ErrorChain;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::reported::Reported;
use anchord_core::text::Text;
use anchord_identity::FileContent;
use anchord_identity::FileError;
use anchord_identity::LastAttempt;
use anchord_identity::Origin;
use anchord_identity::WatchOutcome;
use anchord_identity::WatchSubject;
use anchord_identity::reading;
use anchord_identity::reading::PATIENCE;

pub use parse::ParseError;

/// Far larger than any file of credentials.
const MAX_BYTES: usize = 64 << 10;

/// The long-term keys of a user, AKIA…, and where they are kept.
#[derive(Clone)]
pub struct AccessKeys {
    place: KeysLocation,
    reading: Arc<reading::BlockingReader>,
    state: Arc<Mutex<LastRead>>,
}

/// What the last read found: the warning and the error that were reported, and the keys.
#[derive(Default)]
struct LastRead {
    warning: Reported<Notice>,
    fault: Reported,
    given: LastAttempt<KeysDigest>,
}

/// Distinguishes keys from others without storing the secret.
#[derive(PartialEq, Eq)]
struct KeysDigest {
    access_key_id: String,
    /// SHA-256 of the secret. The secret has too many bits to be guessed from it.
    secret: [u8; 32],
}

#[derive(Clone)]
enum KeysLocation {
    File(PathBuf),
    Given { keys: Keys, origin: String },
    Absent { why: String, hint: String },
}

/// Why there are no access keys.
#[derive(Debug, thiserror::Error)]
pub enum AccessKeysError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file did not answer in time, or the reading failed.
    #[error(transparent)]
    Reading(#[from] reading::Error),
    /// The file is larger than any file of access keys.
    #[error("`{}` is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// This process has no access keys.
    #[error("there are no access keys: {why}")]
    Absent {
        /// What is missing.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The text does not contain a user's keys.
    #[error("{origin} {fault}")]
    Unusable {
        /// Where the text is.
        origin: Origin,
        /// What is wrong with it.
        fault: ParseError,
    },
}

impl AccessKeys {
    /// Keys in a file, which may be a systemd credential.
    pub fn file(path: PathBuf) -> Self {
        Self::at(KeysLocation::File(path))
    }

    /// Keys that have already been read, from variables for example. Messages call their place `origin`.
    pub fn given(keys: Keys, origin: impl Into<String>) -> Self {
        Self::at(KeysLocation::Given { keys, origin: origin.into() })
    }

    /// No keys, because this process does not have what another process would have. [`AccessKeys::load`] fails and says
    /// `why`.
    pub fn absent(why: String, hint: String) -> Self {
        Self::at(KeysLocation::Absent { why, hint })
    }

    fn at(place: KeysLocation) -> Self {
        let files = match &place {
            KeysLocation::File(path) => vec![path.clone()],
            KeysLocation::Given { .. } | KeysLocation::Absent { .. } => Vec::new(),
        };
        Self { place, reading: reading::BlockingReader::of(files), state: Arc::default() }
    }

    /// Reads the current keys. Logs once if other users may read their file.
    ///
    /// # Errors
    /// If the keys are missing, or cannot be read or used.
    pub async fn load(&self) -> Result<Keys, AccessKeysError> {
        let result = self.read().await;
        let mut state = self.lock();
        match &result {
            Ok(_) => _ = state.fault.clear(),
            // The caller reports it; this only remembers that.
            Err(error) => _ = state.fault.is_new(ErrorChain(error).to_string()),
        }
        state.given = LastAttempt::of(result.as_ref().ok().map(KeysDigest::of));
        drop(state);
        result
    }

    /// Reads the keys for the watcher, and logs what has changed.
    async fn look(&self, session: &str) -> WatchOutcome {
        let keys = match self.read().await {
            Ok(keys) => keys,
            Err(error) => {
                self.report_fault(session, &error);
                return WatchOutcome::Unusable;
            }
        };
        let digest = KeysDigest::of(&keys);
        let mut state = self.lock();
        let has_recovered = state.fault.clear();
        let has_changed = state.given.is_outdated_by(Some(digest), KeysDigest::eq);
        drop(state);
        let access_key_id = &*keys.access_key_id;
        if has_changed {
            info!(event = event::ACCESS_KEYS_REPLACED, session, access_key_id, "Using other access keys");
        } else if has_recovered {
            info!(
                event = event::ACCESS_KEYS_RECOVERED,
                session, access_key_id, "The access keys can be read again"
            );
        }
        if has_changed { WatchOutcome::Changed } else { WatchOutcome::Unchanged }
    }

    async fn read(&self) -> Result<Keys, AccessKeysError> {
        let path = match &self.place {
            KeysLocation::File(path) => path.clone(),
            KeysLocation::Given { keys, .. } => {
                return parse::checked(keys.clone()).map_err(|fault| self.unusable(fault));
            }
            KeysLocation::Absent { why, hint } => {
                return Err(AccessKeysError::Absent { why: why.clone(), hint: hint.clone() });
            }
        };
        let read = self.reading.read(PATIENCE, move || read(&path)).await;
        let (read, _reading) = read.map_err(|failed| failed.at(self.origin()))?;
        let (keys, warning) = read?;
        self.report_warning(warning);
        Ok(keys)
    }

    /// Parses keys in any common format: a shared credentials file of the SDKs, only its two lines, `ID:SECRET`, the
    /// CSV of IAM's console, or the JSON of `aws iam create-access-key`.
    ///
    /// # Errors
    /// If the text has none of these formats, or its keys cannot be used.
    pub fn parse(text: &str) -> Result<Keys, ParseError> {
        parse::parse(text)
    }

    /// The file, if they are in one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            KeysLocation::File(path) => Some(path),
            KeysLocation::Given { .. } | KeysLocation::Absent { .. } => None,
        }
    }

    /// The name of their place for messages; it contains no secret.
    pub fn name(&self) -> String {
        self.origin().bare()
    }

    /// Identifies the keys in fingerprints of settings. It is the same in every version, and contains no secret.
    pub fn fact(&self) -> Vec<u8> {
        match &self.place {
            KeysLocation::File(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            KeysLocation::Given { keys, .. } => keys.access_key_id.clone().into_bytes(),
            KeysLocation::Absent { .. } => Vec::new(),
        }
    }

    fn origin(&self) -> Origin {
        match &self.place {
            KeysLocation::File(path) => Origin::file(path),
            KeysLocation::Given { origin, .. } => Origin::named(origin.as_str()),
            KeysLocation::Absent { .. } => Origin::named("access keys"),
        }
    }

    fn unusable(&self, fault: ParseError) -> AccessKeysError {
        AccessKeysError::Unusable { origin: self.origin(), fault }
    }

    fn report_warning(&self, warning: Option<Notice>) {
        match warning {
            None => _ = self.lock().warning.clear(),
            Some(warning) => {
                if self.lock().warning.is_new(warning.clone()) {
                    warn!(event = event::ACCESS_KEYS_WARNING, hint = warning.hint(), "{}", warning.message());
                }
            }
        }
    }

    fn report_fault(&self, session: &str, error: &AccessKeysError) {
        let fault = ErrorChain(error).to_string();
        if self.lock().fault.is_new(fault.clone()) {
            warn!(
                event = event::ACCESS_KEYS_REFUSED,
                session,
                error = fault,
                hint = error.hint().as_deref(),
                "The access keys cannot be read"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, LastRead> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access keys of one session, for its watcher.
pub struct WatchedKeys {
    session: String,
    keys: AccessKeys,
}

impl WatchedKeys {
    /// `keys` must be a clone of those of the session's issuer.
    pub fn new(session: &str, keys: AccessKeys) -> Self {
        Self { session: session.into(), keys }
    }
}

impl WatchSubject for WatchedKeys {
    fn session(&self) -> &str {
        &self.session
    }

    fn words(&self) -> &'static str {
        "the file of the access keys"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.keys.path().map(Path::to_owned).into_iter().collect()
    }

    fn reader(&self) -> &Arc<reading::BlockingReader> {
        &self.keys.reading
    }

    fn look(&self, _now: OffsetDateTime) -> Pin<Box<dyn Future<Output = WatchOutcome> + Send + '_>> {
        Box::pin(self.keys.look(&self.session))
    }
}

impl KeysDigest {
    fn of(keys: &Keys) -> Self {
        let secret = keys.secret_access_key.expose().as_bytes();
        Self { access_key_id: keys.access_key_id.clone(), secret: sha256(secret) }
    }
}

/// Reads the keys, and a warning if other users may read the file.
fn read(path: &Path) -> Result<(Keys, Option<Notice>), AccessKeysError> {
    let too_large = || AccessKeysError::TooLarge { path: path.into() };
    let file = match FileContent::read(path) {
        Err(FileError::TooLarge { .. }) => return Err(too_large()),
        result => result?,
    };
    let content = file.text();
    if content.len() > MAX_BYTES {
        return Err(too_large());
    }
    let text = std::str::from_utf8(content).map_err(|_| ParseError::Unknown);
    let keys = text
        .and_then(parse::parse)
        .map_err(|fault| AccessKeysError::Unusable { origin: Origin::file(path), fault })?;
    Ok((keys, file.open_to_others("file of access keys")))
}

impl Classify for AccessKeysError {
    fn reason(&self) -> Reason {
        match self {
            Self::File(error) => error.reason(),
            Self::Reading(error) => error.reason(),
            Self::Absent { .. } => Reason::FileUnreadable,
            Self::TooLarge { .. } | Self::Unusable { .. } => Reason::FileUnusable,
        }
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::File(error) => error.hint(),
            Self::Reading(error) => error.hint(),
            Self::TooLarge { .. } => Some("name a file that contains only the access keys".into()),
            Self::Absent { hint, .. } => Some(hint.clone().into()),
            Self::Unusable { fault, .. } => Some(fault.hint().into()),
        }
    }
}

/// Equal if they are in the same place; for keys from memory, if the keys are the same.
impl PartialEq for AccessKeys {
    fn eq(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (KeysLocation::File(path), KeysLocation::File(other)) => path == other,
            (KeysLocation::Given { keys, .. }, KeysLocation::Given { keys: other, .. }) => {
                keys.access_key_id == other.access_key_id
                    && keys.secret_access_key == other.secret_access_key
                    && keys.session_token == other.session_token
            }
            (KeysLocation::Absent { why, .. }, KeysLocation::Absent { why: other, .. }) => why == other,
            _ => false,
        }
    }
}

impl Eq for AccessKeys {}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = match &self.place {
            KeysLocation::Given { keys, .. } => Some(&keys.access_key_id),
            KeysLocation::File(_) | KeysLocation::Absent { .. } => None,
        };
        formatter.debug_tuple("AccessKeys").field(&self.name()).field(&id).finish()
    }
}

#[cfg(test)]
mod tests;
