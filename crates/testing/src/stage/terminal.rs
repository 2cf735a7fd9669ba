//! Terminals of a test's own.

use fs_err::File;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;
use rustix::pty;
use rustix::pty::OpenptFlags;

/// The end where a person sits, and the one where programs are.
pub fn pair() -> (std::fs::File, File) {
    let person = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&person).unwrap();
    pty::unlockpt(&person).unwrap();
    let path = pty::ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
    (person.into(), options.open(path).unwrap())
}
