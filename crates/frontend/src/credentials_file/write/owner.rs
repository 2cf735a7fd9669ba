//! Sets the owner of new files and folders.
//!
//! What root creates in a user's folder gets that user as its owner, because the user's programs have to read the file,
//! and the user's own `anchord update` has to take the lock. If the system does not allow this, and for other users
//! than root, the owner stays as the system set it.

use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::Dir;
use rustix::fs::OFlags;

/// Makes the owner of `folder` the owner of `made`, which was just created in it.
pub(super) fn give_to_owner_of(folder: &Path, made: &File) {
    let Ok(owner) = fs_err::metadata(folder) else { return };
    if rustix::process::geteuid().is_root() && !rustix::process::Uid::from_raw(owner.uid()).is_root() {
        let _ = std::os::unix::fs::fchown(made, Some(owner.uid()), Some(owner.gid()));
    }
}

/// Creates `folder` and its missing parents, with mode 0700.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent().filter(|_| !folder.exists()) else { return Ok(()) };
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        outcome => outcome?,
    }
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let made = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(folder)?;
    // The parent's owner may have put another folder of root's here. Only an empty one may become theirs.
    if is_empty(made.file()) {
        give_to_owner_of(parent, made.file());
    }
    Ok(())
}

fn is_empty(folder: &File) -> bool {
    let is_own = |name: &std::ffi::CStr| [c".", c".."].contains(&name);
    Dir::read_from(folder)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name()))))
}
