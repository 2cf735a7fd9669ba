//! Writes files in temporary folders.

mod race;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;

use time::macros::datetime;

use super::*;
use anchord_core::credentials::Keys;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_testing::names_in;

fn made(id: &str) -> Credentials {
    let keys = Keys {
        access_key_id: id.into(),
        secret_access_key: Secret::new("secret".into()),
        session_token: Some(Secret::new("token".into())),
    };
    let at = datetime!(2026-03-11 12:00:00 UTC);
    Credentials::new(
        keys,
        anchord_core::clock::Moment { wall: at, up: time::Duration::HOUR },
        at + time::Duration::HOUR,
        None,
    )
    .unwrap()
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

#[tokio::test]
async fn a_new_file_and_its_folder_are_open_to_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".aws/credentials");

    assert!(write(&path, &profile("a"), &made("ASIA1")).await.unwrap());

    assert_eq!((mode(&path), mode(&home.path().join(".aws"))), (0o600, 0o700));
    assert!(fs_err::read_to_string(&path).unwrap().starts_with("[a]\naws_access_key_id = ASIA1\n"));
    assert_eq!(names_in(&home.path().join(".aws")), [".credentials.lock", "credentials"]);
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

const ACL: &str = "system.posix_acl_access";

/// An access control list in the kernel's format: the owner can write, user 1234 can read, the group cannot.
fn acl() -> Vec<u8> {
    const NOBODY_NAMED: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, NOBODY_NAMED),
        (0x02, 4, 1234),
        (0x04, 0, NOBODY_NAMED),
        (0x10, 4, NOBODY_NAMED),
        (0x20, 0, NOBODY_NAMED),
    ];
    let entry = |(tag, rights, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(entry)).collect::<Vec<_>>().concat()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// Sets an attribute. `false` if the file system of temporary folders does not support it.
fn set_attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    let set = rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty());
    if set.is_err() {
        println!("not shown here: the file system of {} has no attribute {name}", path.display());
    }
    set.is_ok()
}

#[tokio::test]
async fn the_files_attributes_and_access_list_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    for kept in [0o600, 0o400] {
        fs_err::write(&path, "[b]\nk = v\n").unwrap();
        let has_attributes = set_attribute(&path, "user.note", b"mine \0 too");
        set_mode(&path, kept);

        write(&path, &profile("a"), &made("ASIA1")).await.unwrap();

        if has_attributes {
            assert_eq!(attribute(&path, "user.note").unwrap(), b"mine \0 too");
        }
        assert_eq!((mode(&path), attribute(&path, ACL)), (kept, None));
        fs_err::remove_file(&path).unwrap();
    }

    fs_err::write(&path, "[b]\nk = v\n").unwrap();
    set_mode(&path, 0o600);
    if set_attribute(&path, ACL, &acl()) {
        write(&path, &profile("a"), &made("ASIA1")).await.unwrap();
        assert_eq!((mode(&path), attribute(&path, ACL)), (0o640, Some(acl())));
    }
}

/// With mode 0640 and without the list, the group could read the file; with the list, it cannot.
#[test]
fn where_an_access_list_is_lost_nobody_gains_by_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    set_mode(file.path(), 0o640);

    ExtendedAttributes::with_access_list(b"not a list").set_rights(file.as_file(), 0o640).unwrap();

    assert_eq!(mode(file.path()), 0o600);
}

#[tokio::test]
async fn a_folders_access_list_does_not_open_a_file_that_had_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs_err::write(&path, "[b]\nk = v\n").unwrap();
    set_mode(&path, 0o640);
    if set_attribute(folder.path(), "system.posix_acl_default", &acl()) {
        write(&path, &profile("a"), &made("ASIA1")).await.unwrap();
        assert_eq!((mode(&path), attribute(&path, ACL)), (0o640, None));
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

#[test]
fn a_link_that_was_laid_meanwhile_is_not_read_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs_err::write(folder.path().join("important"), "theirs").unwrap();
    symlink("important", &path).unwrap();

    let (folder, name) = trusted_path::file(&path).unwrap();
    let target = Target { folder, name, path };

    assert!(matches!(
        replace(&target, |text| edit(text, &profile("a"), &made("ASIA1"))),
        Err(Error::NotAFile { .. })
    ));
}

#[tokio::test]
async fn links_in_a_circle_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("credentials"), folder.path().join("other"));
    symlink(&other, &path).unwrap();
    symlink(&path, &other).unwrap();

    assert!(matches!(write(&path, &profile("a"), &made("ASIA1")).await, Err(Error::Unwritable { .. })));
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
    assert_eq!(names_in(folder.path()), [".credentials.lock", "credentials"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_never_let_go_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let (target, lock) = open_lock(&path).unwrap();
    let _held = take_lock(lock, &target.lock_path()).await.unwrap();

    let failure = Failure::from(write(&path, &profile("a"), &made("ASIA1")).await.unwrap_err());

    assert_eq!(failure.class(), Class::Transient);
    assert!(failure.message().contains("has been locked for 10 s"), "{failure}");
    assert!(!path.exists());
}

/// Such as a home directory on a server that is down. The test occupies the only thread for blocking work.
#[test]
fn a_file_system_that_hangs_holds_up_no_other_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/credentials");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || released.recv());
        let (profile, credentials) = (profile("a"), made("ASIA1"));
        let mut written = std::pin::pin!(write(&path, &profile, &credentials));

        tokio::select! {
            biased;
            _ = &mut written => panic!("it waits for a thread"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(names_in(folder.path()), [""; 0]);

        drop(release);
        let _ = busy.await.unwrap();
        assert!(written.await.unwrap());
    });
}

#[tokio::test]
async fn what_a_killed_writer_left_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs_err::write(folder.path().join(".credentials.anchord-x7Tq2c"), "half").unwrap();

    write(&path, &profile("a"), &made("ASIA1")).await.unwrap();

    assert_eq!(names_in(folder.path()), [".credentials.lock", "credentials"]);
}

/// Appended keys would be in UTF-8, and no program could read both parts.
#[tokio::test]
async fn a_file_in_another_encoding_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let old: Vec<u8> = "\u{feff}[default]\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs_err::write(&path, &old).unwrap();

    let refused = Failure::from(write(&path, &profile("a"), &made("ASIA1")).await.unwrap_err());

    assert!(refused.to_string().contains("as UTF-16 does"), "{refused}");
    assert_eq!(
        (refused.hint(), refused.class()),
        (Some("save it as UTF-8, or choose another path"), Class::Misconfigured)
    );
    assert_eq!(fs_err::read(&path).unwrap(), old);
}

/// The next renewal would refuse to read it.
#[test]
fn a_file_that_would_grow_too_large_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    fs_err::write(&path, "[b]\n").unwrap();
    let too_long = usize::try_from(MAX_BYTES).unwrap() + 1;

    let refused =
        replace(&Target::find(&path).unwrap(), |_| Some(Secret::new(vec![b'#'; too_long]))).unwrap_err();

    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "[b]\n");
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

    assert!(replace(&Target::find(&path).unwrap(), change).unwrap());

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
    assert!(unwritable(rustix::io::Errno::BUSY).contains("mount the directory `/f`, not only the file"));
    assert!(unwritable(rustix::io::Errno::ACCESS).contains("let this user write"));
    let foreign = Failure::from(Error::Foreign { path: path.clone(), owner: 7 });
    assert!(foreign.to_string().contains("belongs to user 7") && foreign.hint().is_some());
}
