//! The rules of the judgement one by one, and walks in temporary directories.

use std::os::unix::fs::PermissionsExt as _;

use fs_err::os::unix::fs::symlink;

use super::*;

const ALICE: u32 = 1000;
const BOB: u32 = 1001;

fn follower(user: u32) -> Follower {
    Follower { user, top: ROOT, enters_homes: false }
}

fn directory_of(owner: u32, mode: u32) -> Part {
    Part { is_link: false, owner, group: 0, mode, has_private_group: false, home: None }
}

fn link_of(owner: u32) -> Part {
    Part { is_link: true, mode: 0o777, ..directory_of(owner, 0) }
}

/// A directory in those of `user`, which root has entered.
fn in_home_of(user: u32) -> Part {
    Part { home: Some(user), ..directory_of(user, 0o755) }
}

const TOP: Part =
    Part { is_link: false, owner: ROOT, group: 0, mode: 0o755, has_private_group: false, home: None };

#[test]
fn directories_and_links_of_root_and_of_the_user_itself_are_trusted() {
    for part in [directory_of(ROOT, 0o755), directory_of(ALICE, 0o700), link_of(ROOT), link_of(ALICE)] {
        assert_eq!(follower(ALICE).judge(Some(&TOP), &part), Ok(None), "{part:?}");
    }
}

#[test]
fn another_users_directory_or_link_is_refused_also_by_root() {
    for user in [ALICE, ROOT] {
        assert_eq!(follower(user).judge(Some(&TOP), &directory_of(BOB, 0o700)), Err(Flaw::Foreign));
        assert_eq!(follower(user).judge(Some(&TOP), &link_of(BOB)), Err(Flaw::ForeignLink));
    }
}

#[test]
fn a_directory_that_others_can_write_to_needs_the_sticky_bit_or_a_private_group() {
    let judge = |part: &Part| follower(ALICE).judge(Some(&TOP), part);

    for mode in [0o777, 0o757, 0o775, 0o770, 0o2775] {
        assert_eq!(judge(&directory_of(ALICE, mode)), Err(Flaw::Writable), "{mode:o}");
        assert_eq!(judge(&directory_of(ALICE, mode | 0o1000)), Ok(None), "{mode:o}");
    }
    let private = |mode| Part { has_private_group: true, ..directory_of(ALICE, mode) };
    assert_eq!(judge(&private(0o775)), Ok(None));
    assert_eq!(judge(&private(0o777)), Err(Flaw::Writable));
}

/// In a sticky directory everybody may create entries, and only the owner of an entry may rename or remove it.
#[test]
fn in_a_sticky_directory_only_trusted_entries_are_followed() {
    let sticky = directory_of(ROOT, 0o1777);

    assert_eq!(follower(ALICE).judge(Some(&sticky), &directory_of(ALICE, 0o700)), Ok(None));
    assert_eq!(follower(ALICE).judge(Some(&sticky), &link_of(BOB)), Err(Flaw::ForeignLink));
    let root = Follower { enters_homes: true, ..follower(ROOT) };
    assert_eq!(root.judge(Some(&sticky), &directory_of(BOB, 0o700)), Err(Flaw::Foreign));
}

#[test]
fn root_enters_a_users_directories_to_write_for_that_user_and_nobody_else_does() {
    let enters = |user| Follower { enters_homes: true, ..follower(user) };

    assert_eq!(enters(ROOT).judge(Some(&TOP), &directory_of(ALICE, 0o755)), Ok(Some(ALICE)));
    assert_eq!(enters(ROOT).judge(Some(&in_home_of(ALICE)), &directory_of(ALICE, 0o755)), Ok(Some(ALICE)));
    assert_eq!(enters(BOB).judge(Some(&TOP), &directory_of(ALICE, 0o755)), Err(Flaw::Foreign));
    assert_eq!(enters(ROOT).judge(None, &directory_of(ALICE, 0o755)), Err(Flaw::Foreign), "from nowhere");
}

#[test]
fn in_a_users_directories_root_follows_neither_links_nor_directories_of_others() {
    let root = Follower { enters_homes: true, ..follower(ROOT) };
    let judge = |part: &Part| root.judge(Some(&in_home_of(ALICE)), part);

    assert_eq!(judge(&link_of(ALICE)), Err(Flaw::ForeignLink));
    assert_eq!(judge(&link_of(ROOT)), Err(Flaw::InHome(ALICE)));
    assert_eq!(judge(&directory_of(ROOT, 0o755)), Err(Flaw::InHome(ALICE)));
    assert_eq!(judge(&directory_of(BOB, 0o755)), Err(Flaw::InHome(ALICE)));
    assert_eq!(judge(&directory_of(ALICE, 0o777)), Err(Flaw::Writable));
}

/// As in a user namespace that does not have the host's root: everything of the host belongs to `nobody` there.
#[test]
fn the_owner_of_the_top_directory_is_trusted() {
    let follower = Follower { top: 65534, ..follower(ROOT) };

    assert_eq!(follower.judge(None, &directory_of(65534, 0o755)), Ok(None));
    assert_eq!(follower.judge(Some(&TOP), &link_of(65534)), Ok(None));
}

fn base() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    (folder, base)
}

#[test]
fn links_and_steps_up_are_resolved() {
    let (_folder, base) = base();
    fs_err::create_dir_all(base.join("real/deep")).unwrap();
    symlink("real/deep", base.join("relative")).unwrap();
    symlink(base.join("real"), base.join("absolute")).unwrap();
    symlink("absolute/../relative", base.join("both")).unwrap();
    for (written, meant) in [
        ("relative", "real/deep"),
        ("relative/..", "real"),
        ("absolute/./deep", "real/deep"),
        ("both", "real/deep"),
        ("real/../relative/../../relative", "real/deep"),
    ] {
        assert_eq!(directory(&base.join(written)).unwrap().path(), base.join(meant), "{written}");
    }
    assert_eq!(directory(Path::new("/../..")).unwrap().path(), Path::new("/"));
}

#[test]
fn the_links_of_proc_lead_where_the_kernel_says() {
    let (_folder, base) = base();
    let whole = PathBuf::from(format!("/proc/self/root{}", base.display()));

    let (by_proc, direct) = (directory(&whole).unwrap(), directory(&base).unwrap());

    let inode = |directory: &Directory| rustix::fs::fstat(directory.descriptor()).unwrap().st_ino;
    assert_eq!(inode(&by_proc), inode(&direct));
    assert!(directory(&whole.join("../../..")).is_ok(), "above the link's target");
}

#[test]
fn missing_directories_are_made_for_this_user_alone_if_that_is_wanted() {
    let (_folder, base) = base();
    let path = base.join("a/b");

    assert!(directory(&path).unwrap_err().is_absence());
    let made = make_directory(&path).unwrap();

    assert_eq!((made.path(), made.mode()), (&*path, 0o700));
    assert_eq!(fs_err::metadata(base.join("a")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_link_in_the_files_place_is_followed_only_for_files_of_users() {
    let (_folder, base) = base();
    symlink("new/target", base.join("link")).unwrap();

    let (folder, name) = file(&base.join("link")).unwrap();
    assert_eq!(folder.path_of(&name), base.join("link"));
    let (folder, name) = file_for_its_user(&base.join("link")).unwrap();
    assert_eq!(folder.path_of(&name), base.join("new/target"));
    assert!(folder.find(&name).is_err() && folder.mode() == 0o700, "its directory was made");
}

#[test]
fn what_is_called_a_directory_is_no_file() {
    let (_folder, base) = base();
    symlink("..", base.join("up")).unwrap();
    symlink("none/", base.join("slash")).unwrap();

    for path in ["up", "slash", "none/", "none/.", "none/.."] {
        assert!(matches!(file_for_its_user(&base.join(path)), Err(Error::System { .. })), "{path}");
    }
    assert!(file(Path::new("/")).is_err());
}

#[test]
fn links_in_a_circle_end() {
    let (_folder, base) = base();
    symlink("b", base.join("a")).unwrap();
    symlink("a", base.join("b")).unwrap();

    let refused = directory(&base.join("a")).unwrap_err();

    assert!(refused.to_string().ends_with("a`") || refused.to_string().ends_with("b`"), "{refused}");
    assert!(
        matches!(refused, Error::System { source, .. } if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()))
    );
}

#[test]
fn a_refusal_names_the_part_of_the_path_and_what_to_do() {
    let (_folder, base) = base();
    fs_err::create_dir_all(base.join("open/private")).unwrap();
    fs_err::set_permissions(base.join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();

    let refused = directory(&base.join("open/private")).unwrap_err();

    let (open, us) = (base.join("open").display().to_string(), rustix::process::geteuid().as_raw());
    assert_eq!(refused.to_string(), format!("`{open}` is writable by other users (owner {us}, mode 0777)"));
    assert_eq!(refused.reason(), Reason::FileInsecure);
    let hint = refused.hint().unwrap().to_string();
    assert!(
        hint.contains(&format!("chmod go-w {open}")) && hint.contains(&format!("chmod +t {open}")),
        "{hint}"
    );
}

/// An access control list gives a user rights that neither owner nor group show.
#[test]
fn a_directory_with_an_access_list_has_no_private_group() {
    let (_folder, base) = base();
    let opened = |path: &Path| open(CWD, path.as_os_str(), DIRECTORY).unwrap();
    assert!(!has_access_list(&opened(&base)));
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 7, BOB), (4, 7, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend([&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(&base, "system.posix_acl_access", &list, flags) {
        Ok(()) => assert!(has_access_list(&opened(&base))),
        Err(error) => println!("not shown here: the file system has no access lists: {error}"),
    }
}
