//! The directory at the end of a trusted path, and what is done in it. Nothing here follows a link.

use std::ffi::CStr;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::Step;
use crate::content::FileKind;
use crate::content::ReadError;
use crate::digest::hex;
use crate::entropy::Entropy;

/// A directory that was reached by a trusted path. It stays the same one whatever happens to the path.
#[derive(Debug)]
pub struct Directory(Step);

impl Directory {
    pub(super) fn new(step: Step) -> Self {
        Self(step)
    }

    /// Its path, without links.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The path of its entry `name`.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.0.path.join(name)
    }

    /// Its owner's user id.
    pub fn owner(&self) -> u32 {
        self.0.part.owner
    }

    /// Its permissions.
    pub fn mode(&self) -> u32 {
        self.0.part.mode
    }

    /// Whether the file of `owner` may be replaced here. Where other users can create files, one of theirs could stand
    /// in the place of ours.
    pub fn may_have_file_of(&self, owner: u32) -> bool {
        let user = rustix::process::geteuid().as_raw();
        match self.0.part.home {
            Some(home) => [home, user].contains(&owner),
            None => !self.0.part.is_shared() || [super::ROOT, user].contains(&owner),
        }
    }

    /// The descriptor, for calls that this type does not have.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.0.descriptor
    }

    /// The entry `name`: its kind, owner and size. Does not follow a link.
    ///
    /// # Errors
    /// If there is none, or the system does not tell.
    pub fn find(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.0.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens the entry `name`, which may be anything but a link.
    ///
    /// # Errors
    /// If it is a link, or the system refuses.
    pub fn open(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0.descriptor, name, flags, Mode::from(mode))?.into())
    }

    /// Opens a regular file for reading. Nothing else is opened: opening a pipe or a device may hang or have effects.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be opened.
    pub fn open_file(&self, name: &OsStr) -> Result<(File, Metadata), ReadError> {
        let system = ReadError::System;
        let found = self.find(name).map_err(system)?;
        if let Some(kind) = FileKind::of_type(FileType::from_raw_mode(found.st_mode)) {
            return Err(ReadError::NotAFile(kind));
        }
        let file = self.open(name, OFlags::RDONLY | OFlags::NONBLOCK, 0).map_err(system)?;
        // Another file may be there by now.
        let found = file.metadata().map_err(system)?;
        match FileKind::of(found.file_type()) {
            Some(kind) => Err(ReadError::NotAFile(kind)),
            None => Ok((file, found)),
        }
    }

    /// Removes the entry `name`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0.descriptor, name, AtFlags::empty())?)
    }

    /// The names of its entries; empty if it cannot be read.
    pub fn names(&self) -> Vec<OsString> {
        let Ok(opened) = self.readable() else { return Vec::new() };
        let Ok(entries) = Dir::new(opened) else { return Vec::new() };
        let names = entries.flatten().map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        names.filter(|name| name != "." && name != "..").collect()
    }

    /// Makes what was renamed in it durable.
    ///
    /// # Errors
    /// If the file system cannot do this.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.readable()?)?)
    }

    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0.descriptor, ".", flags, Mode::empty())?)
    }

    /// Makes a new file with mode 0600 whose name begins with `prefix`. It is removed unless it gets its final name.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_unfinished(&self, prefix: &OsStr) -> io::Result<Unfinished<'_>> {
        let random: [u8; 8] = Entropy::system().bytes().map_err(io::Error::other)?;
        let mut name = prefix.to_owned();
        name.push(hex(&random));
        let file = self.open(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, 0o600)?;
        Ok(Unfinished { directory: self, name, file })
    }

    /// If root has made `made` in another user's directory, makes it that user's, as far as the system allows.
    pub fn give_to_owner(&self, made: &File) {
        give_to_owner_of(&self.0, made);
    }
}

/// A new file that is removed when this value is dropped.
#[derive(Debug)]
pub struct Unfinished<'a> {
    directory: &'a Directory,
    name: OsString,
    /// The file, open for writing.
    pub file: File,
}

impl Unfinished<'_> {
    /// Gives it the name `name`. Replaces an existing file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn replace(self, name: &OsStr) -> io::Result<()> {
        let folder = &self.directory.0.descriptor;
        Ok(rustix::fs::renameat(folder, &*self.name, folder, name)?)
    }

    /// Gives it the name `name`, unless a file has that name.
    ///
    /// # Errors
    /// If there is such a file, or the system refuses.
    pub fn create(self, name: &OsStr) -> io::Result<()> {
        let folder = &self.directory.0.descriptor;
        match rustix::fs::renameat_with(folder, &*self.name, folder, name, RenameFlags::NOREPLACE) {
            // File systems that cannot do this, such as NFS.
            Err(Errno::INVAL | Errno::NOSYS) => {
                Ok(rustix::fs::linkat(folder, &*self.name, folder, name, AtFlags::empty())?)
            }
            renamed => Ok(renamed?),
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // After a rename there is none.
        let _ = self.directory.remove(&self.name);
    }
}

/// Makes the directory `name` in `above`, with mode 0700. What root makes in another user's directory becomes that
/// user's, because the user's programs have to read the files in it.
pub(super) fn make(above: &Step, name: &OsStr, is_for_its_user: bool) -> Result<(), Errno> {
    match rustix::fs::mkdirat(&above.descriptor, name, Mode::RWXU) {
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    if is_for_its_user {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = File::from(rustix::fs::openat(&above.descriptor, name, flags, Mode::empty())?);
        // The user may have put another directory of root's here. Only an empty one may become theirs.
        if is_empty(&made) {
            give_to_owner_of(above, &made);
        }
    }
    Ok(())
}

fn give_to_owner_of(above: &Step, made: &File) {
    let (owner, group) = (above.part.owner, above.part.group);
    if rustix::process::geteuid().is_root() && owner != super::ROOT {
        let _ = std::os::unix::fs::fchown(made, Some(owner), Some(group));
    }
}

fn is_empty(folder: &File) -> bool {
    let is_own = |name: &CStr| [c".", c".."].contains(&name);
    Dir::read_from(folder)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name()))))
}
