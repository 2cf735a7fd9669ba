//! A session that tests publish by hand, and files that follow it.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::sync::watch;

use anchord_config::CredentialsFile;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;
use anchord_session::Handle;
use anchord_session::Snapshot;

/// A session, and a folder for its files.
pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) published: watch::Sender<Snapshot>,
    pub(crate) handle: Handle,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let clock = Clock::manual(time::macros::datetime!(2026-03-11 12:00:00 UTC));
        let (published, snapshots) = watch::channel(Snapshot::first(clock.moment()));
        let handle = Handle::new("web", snapshots, Arc::new(Notify::new()), clock.clone());
        Self { folder: tempfile::tempdir().unwrap(), clock, published, handle }
    }

    pub(crate) fn publish(&self, id: &str) {
        let keys = Keys {
            access_key_id: id.into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: Some(Secret::new("token".into())),
        };
        let now = self.clock.moment();
        let made = Credentials::new(keys, now, now.wall + time::Duration::HOUR, None).unwrap();
        self.published.send_replace(Snapshot::kept(Arc::new(made), now));
    }

    pub(crate) fn file(&self, name: &str) -> CredentialsFile {
        let path = self.folder.path().join(name);
        CredentialsFile {
            name: name.into(),
            path,
            profile: Profile::parse("default").unwrap(),
            session: "web".into(),
        }
    }

    /// Waits until the file holds `id`; the clock of the tests is the operating system's here.
    pub(crate) async fn until_written(&self, name: &str, id: &str) {
        let path = self.folder.path().join(name);
        let holds = || fs_err::read_to_string(&path).is_ok_and(|text| text.contains(id));
        let written = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.expect("the file is never written");
    }
}
