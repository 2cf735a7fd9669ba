//! Follows the paths of an identity: which directory entries they depend on, and the stamps of the files.
//!
//! A path is resolved as the kernel does it. The entries that matter are the symbolic links on the way (`..data` of a
//! Kubernetes volume, those in certbot's `live`, a linked directory), the file at the end, or the first entry that is
//! missing. Only directories are watched, never files: most renewals replace the file, and a watch on the old file
//! would not notice.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

use super::inotify;
use super::inotify::WatchError;
use super::inotify::WatchedEntries;

/// The state of the paths at one time.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What each path leads to.
    pub(super) stamps: Vec<Stamp>,
    /// The entries that are watched.
    pub(super) watched: WatchedEntries,
    /// Why some are not watched.
    pub(super) trouble: Option<WatchError>,
}

/// Changes whenever the file changes, and needs no read of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Nothing(io::ErrorKind),
}

/// Directories, and the entries of each that matter.
type Entries = BTreeMap<PathBuf, HashSet<OsString>>;

impl Survey {
    /// Resolves `paths`, and adds watches for the entries they depend on to `queue`. Blocks.
    pub(super) fn take(paths: &[PathBuf], queue: Option<&OwnedFd>) -> Self {
        let (watched, trouble) =
            queue.map(|queue| place_watches(queue, || walk_all(paths))).unwrap_or_default();
        // Last: later changes cause events.
        let stamps = paths.iter().map(|path| Stamp::of(path)).collect();
        Self { stamps, watched, trouble }
    }
}

fn place_watches(queue: &OwnedFd, mut walk: impl FnMut() -> Entries) -> (WatchedEntries, Option<WatchError>) {
    /// A path may change during the walk. One that keeps changing is left to the next survey.
    const ROUNDS: usize = 5;
    let (mut watched, mut trouble) = (WatchedEntries::new(), None);
    let mut entries = walk();
    for _ in 0..ROUNDS {
        trouble = None;
        for (directory, names) in &entries {
            match inotify::watch(queue, directory) {
                Ok(number) => watched.entry(number).or_default().extend(names.iter().cloned()),
                // The directory is being replaced.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    trouble = Some(WatchError::Directory { path: directory.clone(), source: error.into() });
                }
            }
        }
        // Entries that appeared between the walk and the watches are not watched yet.
        let again = walk();
        if again == entries {
            break;
        }
        entries = again;
    }
    (watched, trouble)
}

fn walk_all(paths: &[PathBuf]) -> Entries {
    let mut entries = Entries::new();
    for path in paths {
        walk(path, &mut entries);
    }
    entries
}

fn walk(path: &Path, entries: &mut Entries) {
    /// The kernel follows no more (path_resolution(7)).
    const MOST_LINKS: usize = 40;
    let mut here = PathBuf::from(".");
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        let there = here.join(&step);
        let is_name = ![OsStr::new("/"), OsStr::new("."), OsStr::new("..")].contains(&&*step);
        let found = fs_err::symlink_metadata(&there);
        let is_directory = found.as_ref().is_ok_and(|found| found.is_dir());
        if !is_name || (is_directory && !ahead.is_empty()) {
            here = there;
            continue;
        }
        entries.entry(here.clone()).or_default().insert(step);
        links += 1;
        match fs_err::read_link(&there) {
            Ok(target) if links <= MOST_LINKS => ahead.extend(steps(&target)),
            // The file, a missing entry, or too many links.
            _ => return,
        }
    }
}

/// The components of `path`, last first.
fn steps(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|component| component.as_os_str().into()).collect()
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match fs_err::metadata(path) {
            Ok(file) => Self::File {
                device: file.dev(),
                inode: file.ino(),
                size: file.size(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
            },
            Err(error) => Self::Nothing(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path, path: &str) -> Vec<String> {
        let mut entries = Entries::new();
        walk(&folder.join(path), &mut entries);
        let prefix = folder.parent().unwrap();
        let name = |directory: &Path| directory.strip_prefix(prefix).unwrap().display().to_string();
        let mut flat: Vec<_> = entries
            .iter()
            .flat_map(|(directory, names)| {
                names.iter().map(|entry| format!("{}: {}", name(directory), entry.to_string_lossy()))
            })
            .collect();
        flat.sort();
        flat
    }

    /// A temporary folder called `f`, whose own path has no links.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().canonicalize().unwrap().join("f");
        fs_err::create_dir(&folder).unwrap();
        (outer, folder)
    }

    fn link(target: &str, at: &Path) {
        fs_err::os::unix::fs::symlink(target, at).unwrap();
    }

    #[test]
    fn of_a_plain_path_the_file_alone_matters() {
        let (_outer, folder) = folder();
        fs_err::create_dir_all(folder.join("a/b")).unwrap();
        fs_err::write(folder.join("a/b/leaf.pem"), "").unwrap();

        assert_eq!(entries(&folder, "a/b/leaf.pem"), ["f/a/b: leaf.pem"]);
        assert_eq!(entries(&folder, "a/./b/../b/leaf.pem"), ["f/a/b/../b: leaf.pem"]);
    }

    #[test]
    fn every_link_on_the_way_matters() {
        let (_outer, folder) = folder();
        fs_err::create_dir_all(folder.join("volume/..2026")).unwrap();
        fs_err::write(folder.join("volume/..2026/tls.crt"), "").unwrap();
        link("..2026", &folder.join("volume/..data"));
        link("..data/tls.crt", &folder.join("volume/tls.crt"));
        link("volume", &folder.join("certificates"));
        link(folder.join("certificates").to_str().unwrap(), &folder.join("absolute"));

        assert_eq!(
            entries(&folder, "absolute/tls.crt"),
            [
                "f/volume/..2026: tls.crt",
                "f/volume: ..data",
                "f/volume: tls.crt",
                "f: absolute",
                "f: certificates"
            ]
        );
    }

    #[test]
    fn of_what_is_missing_the_first_entry_matters() {
        let (_outer, folder) = folder();
        link("gone/further", &folder.join("dangling"));

        assert_eq!(entries(&folder, "no/such/leaf.pem"), ["f: no"]);
        assert_eq!(entries(&folder, "dangling/leaf.pem"), ["f: dangling", "f: gone"]);
    }

    #[test]
    fn a_file_in_place_of_a_directory_matters() {
        let (_outer, folder) = folder();
        fs_err::write(folder.join("file"), "").unwrap();

        assert_eq!(entries(&folder, "file/leaf.pem"), ["f: file"]);
    }

    #[test]
    fn what_comes_between_the_walk_and_the_watches_is_watched() {
        let (_outer, folder) = folder();
        let (sub, path) = (folder.join("sub"), folder.join("sub/leaf.pem"));
        let mut walks = 0;
        let walk = || {
            let entries = walk_all(std::slice::from_ref(&path));
            walks += 1;
            if walks == 1 {
                fs_err::create_dir(&sub).unwrap();
            }
            entries
        };

        let (watched, trouble) = place_watches(&inotify::open().unwrap(), walk);

        assert!(trouble.is_none() && watched.values().any(|names| names.contains(OsStr::new("leaf.pem"))));
        assert_eq!(walks, 3, "until nothing changes");
    }

    #[test]
    fn links_that_lead_in_a_circle_come_to_an_end() {
        let (_outer, folder) = folder();
        link("there", &folder.join("here"));
        link("here", &folder.join("there"));

        assert_eq!(entries(&folder, "here/leaf.pem"), ["f: here", "f: there"]);
    }
}
