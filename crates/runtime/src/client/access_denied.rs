//! Explains why this user may not use a daemon's socket, and what would give access.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use anchord_core::content;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// What denies access to a socket.
#[derive(Debug, PartialEq, Eq)]
enum Barrier<'a> {
    /// The socket itself.
    Socket { gid: u32, mode: u32, is_systemds: bool },
    /// A folder of its path that this user may not enter.
    Folder { path: &'a Path, gid: u32, mode: u32 },
    /// The permissions are not visible.
    Unknown,
}

/// The error for a `socket` that permissions deny to this user, whether a daemon runs there or not.
pub(super) fn failure(socket: &Path) -> Failure {
    let barrier = barrier(socket);
    let groups = table("/etc/group");
    let (shown, hint) = (socket.display(), hint(&barrier, &groups));
    let (what, hint) = match &barrier {
        Barrier::Folder { path, .. } => {
            let folder = path.display();
            (
                format!("this user may not enter `{folder}`, the directory of the daemon's socket `{shown}`"),
                hint,
            )
        }
        Barrier::Socket { .. } | Barrier::Unknown if seems_to_run(socket) => {
            (format!("a daemon listens on `{shown}`, but this user may not use it"), hint)
        }
        Barrier::Socket { .. } | Barrier::Unknown => (
            format!("this user may not use the socket `{shown}`, and no daemon seems to listen on it"),
            format!("ask an administrator whether the daemon runs; {hint}"),
        ),
    };
    Failure::of(Reason::DaemonForbidden, format!("{what}: permission denied"), Some(hint.into()))
}

/// Whether a daemon seems to run there. The kernel shows only locks and sockets of the user's own namespaces, so a
/// daemon in a container may stay hidden.
fn seems_to_run(socket: &Path) -> bool {
    has_held_lock(socket) || is_listened_on(socket)
}

/// Whether a process holds the lock beside `socket`, as a daemon does that has bound its socket itself (proc_locks(5)).
fn has_held_lock(socket: &Path) -> bool {
    let Ok(lock) = fs_err::metadata(lock_path(socket)) else { return false };
    let (major, minor) = (rustix::fs::major(lock.dev()), rustix::fs::minor(lock.dev()));
    let id = format!("{major:02x}:{minor:02x}:{}", lock.ino());
    table("/proc/locks").lines().any(|line| line.split_whitespace().any(|field| field == id))
}

/// Whether a process listens on `socket`, by the path that the process has bound (proc_net(5)).
fn is_listened_on(socket: &Path) -> bool {
    let whole = socket.canonicalize();
    let paths = [Some(socket), whole.as_deref().ok()];
    table("/proc/net/unix").lines().filter_map(listener).any(|path| paths.contains(&Some(Path::new(path))))
}

fn table(path: &str) -> String {
    const LARGEST: u64 = 64 << 20;
    let table = content::read(Path::new(path), LARGEST);
    table.map(|table| String::from_utf8_lossy(table.bytes.expose()).into_owned()).unwrap_or_default()
}

/// The path of a listening socket, from a line with these fields: Num RefCount Protocol Flags Type St Inode Path.
fn listener(line: &str) -> Option<&str> {
    const ACCEPTS: &str = "00010000";
    let (mut fields, mut rest) = ([""; 7], line);
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    (fields[3] == ACCEPTS).then_some(rest)
}

fn barrier(socket: &Path) -> Barrier<'_> {
    if let Ok(found) = fs_err::symlink_metadata(socket) {
        // A daemon that binds its socket itself has a lock beside it. systemd makes no lock.
        let is_systemds = !lock_path(socket).exists();
        return Barrier::Socket { gid: found.gid(), mode: found.mode() & 0o777, is_systemds };
    }
    // The deepest visible folder is the one that this user may not enter.
    for path in socket.ancestors().skip(1) {
        if let Ok(found) = fs_err::symlink_metadata(path) {
            return Barrier::Folder { path, gid: found.gid(), mode: found.mode() & 0o777 };
        }
    }
    Barrier::Unknown
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

fn hint(barrier: &Barrier<'_>, groups: &str) -> String {
    const WRITE: u32 = 0o020;
    const ENTER: u32 = 0o010;
    match barrier {
        Barrier::Socket { gid, mode, .. } if mode & WRITE != 0 && *gid != 0 => join(*gid, groups),
        Barrier::Socket { gid, is_systemds: true, mode } => format!(
            "its group is {} and its mode {mode:04o}: ask an administrator to set `SocketGroup=` (and `SocketMode=0660`) of \
             anchord.socket to a group, and to add this user to it",
            group(*gid, groups)
        ),
        Barrier::Socket { gid, mode, .. } => format!(
            "its group is {} and its mode {mode:04o}: ask an administrator to run the daemon with its own group, to set \
             `mode = \"0660\"` in [socket], and to add this user to the group",
            group(*gid, groups)
        ),
        Barrier::Folder { gid, mode, .. } if mode & ENTER != 0 && *gid != 0 => join(*gid, groups),
        Barrier::Folder { mode, .. } => format!(
            "the directory's mode is {mode:04o}: ask an administrator to put the socket into a directory that this user may enter \
             (`path` in [socket])"
        ),
        Barrier::Unknown => {
            "ask an administrator to add this user to the group that may use the socket".into()
        }
    }
}

fn join(gid: u32, groups: &str) -> String {
    format!("join its group {} (`usermod -aG`, then log in again)", group(gid, groups))
}

/// The group's name if `/etc/group` has it, else its number.
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

    /// No user should join the group `root`, and a group without write permission gives no access.
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
        assert!(folder(990, 0o700).contains("the directory's mode is 0700"));
    }

    /// A daemon that was killed leaves its socket.
    #[test]
    fn a_socket_that_no_process_listens_on_is_not_reported_as_a_running_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("an anchord.sock");
        let bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link.sock");
        std::os::unix::fs::symlink(&socket, &link).unwrap();

        for path in [&socket, &link] {
            let told = failure(path).to_string();
            assert!(told.starts_with("a daemon listens on `"), "{told}");
        }
        drop(bound);

        let told = failure(&socket).to_string();
        assert!(told.starts_with("this user may not use the socket `"), "{told}");
        assert!(told.contains("hint: ask an administrator whether the daemon runs; "), "{told}");
    }

    /// It may be reached by another path than the one that it was bound to.
    #[test]
    fn a_daemon_that_holds_the_lock_beside_its_socket_is_reported_as_running() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("anchord.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let lock = fs_err::File::create(lock_path(&socket)).unwrap();
        assert!(!seems_to_run(&socket));

        rustix::fs::flock(lock.file(), rustix::fs::FlockOperation::LockExclusive).unwrap();

        let told = failure(&socket).to_string();
        assert!(told.starts_with("a daemon listens on `"), "{told}");
    }

    #[test]
    fn only_what_accepts_connections_is_a_listener() {
        let line = |flags| format!("0000000000000000: 00000002 00000000 {flags} 0001 01    17 /run/a b.sock");

        assert_eq!(listener(&line("00010000")), Some("/run/a b.sock"));
        assert_eq!(listener(&line("00000000")), None);
        assert_eq!(listener("0000000000000000: 00000003 00000000 00010000 0001 03 17"), None);
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
