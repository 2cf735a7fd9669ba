//! Why a daemon's socket refuses this user, and what would let the user in.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::failure::Class;
use crate::failure::Failure;

/// What the file system says of the way to a socket.
#[derive(Debug, PartialEq, Eq)]
enum Barrier<'a> {
    /// The socket itself, with its group and mode.
    Socket { gid: u32, mode: u32, is_systemds: bool },
    /// A folder on the way that this user may not enter.
    Folder { path: &'a Path, gid: u32, mode: u32 },
    /// The permissions are not visible.
    Unknown,
}

/// A daemon is there, and the permissions of `socket` keep this user from it.
pub(super) fn failure(socket: &Path) -> Failure {
    let barrier = barrier(socket);
    let groups = fs_err::read_to_string("/etc/group").unwrap_or_default();
    let message = match &barrier {
        Barrier::Folder { path, .. } => format!(
            "this user may not enter `{}`, where the daemon's socket is (`{}`): permission denied",
            path.display(),
            socket.display()
        ),
        _ => format!(
            "the daemon runs at `{}`, and this user may not use it: permission denied",
            socket.display()
        ),
    };
    Failure::of(Class::Misconfigured, message, Some(hint(&barrier, &groups)))
}

fn barrier(socket: &Path) -> Barrier<'_> {
    if let Ok(found) = fs_err::symlink_metadata(socket) {
        // A daemon that binds its socket itself has a lock beside it; systemd has none.
        let mut lock = socket.as_os_str().to_owned();
        lock.push(".lock");
        let is_systemds = !Path::new(&lock).exists();
        return Barrier::Socket { gid: found.gid(), mode: found.mode() & 0o777, is_systemds };
    }
    // The folder that cannot be entered is the deepest one that can still be seen.
    for path in socket.ancestors().skip(1) {
        if let Ok(found) = fs_err::symlink_metadata(path) {
            return Barrier::Folder { path, gid: found.gid(), mode: found.mode() & 0o777 };
        }
    }
    Barrier::Unknown
}

fn hint(barrier: &Barrier<'_>, groups: &str) -> String {
    const WRITE: u32 = 0o020;
    const ENTER: u32 = 0o010;
    match barrier {
        Barrier::Socket { gid, mode, .. } if mode & WRITE != 0 && *gid != 0 => join(*gid, groups),
        Barrier::Socket { gid, is_systemds: true, mode } => format!(
            "its group is {} and its mode {mode:04o}: let an administrator set `SocketGroup=` (and `SocketMode=0660`) of \
             anchord.socket to a group, and join that group",
            group(*gid, groups)
        ),
        Barrier::Socket { gid, mode, .. } => format!(
            "its group is {} and its mode {mode:04o}: let an administrator run the daemon with a group of its own and set \
             `mode = \"0660\"` in [socket], and join that group",
            group(*gid, groups)
        ),
        Barrier::Folder { gid, mode, .. } if mode & ENTER != 0 && *gid != 0 => join(*gid, groups),
        Barrier::Folder { mode, .. } => format!(
            "the folder's mode is {mode:04o}: let an administrator put the socket into a folder that this user may enter \
             (`path` in [socket])"
        ),
        Barrier::Unknown => "join the group that may use the socket".into(),
    }
}

fn join(gid: u32, groups: &str) -> String {
    format!("join its group {} (`usermod -aG`, then log in anew)", group(gid, groups))
}

/// The group's name where `/etc/group` has it.
fn group(gid: u32, groups: &str) -> String {
    for line in groups.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next())
            && number.parse() == Ok(gid)
        {
            return format!("`{}`", name.escape_debug());
        }
    }
    format!("{gid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nanchord:x:990:me\n";

    #[test]
    fn the_group_that_lets_a_user_in_is_named() {
        let socket = |gid, mode, is_systemds| hint(&Barrier::Socket { gid, mode, is_systemds }, GROUPS);

        assert!(socket(990, 0o660, true).starts_with("join its group `anchord`"));
        assert!(socket(4711, 0o660, false).starts_with("join its group 4711"));
    }

    /// Nobody is to join the group `root`, and a group that may not write lets nobody in.
    #[test]
    fn where_no_group_lets_a_user_in_the_setting_that_decides_is_named() {
        let socket = |gid, mode, is_systemds| hint(&Barrier::Socket { gid, mode, is_systemds }, GROUPS);

        assert!(socket(0, 0o660, true).contains("`SocketGroup=` (and `SocketMode=0660`) of anchord.socket"));
        assert!(socket(990, 0o600, true).contains("its group is `anchord` and its mode 0600"));
        let bound_by_itself = socket(990, 0o600, false);
        assert!(bound_by_itself.contains("`mode = \"0660\"` in [socket]"), "{bound_by_itself}");
        assert!(!bound_by_itself.contains("SocketGroup"), "{bound_by_itself}");
    }

    #[test]
    fn a_folder_that_is_closed_is_named_with_what_opens_it() {
        let path = Path::new("/run/anchord");
        let folder = |gid, mode| hint(&Barrier::Folder { path, gid, mode }, GROUPS);

        assert!(folder(990, 0o750).starts_with("join its group `anchord`"));
        assert!(folder(990, 0o700).contains("the folder's mode is 0700"));
    }

    #[test]
    fn a_socket_is_seen_with_who_bound_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("anchord.sock");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();

        assert!(matches!(barrier(&socket), Barrier::Socket { is_systemds: true, .. }));
        fs_err::write(folder.path().join("anchord.sock.lock"), "").unwrap();
        assert!(matches!(barrier(&socket), Barrier::Socket { is_systemds: false, .. }));
    }
}
