//! What a process needs for its work, and whether what it has entered covers new needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use rustix::thread::CapabilitySet;

use super::InForce;

/// What a process needs for its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The capabilities to keep, of those that it has.
    pub capabilities: CapabilitySet,
    /// What it writes. Reading is left to the permissions of files.
    pub writable: Vec<WriteRule>,
    /// The ports on which it listens.
    pub listens: BTreeSet<u16>,
    /// The ports to which it connects.
    pub connects: BTreeSet<u16>,
    /// Whether it connects to abstract Unix sockets of other processes.
    pub abstract_sockets: bool,
}

/// Something that may be written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteRule {
    /// A directory: everything in it may be created, changed and removed, but not the directory itself.
    Below(PathBuf),
    /// A file or a device, which may be changed.
    File(PathBuf),
    /// A directory: what is in it may be changed, but nothing made or removed.
    FilesIn(PathBuf),
    /// A directory: empty directories in it may be removed.
    RemoveIn(PathBuf),
}

impl WriteRule {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Below(path) | Self::File(path) | Self::FilesIn(path) | Self::RemoveIn(path) => path,
        }
    }
}

/// What a process cannot do although it needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// It cannot write this.
    Write(PathBuf),
    /// It cannot connect to this port.
    Connect(u16),
}

impl Needs {
    /// What `wanted` needs that a process in a sandbox for these needs cannot do.
    pub fn lacks(&self, wanted: &Self, in_force: &InForce) -> Vec<Shortage> {
        let mut lacking = Vec::new();
        if in_force.limits_writes {
            let uncovered = wanted.writable.iter().filter(|rule| !self.covers(rule));
            lacking.extend(uncovered.map(|rule| Shortage::Write(rule.path().to_owned())));
        }
        if in_force.limits_ports {
            lacking.extend(wanted.connects.difference(&self.connects).map(|port| Shortage::Connect(*port)));
        }
        lacking
    }

    /// By their paths. A rule holds for the directory that was at the path when the process entered its sandbox.
    fn covers(&self, wanted: &WriteRule) -> bool {
        self.writable.iter().any(|held| match held {
            WriteRule::Below(folder) => wanted.path().starts_with(folder),
            WriteRule::FilesIn(folder) => {
                matches!(wanted, WriteRule::File(_) | WriteRule::FilesIn(_))
                    && wanted.path().starts_with(folder)
            }
            WriteRule::File(_) | WriteRule::RemoveIn(_) => held == wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(writable: &[WriteRule], connects: &[u16]) -> Needs {
        Needs {
            capabilities: CapabilitySet::empty(),
            writable: writable.to_vec(),
            listens: BTreeSet::new(),
            connects: connects.iter().copied().collect(),
            abstract_sockets: false,
        }
    }

    fn below(path: &str) -> WriteRule {
        WriteRule::Below(path.into())
    }

    #[test]
    fn new_needs_below_a_directory_of_the_rules_are_covered_and_others_are_not() {
        let held = needs(&[below("/run/anchord"), WriteRule::File("/dev/tpmrm0".into())], &[443]);
        let in_force = InForce { limits_writes: true, limits_ports: true, ..InForce::default() };

        let fine = needs(&[below("/run/anchord/x"), WriteRule::File("/dev/tpmrm0".into())], &[443]);
        assert_eq!(held.lacks(&fine, &in_force), []);

        let more = needs(&[below("/run/anchord2"), below("/run/anchord")], &[443, 8443]);
        assert_eq!(
            held.lacks(&more, &in_force),
            [Shortage::Write("/run/anchord2".into()), Shortage::Connect(8443)]
        );
    }

    #[test]
    fn nothing_is_lacking_where_the_kernel_limits_nothing() {
        let more = needs(&[below("/elsewhere")], &[8443]);

        assert_eq!(needs(&[], &[]).lacks(&more, &InForce::default()), []);
    }
}
