//! Files with bearer tokens and keys, in temporary folders.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_bearer_is_43_characters_without_a_newline_that_only_we_may_read() {
    let folder = folder();
    let path = folder.path().join("app.token");

    let made = bearers(&path, &Entropy::system()).unwrap();

    let written = fs_err::read(&path).unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0].is(&written));
    assert_eq!((written.len(), mode(&path)), (43, 0o600));
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn a_bearer_outlives_a_restart() {
    let folder = folder();
    let path = folder.path().join("app.token");

    let before = bearers(&path, &Entropy::system()).unwrap();
    let after = bearers(&path, &Entropy::system()).unwrap();

    assert_eq!(before, after);
}

#[test]
fn a_bearer_that_was_renamed_to_previous_is_accepted_beside_the_new_one() {
    let folder = folder();
    let path = folder.path().join("app.token");
    let first = bearers(&path, &Entropy::system()).unwrap().remove(0);

    fs_err::rename(&path, folder.path().join("app.token.previous")).unwrap();
    let rotated = bearers(&path, &Entropy::system()).unwrap();
    let restarted = bearers(&path, &Entropy::system()).unwrap();

    assert_eq!(rotated[1], first);
    assert_ne!(rotated[0], first);
    assert_eq!(restarted, rotated);
    assert!(rotated[0].is(&fs_err::read(&path).unwrap()), "clients read the newest");
}

#[test]
fn of_two_daemons_that_start_at_once_the_slower_uses_what_the_faster_has_written() {
    let folder = folder();
    let path = folder.path().join("imds.key");
    let slower = || {
        token_key(&path, None, &Entropy::from_fn(|bytes| bytes.fill(1))).unwrap();
        Ok(vec![2; 32])
    };

    let key = load_or_create(&path, slower).unwrap();

    assert_eq!(key.expose(), &[1; 32]);
    assert_eq!(fs_err::read(&path).unwrap(), [1; 32]);
}

#[test]
fn the_token_key_outlives_a_restart() {
    let folder = folder();
    let path = folder.path().join("imds.key");

    let before = token_key(&path, None, &Entropy::system()).unwrap();
    let after = token_key(&path, None, &Entropy::system()).unwrap();

    assert_eq!(before, after);
    assert_eq!((fs_err::read(&path).unwrap().len(), mode(&path)), (32, 0o600));
}

#[test]
fn a_key_that_is_known_is_written_where_there_is_none_and_makes_way_for_a_file() {
    let folder = folder();
    let (missing, there) = (folder.path().join("missing.key"), folder.path().join("there.key"));
    let known = Secret::new([7; 32]);
    let made = token_key(&there, None, &Entropy::system()).unwrap();

    assert_eq!(token_key(&missing, Some(&known), &Entropy::system()).unwrap(), known);
    assert_eq!(fs_err::read(&missing).unwrap(), [7; 32]);
    assert_eq!(token_key(&there, Some(&known), &Entropy::system()).unwrap(), made);
}

#[test]
fn bearers_are_checked_without_making_any() {
    let folder = folder();
    let path = folder.path().join("app.token");

    check_bearers(&path).unwrap();
    assert!(!path.exists());
    bearers(&path, &Entropy::system()).unwrap();
    check_bearers(&path).unwrap();
    fs_err::write(previous_of(&path), "short").unwrap();
    set_mode(&previous_of(&path), 0o600);

    assert!(matches!(check_bearers(&path).unwrap_err(), Error::Content { .. }));
}

#[test]
fn a_link_is_refused_though_its_target_would_do() {
    let folder = folder();
    let (target, path) = (folder.path().join("target"), folder.path().join("app.token"));
    bearers(&target, &Entropy::system()).unwrap();
    fs_err::os::unix::fs::symlink(&target, &path).unwrap();

    let refused = bearers(&path, &Entropy::system()).unwrap_err();

    assert!(matches!(refused, Error::File(private_file::Error::NotAFile { .. })), "{refused}");
    let failure = Failure::from(refused);
    assert_eq!(failure.class(), Class::Misconfigured);
    assert!(failure.to_string().contains(path.to_str().unwrap()), "{failure}");
    assert!(failure.hint().unwrap().starts_with("remove"), "{failure}");
}

#[test]
fn a_file_that_holds_something_else_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("app.token");

    for content in ["", "short", &format!("{}\n", "a".repeat(43)), &"a".repeat(44), &"+".repeat(43)] {
        fs_err::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        let refused = bearers(&path, &Entropy::system()).unwrap_err();
        assert!(matches!(refused, Error::Content { .. }), "{refused}");
        assert_eq!(fs_err::read_to_string(&path).unwrap(), content);
        let refused = token_key(&path, None, &Entropy::system()).unwrap_err();
        assert!(matches!(refused, Error::Content { .. }), "{refused}");
    }
}

#[test]
fn a_missing_folder_is_named_in_the_error() {
    let folder = folder();
    let path = folder.path().join("none/app.token");

    let failure = Failure::from(bearers(&path, &Entropy::system()).unwrap_err());

    assert!(failure.to_string().contains("none/app.token"), "{failure}");
}

#[test]
fn a_bearer_is_made_of_the_entropy_handed_in() {
    let folder = folder();
    let path = folder.path().join("app.token");
    let scripted = Entropy::from_fn(|bytes| bytes.fill(0));

    let made = bearers(&path, &scripted).unwrap();

    assert!(made[0].is("A".repeat(43).as_bytes()), "the bytes come from the entropy handed in");
    assert_eq!(Error::from(Exhausted).class(), Class::Broken);
}

#[test]
fn nothing_here_prints_a_secret() {
    let folder = folder();
    let path = folder.path().join("app.token");

    let made = bearers(&path, &Entropy::system()).unwrap();

    let written = fs_err::read_to_string(&path).unwrap();
    assert!(!format!("{made:?}").contains(&written));
}
