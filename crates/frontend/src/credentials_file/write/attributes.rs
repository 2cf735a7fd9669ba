//! What a file carries besides its owner and mode: access lists, labels, users' attributes.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::XattrFlags;

/// The attributes that go over to the file's successor. Not all: a digest of the content (`security.ima`) would be
/// wrong there, and what is a file system's own (`trusted.overlay`) is not ours to copy.
#[derive(Default)]
pub(super) struct Attributes {
    others: Vec<(CString, Vec<u8>)>,
    access_list: Option<Vec<u8>>,
}

const ACCESS_LIST: &str = "system.posix_acl_access";
/// The kernel's own limit, of names as of a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX_BYTES: usize = 1 << 16;

impl Attributes {
    /// None where the file system has none.
    pub(super) fn of(file: &File) -> Self {
        let mut buffer = vec![0; MAX_BYTES];
        let mut value = |name: &CStr| {
            let length = rustix::fs::fgetxattr(file, name, &mut buffer[..]).ok()?;
            Some(buffer[..length].to_vec())
        };
        let mut names = vec![0; MAX_BYTES];
        let length = rustix::fs::flistxattr(file, &mut names[..]).unwrap_or(0);
        let names = names[..length].split_inclusive(|byte| *byte == 0).map(CStr::from_bytes_with_nul);
        let mut found = Self::default();
        for name in names.filter_map(Result::ok) {
            match name.to_str() {
                Ok(ACCESS_LIST) => found.access_list = value(name),
                Ok(text) if text.starts_with("user.") || text == "security.selinux" => {
                    found.others.extend(value(name).map(|value| (name.to_owned(), value)));
                }
                _ => {}
            }
        }
        found
    }

    /// Gives them to `file`, which is open to its owner still, as far as the system lets us.
    pub(super) fn give_to(&self, file: &File) {
        for (name, value) in &self.others {
            let _ = rustix::fs::fsetxattr(file, name.as_c_str(), value, XattrFlags::empty());
        }
    }

    /// Gives `file` the mode and the access list. Where there is a list, the mode says what those whom it names may do
    /// at most, and would open the file to the group without it.
    pub(super) fn set_rights(&self, file: &File, mode: u32) -> io::Result<()> {
        let Some(list) = &self.access_list else {
            // A folder may give new files a list, which the mode would bring to life.
            let _ = rustix::fs::fremovexattr(file, ACCESS_LIST);
            return file.set_permissions(std::fs::Permissions::from_mode(mode));
        };
        file.set_permissions(std::fs::Permissions::from_mode(mode & 0o700))?;
        // Then it stays with its owner alone.
        let _ = rustix::fs::fsetxattr(file, ACCESS_LIST, list, XattrFlags::empty());
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn with_access_list(list: &[u8]) -> Self {
        Self { access_list: Some(list.to_vec()), ..Self::default() }
    }
}
