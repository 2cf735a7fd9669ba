//! A set of system calls with conditions on their arguments, and the kernel's program made from it.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use seccompiler::BackendError;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;

/// System calls, each with any arguments or with those of one of several rules.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<i64, Vec<SeccompRule>>);

/// What the kernel does with the calls of a set. It does the opposite with all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Accepts them, and refuses all others with EPERM.
    Allow,
    /// Refuses them with this error, and accepts all others.
    Refuse(Errno),
}

/// A condition: these bits of the argument with this number have this value.
pub(super) type Argument = (u8, u32, u32);

/// All bits of an argument of 32 bits.
pub(super) const ALL: u32 = u32::MAX;

impl Calls {
    pub(super) fn all_of(numbers: &[u32]) -> Self {
        let mut calls = Self::default();
        calls.add(numbers);
        calls
    }

    /// Adds calls with any arguments.
    pub(super) fn add(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().map(|number| (i64::from(*number), Vec::new())));
    }

    /// Adds a call if its arguments fulfil all `conditions`, or those of an earlier rule.
    pub(super) fn add_if(&mut self, number: u32, conditions: &[Argument]) -> io::Result<()> {
        let mut all = Vec::new();
        for (argument, mask, value) in conditions {
            all.push(condition(*argument, SeccompCmpOp::MaskedEq(u64::from(*mask)), *value)?);
        }
        self.add_rule(number, all)
    }

    /// Adds a call unless each of the arguments has this value.
    pub(super) fn add_unless(&mut self, number: u32, values: &[(u8, u32)]) -> io::Result<()> {
        for (argument, value) in values {
            self.add_rule(number, vec![condition(*argument, SeccompCmpOp::Ne, *value)?])?;
        }
        Ok(())
    }

    fn add_rule(&mut self, number: u32, conditions: Vec<SeccompCondition>) -> io::Result<()> {
        let rule = SeccompRule::new(conditions).map_err(broken)?;
        self.0.entry(i64::from(number)).or_default().push(rule);
        Ok(())
    }
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u32) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value)).map_err(broken)
}

fn broken(error: BackendError) -> io::Error {
    io::Error::other(error.to_string())
}

/// Installs a filter, beside those that the process already has. Of several filters the strictest decides.
pub(super) fn install(calls: &Calls, verdict: Verdict) -> io::Result<()> {
    let refuse = |errno: Errno| SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    let (others, these) = match verdict {
        Verdict::Allow => (refuse(Errno::PERM), SeccompAction::Allow),
        Verdict::Refuse(errno) => (SeccompAction::Allow, refuse(errno)),
    };
    let architecture = std::env::consts::ARCH.try_into().map_err(broken)?;
    let filter = SeccompFilter::new(calls.0.clone(), others, these, architecture).map_err(broken)?;
    apply(BpfProgram::try_from(filter).map_err(broken)?)
}

/// Refuses the calls of x32, which x86-64 kernels may have beside their own. They have other numbers, which a set of
/// refused calls would miss.
#[cfg(target_arch = "x86_64")]
pub(super) fn refuse_x32() -> io::Result<()> {
    // bpf(4) and seccomp(2): loads the call's number, compares it, and returns one of two actions.
    const LOAD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32: u32 = 0x4000_0000;
    let refuse = u32::from(SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs()));
    let allow = u32::from(SeccompAction::Allow);
    apply(vec![
        sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: refuse },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: allow },
    ])
}

fn apply(program: BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter_all_threads(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other.to_string()),
    })
}
