//! Credentials of daemonless processes, kept in a file of 0600 between calls.
//!
//! SDKs run `credential_process` for each client and each CLI command and keep nothing on disk, while Roles
//! Anywhere allows ten CreateSession a second. A failure is kept for some seconds too, so that a crowd of
//! processes does not repeat it one after the other. Losing the cache costs a call, never correctness: whatever
//! is wrong with a file, it counts as absent.

use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::FlockOperation;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::clock;
use crate::config::Environment;
use crate::config::Session;
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::credentials::Stored;
use crate::failure::Class;
use crate::failure::Failure;
use crate::private_file;
use crate::secret::Secret;

/// Where one session's credentials are kept.
pub(super) struct Cache {
    file: PathBuf,
    /// What the access keys are now, where a session begins with some and they can be read.
    keys: Option<String>,
}

/// What is kept. Credentials stay when a failure is added.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Entry {
    made: Option<Stored>,
    failed: Option<Failed>,
    /// The access keys that it was made with, as a digest.
    #[serde(default)]
    keys: Option<String>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Failed {
    until: String,
    message: String,
    hint: Option<String>,
    #[serde(default)]
    class: String,
}

/// Held while a process talks to AWS; the kernel lets go of it when the process ends, however it ends.
pub(super) struct Lock {
    _file: fs_err::File,
}

const MAX_BYTES: usize = 64 << 10;
/// How long a failure is shared with processes that come after it.
const FAILURE_IS_SHARED_FOR: Duration = Duration::from_secs(5);

impl Cache {
    /// The session's place; `None` where this user has no private folder.
    ///
    /// The name holds every setting the credentials depend on, so that changed ones never meet old credentials; `keys`
    /// stands for what is in a file of access keys.
    pub(super) fn of(
        settings: &Settings,
        session: &Session,
        environment: &Environment,
        keys: Option<String>,
    ) -> Option<Self> {
        let folder = folder(environment)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        let owner = fs_err::symlink_metadata(&folder).ok()?;
        if owner.uid() != environment.uid() || owner.mode() & 0o022 != 0 {
            return None;
        }
        // Some of these change no credentials, but whether they can be had: a failure is kept too.
        let facts = [
            format!("{session:?} {:?}", settings.upstream.ca_file).as_str(),
            if settings.upstream.verifies_servers { "" } else { "anybody may answer" },
            settings.upstream.proxy.as_ref().map_or("", |proxy| proxy.expose()),
            settings.upstream.no_proxy.as_deref().unwrap_or_default(),
        ]
        .join("\n");
        let facts = Secret::new(facts);
        let digest = ring::digest::digest(&ring::digest::SHA256, facts.expose().as_bytes());
        let digest: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { file: folder.join(format!("{}-{digest}.json", session.name)), keys })
    }

    /// Waits until no other process talks to AWS for this session; `None` if that cannot be arranged.
    pub(super) async fn lock(&self) -> Option<Lock> {
        let path = self.file.with_extension("lock");
        // flock blocks its thread; the process's own limit ends the wait.
        tokio::task::spawn_blocking(move || {
            let mut options = fs_err::OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).mode(0o600).open(path).ok()?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive).ok()?;
            Some(Lock { _file: file })
        })
        .await
        .ok()
        .flatten()
    }

    /// What is kept; nothing if the file is absent, damaged, not this user's alone, or made with other access keys.
    pub(super) fn read(&self) -> Entry {
        let found = private_file::read(&self.file, MAX_BYTES).ok().flatten();
        let found: Entry =
            found.and_then(|json| serde_json::from_slice(json.expose()).ok()).unwrap_or_default();
        let is_others = self.keys.is_some() && found.keys != self.keys;
        if is_others { Entry::default() } else { found }
    }

    /// Replaces what is kept, in one step. Not being able to is not an error: the line can be printed all the same.
    pub(super) fn write(&self, entry: &Entry) {
        let entry = Entry { keys: self.keys.clone().or_else(|| entry.keys.clone()), ..entry.clone() };
        let Ok(json) = serde_json::to_vec(&entry).map(Secret::new) else { return };
        let _ = private_file::replace(&self.file, json.expose());
    }
}

/// Memory-backed and gone at logout where there is one, else the user's cache folder.
fn folder(environment: &Environment) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).map(Path::new).filter(|path| path.is_absolute());
    let base = set("XDG_RUNTIME_DIR")
        .map(Path::to_path_buf)
        .or_else(|| set("XDG_CACHE_HOME").map(Path::to_path_buf))
        .or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("anchord").join("cache"))
}

impl Entry {
    /// Fresh credentials, and no failure.
    pub(super) fn made(credentials: &Credentials) -> Self {
        Self { made: Some(Stored::of(credentials)), ..Self::default() }
    }

    /// The same, with a failure that others need not repeat for a moment.
    pub(super) fn failed(mut self, failure: &Failure, now: OffsetDateTime) -> Self {
        self.failed = Some(Failed {
            until: clock::rfc3339(now + FAILURE_IS_SHARED_FOR),
            message: failure.message().to_owned(),
            hint: failure.hint().map(str::to_owned),
            class: failure.class().as_str().to_owned(),
        });
        self
    }

    /// The credentials, complete but perhaps expired.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.made.as_ref()?.credentials()
    }

    /// A failure of a moment ago. One from the future (the clock was set back) counts for nothing.
    pub(super) fn failure(&self, now: OffsetDateTime) -> Option<Failure> {
        let failed = self.failed.as_ref()?;
        let until = clock::parse_rfc3339(&failed.until)?;
        let recent = now < until && until <= now + FAILURE_IS_SHARED_FOR;
        let class = Class::of_word(&failed.class).unwrap_or(Class::Transient);
        recent.then(|| Failure::of(class, failed.message.clone(), failed.hint.clone()))
    }
}
