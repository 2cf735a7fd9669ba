//! A user's own access keys: where they are, and the forms in which people have them.
//!
//! They are read anew whenever they are asked for, so that a file that was changed is used. They are kept nowhere: of
//! those in a file a digest alone, to tell others from them.

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
use anchord_core::event;
use anchord_core::failure::Chain;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::reported::Reported;
use anchord_core::text::Text;
use anchord_identity::FileContent;
use anchord_identity::FileError;
use anchord_identity::Found;
use anchord_identity::Given;
use anchord_identity::Origin;
use anchord_identity::Watched;
use anchord_identity::reading;
use anchord_identity::reading::PATIENCE;

pub use parse::Fault;

/// Far above any file of credentials.
const MAX_BYTES: usize = 64 << 10;

/// Long-term keys of a user, AKIA…, and where they are.
#[derive(Clone)]
pub struct AccessKeys {
    place: Place,
    reading: Arc<reading::Place>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    warning: Reported<Notice>,
    fault: Reported,
    given: Given<Mark>,
}

/// Tells keys from others.
#[derive(PartialEq, Eq)]
struct Mark {
    access_key_id: String,
    /// SHA-256 of the secret, which has too many bits to be guessed.
    secret: Vec<u8>,
}

#[derive(Clone)]
enum Place {
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
    /// The file was not read.
    #[error(transparent)]
    Reading(#[from] reading::Error),
    /// The file is larger than any that holds keys.
    #[error("`{}` is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// They are where this process cannot see them.
    #[error("there are no access keys: {why}")]
    Absent {
        /// What is not there.
        why: String,
        /// What to do.
        hint: String,
    },
    /// What is there are not a user's keys.
    #[error("{origin} {fault}")]
    Unusable {
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        fault: Fault,
    },
}

impl AccessKeys {
    /// Keys in a file, which may be a systemd credential.
    pub fn file(path: PathBuf) -> Self {
        Self::at(Place::File(path))
    }

    /// Keys that have been read already, from variables say; `origin` is what messages call that place.
    pub fn given(keys: Keys, origin: impl Into<String>) -> Self {
        Self::at(Place::Given { keys, origin: origin.into() })
    }

    /// None as yet: what a process would have that was started otherwise. [`AccessKeys::load`] says `why`.
    pub fn absent(why: String, hint: String) -> Self {
        Self::at(Place::Absent { why, hint })
    }

    fn at(place: Place) -> Self {
        let files = match &place {
            Place::File(path) => vec![path.clone()],
            Place::Given { .. } | Place::Absent { .. } => Vec::new(),
        };
        Self { place, reading: reading::Place::of(files), state: Arc::default() }
    }

    /// The keys as they are now. That others may read their file is told once.
    pub async fn load(&self) -> Result<Keys, AccessKeysError> {
        let result = self.read().await;
        let mut state = self.lock();
        match &result {
            Ok(_) => _ = state.fault.clear(),
            // The caller reports it.
            Err(error) => _ = state.fault.is_new(Chain(error).to_string()),
        }
        state.given = Given::of(result.as_ref().ok().map(Mark::of));
        drop(state);
        result
    }

    /// Reads them for whoever does not sign but watches; all there is to tell is told here.
    async fn look(&self, session: &str) -> Found {
        let keys = match self.read().await {
            Ok(keys) => keys,
            Err(error) => {
                self.tell_fault(session, &error);
                return Found::Fault;
            }
        };
        let mark = Mark::of(&keys);
        let mut state = self.lock();
        let has_recovered = state.fault.clear();
        let is_news = state.given.is_outdated_by(Some(mark), Mark::eq);
        drop(state);
        let access_key_id = &*keys.access_key_id;
        if is_news {
            info!(event = event::ACCESS_KEYS_REPLACED, session, access_key_id, "Using other access keys");
        } else if has_recovered {
            info!(
                event = event::ACCESS_KEYS_RECOVERED,
                session, access_key_id, "The access keys can be read again"
            );
        }
        if is_news { Found::News } else { Found::Known }
    }

    async fn read(&self) -> Result<Keys, AccessKeysError> {
        let path = match &self.place {
            Place::File(path) => path.clone(),
            Place::Given { keys, .. } => {
                return parse::checked(keys.clone()).map_err(|fault| self.unusable(fault));
            }
            Place::Absent { why, hint } => {
                return Err(AccessKeysError::Absent { why: why.clone(), hint: hint.clone() });
            }
        };
        let read = self.reading.read(PATIENCE, move || read(&path)).await;
        let (read, _reading) = read.map_err(|failed| failed.at(self.origin()))?;
        let (keys, warning) = read?;
        self.tell(warning);
        Ok(keys)
    }

    /// The keys in a text of any of the forms in which people have them: the shared credentials file of the SDKs, its
    /// two lines alone, `ID:SECRET`, the CSV of IAM's console, the JSON of `aws iam create-access-key`.
    pub fn parse(text: &str) -> Result<Keys, Fault> {
        parse::parse(text)
    }

    /// The file, if they are in one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Given { .. } | Place::Absent { .. } => None,
        }
    }

    /// What people call their place, without any secret.
    pub fn name(&self) -> String {
        self.origin().bare()
    }

    /// What says whose they are, for fingerprints of settings: the same in every version, and never a secret.
    pub fn fact(&self) -> Vec<u8> {
        match &self.place {
            Place::File(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            Place::Given { keys, .. } => keys.access_key_id.clone().into_bytes(),
            Place::Absent { .. } => Vec::new(),
        }
    }

    fn origin(&self) -> Origin {
        match &self.place {
            Place::File(path) => Origin::file(path),
            Place::Given { origin, .. } => Origin::named(origin.as_str()),
            Place::Absent { .. } => Origin::named("access keys"),
        }
    }

    fn unusable(&self, fault: Fault) -> AccessKeysError {
        AccessKeysError::Unusable { origin: self.origin(), fault }
    }

    fn tell(&self, warning: Option<Notice>) {
        match warning {
            None => _ = self.lock().warning.clear(),
            Some(warning) => {
                if self.lock().warning.is_new(warning.clone()) {
                    warn!(event = event::ACCESS_KEYS_WARNING, hint = warning.hint(), "{}", warning.message());
                }
            }
        }
    }

    fn tell_fault(&self, session: &str, error: &AccessKeysError) {
        let fault = Chain(error).to_string();
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access keys of one session, for its watcher.
pub struct WatchedKeys {
    session: String,
    keys: AccessKeys,
}

impl WatchedKeys {
    /// `keys` is a clone of what the session's issuer has.
    pub fn new(session: &str, keys: AccessKeys) -> Self {
        Self { session: session.into(), keys }
    }
}

impl Watched for WatchedKeys {
    fn session(&self) -> &str {
        &self.session
    }

    fn words(&self) -> &'static str {
        "the file of the access keys"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.keys.path().map(Path::to_owned).into_iter().collect()
    }

    fn place(&self) -> &Arc<reading::Place> {
        &self.keys.reading
    }

    fn look(&self, _now: OffsetDateTime) -> Pin<Box<dyn Future<Output = Found> + Send + '_>> {
        Box::pin(self.keys.look(&self.session))
    }
}

impl Mark {
    fn of(keys: &Keys) -> Self {
        let secret = keys.secret_access_key.expose().as_bytes();
        let secret = ring::digest::digest(&ring::digest::SHA256, secret).as_ref().to_vec();
        Self { access_key_id: keys.access_key_id.clone(), secret }
    }
}

/// The keys, and what their owner should know of the file.
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
    let text = std::str::from_utf8(content).map_err(|_| Fault::Unknown);
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
            Self::TooLarge { .. } => Some("name the file that has the access keys, and nothing else".into()),
            Self::Absent { hint, .. } => Some(hint.clone().into()),
            Self::Unusable { fault, .. } => Some(fault.hint().into()),
        }
    }
}

/// Whether they are in the same place; of keys that are given, whether they are the same.
impl PartialEq for AccessKeys {
    fn eq(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::File(path), Place::File(other)) => path == other,
            (Place::Given { keys, .. }, Place::Given { keys: other, .. }) => {
                keys.access_key_id == other.access_key_id
                    && keys.secret_access_key == other.secret_access_key
                    && keys.session_token == other.session_token
            }
            (Place::Absent { why, .. }, Place::Absent { why: other, .. }) => why == other,
            _ => false,
        }
    }
}

impl Eq for AccessKeys {}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = match &self.place {
            Place::Given { keys, .. } => Some(&keys.access_key_id),
            Place::File(_) | Place::Absent { .. } => None,
        };
        formatter.debug_tuple("AccessKeys").field(&self.name()).field(&id).finish()
    }
}

#[cfg(test)]
mod tests;
