//! Files in temporary folders.

use std::os::unix::fs::symlink;

use time::macros::datetime;

use super::*;
use crate::credentials::Keys;
use crate::failure::Failure;

fn made(id: &str) -> Credentials {
    let keys = Keys {
        access_key_id: id.into(),
        secret_access_key: Secret::new("secret".into()),
        session_token: Some(Secret::new("token".into())),
    };
    let at = datetime!(2026-03-11 12:00:00 UTC);
    Credentials::new(keys, at, at + time::Duration::HOUR, None).unwrap()
}

fn profile(name: &str) -> Profile {
    Profile::parse(name).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_new_file_and_its_folder_are_open_to_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".aws/credentials");

    assert!(write(&path, &profile("a"), &made("ASIA1")).await.unwrap());

    assert_eq!((mode(&path), mode(&home.path().join(".aws"))), (0o600, 0o700));
    assert!(fs_err::read_to_string(&path).unwrap().starts_with("[a]\naws_access_key_id = ASIA1\n"));
    assert_eq!(names(&home.path().join(".aws")), [".credentials.lock", "credentials"]);
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    write(&path, &profile("a"), &made("ASIA1")).await.unwrap();
    let inode = fs_err::metadata(&path).unwrap().ino();

    assert!(!write(&path, &profile("a"), &made("ASIA1")).await.unwrap());
    assert_eq!(fs_err::metadata(&path).unwrap().ino(), inode);
}

#[tokio::test]
async fn the_files_permissions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    for kept in [0o600, 0o640, 0o400] {
        fs_err::write(&path, "[b]\nk = v\n").unwrap();
        set_mode(&path, kept);

        write(&path, &profile("a"), &made("ASIA1")).await.unwrap();

        assert_eq!(mode(&path), kept);
        assert!(fs_err::read_to_string(&path).unwrap().starts_with("[b]\nk = v\n"));
        fs_err::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, between) = (folder.path().join("credentials"), folder.path().join("between"));
    let real = folder.path().join("dotfiles/credentials");
    symlink("dotfiles/credentials", &between).unwrap();
    symlink(&between, &path).unwrap();

    write(&path, &profile("a"), &made("ASIA1")).await.unwrap();

    assert!(fs_err::read_to_string(&real).unwrap().contains("ASIA1"), "even where it led nowhere");
    assert!(fs_err::symlink_metadata(&path).unwrap().is_symlink());
    assert!(fs_err::symlink_metadata(&between).unwrap().is_symlink());
}

#[tokio::test]
async fn links_in_a_circle_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("credentials"), folder.path().join("other"));
    symlink(&other, &path).unwrap();
    symlink(&path, &other).unwrap();

    assert!(matches!(write(&path, &profile("a"), &made("ASIA1")).await, Err(Error::Unreadable { .. })));
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = write(folder.path(), &profile("a"), &made("ASIA1")).await.unwrap_err();
    assert!(matches!(refused, Error::NotAFile { .. }), "{refused}");

    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let refused = write(&pipe, &profile("a"), &made("ASIA1")).await.unwrap_err();
    assert!(matches!(refused, Error::NotAFile { .. }), "{refused}");
}

#[tokio::test]
async fn writers_at_once_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let writers = (0..20).map(|number| {
        let path = path.clone();
        async move { write(&path, &profile(&format!("p{number}")), &made("ASIA1")).await.unwrap() }
    });

    futures_util::future::join_all(writers).await;

    let text = fs_err::read_to_string(&path).unwrap();
    assert!((0..20).all(|number| text.contains(&format!("[p{number}]\n"))), "{text}");
    assert_eq!(names(folder.path()), [".credentials.lock", "credentials"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_never_let_go_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let _held = lock(&path).await.unwrap();

    let failure = Failure::from(write(&path, &profile("a"), &made("ASIA1")).await.unwrap_err());

    assert_eq!(failure.class(), Class::Transient);
    assert!(failure.message().contains("has been locked for 10 s"), "{failure}");
    assert!(!path.exists());
}

#[tokio::test]
async fn what_a_killed_writer_left_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs_err::write(folder.path().join(".credentials.anchord-x7Tq2c"), "half").unwrap();

    write(&path, &profile("a"), &made("ASIA1")).await.unwrap();

    assert_eq!(names(folder.path()), [".credentials.lock", "credentials"]);
}

#[test]
fn what_somebody_writes_meanwhile_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs_err::write(&path, "[b]\n").unwrap();
    let once = std::cell::Cell::new(true);
    let change = |text: &[u8]| {
        if once.take() {
            fs_err::write(&path, "[b]\nmeanwhile = yes\n").unwrap();
        }
        edit(text, &profile("a"), &made("ASIA1"))
    };

    assert!(replace(&path, &change).unwrap());

    assert!(fs_err::read_to_string(&path).unwrap().starts_with("[b]\nmeanwhile = yes\n"));
}

#[test]
fn each_refusal_says_what_to_do() {
    let path = PathBuf::from("/f/credentials");
    let unwritable = |code: rustix::io::Errno| {
        let source = io::Error::from_raw_os_error(code.raw_os_error());
        Failure::from(Error::Unwritable { path: path.clone(), source }).to_string()
    };

    assert!(unwritable(rustix::io::Errno::NOSPC).contains("make room"));
    assert!(unwritable(rustix::io::Errno::ROFS).contains("ReadWritePaths="));
    assert!(unwritable(rustix::io::Errno::ACCESS).contains("let this user write"));
    let foreign = Failure::from(Error::Foreign { path: path.clone(), owner: 7 });
    assert!(foreign.to_string().contains("belongs to user 7") && foreign.hint().is_some());
}
