//! The extended attributes of a file: access control lists, SELinux labels, users' attributes.

use std::ffi::CStr;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::XattrFlags;

/// The attributes that are copied to the new file. Others are not copied: a digest of the content (`security.ima`)
/// would be wrong there, and attributes of a file system (`trusted.overlay`) belong to that file system.
#[derive(Default)]
pub(super) struct ExtendedAttributes {
    others: Vec<(CString, Vec<u8>)>,
    access_list: Option<Vec<u8>>,
}

const ACCESS_LIST: &str = "system.posix_acl_access";
/// The kernel's limits of the list of names and of a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX_BYTES: usize = 1 << 16;

impl ExtendedAttributes {
    /// The attributes of `file`; empty if its file system has none.
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

    /// Sets the attributes of `file`, as far as the system allows. Only the owner can read the file so far.
    pub(super) fn give_to(&self, file: &File) {
        for (name, value) in &self.others {
            let _ = rustix::fs::fsetxattr(file, name.as_c_str(), value, XattrFlags::empty());
        }
    }

    /// Sets the mode and the access control list of `file`. With a list, the group bits of the mode are the list's
    /// mask, so the mode without the list would give the group rights that it does not have (acl(5)).
    pub(super) fn set_rights(&self, file: &File, mode: u32) -> io::Result<()> {
        let Some(list) = &self.access_list else {
            // A folder's default list may have given the file a list, and the mode's group bits would enable it.
            let _ = rustix::fs::fremovexattr(file, ACCESS_LIST);
            return file.set_permissions(std::fs::Permissions::from_mode(mode));
        };
        file.set_permissions(std::fs::Permissions::from_mode(mode & 0o700))?;
        // If this fails, only the owner has rights.
        let _ = rustix::fs::fsetxattr(file, ACCESS_LIST, list, XattrFlags::empty());
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn with_access_list(list: &[u8]) -> Self {
        Self { access_list: Some(list.to_vec()), ..Self::default() }
    }
}
