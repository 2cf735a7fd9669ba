//! Another user exchanges parts of the path while root writes a file for that user.

use std::os::unix::fs::chown;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rustix::fs::CWD;
use rustix::fs::Gid;
use rustix::fs::RenameFlags;
use rustix::fs::Uid;

use super::*;

const TURNS: usize = 10_000;
const ATTACKER: u32 = 12345;

/// In memory, if possible: each write is flushed to the disk.
fn folder() -> tempfile::TempDir {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    fs_err::set_permissions(made.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    made
}

/// Whatever a write could change in a directory of root's.
fn state_of(folder: &Path) -> Vec<(String, u64, u32, i64, String)> {
    let mut found: Vec<_> = fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            let text = fs_err::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), about.ino(), about.uid(), about.mtime_nsec(), text)
        })
        .collect();
    found.sort();
    found
}

fn roots_folder(path: &Path) {
    fs_err::create_dir(path).unwrap();
    fs_err::write(path.join("credentials"), "[root]\n").unwrap();
    fs_err::write(path.join(".credentials.anchord-mine"), "kept").unwrap();
}

/// The attacker's folder `home`, whose `.aws` is exchanged for a link and for a folder of root's.
fn lay_traps(base: &Path) -> PathBuf {
    let home = base.join("home");
    roots_folder(&base.join("roots"));
    fs_err::create_dir_all(home.join(".aws")).unwrap();
    symlink("../roots", home.join("link")).unwrap();
    symlink("../../roots/credentials", home.join(".aws/link")).unwrap();
    fs_err::write(home.join(".aws/credentials"), "").unwrap();
    for theirs in ["", ".aws", "link", ".aws/link", ".aws/credentials"] {
        std::os::unix::fs::lchown(home.join(theirs), Some(ATTACKER), Some(ATTACKER)).unwrap();
    }
    roots_folder(&home.join("roots"));
    home
}

/// Exchanges parts of the path until `is_over`, as the user that the folder belongs to.
fn attack(home: &Path, is_over: &AtomicBool) -> usize {
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_gid(Gid::from_raw(ATTACKER)).unwrap();
    rustix::thread::set_thread_uid(Uid::from_raw(ATTACKER)).unwrap();
    let exchange = |one: &str, other: &str| {
        let (one, other) = (home.join(one), home.join(other));
        rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
    };
    let mut exchanged = 0;
    while !is_over.load(Ordering::Relaxed) {
        for (one, other) in [(".aws", "link"), (".aws", "roots"), (".aws/credentials", ".aws/link")] {
            // There and back, or the first exchange would hide the next one.
            exchanged += usize::from(exchange(one, other)) + usize::from(exchange(one, other));
        }
    }
    exchanged
}

#[test]
fn in_10000_turns_nothing_outside_the_users_folder_is_written_changed_or_removed() {
    if !rustix::process::geteuid().is_root() {
        println!("not shown here: only root can write for another user");
        return;
    }
    let base = folder();
    let home = lay_traps(base.path());
    let roots = [base.path().join("roots"), home.join("roots")];
    let before = roots.clone().map(|folder| state_of(&folder));
    let is_over = AtomicBool::new(false);
    let path = home.join(".aws/credentials");

    let (exchanged, written, refused) = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&home, &is_over));
        let (mut written, mut refused) = (0, 0);
        for turn in 0..TURNS {
            let text = Secret::new(format!("[turn]\nnumber = {turn}\n").into_bytes());
            let outcome =
                open_lock(&path).and_then(|(target, _lock)| replace(&target, |_| Some(text.clone())));
            match outcome {
                Ok(_) => written += 1,
                Err(_) => refused += 1,
            }
            // Secrets of anchord's own never go through another user's directory.
            assert!(private_file::replace(&home.join(".aws/state"), b"secret").is_err());
        }
        is_over.store(true, Ordering::Relaxed);
        (attacker.join().unwrap(), written, refused)
    });

    println!("{TURNS} turns: {exchanged} exchanges, {written} written, {refused} refused");
    assert!(exchanged > 0 && written > 0 && refused > 0, "the attacker missed the writing");
    assert_eq!(roots.map(|folder| state_of(&folder)), before);
    assert_eq!(fs_err::symlink_metadata(home.join(".aws")).unwrap().uid(), ATTACKER);
}

/// In a directory in which everybody can create entries, the folder could have been made to get the credentials.
#[test]
fn root_writes_nothing_into_a_users_folder_in_a_shared_directory() {
    if !rustix::process::geteuid().is_root() {
        println!("not shown here: only root can make a folder of another user");
        return;
    }
    let base = folder();
    let shared = base.path().join("shared");
    fs_err::create_dir_all(shared.join("app")).unwrap();
    fs_err::set_permissions(&shared, std::fs::Permissions::from_mode(0o1777)).unwrap();
    chown(shared.join("app"), Some(ATTACKER), None).unwrap();
    fs_err::write(shared.join("credentials"), "").unwrap();
    chown(shared.join("credentials"), Some(ATTACKER), None).unwrap();

    let folder = Target::find(&shared.join("app/credentials")).unwrap_err();
    let file = open_lock(&shared.join("credentials")).unwrap_err();

    let app = shared.join("app").display().to_string();
    let text = format!("`{app}` belongs to user {ATTACKER}, who can replace what is in it");
    assert_eq!(folder.to_string(), text);
    assert!(matches!(file, Error::Foreign { owner: ATTACKER, .. }), "{file}");
    assert_eq!(fs_err::read_dir(&shared).unwrap().count(), 2, "not even a lock");
}
