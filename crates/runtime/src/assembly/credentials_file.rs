//! Writes profiles of shared credentials files whenever their sessions' credentials change, or the files do.
//!
//! Nothing that goes wrong here ends anything: what a file holds stays, the failure is told once, and the next try is
//! a minute away at most.

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

/// Between tries while a file cannot be written.
const RETRY: Duration = Duration::from_secs(30);
/// Between looks at a file that is as it should be: somebody else may write or remove it, and a renewal may be hours away.
const LOOK: Duration = Duration::from_secs(60);

/// Keeps one file with what `handle` hands out, through panics too. Goes on until dropped, or until the session ends.
pub async fn keep_credentials_file(file: CredentialsFile, handle: Handle, clock: Clock) {
    supervise::write(&file.name, || follow(&file, &handle, &clock)).await;
}

/// Ends when nobody keeps the session any more.
async fn follow(file: &CredentialsFile, handle: &Handle, clock: &Clock) {
    let mut snapshots = handle.snapshots();
    let mut fault: Reported<Failure> = Reported::default();
    let mut doubt = Reported::default();
    let mut ours = Ours::default();
    loop {
        let credentials = snapshots.borrow_and_update().credentials.clone();
        let reserve = Freshness::Full.reserve();
        // What has ended is of use to nobody.
        let credentials = credentials.filter(|credentials| credentials.remaining(clock.moment()) > reserve);
        let written = match &credentials {
            Some(credentials) => {
                let news = write(file, credentials, &mut ours).await;
                if matches!(news, Ok(News::Written | News::PutBack)) {
                    tell_doubt(file, &mut doubt).await;
                }
                news.map(|news| tell(news, file, credentials))
            }
            None => Ok(()),
        };
        let pause = if written.is_ok() { LOOK } else { RETRY };
        match written {
            Ok(()) => _ = fault.clear(),
            Err(failure) if fault.is_new(failure.clone()) => {
                let (name, class) = (file.name.as_str(), failure.class());
                let (error, hint) = (failure.message(), failure.hint());
                warn!(event = event::FILE_NOT_WRITTEN, file = name, %class, error, hint, "The credentials file is not written; it stays as it is");
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
    ours: &mut Ours,
) -> Result<News, Failure> {
    let changed = credentials_file::write(&file.path, &file.profile, credentials).await?;
    Ok(ours.news(credentials, changed))
}

/// Once for each fault of the file.
async fn tell_doubt(file: &CredentialsFile, reported: &mut Reported<Notice>) {
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

fn tell(news: News, file: &CredentialsFile, credentials: &Credentials) {
    let ends_at = clock::rfc3339(credentials.expires_at());
    let (file, profile, session) = (&*file.name, file.profile.as_str(), &*file.session);
    match news {
        News::None => {}
        News::Written => {
            info!(event = event::FILE_WRITTEN, file, profile, session, ends_at, "Credentials file written");
        }
        News::PutBack => info!(
            event = event::FILE_PUT_BACK,
            file, profile, session, ends_at, "Credentials file put back as it was"
        ),
        News::Contended => {
            let hint = "let each program write a profile of its own";
            warn!(
                event = event::FILE_FOUGHT_OVER,
                file, profile, session, hint, "Another program keeps changing this profile"
            );
        }
    }
}

/// What the file has of us.
#[derive(Default)]
struct Ours {
    credentials: Option<Arc<Credentials>>,
    /// How often somebody else has changed them there.
    put_back: u32,
}

/// What there is to tell of a look at the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    Written,
    PutBack,
    Contended,
}

impl Ours {
    /// After `credentials` were put into the file, which `changed` it or found them there.
    fn news(&mut self, credentials: &Arc<Credentials>, changed: bool) -> News {
        if !self.credentials.as_ref().is_some_and(|before| Arc::ptr_eq(before, credentials)) {
            *self = Self { credentials: Some(Arc::clone(credentials)), put_back: 0 };
        } else if changed {
            self.put_back += 1;
        }
        // Once is by hand or from a backup, twice a program's doing; told once a renewal.
        match (changed, self.put_back) {
            (true, 0) => News::Written,
            (true, 1) => News::PutBack,
            (true, 2) => News::Contended,
            _ => News::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::support::Rig;

    /// By hand, by a tool that lays down files, by a backup that is restored.
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
        let (mut ours, mut others) = (Ours::default(), Ours::default());

        for renewed in [credentials("ASIA1"), credentials("ASIA2")] {
            let mut told = Vec::new();
            for _ in 0..5 {
                told.push(write(&file, &renewed, &mut ours).await.unwrap());
                assert_eq!(write(&file, &renewed, &mut ours).await.unwrap(), News::None, "nobody was there");
                write(&file, &theirs, &mut others).await.unwrap();
            }
            assert_eq!(told, [News::Written, News::PutBack, News::Contended, News::None, News::None]);
        }
        // What is found there needs no writing, and is kept all the same.
        let mut successor = Ours::default();
        assert_eq!(write(&file, &theirs, &mut successor).await.unwrap(), News::None);
        fs_err::remove_file(&file.path).unwrap();
        assert_eq!(write(&file, &theirs, &mut successor).await.unwrap(), News::PutBack);
    }
}
