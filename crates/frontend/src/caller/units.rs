//! The control groups of systemd units. A group's ID is the inode of its directory.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

/// Where the control groups of version 2 are.
#[derive(Debug)]
pub struct Units {
    root: Option<PathBuf>,
}

impl Units {
    /// Those of this host. On a host with version 1 alone, no unit is known.
    pub fn of_this_host() -> Self {
        Self { root: root() }
    }

    /// Those below a directory.
    pub fn below(root: PathBuf) -> Self {
        Self { root: Some(root) }
    }

    /// Whether control groups of version 2 are there.
    pub fn are_known(&self) -> bool {
        self.root.is_some()
    }

    /// Whether the control group `id` is that of the unit `name`. A unit that is started again has another group, so this
    /// looks each time.
    pub(super) fn has(&self, name: &str, id: Option<u64>) -> bool {
        // 1 is the root group, which the kernel also gives where version 1 is in use.
        let (Some(root), Some(id)) = (&self.root, id.filter(|id| *id > 1)) else { return false };
        paths(name).iter().any(|path| inode(&root.join(path)) == Some(id))
    }
}

/// The ID of the group with this path in `/proc/PID/cgroup`.
pub(super) fn id_of(path: &str) -> Option<u64> {
    inode(&root()?.join(path.strip_prefix('/')?))
}

fn root() -> Option<PathBuf> {
    // `unified` beside version 1.
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let root = places.into_iter().find(|place| Path::new(place).join("cgroup.procs").exists());
    root.map(PathBuf::from)
}

fn inode(path: &Path) -> Option<u64> {
    fs_err::metadata(path).ok().map(|found| found.ino())
}

/// Where systemd puts the group of a unit: system.slice, and there a slice for the instances of a template
/// (systemd.slice(5)).
fn paths(name: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.trim_start_matches('/').to_owned()];
    }
    let mut paths = vec![format!("system.slice/{name}")];
    if let Some((template, _)) = name.split_once('@') {
        let template = template.replace('-', "\\x2d");
        paths.push(format!("system.slice/system-{template}.slice/{name}"));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(groups: &[&str]) -> (tempfile::TempDir, Units) {
        let folder = tempfile::tempdir().unwrap();
        for group in groups {
            fs_err::create_dir_all(folder.path().join(group)).unwrap();
        }
        let units = Units::below(folder.path().into());
        (folder, units)
    }

    #[test]
    fn a_unit_is_known_by_the_directory_that_systemd_makes_for_it() {
        let groups =
            ["system.slice/robot.service", "system.slice/system-my\\x2drobot.slice/my-robot@7.service"];
        let (folder, units) = tree(&groups);
        let id = |group: &str| inode(&folder.path().join(group));

        assert!(units.has("robot.service", id(groups[0])));
        assert!(units.has("my-robot@7.service", id(groups[1])));
        assert!(units.has("/system.slice/robot.service", id(groups[0])));
        assert!(!units.has("robot.service", id(groups[1])));
        assert!(!units.has("other.service", id(groups[0])));
    }

    #[test]
    fn no_group_and_the_root_group_are_no_unit() {
        let (_folder, units) = tree(&["system.slice/robot.service"]);

        assert!(!units.has("robot.service", None));
        assert!(!units.has("robot.service", Some(1)));
        assert!(!Units { root: None }.has("robot.service", Some(5)));
    }

    #[test]
    fn a_unit_that_was_started_again_is_known_by_its_new_group() {
        let (folder, units) = tree(&["system.slice/robot.service"]);
        let path = folder.path().join("system.slice/robot.service");
        let old = inode(&path);
        fs_err::create_dir(path.with_extension("next")).unwrap();
        fs_err::remove_dir(&path).unwrap();
        fs_err::rename(path.with_extension("next"), &path).unwrap();

        assert!(!units.has("robot.service", old));
        assert!(units.has("robot.service", inode(&path)));
    }
}
