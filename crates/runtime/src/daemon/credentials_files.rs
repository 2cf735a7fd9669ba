//! Writes profiles of shared credentials files whenever their sessions' credentials change, or the files do.
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
use super::supervise;
use anchord_config::CredentialsFile;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_frontend::credentials_file;
use anchord_session::Freshness;
use anchord_session::Handle;

/// Between tries while a file cannot be written.
const RETRY: Duration = Duration::from_secs(30);
/// Between looks at a file that is as it should be: somebody else may write or remove it, and a renewal may be hours away.
const LOOK: Duration = Duration::from_secs(60);

/// The files that are kept, each with the session that it is kept with. One value, for a file must not meet the session
/// that has its session's name under other settings.
pub(super) type Followed = Arc<[(CredentialsFile, Handle)]>;

/// Finds each file's session.
pub(super) fn followed(files: &[CredentialsFile], roster: &Roster) -> Followed {
    let sessions = roster::sessions(roster);
    let pair = |file: &CredentialsFile| Some((file.clone(), sessions.get(&file.session)?.clone()));
    files.iter().filter_map(pair).collect()
}

/// Keeps the files of the settings in force, with the sessions in force. Ends with its sender.
pub(super) async fn keep(mut followed: watch::Receiver<Followed>, clock: Clock) {
    let mut before: Vec<Task> = Vec::new();
    loop {
        let files = Arc::clone(&followed.borrow_and_update());
        let mut go_on = |(file, handle): &(CredentialsFile, Handle)| {
            // What has told of a failure once need not do so again after each reload.
            match before.iter().position(|task| task.file == *file && task.handle.is_same(handle)) {
                Some(same) => before.swap_remove(same),
                None => Task::start(file, handle, &clock),
            }
        };
        let tasks: Vec<Task> = files.iter().map(&mut go_on).collect();
        before = tasks;
        drop(files);
        if followed.changed().await.is_err() {
            return;
        }
    }
}

/// One file that is kept, until this is dropped.
struct Task {
    file: CredentialsFile,
    handle: Handle,
    _task: JoinSet<()>,
}

impl Task {
    fn start(file: &CredentialsFile, handle: &Handle, clock: &Clock) -> Self {
        let mut task = JoinSet::new();
        task.spawn(keep_credentials_file(file.clone(), handle.clone(), clock.clone()));
        Self { file: file.clone(), handle: handle.clone(), _task: task }
    }
}

/// Keeps one file with what `handle` hands out, through panics too. Goes on until dropped, or until the session ends.
pub async fn keep_credentials_file(file: CredentialsFile, handle: Handle, clock: Clock) {
    supervise::write(&file.name, || follow(&file, &handle, &clock)).await;
}

/// Ends when nobody keeps the session any more.
async fn follow(file: &CredentialsFile, handle: &Handle, clock: &Clock) {
    let mut snapshots = handle.snapshots();
    let mut told: Option<Failure> = None;
    let mut told_doubt = None;
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
                    tell_doubt(file, &mut told_doubt).await;
                }
                news.map(|news| tell(news, file, credentials))
            }
            None => Ok(()),
        };
        let pause = if written.is_ok() { LOOK } else { RETRY };
        match written {
            Ok(()) => told = None,
            Err(failure) if told.as_ref() == Some(&failure) => {}
            Err(failure) => {
                let (name, class, reason) = (file.name.as_str(), failure.class(), failure.reason());
                let (error, hint) = (failure.message(), failure.hint());
                warn!(file = name, %class, %reason, error, hint, "The credentials file is not written; it stays as it is");
                told = Some(failure);
            }
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
async fn tell_doubt(file: &CredentialsFile, told: &mut Option<String>) {
    let doubt = credentials_file::doubt(&file.path).await;
    if let Some(doubt) = doubt.as_ref().filter(|doubt| told.as_ref() != Some(doubt)) {
        warn!(file = &*file.name, "{doubt}");
    }
    *told = doubt;
}

fn tell(news: News, file: &CredentialsFile, credentials: &Credentials) {
    let ends_at = clock::rfc3339(credentials.expires_at());
    let (file, profile, session) = (&*file.name, file.profile.as_str(), &*file.session);
    match news {
        News::None => {}
        News::Written => info!(file, profile, session, ends_at, "Credentials file written"),
        News::PutBack => info!(file, profile, session, ends_at, "Credentials file put back as it was"),
        News::Contended => {
            let hint = "let each program write a profile of its own";
            warn!(file, profile, session, hint, "Another program keeps changing this profile");
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
    use tempfile::TempDir;
    use tokio::sync::Notify;

    use super::*;
    use anchord_core::credentials::Keys;
    use anchord_core::profile::Profile;
    use anchord_core::secret::Secret;
    use anchord_session::Snapshot;

    struct Rig {
        folder: TempDir,
        clock: Clock,
        published: watch::Sender<Snapshot>,
        handle: Handle,
    }

    impl Rig {
        fn new() -> Self {
            let clock = Clock::manual(time::macros::datetime!(2026-03-11 12:00:00 UTC));
            let (published, snapshots) = watch::channel(Snapshot::first(clock.moment()));
            let handle = Handle::new("web", snapshots, Arc::new(Notify::new()), clock.clone());
            Self { folder: tempfile::tempdir().unwrap(), clock, published, handle }
        }

        fn publish(&self, id: &str) {
            let keys = Keys {
                access_key_id: id.into(),
                secret_access_key: Secret::new("secret".into()),
                session_token: Some(Secret::new("token".into())),
            };
            let now = self.clock.moment();
            let made = Credentials::new(keys, now, now.wall + time::Duration::HOUR, None).unwrap();
            self.published.send_replace(Snapshot::kept(Arc::new(made), now));
        }

        fn file(&self, name: &str) -> CredentialsFile {
            let path = self.folder.path().join(name);
            CredentialsFile {
                name: name.into(),
                path,
                profile: Profile::parse("default").unwrap(),
                session: "web".into(),
            }
        }

        /// Waits until the file holds `id`; the clock of the tests is the operating system's here.
        async fn until_written(&self, name: &str, id: &str) {
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

    #[tokio::test]
    async fn a_reload_disturbs_no_file_whose_settings_and_session_stay() {
        let rig = Rig::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| (rig.file(name), rig.handle.clone()));
        let followed = watch::Sender::new(Followed::from([a.clone()]));
        let kept = tokio::spawn(keep(followed.subscribe(), rig.clock.clone()));
        rig.publish("ASIA1");
        rig.until_written("a", "ASIA1").await;

        // A task that starts anew would write it again.
        fs_err::remove_file(rig.folder.path().join("a")).unwrap();
        for more in [vec![a.clone(), b.clone()], vec![c.clone(), a.clone()]] {
            let name = more.iter().find(|(file, _)| file.name != "a").unwrap().0.name.clone();
            followed.send_replace(more.into());
            rig.until_written(&name, "ASIA1").await;
        }
        assert!(!rig.folder.path().join("a").exists());

        rig.publish("ASIA2");
        rig.until_written("a", "ASIA2").await;
        rig.until_written("c", "ASIA2").await;
        drop(followed);
        kept.await.unwrap();
        assert!(!fs_err::read_to_string(rig.folder.path().join("b")).unwrap().contains("ASIA2"), "left out");
    }

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

    #[tokio::test]
    async fn a_file_follows_the_session_that_takes_its_sessions_place() {
        let (rig, other) = (Rig::new(), Rig::new());
        let followed = watch::Sender::new(Followed::from([(rig.file("a"), rig.handle.clone())]));
        let _kept = tokio::spawn(keep(followed.subscribe(), rig.clock.clone()));
        rig.publish("ASIA1");
        rig.until_written("a", "ASIA1").await;

        followed.send_replace([(rig.file("a"), other.handle.clone())].into());
        other.publish("ASIA2");

        rig.until_written("a", "ASIA2").await;
    }
}
