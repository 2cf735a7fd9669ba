//! Paths that no other user can lead elsewhere.
//!
//! A user who can change one directory of a path chooses the file at its end: with a symbolic link, or by exchanging
//! directories, also between a check and the write that follows. So a path is walked part by part. Each part is opened
//! without following links and judged as it was opened, as sshd does with StrictModes (sshd_config(5)), and each
//! operation on the file is relative to the descriptor of its directory. There is one code path for all kernels:
//! `openat2` would follow links safely, but judges no owner and no mode.

mod directory;
mod groups;

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

pub use self::directory::Directory;
pub use self::directory::Unfinished;
use crate::failure::Classify;
use crate::failure::Reason;
use crate::text::Text;

/// Why a path is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the path belongs to another user, who can exchange what is in it.
    #[error("`{}` belongs to user {owner}, who can replace what is in it", path.display())]
    Foreign {
        /// Which part of the path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another user's link would decide which file is used.
    #[error("`{}` is a symbolic link of user {owner}, which may lead to any file", path.display())]
    ForeignLink {
        /// Which link.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The part belongs to one user and is in a directory of another one.
    #[error("`{}` belongs to user {owner}, and user {user} can replace it", path.display())]
    InHome {
        /// Which part of the path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The owner of the directory that it is in.
        user: u32,
    },
    /// Other users can write to a directory of the path.
    #[error("`{}` is writable by other users (owner {owner}, mode {mode:04o})", path.display())]
    Writable {
        /// Which directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// A part of the path cannot be opened or made.
    #[error("cannot open `{}`", path.display())]
    System {
        /// Which part of the path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether a part of the path does not exist.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::System { .. } => Reason::FileUnreadable,
            _ => Reason::FileInsecure,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Foreign { .. } => {
                "choose a path in directories that belong to root or to this user".to_owned()
            }
            Self::ForeignLink { owner, .. } => {
                format!("run as user {owner}, or name the file by a path without this link")
            }
            Self::InHome { user, .. } => {
                format!("run as user {user}, or choose a path in directories of that user, without links")
            }
            Self::Writable { path, .. } => {
                let path = path.display();
                format!(
                    "allow only its owner to write to it: chmod go-w {path}; if others need to create files there, \
                     set its sticky bit: chmod +t {path}"
                )
            }
            Self::System { .. } => return None,
        };
        Some(hint.into())
    }
}

const ROOT: u32 = 0;

/// The user who follows a path.
#[derive(Clone, Copy, Debug)]
struct Follower {
    user: u32,
    /// The owner of `/`, who can exchange every path. In a user namespace without the host's root this is the user to
    /// whom everything of the host belongs.
    top: u32,
    /// Whether root may go on into the directories of one other user, to write a file for that user.
    enters_homes: bool,
}

/// A part of a path, as it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    is_link: bool,
    owner: u32,
    group: u32,
    mode: u32,
    /// Whether only users who are trusted anyway can use the group's permissions.
    has_private_group: bool,
    /// The user whose directories begin here or above, if root has entered them.
    home: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Foreign,
    ForeignLink,
    InHome(u32),
    Writable,
}

impl Part {
    /// Whether other users than its owner can create files in it.
    fn is_shared(&self) -> bool {
        self.mode & 0o002 != 0 || self.mode & 0o020 != 0 && !self.has_private_group
    }

    /// Whether other users can exchange what belongs to its owner or to others (the sticky bit forbids that).
    fn is_writable(&self) -> bool {
        self.is_shared() && self.mode & 0o1000 == 0
    }
}

impl Follower {
    fn trusts(self, owner: u32) -> bool {
        [ROOT, self.user, self.top].contains(&owner)
    }

    /// Judges `part`, which was found in the directory `above`. Returns the user whose directories the path is in from
    /// here on.
    fn judge(self, above: Option<&Part>, part: &Part) -> Result<Option<u32>, Flaw> {
        let home = match above.and_then(|above| above.home) {
            // The user can exchange everything here. Links could lead root out of the user's directories, and another
            // user's directory could have been moved here.
            Some(user) if part.owner != user => return Err(Flaw::InHome(user)),
            Some(_) if part.is_link => return Err(Flaw::ForeignLink),
            Some(user) => Some(user),
            None if self.trusts(part.owner) => None,
            None if part.is_link => return Err(Flaw::ForeignLink),
            // In a directory in which everybody can create entries, the user may have made one to get what root writes.
            None if self.enters_homes
                && self.user == ROOT
                && above.is_some_and(|above| !above.is_shared()) =>
            {
                Some(part.owner)
            }
            None => return Err(Flaw::Foreign),
        };
        if !part.is_link && part.is_writable() {
            return Err(Flaw::Writable);
        }
        Ok(home)
    }
}

/// The directory at `path`.
///
/// # Errors
/// If it does not exist, or another user can lead the path elsewhere.
pub fn directory(path: &Path) -> Result<Directory, Error> {
    Walk::start(path, false, false)?.into_directory()
}

/// The same, and makes the missing directories of `path`, with mode 0700.
///
/// # Errors
/// As [`directory`], or if one cannot be made.
pub fn make_directory(path: &Path) -> Result<Directory, Error> {
    Walk::start(path, true, false)?.into_directory()
}

/// The directory of the file at `path`, and the file's name in it. The file is not looked at.
///
/// # Errors
/// As [`directory`], or if `path` is that of a directory.
pub fn file(path: &Path) -> Result<(Directory, OsString), Error> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(system(path, Errno::ISDIR));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok((directory(folder)?, name.into()))
}

/// The same for a file that belongs to a user, who may have put a link there. Makes missing directories. If root
/// follows the path, it may end in the directories of one other user. There, links are not followed.
///
/// # Errors
/// As [`make_directory`], or if the path or the link at its end is that of a directory.
pub fn file_for_its_user(path: &Path) -> Result<(Directory, OsString), Error> {
    if is_called_a_directory(path) {
        return Err(system(path, Errno::ISDIR));
    }
    Walk::start(path, true, true)?.into_file()
}

/// Whether a path can only be that of a directory.
fn is_called_a_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    path.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.")
}

fn system(path: &Path, errno: Errno) -> Error {
    Error::System { path: path.into(), source: errno.into() }
}

/// A directory on the way.
#[derive(Debug)]
struct Step {
    descriptor: OwnedFd,
    path: PathBuf,
    part: Part,
}

struct Walk {
    follower: Follower,
    makes: bool,
    /// The directories from the first to the current one.
    steps: Vec<Step>,
    /// The names that are not resolved yet, the last one first.
    ahead: Vec<OsString>,
    links: usize,
}

/// The kernel's limit too (path_resolution(7)).
const MOST_LINKS: usize = 40;

impl Walk {
    fn start(path: &Path, makes: bool, enters_homes: bool) -> Result<Self, Error> {
        // Ancestors of the current directory can be exchanged like those of any other one.
        let whole = if path.is_absolute() {
            path.to_path_buf()
        } else {
            let current = rustix::process::getcwd(Vec::new()).map_err(|errno| system(path, errno))?;
            Path::new(&OsString::from_vec(current.into_bytes())).join(path)
        };
        let user = rustix::process::geteuid().as_raw();
        let mut walk = Self {
            follower: Follower { user, top: ROOT, enters_homes },
            makes,
            steps: Vec::new(),
            ahead: names(&whole),
            links: 0,
        };
        walk.go_to_top()?;
        Ok(walk)
    }

    fn go_to_top(&mut self) -> Result<(), Error> {
        self.steps.clear();
        let top = Path::new("/");
        let descriptor = open(CWD, top.as_os_str(), DIRECTORY).map_err(|errno| system(top, errno))?;
        self.follower.top = rustix::fs::fstat(&descriptor).map_err(|errno| system(top, errno))?.st_uid;
        self.enter(descriptor, top.into())
    }

    fn into_directory(mut self) -> Result<Directory, Error> {
        while let Some(name) = self.ahead.pop() {
            self.follow(&name)?;
        }
        Ok(self.end())
    }

    fn into_file(mut self) -> Result<(Directory, OsString), Error> {
        loop {
            let name = self.ahead.pop().expect("each round leaves the name of a file ahead");
            if self.ahead.is_empty() && !self.is_link(&name) {
                return Ok((self.end(), name));
            }
            self.follow(&name)?;
            if self.ahead.is_empty() {
                let path = self.current().path.clone();
                return Err(system(&path, Errno::ISDIR));
            }
        }
    }

    fn is_link(&self, name: &OsStr) -> bool {
        let found =
            rustix::fs::statat(&self.current().descriptor, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    }

    /// Whether the current part is in the place of the file that is looked for.
    fn is_at_file(&self) -> bool {
        self.follower.enters_homes && self.ahead.is_empty()
    }

    fn current(&self) -> &Step {
        self.steps.last().expect("a walk starts in a directory and never leaves the first one")
    }

    fn end(mut self) -> Directory {
        let step = self.steps.pop().expect("a walk starts in a directory and never leaves the first one");
        Directory::new(step)
    }

    /// Goes to the entry `name` of the current directory.
    fn follow(&mut self, name: &OsStr) -> Result<(), Error> {
        if name == ".." {
            return self.step_up();
        }
        let path = self.current().path.join(name);
        let failed = |errno| system(&path, errno);
        let opened = match open(&self.current().descriptor, name, OFlags::empty()) {
            Err(Errno::NOENT) if self.makes && !self.is_at_file() => {
                directory::make(self.current(), name, self.follower.enters_homes).map_err(failed)?;
                open(&self.current().descriptor, name, OFlags::empty())
            }
            opened => opened,
        };
        let opened = opened.map_err(failed)?;
        let found = rustix::fs::fstat(&opened).map_err(failed)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => self.enter(opened, path),
            FileType::Symlink => self.follow_link(&opened, &found, name, path),
            _ => Err(failed(Errno::NOTDIR)),
        }
    }

    fn step_up(&mut self) -> Result<(), Error> {
        if self.steps.len() > 1 {
            self.steps.pop();
            return Ok(());
        }
        // The directory above is not known: `/`, which is above itself, or the target of a link of /proc.
        let path = self.current().path.join("..");
        let above = open(&self.current().descriptor, OsStr::new(".."), DIRECTORY);
        let above = above.map_err(|errno| system(&path, errno))?;
        let path = if self.current().path == Path::new("/") { "/".into() } else { path };
        self.steps.clear();
        self.enter(above, path)
    }

    fn follow_link(
        &mut self,
        link: &OwnedFd,
        found: &rustix::fs::Stat,
        name: &OsStr,
        path: PathBuf,
    ) -> Result<(), Error> {
        let failed = |errno| system(&path, errno);
        let part = Part {
            is_link: true,
            owner: found.st_uid,
            group: found.st_gid,
            mode: found.st_mode,
            has_private_group: true,
            home: None,
        };
        self.judge(&part, &path)?;
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(failed(Errno::LOOP));
        }
        // Links of /proc, such as /proc/7/root, do not lead to the path that they show. Only the kernel can follow them.
        let above = &self.current().descriptor;
        let is_of_processes =
            rustix::fs::fstatfs(above).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC);
        if is_of_processes && !self.is_at_file() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let target = rustix::fs::openat(above, name, flags, Mode::empty()).map_err(failed)?;
            self.steps.clear();
            return self.enter(target, path);
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new()).map_err(failed)?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if self.is_at_file() && is_called_a_directory(&target) {
            return Err(failed(Errno::ISDIR));
        }
        if target.is_absolute() {
            self.go_to_top()?;
        }
        self.ahead.extend(names(&target));
        Ok(())
    }

    /// Judges a directory and makes it the current one.
    fn enter(&mut self, descriptor: OwnedFd, path: PathBuf) -> Result<(), Error> {
        let found = rustix::fs::fstat(&descriptor).map_err(|errno| system(&path, errno))?;
        let (owner, group, mode) = (found.st_uid, found.st_gid, found.st_mode & 0o7777);
        let has_private_group = mode & 0o020 == 0 || {
            let trusted = [ROOT, self.follower.user, owner];
            groups::is_private(group, &trusted) && !has_access_list(&descriptor)
        };
        let part = Part { is_link: false, owner, group, mode, has_private_group, home: None };
        let home = self.judge(&part, &path)?;
        self.steps.push(Step { descriptor, path, part: Part { home, ..part } });
        Ok(())
    }

    fn judge(&self, part: &Part, path: &Path) -> Result<Option<u32>, Error> {
        let above = self.steps.last().map(|step| &step.part);
        let (path, owner, mode) = (path.into(), part.owner, part.mode & 0o7777);
        self.follower.judge(above, part).map_err(|flaw| match flaw {
            Flaw::Foreign => Error::Foreign { path, owner },
            Flaw::ForeignLink => Error::ForeignLink { path, owner },
            Flaw::InHome(user) => Error::InHome { path, owner, user },
            Flaw::Writable => Error::Writable { path, owner, mode },
        })
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY;

/// Opens a part of a path, or a link itself. Needs no right to read it, as following a path needs none.
fn open(above: impl AsFd, name: &OsStr, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

/// The parts of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let parts =
        path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether users or groups may have rights beyond the mode. With a list, the mode's group bits are the list's mask
/// (acl(5)).
fn has_access_list(directory: &OwnedFd) -> bool {
    // A descriptor of O_PATH cannot be asked itself.
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let found = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0][..]);
    !matches!(found, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

#[cfg(test)]
mod tests;
