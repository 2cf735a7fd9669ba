//! Folders of a test's own, and what is in them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

/// A temporary folder, removed with the value.
pub struct Folder(TempDir);

impl Folder {
    /// An empty folder among the temporary files.
    #[expect(clippy::new_without_default, reason = "it creates something")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// An empty folder in `parent`.
    pub fn within(parent: &Path) -> Self {
        Self(tempfile::tempdir_in(parent).unwrap())
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Where a file with this name is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file that only this user may read, as a key's should be.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs_err::write(&path, content).unwrap();
        fs_err::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// The names of what is in a folder, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
