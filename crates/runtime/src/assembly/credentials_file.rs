//! Writes a profile of a shared credentials file whenever its session's credentials change, or the file does.
//!
//! Failures end nothing: the file stays as it is, the failure is logged once, and the next attempt follows within a
//! minute.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use tracing::warn;

use super::supervise;
use anchord_config::CredentialsFile;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::event;
use anchord_core::failure::Failure;
use anchord_core::notice::Notice;
use anchord_core::reported::Reported;
use anchord_frontend::credentials_file;
use anchord_session::Freshness;
use anchord_session::Handle;

/// The pause between attempts while a file cannot be written.
const RETRY: Duration = Duration::from_secs(30);
/// The pause between checks of a correct file. Another program may change or remove it, and the next renewal may be
/// hours away.
const LOOK: Duration = Duration::from_secs(60);

/// Keeps one file up to date with the credentials of `handle`, and restarts after panics. Runs until it is dropped or
/// the session ends.
pub async fn keep_credentials_file(file: CredentialsFile, handle: Handle, clock: Clock) {
    supervise::write(&file.name, || follow(&file, &handle, &clock)).await;
}

/// Updates the file until the session ends.
async fn follow(file: &CredentialsFile, handle: &Handle, clock: &Clock) {
    let mut snapshots = handle.snapshots();
    let mut fault: Reported<Failure> = Reported::default();
    let mut doubt = Reported::default();
    let mut last = LastWrite::default();
    loop {
        let credentials = snapshots.borrow_and_update().credentials.clone();
        let reserve = Freshness::Full.reserve();
        // Expired credentials are not written.
        let credentials = credentials.filter(|credentials| credentials.remaining(clock.moment()) > reserve);
        let written = match &credentials {
            Some(credentials) => {
                let outcome = write(file, credentials, &mut last).await;
                if matches!(outcome, Ok(WriteOutcome::Written | WriteOutcome::PutBack)) {
                    log_doubt(file, &mut doubt).await;
                }
                outcome.map(|outcome| log(outcome, file, credentials))
            }
            None => Ok(()),
        };
        let pause = if written.is_ok() { LOOK } else { RETRY };
        match written {
            Ok(()) => _ = fault.clear(),
            Err(failure) if fault.is_new(failure.clone()) => {
                let (name, class) = (file.name.as_str(), failure.class());
                let (error, hint) = (failure.message(), failure.hint());
                warn!(event = event::FILE_NOT_WRITTEN, file = name, %class, error, hint, "Cannot write the credentials file; it is unchanged");
            }
            Err(_) => {}
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn write(
    file: &CredentialsFile,
    credentials: &Arc<Credentials>,
    last: &mut LastWrite,
) -> Result<WriteOutcome, Failure> {
    let changed = credentials_file::write(&file.path, &file.profile, credentials).await?;
    Ok(last.outcome(credentials, changed))
}

/// Logs a warning about the file, once as long as it is the same.
async fn log_doubt(file: &CredentialsFile, reported: &mut Reported<Notice>) {
    match credentials_file::doubt(&file.path).await {
        Some(doubt) if reported.is_new(doubt.clone()) => {
            warn!(
                event = event::FILE_WARNING,
                file = &*file.name,
                hint = doubt.hint(),
                "{}",
                doubt.message()
            );
        }
        Some(_) => {}
        None => _ = reported.clear(),
    }
}

fn log(outcome: WriteOutcome, file: &CredentialsFile, credentials: &Credentials) {
    let ends_at = clock::rfc3339(credentials.expires_at());
    let (file, profile, session) = (&*file.name, file.profile.as_str(), &*file.session);
    match outcome {
        WriteOutcome::None => {}
        WriteOutcome::Written => {
            info!(event = event::FILE_WRITTEN, file, profile, session, ends_at, "Credentials file written");
        }
        WriteOutcome::PutBack => info!(
            event = event::FILE_PUT_BACK,
            file, profile, session, ends_at, "Restored the credentials file after another program changed it"
        ),
        WriteOutcome::Contended => {
            let hint = "give each program its own profile";
            warn!(
                event = event::FILE_FOUGHT_OVER,
                file, profile, session, hint, "Another program keeps changing this profile"
            );
        }
    }
}

/// What was written to the file last.
#[derive(Default)]
struct LastWrite {
    credentials: Option<Arc<Credentials>>,
    /// How often another program has changed the file since.
    put_back: u32,
}

/// The result of a check of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteOutcome {
    None,
    Written,
    PutBack,
    Contended,
}

impl LastWrite {
    /// Counts a check that wrote `credentials`, or did not need to. `changed` says whether the file was written.
    fn outcome(&mut self, credentials: &Arc<Credentials>, changed: bool) -> WriteOutcome {
        if !self.credentials.as_ref().is_some_and(|before| Arc::ptr_eq(before, credentials)) {
            *self = Self { credentials: Some(Arc::clone(credentials)), put_back: 0 };
        } else if changed {
            self.put_back += 1;
        }
        // The first change may be by hand or from a backup. A second one means that another program writes the file.
        // This is logged once for each renewal.
        match (changed, self.put_back) {
            (true, 0) => WriteOutcome::Written,
            (true, 1) => WriteOutcome::PutBack,
            (true, 2) => WriteOutcome::Contended,
            _ => WriteOutcome::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::support::Rig;

    /// By hand, by a deployment tool, or from a backup.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_somebody_else_has_removed_or_written_is_soon_as_it_should_be() {
        let rig = Rig::new();
        let path = rig.folder.path().join("a");
        rig.publish("ASIA1");
        let _kept = tokio::spawn(keep_credentials_file(rig.file("a"), rig.handle.clone(), rig.clock.clone()));
        let until_written = async || {
            while !fs_err::read_to_string(&path).is_ok_and(|text| text.contains("ASIA1")) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        until_written().await;

        for other in [None, Some("[default]\naws_access_key_id = ASIAOLD\n")] {
            match other {
                Some(text) => fs_err::write(&path, text).unwrap(),
                None => fs_err::remove_file(&path).unwrap(),
            }
            let written = tokio::time::timeout(LOOK + Duration::from_secs(5), until_written()).await;
            assert!(written.is_ok(), "{other:?} stays");
        }
    }

    #[tokio::test]
    async fn two_who_keep_one_profile_are_told_of_each_other_once_a_renewal() {
        let rig = Rig::new();
        let credentials = |id: &str| {
            rig.publish(id);
            rig.handle.snapshot().credentials.unwrap()
        };
        let (file, theirs) = (rig.file("a"), credentials("ASIA9"));
        let (mut last, mut others) = (LastWrite::default(), LastWrite::default());

        for renewed in [credentials("ASIA1"), credentials("ASIA2")] {
            let mut told = Vec::new();
            for _ in 0..5 {
                told.push(write(&file, &renewed, &mut last).await.unwrap());
                assert_eq!(
                    write(&file, &renewed, &mut last).await.unwrap(),
                    WriteOutcome::None,
                    "nobody was there"
                );
                write(&file, &theirs, &mut others).await.unwrap();
            }
            assert_eq!(
                told,
                [
                    WriteOutcome::Written,
                    WriteOutcome::PutBack,
                    WriteOutcome::Contended,
                    WriteOutcome::None,
                    WriteOutcome::None
                ]
            );
        }
        // What is found there needs no writing, and is kept all the same.
        let mut successor = LastWrite::default();
        assert_eq!(write(&file, &theirs, &mut successor).await.unwrap(), WriteOutcome::None);
        fs_err::remove_file(&file.path).unwrap();
        assert_eq!(write(&file, &theirs, &mut successor).await.unwrap(), WriteOutcome::PutBack);
    }
}
