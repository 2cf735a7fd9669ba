//! `--output-file`: the file gets the whole answer or stays unchanged.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Access;

use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::failure::system_reason;

/// The file for the answer. It is checked before the call, because AWS also bills an answer that cannot be written.
pub(super) struct Destination {
    path: PathBuf,
    /// The directory for the new file, and its permissions; `None` for a pipe or a device, which is not replaced.
    replaced: Option<(PathBuf, u32)>,
}

/// The mode of new files, before the umask.
const NEW_FILE: u32 = 0o666;

impl Destination {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        // Replaces the target of a symbolic link, and keeps the link.
        let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let existing = fs_err::metadata(&path).ok();
        if existing.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            return Err(Failure::of(
                Reason::InvalidSetting,
                format!("`{}` is a directory", path.display()),
                None,
            ));
        }
        if existing.as_ref().is_some_and(|existing| !existing.is_file()) {
            return Ok(Self { path, replaced: None });
        }
        let mode = existing.map_or(NEW_FILE, |existing| existing.permissions().mode() & 0o777);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Creates no file yet: a user who interrupts a long call would leave it behind.
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::access(folder, access).map_err(|error| unwritable(&path, &error.into()))?;
        let replaced = Some((folder.to_owned(), mode));
        Ok(Self { path, replaced })
    }

    pub(super) fn write(self, content: &[u8]) -> Result<(), Failure> {
        let Self { path, replaced } = self;
        let written = match replaced {
            Some((folder, mode)) => tempfile::Builder::new()
                .prefix(".anchord-")
                .permissions(std::fs::Permissions::from_mode(mode))
                .tempfile_in(folder)
                .and_then(|mut beside| {
                    beside.write_all(content)?;
                    beside.persist(&path).map(drop).map_err(|failed| failed.error)
                }),
            None => fs_err::write(&path, content),
        };
        written.map_err(|error| unwritable(&path, &error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("cannot write `{}`: {}", path.display(), system_reason(error));
    Failure::of(Reason::InvalidSetting, what, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_permissions_and_its_link_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.json"), folder.path().join("link"));
        fs_err::write(&file, "old").unwrap();
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        fs_err::os::unix::fs::symlink(&file, &link).unwrap();

        let destination = Destination::open(&link).unwrap();
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "old");
        destination.write(b"new").unwrap();

        assert_eq!(fs_err::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn where_nothing_can_be_written_that_is_told_before_the_call() {
        let folder = tempfile::tempdir().unwrap();

        assert!(Destination::open(folder.path()).is_err());
        let failure = Destination::open(&folder.path().join("none/a.json")).err().unwrap();
        assert!(
            failure.message().ends_with("none/a.json`: No such file or directory (os error 2)"),
            "{failure}"
        );
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        Destination::open(Path::new("/dev/null")).unwrap().write(b"gone").unwrap();

        assert!(!fs_err::metadata("/dev/null").unwrap().is_file());
    }
}
