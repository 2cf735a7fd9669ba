//! Landlock: what the process may write, start, bind, connect to and signal.
//!
//! Landlock grew over the years, so each group of rights is asked for alone: what the kernel does not have is named, and
//! the rest is in force. Rights to read are not handled, because certificates, keys and CA files may be anywhere, and may
//! move.

use std::io;

use landlock::ABI;
use landlock::AccessFs;
use landlock::AccessNet;
use landlock::BitFlags;
use landlock::LandlockStatus;
use landlock::NetPort;
use landlock::PathBeneath;
use landlock::PathFd;
use landlock::RestrictionStatus;
use landlock::Ruleset;
use landlock::RulesetAttr as _;
use landlock::RulesetCreated;
use landlock::RulesetCreatedAttr as _;
use landlock::RulesetError;
use landlock::Scope;
use landlock::make_bitflags;

use super::InForce;
use super::Needs;
use super::WriteRule;

const WRITES: &str = "Landlock: writes and execution";
const PORTS: &str = "Landlock: TCP ports";
const SIGNALS: &str = "Landlock: signals";

/// Rights on what is in a directory.
const BELOW: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    WriteFile | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock | Truncate
});

/// Enters a Landlock domain with the rules of `needs`.
pub(crate) fn enter(needs: &Needs, in_force: &mut InForce) {
    match restrict(needs) {
        Ok(status) => note(&status.landlock, in_force),
        Err(error) => in_force.failed.push(format!("Landlock: {error}")),
    }
}

fn restrict(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    // Rights up to the sixth ABI were tried here. By default, the crate leaves out what the kernel lacks.
    let handled = AccessFs::from_write(ABI::V6) | AccessFs::Execute;
    let ruleset = Ruleset::default()
        .handle_access(handled)?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    let scopes = match needs.abstract_sockets {
        true => Scope::Signal.into(),
        false => Scope::Signal | Scope::AbstractUnixSocket,
    };
    let mut rules = ruleset.scope(scopes)?.create()?;
    for rule in &needs.writable {
        rules = with(rules, rule)?;
    }
    for port in &needs.listens {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    for port in &needs.connects {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self()
}

/// A path that does not exist gets no rule: it cannot be written, and the errors of its user say so.
fn with(rules: RulesetCreated, rule: &WriteRule) -> Result<RulesetCreated, RulesetError> {
    let Ok(place) = PathFd::new(rule.path()) else { return Ok(rules) };
    let rights = match rule {
        WriteRule::Below(_) => BELOW,
        WriteRule::File(_) => AccessFs::WriteFile | AccessFs::Truncate,
        WriteRule::FilesIn(_) => AccessFs::WriteFile.into(),
        WriteRule::RemoveIn(_) => AccessFs::RemoveDir.into(),
    };
    rules.add_rule(PathBeneath::new(place, rights))
}

fn note(status: &LandlockStatus, in_force: &mut InForce) {
    let abi = match status {
        LandlockStatus::Available { effective_abi, .. } => *effective_abi,
        LandlockStatus::NotEnabled => {
            in_force.missing.push("Landlock: it is built into this kernel, but not enabled (lsm=)".into());
            return;
        }
        LandlockStatus::NotImplemented => {
            let error = io::Error::from(rustix::io::Errno::NOSYS);
            in_force.missing.push(format!("Landlock: {error}"));
            return;
        }
    };
    in_force.parts.push(WRITES);
    in_force.limits_writes = true;
    in_force.limits_ports = abi >= ABI::V4;
    for (part, first) in [(PORTS, ABI::V4), (SIGNALS, ABI::V6)] {
        match abi >= first {
            true => in_force.parts.push(part),
            false => in_force.missing.push(format!("{part}: this kernel's Landlock does not have them")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::ErrorKind;
    use std::path::Path;
    use std::process::Command;

    use rustix::thread::CapabilitySet;

    use super::*;

    /// Landlock alone: in a thread that ends with the test, without seccomp, which would refuse the same.
    fn in_a_domain<T: Send + 'static>(
        folder: &Path,
        attempt: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let needs = Needs {
            capabilities: CapabilitySet::empty(),
            writable: vec![WriteRule::Below(folder.into())],
            listens: BTreeSet::new(),
            connects: BTreeSet::new(),
            abstract_sockets: false,
        };
        let thread = std::thread::spawn(move || {
            let mut in_force = InForce::default();
            enter(&needs, &mut in_force);
            // Without Landlock there is nothing to show.
            if in_force.limits_writes { attempt() } else { Err(ErrorKind::PermissionDenied.into()) }
        });
        thread.join().unwrap()
    }

    fn is_denied<T>(outcome: io::Result<T>) -> bool {
        outcome.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn no_program_is_started_even_if_seccomp_is_missing() {
        let folder = tempfile::tempdir().unwrap();

        assert!(is_denied(in_a_domain(folder.path(), || Command::new("/bin/true").status())));
    }
}
