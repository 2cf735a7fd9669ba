//! Writes profiles of shared credentials files whenever their sessions' credentials change.
//!
//! Nothing that goes wrong here ends anything: what a file holds stays, the failure is told once, and the next try is
//! a minute away at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;
use tracing::warn;

use super::roster;
use super::roster::Roster;
use crate::clock;
use crate::clock::Clock;
use crate::config::CredentialsFile;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::frontend::credentials_file;
use crate::frontend::credentials_file::Profile;
use crate::session::Freshness;
use crate::session::Handle;

/// Between tries while a file cannot be written.
const RETRY: Duration = Duration::from_secs(30);

/// Keeps the files of the settings in force, with the sessions in force. Ends with its sender.
pub(super) async fn keep(
    mut files: watch::Receiver<Arc<[CredentialsFile]>>,
    mut rosters: watch::Receiver<Roster>,
    clock: Clock,
) {
    loop {
        let sessions = roster::sessions(&rosters.borrow_and_update());
        // Dropped on reload, and started anew: what is written already is seen to be so.
        let mut tasks = JoinSet::new();
        for file in files.borrow_and_update().iter() {
            if let Some(handle) = sessions.get(&file.session) {
                tasks.spawn(follow(file.clone(), handle.clone(), clock.clone()));
            }
        }
        drop(sessions);
        tokio::select! {
            changed = rosters.changed() => if changed.is_err() { return },
            changed = files.changed() => if changed.is_err() { return },
        }
    }
}

async fn follow(file: CredentialsFile, handle: Handle, clock: Clock) {
    let profile = match Profile::parse(&file.profile) {
        Ok(profile) => profile,
        Err(error) => {
            warn!(file = file.name, class = "misconfigured", %error, "The credentials file is not written");
            return;
        }
    };
    let mut snapshots = handle.snapshots();
    let mut told: Option<Failure> = None;
    loop {
        let credentials = snapshots.borrow_and_update().credentials.clone();
        let reserve = Freshness::Full.reserve();
        // What has ended is of use to nobody.
        let credentials = credentials.filter(|credentials| credentials.remaining(clock.now()) > reserve);
        let written = match &credentials {
            Some(credentials) => write(&file, &profile, credentials).await,
            None => Ok(()),
        };
        let is_written = written.is_ok();
        match written {
            Ok(()) => told = None,
            Err(failure) if told.as_ref() == Some(&failure) => {}
            Err(failure) => {
                let (name, class) = (file.name.as_str(), failure.class());
                warn!(file = name, %class, error = %failure, "The credentials file is not written; it stays as it is");
                told = Some(failure);
            }
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if !is_written => {}
        }
    }
}

async fn write(file: &CredentialsFile, profile: &Profile, credentials: &Credentials) -> Result<(), Failure> {
    if credentials_file::write(&file.path, profile, credentials).await? {
        let ends_at = clock::rfc3339(credentials.expires_at());
        info!(file = file.name, session = file.session, ends_at, "Credentials file written");
    }
    Ok(())
}
