//! Bearer and key files, in temporary folders.

use super::*;
use crate::failure::Failure;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn owned(path: &Path) -> BearerFile {
    BearerFile::new(path, Readers::Owner)
}

#[test]
fn a_new_bearer_is_43_characters_without_a_newline_that_only_we_may_read() {
    let folder = folder();
    let path = folder.path().join("app.token");

    let bearers = owned(&path).load_or_create(&Entropy::system()).unwrap();

    let written = fs_err::read(&path).unwrap();
    assert_eq!(bearers.len(), 1);
    assert!(bearers[0].is(&written));
    assert_eq!((written.len(), mode(&path)), (43, 0o600));
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn a_bearer_outlives_a_restart() {
    let folder = folder();
    let file = owned(&folder.path().join("app.token"));

    let before = file.load_or_create(&Entropy::system()).unwrap();
    let after = file.load_or_create(&Entropy::system()).unwrap();

    assert_eq!(before, after);
}

#[test]
fn the_bearer_before_a_rotation_is_accepted_until_the_next_one_even_after_a_restart() {
    let folder = folder();
    let path = folder.path().join("app.token");
    let file = owned(&path);
    let entropy = Entropy::system();
    let first = file.load_or_create(&entropy).unwrap().remove(0);

    let rotated = file.rotate(&entropy).unwrap();
    let restarted = file.load_or_create(&entropy).unwrap();
    let again = file.rotate(&entropy).unwrap();

    assert_eq!(rotated[1], first);
    assert_ne!(rotated[0], first);
    assert_eq!(restarted, rotated);
    assert!(again.contains(&rotated[0]) && !again.contains(&first));
    assert!(again[0].is(&fs_err::read(&path).unwrap()), "clients read the newest");
}

#[test]
fn of_two_daemons_that_start_at_once_the_slower_uses_what_the_faster_has_written() {
    let folder = folder();
    let path = folder.path().join("imds.key");
    let slower = || {
        token_key(&path, &Entropy::from_fn(|bytes| bytes.fill(1))).unwrap();
        Ok(vec![2; 32])
    };

    let key = load_or_create(&path, Readers::Owner, slower).unwrap();

    assert_eq!(key.expose(), &[1; 32]);
    assert_eq!(fs_err::read(&path).unwrap(), [1; 32]);
}

#[test]
fn the_token_key_outlives_a_restart() {
    let folder = folder();
    let path = folder.path().join("imds.key");

    let before = token_key(&path, &Entropy::system()).unwrap();
    let after = token_key(&path, &Entropy::system()).unwrap();

    assert_eq!(before, after);
    assert_eq!((fs_err::read(&path).unwrap().len(), mode(&path)), (32, 0o600));
}

#[test]
fn a_link_is_refused_though_its_target_would_do() {
    let folder = folder();
    let (target, path) = (folder.path().join("target"), folder.path().join("app.token"));
    owned(&target).load_or_create(&Entropy::system()).unwrap();
    fs_err::os::unix::fs::symlink(&target, &path).unwrap();

    let refused = owned(&path).load_or_create(&Entropy::system()).unwrap_err();

    assert!(matches!(refused, Error::NotAFile { .. }), "{refused}");
    let failure = Failure::from(refused);
    assert_eq!(failure.class(), Class::Misconfigured);
    assert!(failure.to_string().contains(path.to_str().unwrap()), "{failure}");
    assert!(failure.hint().unwrap().starts_with("remove"), "{failure}");
}

#[test]
fn a_dangling_link_is_refused_and_its_target_is_not_made() {
    let folder = folder();
    let (target, path) = (folder.path().join("target"), folder.path().join("app.token"));
    fs_err::os::unix::fs::symlink(&target, &path).unwrap();

    assert!(owned(&path).load_or_create(&Entropy::system()).is_err());
    assert!(!target.exists());
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_hang_the_start() {
    let folder = folder();
    let path = folder.path().join("app.token");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

    let refused = owned(&path).load_or_create(&Entropy::system()).unwrap_err();

    assert!(matches!(refused, Error::NotAFile { .. }), "{refused}");
}

#[test]
fn a_file_that_others_may_read_or_write_is_refused() {
    let folder = folder();
    let path = folder.path().join("app.token");
    owned(&path).load_or_create(&Entropy::system()).unwrap();

    for open in [0o640, 0o620, 0o604, 0o602, 0o666] {
        set_mode(&path, open);
        let refused = owned(&path).load_or_create(&Entropy::system()).unwrap_err();
        assert!(matches!(refused, Error::TooOpen { mode, .. } if mode == open), "{refused}");
    }
    set_mode(&path, 0o600);
    assert!(owned(&path).load_or_create(&Entropy::system()).is_ok());
}

#[test]
fn another_users_file_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let path = folder.path().join("app.token");
    owned(&path).load_or_create(&Entropy::system()).unwrap();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();

    let refused = owned(&path).load_or_create(&Entropy::system()).unwrap_err();

    assert!(matches!(refused, Error::Foreign { owner: 12_345, .. }), "{refused}");
}

#[test]
fn a_file_that_holds_something_else_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("app.token");

    for content in ["", "short", &format!("{}\n", "a".repeat(43)), &"a".repeat(44), &"+".repeat(43)] {
        fs_err::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        let refused = owned(&path).load_or_create(&Entropy::system()).unwrap_err();
        assert!(matches!(refused, Error::Content { .. }), "{refused}");
        assert_eq!(fs_err::read_to_string(&path).unwrap(), content);
        let refused = token_key(&path, &Entropy::system()).unwrap_err();
        assert!(matches!(refused, Error::Content { .. }), "{refused}");
    }
}

#[test]
fn a_missing_folder_is_named_in_the_error() {
    let folder = folder();
    let path = folder.path().join("none/app.token");

    let failure = Failure::from(owned(&path).load_or_create(&Entropy::system()).unwrap_err());

    assert!(failure.to_string().contains("none/app.token"), "{failure}");
}

#[test]
fn a_group_may_read_its_bearer_if_the_settings_say_so() {
    let folder = folder();
    let path = folder.path().join("app.token");
    let group = rustix::process::getegid().as_raw();
    let shared = BearerFile::new(&path, Readers::Group(group));

    let before = owned(&path).load_or_create(&Entropy::system()).unwrap();
    let after = shared.load_or_create(&Entropy::system()).unwrap();

    assert_eq!(before, after);
    assert_eq!((mode(&path), fs_err::metadata(&path).unwrap().gid()), (0o640, group));
    assert!(shared.rotate(&Entropy::system()).is_ok());
    assert_eq!(mode(&path), 0o640);
    assert_eq!(mode(&folder.path().join("app.token.previous")), 0o600);
    set_mode(&path, 0o660);
    assert!(matches!(shared.load_or_create(&Entropy::system()), Err(Error::TooOpen { .. })));
}

#[test]
fn a_bearer_is_made_of_the_entropy_handed_in() {
    let folder = folder();
    let path = folder.path().join("app.token");
    let scripted = Entropy::from_fn(|bytes| bytes.fill(0));

    let bearers = owned(&path).load_or_create(&scripted).unwrap();

    assert!(bearers[0].is("A".repeat(43).as_bytes()), "the bytes come from the entropy handed in");
    assert_eq!(Error::from(Exhausted).class(), Class::Broken);
}

#[test]
fn nothing_here_prints_a_secret() {
    let folder = folder();
    let path = folder.path().join("app.token");

    let bearers = owned(&path).load_or_create(&Entropy::system()).unwrap();

    let written = fs_err::read_to_string(&path).unwrap();
    assert!(!format!("{bearers:?} {:?}", owned(&path)).contains(&written));
}
