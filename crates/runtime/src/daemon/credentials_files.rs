//! Keeps the credentials files of the current settings up to date, each with its session.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::running_sessions;
use super::running_sessions::RunningSessions;
use crate::assembly::keep_credentials_file;
use anchord_config::CredentialsFile;
use anchord_core::clock::Clock;
use anchord_session::Handle;

/// The files to keep, each with its session. They are one value, so that a reload cannot combine a file with a session
/// of the same name but other settings.
pub(super) type FollowedFiles = Arc<[(CredentialsFile, Handle)]>;

/// Combines each file with its session.
pub(super) fn followed(files: &[CredentialsFile], running: &RunningSessions) -> FollowedFiles {
    let sessions = running_sessions::handles(running);
    let pair = |file: &CredentialsFile| Some((file.clone(), sessions.get(&file.session)?.clone()));
    files.iter().filter_map(pair).collect()
}

/// Keeps the files of the current settings up to date. Ends when the sender is dropped.
pub(super) async fn keep(mut followed: watch::Receiver<FollowedFiles>, clock: Clock) {
    let mut before: Vec<FileTask> = Vec::new();
    loop {
        let files = Arc::clone(&followed.borrow_and_update());
        let mut tasks = Vec::with_capacity(files.len());
        for (file, handle) in files.iter() {
            // An unchanged file keeps its task, so that a failure is not logged again after each reload.
            tasks.push(
                match before.iter().position(|task| task.file == *file && task.handle.is_same(handle)) {
                    Some(same) => before.swap_remove(same),
                    None => FileTask::start(file, handle, &clock),
                },
            );
        }
        before = tasks;
        drop(files);
        if followed.changed().await.is_err() {
            return;
        }
    }
}

/// The task of one file, which ends when this is dropped.
struct FileTask {
    file: CredentialsFile,
    handle: Handle,
    _task: JoinSet<()>,
}

impl FileTask {
    fn start(file: &CredentialsFile, handle: &Handle, clock: &Clock) -> Self {
        let mut task = JoinSet::new();
        task.spawn(keep_credentials_file(file.clone(), handle.clone(), clock.clone()));
        Self { file: file.clone(), handle: handle.clone(), _task: task }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::support::Rig;

    #[tokio::test]
    async fn a_reload_disturbs_no_file_whose_settings_and_session_stay() {
        let rig = Rig::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| (rig.file(name), rig.handle.clone()));
        let followed = watch::Sender::new(FollowedFiles::from([a.clone()]));
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

    #[tokio::test]
    async fn a_file_follows_the_session_that_takes_its_sessions_place() {
        let (rig, other) = (Rig::new(), Rig::new());
        let followed = watch::Sender::new(FollowedFiles::from([(rig.file("a"), rig.handle.clone())]));
        let _kept = tokio::spawn(keep(followed.subscribe(), rig.clock.clone()));
        rig.publish("ASIA1");
        rig.until_written("a", "ASIA1").await;

        followed.send_replace([(rig.file("a"), other.handle.clone())].into());
        other.publish("ASIA2");

        rig.until_written("a", "ASIA2").await;
    }
}
